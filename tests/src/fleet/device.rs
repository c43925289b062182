//! A device of the fleet: an agent with a state folder, a name and ports of its own, and its containers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use takt_common::DeviceId;
use toml::{Table, Value};

use super::error::FleetError;
use super::ports::Port;
use super::process::Process;
use crate::engine::Engine;

/// What a device is made from.
#[derive(Debug, Clone, Default)]
pub struct DeviceSpec {
    /// Its name.
    pub name: String,
    /// Variables for its own workload.
    pub vars: BTreeMap<String, String>,
    /// Variables for workloads with which it stands in for another device.
    pub stand_in_vars: BTreeMap<String, String>,
    /// Folders below which releases may change files, instead of the usual ones.
    pub file_roots: Vec<PathBuf>,
    /// The folder in which its packages are installed, instead of the machine that the tests run on. For releases it is
    /// the variable `package_root`.
    pub package_root: Option<PathBuf>,
    /// Where it says that others reach it; then it counts connections at 127.77.0.0/16, instead of those in private networks.
    pub peers_at: Option<Ipv4Addr>,
    /// Where it finds the coordinator, if it shall go by another way than all others.
    pub coordinator: Option<String>,
}

/// A device. Its agent is killed and its containers are removed when this is dropped.
#[derive(Debug)]
pub struct Device {
    name: String,
    program: PathBuf,
    folder: PathBuf,
    engine: Arc<Engine>,
    port: Port,
    stand_in_port: Port,
    id: Option<DeviceId>,
    process: Option<Process>,
}

