//! `run COMMAND [ARGUMENT...]`: the first program of a container of Takt's. It makes sure that the command can be
//! run, waits until the latch opens, and becomes the command: same process, same environment.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use takt_latch::{LATCH, LatchError, MOUNT, command_of, find, wait_open};

fn main() -> ExitCode {
    let Err(error) = run();
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    eprintln!("takt-latch: failed to {error}{cause}");
    ExitCode::from(error.exit_code())
}

fn run() -> Result<std::convert::Infallible, LatchError> {
    let (command, arguments) = command_of(std::env::args_os())?;
    let path = std::env::var_os("PATH");
    let file = find(&command, path.as_deref())?;
    wait_open(&Path::new(MOUNT).join(LATCH))?;
    // The command keeps the name it was called by; `exec` also gives it back the signals as they were.
    let source = Command::new(&file).arg0(&command).args(arguments).exec();
    Err(LatchError::Run { command: file, source })
}
