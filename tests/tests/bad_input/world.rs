//! A fleet with one device whose settings can be changed, and short ways to ask about it.

use std::path::PathBuf;
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::report::{Outcome, PhaseName};
use takt_tests::fleet::{COMPONENT, DOMAIN, Device, DeviceSpec, Fleet, HttpClient, ReleaseSpec, wait_until};
use takt_workload::Nature;
use toml::{Table, Value};

use super::evidence;

/// No wait is longer, unless a test says so.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// What devices begin with, where they begin with something.
pub(crate) const BASE: &str = "1.0.0";
/// What they are asked to install.
pub(crate) const NEXT: &str = "2.0.0";

pub(crate) struct World {
    // Dropped before the fleet that they belong to.
    pub(crate) device: Device,
    pub(crate) fleet: Fleet,
}

impl World {
    /// A device that is enrolled and does not run yet.
    pub(crate) fn enrolled() -> Self {
        let fleet = Fleet::start().unwrap();
        let device = enrol(&fleet, "camera-1");
        Self { device, fleet }
    }

    /// A device that runs [`BASE`], with [`NEXT`] published.
    pub(crate) fn running() -> Self {
        let mut world = Self::enrolled();
        world.device.run().unwrap();
        world.fleet.wait_online(&mut world.device).unwrap();
        world.publish(&release(BASE));
        world.publish(&release(NEXT));
        world.install(BASE);
        world
    }

    pub(crate) fn publish(&self, release: &ReleaseSpec) {
        self.fleet.publish(release).unwrap();
    }

    /// Starts a campaign on the device.
    pub(crate) fn start(&self, version: &str, deadline: &str) -> String {
        start(&self.fleet, self.device.name(), version, deadline)
    }

    /// Installs a good release and waits until all is done.
    pub(crate) fn install(&mut self, version: &str) {
        let campaign = self.start(version, "60s");
        let end = self.end_of(&campaign);
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
        self.assert_runs(version);
    }

    pub(crate) fn end_of(&mut self, campaign: &str) -> CampaignView {
        let end = self.fleet.wait_campaign(campaign, LIMIT).unwrap();
        self.wait_for("at rest", |view| view.phase == Some(PhaseName::Idle));
        end
    }

    pub(crate) fn view(&self) -> DeviceView {
        self.fleet.view(self.device.name()).unwrap()
    }

    pub(crate) fn wait_for(&mut self, what: &str, found: impl Fn(&DeviceView) -> bool) -> DeviceView {
        let Self { device, fleet } = self;
        wait_until(what, LIMIT, || {
            device.check()?;
            let view = fleet.view(device.name())?;
            Ok(if found(&view) { Ok(view) } else { Err(format!("{:?}, {:?}", view.phase, view.waiting_on)) })
        })
        .unwrap()
    }

    /// Waits until `takt why` gives a reason with all of `parts`.
    pub(crate) fn wait_why(&mut self, parts: &[&str]) -> String {
        let Self { device, fleet } = self;
        wait_until(&format!("a reason with {parts:?}"), LIMIT, || {
            device.check()?;
            let why = fleet.why(device.name())?;
            let reason = why.reasons.iter().find(|reason| parts.iter().all(|part| reason.contains(part)));
            Ok(reason.filter(|_| why.waiting).cloned().ok_or_else(|| why.reasons.join(" | ")))
        })
        .unwrap()
    }

    /// How the last order ended, told exactly once.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut orders = evidence::outcomes(
            &self.coordinator_file("store"),
            self.device.id().unwrap(),
            self.fleet.folder(),
        );
        let (position, told) = orders.pop().unwrap();
        assert_eq!(told.len(), 1, "order {position} was told {told:?}");
        assert_eq!(self.view().last_outcome, Some(told[0].clone()));
        told[0].clone()
    }

    /// The device serves this release, in one container.
    pub(crate) fn assert_runs(&self, version: &str) {
        let answer = HttpClient::new(self.device.port()).counter().unwrap();
        assert_eq!(answer.version, version);
        let containers = self.device.containers().unwrap();
        assert!(matches!(&containers[..], [only] if only.ends_with(" running")), "{containers:?}");
        let installed: Vec<_> = self.view().installed.iter().map(|on| on.release.to_string()).collect();
        assert_eq!(installed, [format!("{COMPONENT} {version}")]);
    }

    /// Nothing of the device is there.
    pub(crate) fn assert_runs_nothing(&self) {
        assert_eq!(self.device.containers().unwrap(), Vec::<String>::new());
        assert!(self.view().installed.is_empty());
    }

    /// A file of the device's state.
    pub(crate) fn state(&self, file: &str) -> PathBuf {
        self.device.settings().with_file_name("state").join(file)
    }

    /// A file of the coordinator.
    pub(crate) fn coordinator_file(&self, file: &str) -> PathBuf {
        self.fleet.coordinator.profile().with_file_name(file)
    }

    /// Changes the agent's settings; it must be started again to see them.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Table)) {
        let file = self.device.settings();
        let mut settings: Table = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        change(&mut settings);
        std::fs::write(file, settings.to_string()).unwrap();
    }

    /// Changes one of the limits.
    pub(crate) fn limit(&self, name: &str, value: impl Into<Value>) {
        self.set(|settings| {
            let limits = settings.get_mut("limits").unwrap().as_table_mut().unwrap();
            limits.insert(name.to_owned(), value.into());
        });
    }
}

/// A good release that is verified within about a second.
pub(crate) fn release(version: &str) -> ReleaseSpec {
    ReleaseSpec {
        start_secs: 2,
        probation_secs: 1,
        interval_millis: 100,
        ..ReleaseSpec::new(version, Nature::Good)
    }
}

pub(crate) fn enrol(fleet: &Fleet, name: &str) -> Device {
    let token: TokenResponse = fleet.takt.json(&["enrol", "token", "--domain", DOMAIN]).unwrap();
    let mut device = fleet.device(DeviceSpec { name: name.to_owned(), ..DeviceSpec::default() }).unwrap();
    device.enrol(&token.token).unwrap();
    device
}

/// Starts a campaign on one device; gives its name.
pub(crate) fn start(fleet: &Fleet, device: &str, version: &str, deadline: &str) -> String {
    let millis = fleet.stopwatch.elapsed().as_millis();
    let name = format!("{device}-{}-{millis}", version.replace('.', "-"));
    let release = format!("{COMPONENT}@{version}");
    let options = ["--release", &release, "--domain", DOMAIN, "--device", device, "--deadline", deadline];
    let start = ["campaign", "start", &name, "--superseded"];
    fleet.takt.text(&[&start, &options[..]].concat()).unwrap();
    name
}
