//! The latch: a container is started ahead of its turn, holds still before its command, and goes on the instant the
//! agent opens the latch. Starting a container takes about 80 ms of engine and runtime work; with the latch all of
//! it is done while the predecessor still serves.
//!
//! A latch is a file in a folder that is mounted into the container at [`MOUNT`]. While it is a FIFO that nobody
//! writes to, it is closed. A byte written to it, or a regular file in its place, opens it for good, so a container
//! that is started again later does not stop there.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the folder is mounted in the container.
pub const MOUNT: &str = "/.takt";
/// The latch, in that folder.
pub const LATCH: &str = "latch";
/// The program, in that folder.
pub const PROGRAM: &str = "run";
/// What opens the latch.
pub const OPEN: &[u8] = b"1";

/// Exit code: the latch cannot be read.
pub const CODE_LATCH: u8 = 125;
/// Exit code, as shells have it: the command is there and cannot be run.
pub const CODE_NOT_EXECUTABLE: u8 = 126;
/// Exit code, as shells have it: there is no such command.
pub const CODE_NOT_FOUND: u8 = 127;

/// Where programs are sought when the environment has no `PATH`: what the engine gives to containers.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub enum LatchError {
    /// Nothing to run.
    #[error("find a command after the program's own name")]
    NoCommand,
    /// No such command.
    #[error("find the command {}", command.display())]
    NotFound {
        /// The command.
        command: PathBuf,
    },
    /// Not a program.
    #[error("run {}: it is not an executable file", command.display())]
    NotExecutable {
        /// The command.
        command: PathBuf,
    },
    /// The latch cannot be read.
    #[error("read the latch {}", latch.display())]
    Latch {
        /// The latch.
        latch: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the command.
    #[error("run {}", command.display())]
    Run {
        /// The command.
        command: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LatchError {
    /// The exit code that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => CODE_NOT_FOUND,
            Self::NoCommand | Self::Latch { .. } => CODE_LATCH,
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => CODE_NOT_FOUND,
            Self::NotExecutable { .. } | Self::Run { .. } => CODE_NOT_EXECUTABLE,
        }
    }
}

/// The file that `command` names, as `execvp` finds it: so that a command that cannot start is known before the
/// predecessor stops.
pub fn find(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, LatchError> {
    let executable = |found: &Metadata| found.is_file() && found.permissions().mode() & 0o111 != 0;
    let named = Path::new(command);
    if command.as_encoded_bytes().contains(&b'/') {
        return match named.metadata() {
            Ok(found) if executable(&found) => Ok(named.to_owned()),
            Ok(_) => Err(LatchError::NotExecutable { command: named.to_owned() }),
            Err(_) => Err(LatchError::NotFound { command: named.to_owned() }),
        };
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)))
        .map(|folder| folder.join(named))
        .find(|file| file.metadata().is_ok_and(|found| executable(&found)))
        .ok_or_else(|| LatchError::NotFound { command: named.to_owned() })
}

/// Returns once the latch is open.
pub fn wait_open(latch: &Path) -> Result<(), LatchError> {
    let trouble = |source| LatchError::Latch { latch: latch.to_owned(), source };
    loop {
        // The open of a closed latch blocks in the kernel until somebody opens it for writing.
        let mut file = File::open(latch).map_err(trouble)?;
        let mut byte = [0; 1];
        match file.read(&mut byte) {
            // Somebody only looked whether anybody waits here, or died before the byte: it is still closed.
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(trouble(error)),
        }
    }
}

/// Splits the program's own arguments into the command and its arguments.
pub fn command_of(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<(OsString, Vec<OsString>), LatchError> {
    let _own_name = arguments.next();
    let command = arguments.next().ok_or(LatchError::NoCommand)?;
    Ok((command, arguments.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_where_execvp_finds_it() {
        let path = Some(OsStr::new("/nowhere:/bin:/usr/bin"));
        assert_eq!(find(OsStr::new("sh"), path).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(OsStr::new("/bin/sh"), None).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(OsStr::new("no-such-command"), path).unwrap_err().exit_code(), CODE_NOT_FOUND);
        assert_eq!(find(OsStr::new("/bin/no-such-command"), path).unwrap_err().exit_code(), CODE_NOT_FOUND);
        assert_eq!(find(OsStr::new("/etc/passwd"), path).unwrap_err().exit_code(), CODE_NOT_EXECUTABLE);
        assert_eq!(find(OsStr::new("/etc"), path).unwrap_err().exit_code(), CODE_NOT_EXECUTABLE);
    }

    #[test]
    fn an_open_latch_holds_nobody_and_a_missing_one_is_an_error() {
        let folder = std::env::temp_dir().join(format!("takt-latch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let latch = folder.join(LATCH);
        assert_eq!(wait_open(&latch).unwrap_err().exit_code(), CODE_LATCH);
        std::fs::write(&latch, OPEN).unwrap();
        wait_open(&latch).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
