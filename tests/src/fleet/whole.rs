//! The fleet as a whole: one folder, one coordinator, one publisher, and the devices that are made from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, DeviceView, ObservedGraphView, TokenResponse, WhyView};
use tempfile::TempDir;

use super::api::Api;
use super::binaries::Binaries;
use super::clock::{Stopwatch, wait_until};
use super::command::Takt;
use super::coordinator::{Coordinator, THIS_MACHINE};
use super::device::{Device, DeviceSpec};
use super::error::FleetError;
use super::process::last_lines;
use super::release::ReleaseSpec;
use super::trust::Ceremony;
use crate::engine::Engine;

/// The domain of all devices.
pub const DOMAIN: &str = "line-7";

/// How long a device may take to come online after its agent was started.
const ONLINE_LIMIT: Duration = Duration::from_secs(20);
/// Lines of each log that a failed test shows.
const LOG_LINES: usize = 60;

/// A fleet: everything but its devices, which are made by [`Fleet::device`] and must be dropped before it.
#[derive(Debug)]
pub struct Fleet {
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The command with the operator's profile.
    pub takt: Takt,
    /// The publisher's keys and documents.
    pub trust: Ceremony,
    /// The API, as the operator.
    pub api: Api,
    /// Since the fleet began; all watchers share it.
    pub stopwatch: Stopwatch,
    binaries: Binaries,
    engine: Arc<Engine>,
    folder: TempDir,
}

/// A campaign to be started.
#[derive(Debug, Clone, Copy)]
pub struct CampaignSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which release, as [`ReleaseSpec::name`] gives it.
    pub release: &'a str,
    /// Devices in an element at the most.
    pub element_size: u32,
    /// How long a device may take for its order, such as `60s`.
    pub deadline: &'a str,
}

impl Fleet {
    /// Starts a coordinator in a folder of its own and holds the ceremony.
    pub fn start() -> Result<Self, FleetError> {
        Self::begin(Engine::shared()?, THIS_MACHINE)
    }

    /// The same, on this engine.
    pub fn start_on(engine: Arc<Engine>) -> Result<Self, FleetError> {
        Self::begin(engine, THIS_MACHINE)
    }

    /// The same for devices that reach the coordinator's ports at the address `host` only.
    pub fn start_reached_at(host: &str) -> Result<Self, FleetError> {
        Self::begin(Engine::shared()?, host)
    }

    fn begin(engine: Arc<Engine>, host: &str) -> Result<Self, FleetError> {
        let stopwatch = Stopwatch::start();
        let binaries = Binaries::find()?;
        let folder = tempfile::Builder::new()
            .prefix("takt-fleet.")
            .tempdir()
            .map_err(FleetError::file("make a folder in", std::env::temp_dir()))?;
        let coordinator =
            Coordinator::start(&binaries.coordinator, &folder.path().join("coordinator"), host)?;
        let takt = Takt::new(&binaries.takt, &coordinator.profile());
        let trust = Ceremony::hold(&takt, &folder.path().join("publisher"))?;
        let api = Api::open(&coordinator.profile())?;
        Ok(Self { coordinator, takt, trust, api, stopwatch, binaries, engine, folder })
    }

    /// Builds a release, and gives its folder.
    pub fn make(&self, release: &ReleaseSpec) -> Result<String, FleetError> {
        let mark = self.folder.path().display().to_string();
        release.make(&self.takt, &self.trust, &self.folder.path().join("releases"), &mark)
    }

    /// Builds, signs and publishes a release.
    pub fn publish(&self, release: &ReleaseSpec) -> Result<(), FleetError> {
        let out = self.make(release)?;
        self.trust.sign(&self.takt, &out, &self.trust.publisher_keys())?;
        self.publish_signed(&out)
    }

    /// Publishes the signed release in the folder `out`.
    pub fn publish_signed(&self, out: &str) -> Result<(), FleetError> {
        self.takt.text(&["release", "publish", "--dir", out, "--trust", &self.trust.documents()])?;
        Ok(())
    }

    /// Makes devices with these names, enrols them with one token, starts their agents and waits until all are online.
    pub fn devices(&self, names: &[&str]) -> Result<Vec<Device>, FleetError> {
        let spec = |name: &&str| DeviceSpec { name: (*name).to_owned(), ..DeviceSpec::default() };
        self.devices_of(names.iter().map(spec).collect())
    }

    /// The same for devices made from these.
    pub fn devices_of(&self, specs: Vec<DeviceSpec>) -> Result<Vec<Device>, FleetError> {
        let token: TokenResponse =
            self.takt.json(&["enrol", "token", "--domain", DOMAIN, "--uses", &specs.len().to_string()])?;
        let mut devices = Vec::with_capacity(specs.len());
        for spec in specs {
            let mut device = self.device(spec)?;
            device.enrol(&token.token)?;
            device.run()?;
            devices.push(device);
        }
        for device in &mut devices {
            self.wait_online(device)?;
        }
        Ok(devices)
    }

