//! A coordinator as a process: it can be killed and started again on the same ports with the same data.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api::Api;
use super::clock::wait_until;
use super::error::FleetError;
use super::ports::Port;
use super::process::Process;

/// This machine, as itself.
pub(super) const THIS_MACHINE: &str = "127.0.0.1";
/// How long a start may take: keys, store, and a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A coordinator with a folder and ports of its own.
#[derive(Debug)]
pub struct Coordinator {
    program: PathBuf,
    folder: PathBuf,
    api: Port,
    gate: Port,
    process: Option<Process>,
}

impl Coordinator {
    /// Starts a new one with its data in `folder`, and waits until it is ready. It listens on this machine only; to its
    /// devices it gives `host` as its address, and something must lead from there to its ports.
    pub fn start(program: &Path, folder: &Path, host: &str) -> Result<Self, FleetError> {
        Self::start_for(program, folder, host, None)
    }

    /// The same for so many devices that are all on this machine.
    pub fn start_for(
        program: &Path,
        folder: &Path,
        host: &str,
        devices: Option<usize>,
    ) -> Result<Self, FleetError> {
        fs::create_dir_all(folder).map_err(FleetError::file("make the folder", folder))?;
        let (api, gate) = (Port::lease()?, Port::lease()?);
        let mut coordinator =
            Self { program: program.to_owned(), folder: folder.to_owned(), api, gate, process: None };
        let own = if host == THIS_MACHINE { String::new() } else { format!(", \"{THIS_MACHINE}\"") };
        // A link that is built anew may overlap with the one that is given up.
        let sessions = devices.map_or_else(String::new, |devices| {
            let most = 2 * devices;
            format!("connections_max = {most}\nconnections_per_source_max = {most}\n")
        });
        let settings = format!(
            "public_hosts = [\"{host}\"{own}]\n[api]\nlisten = \"127.0.0.1:{}\"\n[gate]\nlisten = \"127.0.0.1:{}\"\n\
             {sessions}[orders]\nresend_secs = 2\n",
            coordinator.api.number(),
            coordinator.gate.number()
        );
        let file = coordinator.settings();
        fs::write(&file, settings).map_err(FleetError::file("write", file))?;
        coordinator.begin()?;
        coordinator.wait_ready()?;
        coordinator.point_operator_here(host)?;
        Ok(coordinator)
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Result<(), FleetError> {
        self.process.take().map_or(Ok(()), Process::stop)
    }

    /// Starts it again, on the same ports and data, and waits until it is ready.
    pub fn restart(&mut self) -> Result<(), FleetError> {
        self.kill();
        self.begin()?;
        self.wait_ready()
    }

    /// The ports of its API and of its gate.
    pub const fn ports(&self) -> [u16; 2] {
        [self.api.number(), self.gate.number()]
    }

    /// Where its API is, for who is on this machine.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api.number())
    }

    /// The operator's profile.
    pub fn profile(&self) -> PathBuf {
        self.folder.join("operator.toml")
    }

    /// What it has said.
    pub fn log(&self) -> PathBuf {
        self.folder.join("coordinator.log")
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("coordinator.toml")
    }

    /// The operator is on this machine, wherever the devices are.
    fn point_operator_here(&self, host: &str) -> Result<(), FleetError> {
        let file = self.profile();
        let text = fs::read_to_string(&file).map_err(FleetError::file("read", &file))?;
        let text = text.replace(&format!("https://{host}:"), &format!("https://{THIS_MACHINE}:"));
        fs::write(&file, text).map_err(FleetError::file("write", &file))
    }

    fn begin(&mut self) -> Result<(), FleetError> {
        let settings = self.settings();
        let arguments = ["serve".as_ref(), "--config".as_ref(), settings.as_os_str()];
        self.process = Some(Process::start("takt-coordinator", &self.program, &arguments, &self.log())?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), FleetError> {
        let (ca, url) = (self.folder.join("ca.pem"), self.url());
        wait_until("the coordinator answer /healthz", START_LIMIT, || {
            if let Some(process) = &mut self.process {
                process.check()?;
            }
            if !ca.exists() {
                return Ok(Err("its certificate authority is not made yet".to_owned()));
            }
            Ok(Api::to(url.clone(), &ca)?.answers("/healthz"))
        })
    }
}
