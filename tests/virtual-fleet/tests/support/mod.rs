//! A real coordinator as a process, a publisher with releases of one file, and virtual devices.

use std::path::Path;
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, TokenResponse};
use takt_fleet::{FleetSpec, VirtualFleet};
use takt_tests::fleet::{Api, Binaries, Ceremony, Coordinator, FleetError, Takt, wait_until};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The domain of all devices.
const DOMAIN: &str = "yard";
/// This machine, as itself.
const THIS_MACHINE: &str = "127.0.0.1";

/// How many devices share a token, and how many tokens there are at least: each enrolment writes all that have used its
/// token, one after the other.
const DEVICES_PER_TOKEN: usize = 100;
const TOKENS_MIN: usize = 32;

/// How a release is described: probed often and for a moment only, because many devices have to wait for it.
const RELEASE: &str = "\
[[steps]]
kind = \"file\"
[[steps.files]]
path = \"/etc/lamp/settings.toml\"
source = \"settings.toml\"
[health]
probes = [\"tcp=127.0.0.1:1\"]
interval_millis = 100
timeout_millis = 100
start_secs = 2
probation_secs = 1
failures_max = 2
";

/// Everything but the devices.
pub(crate) struct World {
    /// The coordinator.
    pub(crate) coordinator: Coordinator,
    /// In which agents run.
    pub(crate) runtime: Runtime,
    takt: Takt,
    trust: Ceremony,
    api: Api,
    folder: TempDir,
}

impl World {
    /// A coordinator that takes so many devices, and the first documents.
    pub(crate) fn start(devices: usize) -> Result<Self, FleetError> {
        let folder = tempfile::tempdir().map_err(FleetError::file("make a folder in", "/tmp"))?;
        let program = Binaries::program("takt-coordinator")?;
        let home = folder.path().join("coordinator");
        let coordinator = Coordinator::start_for(&program, &home, THIS_MACHINE, Some(devices))?;
        let takt = Takt::new(&Binaries::program("takt")?, &coordinator.profile());
        let trust = Ceremony::hold(&takt, &folder.path().join("publisher"))?;
        let api = Api::open(&coordinator.profile())?;
        let runtime = Runtime::new().map_err(FleetError::file("start", "the runtime"))?;
        Ok(Self { coordinator, runtime, takt, trust, api, folder })
    }

    /// Publishes a release of one file.
    pub(crate) fn publish(&self, version: &str) -> Result<(), FleetError> {
        let sources = self.folder.path().join(format!("lamp-{version}"));
        let write =
            |path: &Path, text: &str| std::fs::write(path, text).map_err(FleetError::file("write", path));
        std::fs::create_dir_all(&sources).map_err(FleetError::file("make the folder", &sources))?;
        write(&sources.join("settings.toml"), &format!("version = \"{version}\"\n"))?;
        let description = sources.join("release.toml");
        write(&description, RELEASE)?;
        let out = sources.join("out").display().to_string();
        let (description, documents) = (description.display().to_string(), self.trust.documents());
        let trust = ["--trust", &documents];
        let new = ["--from", &description, "--name", "lamp", "--version", version, "--out", &out];
        self.takt.text(&[&["release", "new"], &new[..], &trust].concat())?;
        self.trust.sign(&self.takt, &out, &self.trust.publisher_keys())?;
        self.takt.text(&[&["release", "publish", "--dir", &out], &trust[..]].concat())?;
        Ok(())
    }

    /// What a fleet of so many devices is made from.
    pub(crate) fn spec(&self, count: usize) -> Result<FleetSpec, FleetError> {
        let tokens = count.div_ceil(DEVICES_PER_TOKEN).max(TOKENS_MIN);
        let uses = count.div_ceil(tokens).to_string();
        let token = |_| {
            let token: TokenResponse =
                self.takt.json(&["enrol", "token", "--domain", DOMAIN, "--uses", &uses])?;
            Ok(token.token)
        };
        let tokens = (0..tokens).map(token).collect::<Result<Vec<_>, FleetError>>()?;
        let ca = self.folder.path().join("coordinator").join("ca.pem");
        Ok(FleetSpec::new(&self.coordinator.url(), ca, tokens, count))
    }

    /// Starts all agents and waits until all have a session.
    pub(crate) fn connect(&self, fleet: &mut VirtualFleet, limit: Duration) -> Result<(), FleetError> {
        let _within = self.runtime.enter();
        fleet.connect();
        wait_until("all devices connected", limit, || {
            let counts = fleet.counts();
            Ok(if counts.connected == counts.devices { Ok(()) } else { Err(counts.to_string()) })
        })
    }

    /// Starts a campaign over all devices that looks at each element only until it has ended.
    pub(crate) fn start_campaign(&self, name: &str, version: &str, more: &[&str]) -> Result<(), FleetError> {
        let release = format!("lamp@{version}");
        let usual = ["campaign", "start", name, "--release", &release, "--domain", DOMAIN];
        let pace = ["--deadline", "2m", "--observe", "0s"];
        self.takt.text(&[&usual[..], &pace, more].concat()).map(drop)
    }

    /// How the campaign stands.
    pub(crate) fn campaign(&self, name: &str) -> Result<CampaignView, FleetError> {
        self.api.get(&format!("/api/v1/campaigns/{name}"))
    }

    /// Waits until the campaign has ended, and says how.
    pub(crate) fn wait_campaign(&self, name: &str, limit: Duration) -> Result<CampaignView, FleetError> {
        wait_until(&format!("the end of campaign {name}"), limit, || {
            let view = self.campaign(name)?;
            let over = matches!(view.state, CampaignState::Aborted | CampaignState::Finished);
            Ok(if over { Ok(view) } else { Err(format!("{} of {}: {}", view.done, view.total, view.reason)) })
        })
    }
}
