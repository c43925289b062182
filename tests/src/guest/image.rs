//! The built guest: a folder with its disk, what bundles are made of, and live patches.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::error::GuestError;

/// The lines of a failed script that an error quotes.
const SAID_LINES: usize = 30;

/// A built guest, which many tests may use at one time: nothing in it is ever written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestImage {
    folder: PathBuf,
}

impl GuestImage {
    /// The guest of this source tree, built if it is not there: minutes the first time, at once from then on.
    pub fn ready() -> Result<Self, GuestError> {
        static READY: Mutex<Option<PathBuf>> = Mutex::new(None);
        // A test that panicked while it held the lock left nothing half done.
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_none() {
            let folder = run(Command::new(script("build.sh")))?;
            *ready = Some(folder.trim().into());
        }
        Ok(Self { folder: ready.clone().unwrap_or_default() })
    }

    /// Where it lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk, with its slot B empty.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    /// A live patch for the guest's kernel: while it is loaded, `/proc/cmdline` says `takt live patch`.
    pub fn live_patch(&self) -> PathBuf {
        self.folder.join("livepatch/takt_cmdline.ko")
    }

    /// The same, built for another kernel release.
    pub fn live_patch_of_another_release(&self) -> PathBuf {
        self.folder.join("livepatch/takt_cmdline_other_release.ko")
    }

    /// The release of the guest's kernel, as `uname -r` says it.
    pub fn kernel_release(&self) -> Result<String, GuestError> {
        let path = self.folder.join("kernel-release");
        let text = std::fs::read_to_string(&path).map_err(GuestError::file("read", &path))?;
        Ok(text.trim().to_owned())
    }
}

/// A script of `tests/guest`.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guest").join(name)
}

/// Runs a script and gives what it wrote.
pub(super) fn run(mut command: Command) -> Result<String, GuestError> {
    let program = || PathBuf::from(command_program(&command));
    let program = program();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| GuestError::Start { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.trim().lines().collect();
    let said = lines[lines.len().saturating_sub(SAID_LINES)..].join("\n");
    Err(GuestError::Script { script: program, said })
}

fn command_program(command: &Command) -> std::ffi::OsString {
    command.get_program().to_owned()
}