    /// Makes a device; it is not enrolled and does not run yet.
    pub fn device(&self, spec: DeviceSpec) -> Result<Device, FleetError> {
        let folder = self.folder.path().join(&spec.name);
        let Binaries { agent, latch, .. } = &self.binaries;
        Device::new(agent, latch, &folder, &self.coordinator.url(), Arc::clone(&self.engine), spec)
    }

    /// Waits until the coordinator has heard from the device and has a session with it.
    pub fn wait_online(&self, device: &mut Device) -> Result<DeviceView, FleetError> {
        wait_until(&format!("{} online", device.name()), ONLINE_LIMIT, || {
            device.check()?;
            let view = self.view(device.name())?;
            let ready = view.online && view.phase.is_some() && view.health.is_some();
            Ok(if ready {
                Ok(view)
            } else {
                Err(format!(
                    "online {}, phase {:?}, health sample {}",
                    view.online,
                    view.phase,
                    view.health.is_some()
                ))
            })
        })
    }

    /// What `takt device show` shows.
    pub fn view(&self, device: &str) -> Result<DeviceView, FleetError> {
        self.api.get(&format!("/api/v1/devices/{device}"))
    }

    /// What `takt why` shows.
    pub fn why(&self, device: &str) -> Result<WhyView, FleetError> {
        self.api.get(&format!("/api/v1/devices/{device}/why"))
    }

    /// What `takt campaign show` shows.
    pub fn campaign(&self, name: &str) -> Result<CampaignView, FleetError> {
        self.api.get(&format!("/api/v1/campaigns/{name}"))
    }

    /// Starts a campaign over the whole domain, whatever else is published.
    pub fn start_campaign(&self, spec: CampaignSpec<'_>) -> Result<CampaignView, FleetError> {
        let CampaignSpec { name, release, element_size, deadline } = spec;
        let size = element_size.to_string();
        let options = [
            ["--release", release],
            ["--domain", DOMAIN],
            ["--element-size", &size],
            ["--deadline", deadline],
            ["--observe", "0s"],
        ];
        self.takt.json(&[&["campaign", "start", name, "--superseded"], options.as_flattened()].concat())
    }

    /// Waits until the campaign has ended, and says how.
    pub fn wait_campaign(&self, name: &str, limit: Duration) -> Result<CampaignView, FleetError> {
        wait_until(&format!("the end of campaign {name}"), limit, || {
            let view = self.campaign(name)?;
            let over = matches!(view.state, CampaignState::Aborted | CampaignState::Finished);
            Ok(if over { Ok(view) } else { Err(view.reason) })
        })
    }

    /// Declares who depends on whom, as `SOURCE:TARGET:requires`.
    pub fn set_graph(&self, edges: &[&str]) -> Result<(), FleetError> {
        self.set(&["graph", "set", "--domain", DOMAIN], "--edge", edges)
    }

    /// Who calls whom, as the agents have seen.
    pub fn observed(&self) -> Result<ObservedGraphView, FleetError> {
        self.takt.json(&["graph", "observed", "--domain", DOMAIN])
    }

    /// Declares who can stand in for whom, as `DEVICE:STANDBY`.
    pub fn set_drm(&self, rows: &[&str]) -> Result<(), FleetError> {
        self.set(&["drm", "set", "--domain", DOMAIN], "--row", rows)
    }

    /// Gives the domain a schedule with these options of `takt schedule set`.
    pub fn set_schedule(&self, options: &[&str]) -> Result<(), FleetError> {
        self.takt.text(&[&["schedule", "set", "--domain", DOMAIN], options].concat()).map(|_| ())
    }

    fn set(&self, command: &[&str], option: &str, values: &[&str]) -> Result<(), FleetError> {
        let options: Vec<&str> = values.iter().flat_map(|value| [option, value]).collect();
        self.takt.text(&[command, &options].concat()).map(|_| ())
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The ends of all logs, for somebody who looks for the cause of a failure.
    pub fn last_words(&self) -> String {
        let told = self.logs().into_iter().map(|log| {
            let lines = last_lines(&log, LOG_LINES).join("\n");
            format!("--- {}\n{lines}\n", log.display())
        });
        told.collect()
    }

    fn logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let names = ["coordinator.log", "agent.log"];
        let logs = entries.flat_map(|entry| names.map(|name| entry.path().join(name)));
        logs.filter(|log| log.exists()).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}
