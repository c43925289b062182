//! A Docker engine for tests: the one `TAKT_TEST_DOCKER_SOCK` names (`tests/env/with-engine.sh` starts one for a
//! whole test run), else a private one in a folder of its own that ends with its last user.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// The variable that names the socket of an engine that is already there.
pub const SOCKET_VARIABLE: &str = "TAKT_TEST_DOCKER_SOCK";

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    /// Only where the engine is ours to end.
    folder: Option<TempDir>,
    /// What its containers can use, in the script's words.
    network: &'static str,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No folder for its data.
    #[error("make a folder for an engine")]
    Folder(#[source] io::Error),
    /// The script could not be run.
    #[error("run {script}")]
    Run {
        /// The script.
        script: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine did not start.
    #[error("start an engine: {said}")]
    Start {
        /// The script's own words.
        said: String,
    },
}

impl Engine {
    /// The engine of this test run, shared by all who hold it at one time.
    pub fn shared() -> Result<Arc<Self>, EngineError> {
        static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
        // A test that panicked while it held the lock left nothing half done: start anew.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return Ok(engine);
        }
        let engine = Arc::new(match std::env::var_os(SOCKET_VARIABLE) {
            Some(socket) => Self { socket: socket.into(), folder: None, network: "host" },
            None => Self::start()?,
        });
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// An engine of its own, for tests that stop it or count what it holds.
    pub fn start() -> Result<Self, EngineError> {
        Self::start_with("host")
    }

    /// The same with a bridge and firewall rules, in the network namespace of this thread, which must be one of its own.
    pub fn start_bridged() -> Result<Self, EngineError> {
        Self::start_with("bridge")
    }

    fn start_with(network: &'static str) -> Result<Self, EngineError> {
        let folder =
            tempfile::Builder::new().prefix("takt-engine.").tempdir().map_err(EngineError::Folder)?;
        let socket = start_in(folder.path(), network)?;
        Ok(Self { socket, folder: Some(folder), network })
    }

    /// Kills an engine of its own as a machine would that has no memory left: nothing is stopped, and its containers and
    /// their shims stay.
    pub fn kill(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Err(io::Error::other("the engine is shared")) };
        let killed = Command::new(script()).arg("crash").arg(folder.path()).stdin(Stdio::null()).status()?;
        if killed.success() { Ok(()) } else { Err(io::Error::other("the engine cannot be killed")) }
    }

    /// Starts it again over the same data.
    pub fn start_again(&self) -> Result<(), EngineError> {
        // Its socket stays where it was.
        self.folder.as_ref().map_or(Ok(()), |folder| start_in(folder.path(), self.network).map(|_| ()))
    }

    /// Its API's Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A `docker` command that speaks to this engine.
    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket.display()));
        command.stdin(Stdio::null());
        command
    }
}

/// Starts an engine in `folder`; gives its socket.
fn start_in(folder: &Path, network: &str) -> Result<PathBuf, EngineError> {
    let script = script();
    let output = Command::new(&script)
        .arg("start")
        .arg(folder)
        // The engine also ends when this process does not come to its `drop`.
        .arg(std::process::id().to_string())
        .env("TAKT_ENGINE_NETWORK", network)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| EngineError::Run { script, source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(EngineError::Start { said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // Should it fail, the engine's guard removes it once this process is gone.
            let _ended =
                Command::new(script()).arg("remove").arg(folder.path()).stdin(Stdio::null()).status();
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("env/dockerd.sh")
}
