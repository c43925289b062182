//! The smallest fleet: coordinator, operator and one device in one machine, all from packages.

use std::fs;

use crate::machine::Machine;
use crate::packages::Format;
use crate::rpms;

const AGENT: &str = "takt-agent";

/// The operator's command.
const TAKT: &str = "takt --profile /var/lib/takt-coordinator/operator.toml";

/// A machine on which the agent's package is installed and its device enrolled. The agent runs.
#[derive(Debug)]
pub struct Fleet {
    /// The machine.
    pub machine: Machine,
}

impl Fleet {
    /// Installs everything by dpkg, holds the ceremony of the keys, and enrols the device `camera-1`.
    pub fn start() -> Self {
        Self::with_agent(Format::Deb)
    }

    /// Installs coordinator and command by dpkg and the agent by what this format needs, holds the ceremony of the keys, and
    /// enrols the device `camera-1`.
    ///
    /// # Panics
    /// When that does not work.
    pub fn with_agent(format: Format) -> Self {
        let machine = Machine::boot();
        for name in ["takt-ctl", "takt-coordinator"] {
            machine.dpkg(name, Machine::version(), &[]);
        }
        match format {
            Format::Deb => drop(machine.dpkg(AGENT, Machine::version(), &[])),
            Format::Rpm => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let libraries =
                    machine.bring_file(&rpms::libraries(AGENT, Machine::version(), folder.path()));
                let agent = machine.bring(AGENT, Machine::version(), format);
                machine.run(&["rpm", "--install", &libraries, &agent]);
            }
        }
        let fleet = Self { machine };
        fleet.join();
        fleet
    }

    /// Makes the device a member of the coordinator's fleet and starts its agent.
    pub fn join(&self) {
        let machine = &self.machine;
        machine.wait_property("takt-coordinator", "ActiveState", |state| state == "active");
        machine.sh("cd /root && takt key new --out root.key && takt key new --out publisher.key");
        machine.sh(&format!(
            "cd /root && {TAKT} trust init --dir trust --root-key root.key --publisher-key publisher.key"
        ));
        let settings = "name = \"camera-1\"\ncoordinator = \"https://localhost:8443\"\n";
        let file = machine.path("/etc/takt/agent.toml");
        let shipped = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{settings}{shipped}")).unwrap();
        machine.sh(&format!("takt-agent enrol --token \"$({TAKT} enrol token --domain north | head -n 1)\""));
        machine.run(&["systemctl", "start", "takt-agent"]);
    }

    /// What the coordinator says of the device.
    pub fn device(&self) -> String {
        self.machine.sh(&format!("{TAKT} --json device show camera-1"))
    }

    /// The hash of everything that makes the device this device.
    pub fn identity(&self) -> String {
        self.machine.sh("cd /var/lib/takt-agent/identity && sha256sum device.key membership.json")
    }
}