impl Device {
    /// A device with its settings in `folder`; it is not enrolled and does not run yet. To the variables of `spec`
    /// come `port` and `device`, for its own workload and for stand-ins.
    pub fn new(
        agent: &Path,
        latch: &Path,
        folder: &Path,
        coordinator: &str,
        engine: Arc<Engine>,
        spec: DeviceSpec,
    ) -> Result<Self, FleetError> {
        let DeviceSpec {
            name,
            mut vars,
            mut stand_in_vars,
            file_roots,
            package_root,
            peers_at,
            coordinator: other,
        } = spec;
        let coordinator = other.unwrap_or_else(|| coordinator.to_owned());
        fs::create_dir_all(folder).map_err(FleetError::file("make the folder", folder))?;
        let (port, stand_in_port) = (Port::lease()?, Port::lease()?);
        vars.entry("port".into()).or_insert_with(|| port.number().to_string());
        vars.entry("device".into()).or_insert_with(|| name.clone());
        stand_in_vars.entry("port".into()).or_insert_with(|| stand_in_port.number().to_string());
        stand_in_vars.entry("device".into()).or_insert_with(|| format!("{name}, standing in"));
        let text = |path: &Path| Value::String(path.display().to_string());
        let root = package_root.iter().map(|root| ("root".to_owned(), text(root))).collect();
        if let Some(root) = package_root {
            vars.insert("package_root".into(), root.display().to_string());
        }
        let table = |variables: BTreeMap<String, String>| -> Value {
            Value::Table(variables.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
        };
        let roots: Vec<Value> = file_roots.iter().map(|root| text(root)).collect();
        let roots = (!roots.is_empty()).then(|| ("roots".to_owned(), Value::Array(roots)));
        let mut settings: Table = [
            ("name", Value::String(name.clone())),
            ("coordinator", Value::String(coordinator)),
            ("state_dir", text(&folder.join("state"))),
            ("docker_socket", text(engine.socket())),
            ("locks_dir", text(&folder.join("locks"))),
            ("latch", text(latch)),
            ("health_interval_secs", Value::Integer(2)),
            ("file", Value::Table(roots.into_iter().collect())),
            ("package", Value::Table(root)),
            ("vars", table(vars)),
            ("stand_in_vars", table(stand_in_vars)),
            // A machine that runs a whole fleet and its build beside it is busier than a device may be.
            (
                "limits",
                Value::Table([("load_per_cpu_max".to_owned(), Value::Float(1_000.0))].into_iter().collect()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
        settings.extend(peers_at.map(|at| ("peers".to_owned(), Value::Table(peers(at)))));
        let device = Self {
            name,
            program: agent.to_owned(),
            folder: folder.to_owned(),
            engine,
            port,
            stand_in_port,
            id: None,
            process: None,
        };
        let file = device.settings();
        fs::write(&file, settings.to_string()).map_err(FleetError::file("write", file))?;
        Ok(device)
    }

    /// Makes it a member of the fleet, once, with a token.
    pub fn enrol(&mut self, token: &str) -> Result<(), FleetError> {
        let settings = self.settings();
        let output = Command::new(&self.program)
            .args(["enrol", "--token", token, "--config"])
            .arg(&settings)
            .output()
            .map_err(|source| FleetError::Start { program: self.program.clone(), source })?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let id = said.split_whitespace().find_map(|word| word.parse::<DeviceId>().ok());
        match id.filter(|_| output.status.success()) {
            Some(id) => {
                self.id = Some(id);
                Ok(())
            }
            None => Err(FleetError::Command {
                line: format!("takt-agent enrol --config {}", settings.display()),
                code: output.status.code().unwrap_or(-1),
                said: format!("{said}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned(),
            }),
        }
    }

    /// Starts its agent.
    pub fn run(&mut self) -> Result<(), FleetError> {
        self.run_with(&[])
    }

    /// Starts its agent with these variables, each as `NAME=VALUE`.
    pub fn run_with(&mut self, variables: &[String]) -> Result<(), FleetError> {
        self.kill();
        let settings = self.settings();
        let mut arguments: Vec<&OsStr> = variables.iter().map(OsStr::new).collect();
        arguments.extend([
            self.program.as_os_str(),
            "run".as_ref(),
            "--config".as_ref(),
            settings.as_os_str(),
        ]);
        let name = format!("the agent of {}", self.name);
        self.process = Some(Process::start(&name, Path::new("env"), &arguments, &self.log())?);
        Ok(())
    }

    /// From its next start on it takes over the memory of these devices.
    pub fn restore_from(&self, devices: &[DeviceId]) -> Result<(), FleetError> {
        let file = self.settings();
        let text = fs::read_to_string(&file).map_err(FleetError::file("read", &file))?;
        let ids: Vec<Value> = devices.iter().map(|id| Value::String(id.to_string())).collect();
        let takeover = [("restore_from".to_owned(), Value::Array(ids))].into_iter().collect();
        let mut settings: Table = text.parse().expect("it was written here");
        settings.insert("takeover".to_owned(), Value::Table(takeover));
        fs::write(&file, settings.to_string()).map_err(FleetError::file("write", file))
    }

    /// Where its agent keeps memory on its way.
    pub fn memory_folder(&self) -> PathBuf {
        self.folder.join("state").join("memory")
    }

    /// From now on its agent is another program.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Kills its agent at once (SIGKILL); containers go on.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// An error if its agent has ended by itself.
    pub fn check(&mut self) -> Result<(), FleetError> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// The process id of its agent, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, once it is enrolled.
    pub const fn id(&self) -> Option<DeviceId> {
        self.id
    }

    /// The port of its own workload.
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port on which it serves for another device.
    pub const fn stand_in_port(&self) -> u16 {
        self.stand_in_port.number()
    }

    /// What its agent has said.
    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Its folder of update locks.
    pub fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// The folder of all that its agent keeps.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its settings.
    pub fn settings(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    /// The names of its containers with their states.
    pub fn containers(&self) -> Result<Vec<String>, FleetError> {
        Ok(self.docker_list("{{.Names}} {{.State}}")?.lines().map(str::to_owned).collect())
    }

    fn docker_list(&self, format: &str) -> Result<String, FleetError> {
        let Some(id) = self.id else { return Ok(String::new()) };
        let filter = format!("label=takt.device={id}");
        let output = self
            .engine
            .docker()
            .args(["ps", "--all", "--no-trunc", "--filter", &filter, "--format", format])
            .output()
            .map_err(|source| FleetError::Start { program: "docker".into(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(FleetError::Command {
            line: "docker ps".to_owned(),
            code: output.status.code().unwrap_or(-1),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn remove_containers(&self) -> Result<(), FleetError> {
        let ids = self.docker_list("{{.ID}}")?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            // What cannot be removed goes with the engine.
            let _output = self.engine.docker().args(["rm", "--force", "--volumes"]).args(ids).output();
        }
        Ok(())
    }
}

/// Of devices on one machine each must say where it is.
fn peers(at: Ipv4Addr) -> Table {
    let texts = |text: String| Value::Array(vec![Value::String(text)]);
    let settings = [
        ("networks", texts("127.77.0.0/16".to_owned())),
        ("addresses", texts(at.to_string())),
        ("interval_secs", Value::Integer(1)),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
        // Where the engine does not answer, they end with it.
        let _removed = self.remove_containers();
        // There is one only if a release has published ports.
        if let Some(id) = self.id {
            let table = format!("takt-{}", &id.to_string()[..12]);
            let _gone =
                Command::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
        }
    }
}
