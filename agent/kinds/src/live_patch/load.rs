//! Modules in and out of the kernel: by `kpatch` where the device has it, else by the system calls.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::LivePatchError;

/// What is kept of kpatch's words.
const SAID_MAX: u64 = 16 * 1024;

/// What takes modules in and out of a kernel.
pub trait Modules: fmt::Debug + Send + Sync {
    /// Loads the module in `file`; its first function has run when this returns.
    fn load(&self, file: &Path) -> io::Result<()>;
    /// Unloads the module with this name; fails at once when it is in use.
    fn unload(&self, name: &str) -> io::Result<()>;
}

/// The kernel of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelModules;

impl Modules for KernelModules {
    fn load(&self, file: &Path) -> io::Result<()> {
        Ok(finit_module(File::open(file)?, c"", ModuleInitFlags::empty())?)
    }

    fn unload(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name).map_err(io::Error::other)?;
        Ok(delete_module(&name, DeleteModuleFlags::O_NONBLOCK)?)
    }
}

/// How modules are loaded on this device.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    /// The program `kpatch`, where it is there.
    pub kpatch: PathBuf,
    /// A folder for the names that kpatch needs.
    pub run: PathBuf,
    /// The system calls.
    pub modules: Arc<dyn Modules>,
}

impl Loader {
    /// Loads `file` as `name`. What has begun when `limit` is over, is seen by looking.
    pub(super) async fn load(&self, name: &str, file: &Path, limit: Duration) -> Result<(), LivePatchError> {
        if self.kpatch.exists() {
            return self.by_kpatch(name, file, limit).await;
        }
        let (modules, file) = (Arc::clone(&self.modules), file.to_owned());
        match blocking(move || modules.load(&file)).await {
            // Somebody else was quicker: whoever asks looks again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done.map_err(|source| LivePatchError::Load { name: name.to_owned(), source }),
        }
    }

    /// Unloads `name`; says false when it is in use.
    pub(super) async fn unload(&self, name: &str) -> Result<bool, LivePatchError> {
        use nix::errno::Errno;
        let (modules, own) = (Arc::clone(&self.modules), name.to_owned());
        let Err(source) = blocking(move || modules.unload(&own)).await else { return Ok(true) };
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => Ok(true),
            Some(Errno::EAGAIN | Errno::EBUSY) => Ok(false),
            _ => Err(LivePatchError::Unload { name: name.to_owned(), source }),
        }
    }

    /// kpatch waits for the transition itself, for 75 s, and takes the module out again when it stalls.
    async fn by_kpatch(&self, name: &str, file: &Path, limit: Duration) -> Result<(), LivePatchError> {
        let program = self.kpatch.display().to_string();
        let failed = |source| LivePatchError::KpatchStart { program: program.clone(), source };
        let link = self.named(name, file).map_err(failed)?;
        let mut child = Command::new(&self.kpatch)
            .arg("load")
            .arg(&link)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stderr = child.stderr.take();
        let ended = timeout(limit, async {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                (&mut stderr).take(SAID_MAX).read_to_end(&mut said).await?;
                tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
            }
            Ok((child.wait().await?, said))
        });
        match ended.await {
            // The time is over: the program is killed, and what it began is taken back by who asked.
            Err(_) => Ok(()),
            Ok(Err(error)) => Err(failed(error)),
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, said))) => {
                let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
                Err(LivePatchError::Kpatch { program, status: status.to_string(), said })
            }
        }
    }

    /// kpatch takes a module's name from its file's, and artifacts are named by their digest.
    fn named(&self, name: &str, file: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.run)?;
        let link = self.run.join(format!("{name}.ko"));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(file, &link)?,
        }
        Ok(link)
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
