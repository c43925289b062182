//! Locks of package managers: record locks of fcntl(2), which end with their holder.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use tokio::runtime::Handle;
use tokio::time::interval;

use super::error::PackageError;
use crate::disk::failed;

/// How often a lock that somebody else holds is asked for.
const ASK: Duration = Duration::from_millis(250);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

const fn whole_file() -> libc::flock {
    // All of them fit: they are the system's own small numbers.
    #[expect(clippy::cast_possible_truncation, reason = "small constants of the system")]
    let (kind, whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
    libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 }
}

/// Who holds the lock `path`, if anybody but this process does.
pub(crate) fn holder(path: &Path) -> Option<String> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    let mut lock = whole_file();
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    (i32::from(lock.l_type) != libc::F_UNLCK).then(|| name(lock.l_pid))
}

fn name(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("process {pid} ({name})"),
    }
}

/// Takes the lock `path`, and waits `limit` for it. Not to be called on the runtime's own thread.
pub(crate) fn take(path: &Path, limit: Duration) -> Result<Lock, PackageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    let file = options.open(path).map_err(failed("open the lock", path))?;
    wait(path, limit, || match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(failed("take the lock", path)(std::io::Error::from(errno)).into()),
    })?;
    Ok(Lock { _file: file })
}

/// Waits until nobody holds the lock `path`, `limit` at the most. Not to be called on the runtime's own thread.
pub(crate) fn wait_free(path: &Path, limit: Duration) -> Result<(), PackageError> {
    wait(path, limit, || Ok(holder(path).is_none()))
}

fn wait(
    path: &Path,
    limit: Duration,
    mut done: impl FnMut() -> Result<bool, PackageError>,
) -> Result<(), PackageError> {
    if done()? {
        return Ok(());
    }
    Handle::current().block_on(async {
        let mut asks = interval(ASK);
        let tries = limit.as_millis() / ASK.as_millis();
        for _ in 0..=tries {
            asks.tick().await;
            if done()? {
                return Ok(());
            }
        }
        let holder = holder(path).unwrap_or_else(|| "somebody".to_owned());
        let lock: PathBuf = path.to_owned();
        Err(PackageError::Busy { holder, lock, waited_secs: limit.as_secs() })
    })
}
