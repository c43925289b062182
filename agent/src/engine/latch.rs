//! The agent's side of the latch (`takt_latch`): a folder for each container with the program and the latch in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use takt_agent_core::ContainerName;
use takt_latch::{LATCH, MOUNT, OPEN, PROGRAM};

/// Where the latch's program is and where the folders of the containers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatchSettings {
    /// The static program `takt-latch`.
    pub program: PathBuf,
    /// One folder in here for each container. Containers mount theirs for as long as they exist.
    pub folder: PathBuf,
}

/// A file of the latch cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{deed} {}", path.display())]
pub struct LatchFileError {
    deed: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Everyone may read and run what is in the folder: a container may run as any user.
const FOLDER_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o755;
const LATCH_MODE: u32 = 0o644;

/// The latch of one container.
#[derive(Debug, Clone)]
pub(super) struct Latch {
    folder: PathBuf,
}

/// An opened latch; the FIFO stays open until this is dropped, so that the byte is not lost before it is read.
#[derive(Debug)]
pub(super) struct Opened {
    _fifo: Option<File>,
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LatchFileError {
    let path = path.to_owned();
    move |source| LatchFileError { deed, path, source }
}

impl LatchSettings {
    pub(super) fn of(&self, name: &ContainerName) -> Latch {
        Latch { folder: self.folder.join(&name.0) }
    }
}

impl Latch {
    /// The mount, as the engine's `binds` has it.
    pub(super) fn bind(&self) -> String {
        format!("{}:{MOUNT}:ro", self.folder.display())
    }

    fn latch(&self) -> PathBuf {
        self.folder.join(LATCH)
    }

    fn program(&self) -> PathBuf {
        self.folder.join(PROGRAM)
    }

    /// Makes the folder anew, with a closed latch.
    pub(super) fn prepare(&self, program: &Path) -> Result<(), LatchFileError> {
        self.remove()?;
        fs::create_dir_all(&self.folder).map_err(failed("make folder", &self.folder))?;
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(failed("set the mode of", path))
        };
        mode(&self.folder, FOLDER_MODE)?;
        // A copy: the container must start when this program has been removed or replaced.
        let copy = self.program();
        fs::copy(program, &copy).map_err(failed("copy the program for", &copy))?;
        mode(&copy, PROGRAM_MODE)?;
        let latch = self.latch();
        nix::unistd::mkfifo(&latch, Mode::from_bits_truncate(LATCH_MODE))
            .map_err(|errno| failed("make the pipe", &latch)(errno.into()))?;
        mode(&latch, LATCH_MODE)
    }

    /// Whether the container would stop there, or does.
    pub(super) fn is_closed(&self) -> bool {
        fs::symlink_metadata(self.latch()).is_ok_and(|found| found.file_type().is_fifo())
    }

    /// Whether somebody waits at the closed latch.
    pub(super) fn has_waiter(&self) -> bool {
        // Opening for writing fails while nobody reads; dropping it without a byte leaves the latch closed.
        OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(self.latch()).is_ok()
    }

    /// Opens it for good: from the rename on nobody stops here again, even if this process dies at once.
    pub(super) fn open(&self) -> Result<Opened, LatchFileError> {
        let latch = self.latch();
        if !self.is_closed() {
            return Ok(Opened { _fifo: None });
        }
        // Read and write: this never blocks, and the byte stays in the pipe for whoever is about to read it.
        let mut fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&latch)
            .map_err(failed("open the pipe", &latch))?;
        let opened = self.folder.join("opened");
        fs::write(&opened, OPEN).map_err(failed("write", &opened))?;
        fs::rename(&opened, &latch).map_err(failed("open", &latch))?;
        fifo.write_all(OPEN).map_err(failed("write to the pipe", &latch))?;
        Ok(Opened { _fifo: Some(fifo) })
    }

    /// Puts an open latch on disk: after a power cut the engine restarts the container, and it must not stop there.
    pub(super) fn sync(&self) -> Result<(), LatchFileError> {
        if self.is_closed() || !self.folder.exists() {
            return Ok(());
        }
        for path in [self.latch(), self.folder.clone()] {
            File::open(&path).and_then(|file| file.sync_all()).map_err(failed("write to disk", &path))?;
        }
        Ok(())
    }

    /// Whether the process is still the latch's program; `None` when that cannot be seen.
    pub(super) fn holds(&self, pid: i64) -> Option<bool> {
        let runs = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let program = fs::metadata(self.program()).ok()?;
        Some(runs.dev() == program.dev() && runs.ino() == program.ino())
    }

    /// Removes the folder.
    pub(super) fn remove(&self) -> Result<(), LatchFileError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.folder)(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn latch(folder: &Path) -> Latch {
        let program = folder.join("program");
        fs::write(&program, "no program").unwrap();
        let settings = LatchSettings { program: program.clone(), folder: folder.join("latches") };
        let latch = settings.of(&ContainerName("a".into()));
        latch.prepare(&program).unwrap();
        latch
    }

    #[test]
    fn a_waiter_goes_on_when_the_latch_opens_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let latch = latch(folder.path());
        assert!(latch.is_closed());
        assert!(!latch.has_waiter());
        let (sender, gone_on) = std::sync::mpsc::channel();
        let file = latch.latch();
        let waiter = std::thread::spawn(move || sender.send(takt_latch::wait_open(&file).is_ok()).unwrap());
        for _look in 0..3 {
            while !latch.has_waiter() {
                std::thread::yield_now();
            }
            assert!(gone_on.recv_timeout(Duration::from_millis(20)).is_err(), "looking must not open it");
        }
        let opened = latch.open().unwrap();
        assert_eq!(gone_on.recv_timeout(Duration::from_secs(10)), Ok(true));
        drop(opened);
        waiter.join().unwrap();
        assert!(!latch.is_closed());
        takt_latch::wait_open(&latch.latch()).unwrap();
        latch.open().unwrap();
        latch.sync().unwrap();
        latch.remove().unwrap();
        latch.remove().unwrap();
    }
}
