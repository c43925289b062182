//! One device, or a device and its standby, that go through one point after the other.

use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::report::{Outcome, PhaseName};
use takt_tests::engine::Engine;
use takt_tests::fleet::{COMPONENT, DOMAIN, Device, DeviceSpec, HttpClient, Stopwatch, wait_until};

use super::evidence;
use super::stage::{LIMIT, Stage};

/// So many requests, so that a counter that begins again is below.
const COUNTS: u64 = 5;

pub(crate) struct Lane<'a> {
    stage: &'a Stage,
    name: String,
    /// Gets the new release.
    device: Device,
    /// Takes over for it meanwhile, and is then the one that is killed.
    standby: Option<Device>,
    rounds: usize,
}

/// How a round went.
pub(crate) struct Passed {
    /// The release of the round.
    pub(crate) version: String,
    pub(crate) campaign: CampaignView,
    /// The points that the victim passed, each once.
    pub(crate) points: Vec<String>,
    /// The victim's counter before.
    pub(crate) counter_before: u64,
    pub(crate) took: Duration,
}

impl<'a> Lane<'a> {
    pub(crate) fn new(stage: &'a Stage, number: usize, standby: bool) -> Self {
        let uses = if standby { "2" } else { "1" };
        let token: TokenResponse =
            stage.fleet.takt.json(&["enrol", "token", "--domain", DOMAIN, "--uses", uses]).unwrap();
        let device = |name: String| {
            let mut device = stage.fleet.device(DeviceSpec { name, ..DeviceSpec::default() }).unwrap();
            device.enrol(&token.token).unwrap();
            device.set_program(&stage.program);
            device.run().unwrap();
            stage.fleet.wait_online(&mut device).unwrap();
            device
        };
        let name = format!("device-{number}");
        let standby = standby.then(|| device(format!("standby-{number}")));
        Self { stage, device: device(name.clone()), name, standby, rounds: 0 }
    }

    fn victim(&self) -> &Device {
        self.standby.as_ref().unwrap_or(&self.device)
    }

    fn victim_mut(&mut self) -> &mut Device {
        self.standby.as_mut().unwrap_or(&mut self.device)
    }

    /// Brings the next version to the device, with a kill of the victim at `point`.
    pub(crate) fn round(&mut self, point: Option<&str>) -> Passed {
        let begun = Stopwatch::start();
        self.rounds += 1;
        let version = self.stage.next_version();
        let fleet = &self.stage.fleet;
        let folder = fleet.folder().join(format!("{}-points-{}", self.name, self.rounds));
        std::fs::create_dir(&folder).unwrap();
        let noting = format!("TAKT_FAILPOINT_DIR={}", folder.display());
        let mut armed = vec![noting.clone()];
        armed.extend(point.map(|point| format!("TAKT_FAILPOINT={point}")));
        self.victim_mut().run_with(&armed).unwrap();
        let mut client = HttpClient::new(self.victim().port());
        let counter_before = (0..COUNTS).map(|_| client.count().unwrap().counter).last().unwrap();

        let campaign = format!("{}-{}", self.name, self.rounds);
        let release = format!("{COMPONENT}@{version}");
        let options =
            ["--release", &release, "--domain", DOMAIN, "--device", &self.name, "--deadline", "60s"];
        fleet.takt.text(&[&["campaign", "start", &campaign], &options[..]].concat()).unwrap();
        if let Some(point) = point {
            let died = folder.join("died");
            let victim = self.victim_mut();
            wait_until(&format!("the death at {point}"), LIMIT, || {
                let dead = died.exists() && victim.check().is_err();
                Ok(if dead { Ok(()) } else { Err("it lives".to_owned()) })
            })
            .unwrap();
            self.victim_mut().run_with(&[noting]).unwrap();
        }
        let end = fleet.wait_campaign(&campaign, LIMIT).unwrap();
        assert!(matches!(end.state, CampaignState::Finished | CampaignState::Aborted));
        self.wait_at_rest();
        let reached = std::fs::read_to_string(folder.join("reached")).unwrap();
        let mut points: Vec<String> = Vec::new();
        for point in reached.lines().filter(|point| !point.starts_with("no-order/")) {
            if !points.iter().any(|known| known == point) {
                points.push(point.to_owned());
            }
        }
        Passed { version, campaign: end, points, counter_before, took: begun.elapsed() }
    }

    /// Until the coordinator has heard that all is done.
    fn wait_at_rest(&mut self) {
        let fleet = &self.stage.fleet;
        for device in std::iter::once(&mut self.device).chain(&mut self.standby) {
            wait_until(&format!("{} at rest", device.name()), LIMIT, || {
                device.check()?;
                let view = fleet.view(device.name())?;
                let rests = view.phase == Some(PhaseName::Idle) && view.online;
                Ok(if rests { Ok(()) } else { Err(format!("{:?}, online {}", view.phase, view.online)) })
            })
            .unwrap();
        }
    }

    /// What the coordinator shows of the victim.
    pub(crate) fn told(&self) -> DeviceView {
        self.stage.fleet.view(self.victim().name()).unwrap()
    }

    /// How the victim's last orders ended, by the reports that the coordinator keeps: each order by exactly one.
    pub(crate) fn outcomes(&self, orders: usize) -> Vec<Outcome> {
        let store = self.stage.fleet.coordinator.profile().with_file_name("store");
        let mut last = evidence::outcomes(&store, self.victim().id().unwrap(), self.stage.fleet.folder());
        let mut outcomes = Vec::new();
        for (position, told) in last.split_off(last.len().saturating_sub(orders)) {
            assert_eq!(told.len(), 1, "order {position} was told {told:?}");
            outcomes.extend(told);
        }
        outcomes
    }

    /// The victim runs this release of its own and nothing else, nothing of the order is left, and its reports have
    /// no gap. Gives its counter.
    pub(crate) fn assert_runs(&self, version: &str) -> u64 {
        let told = self.told();
        let breaks = ["never arrived", "does not follow", "lost its state"];
        let broken = told.warnings.iter().find(|warning| breaks.iter().any(|text| warning.contains(text)));
        assert_eq!(broken, None, "its chain of reports is broken");
        self.assert_clean(self.victim(), version)
    }

    /// The device that was served for runs the new release and nothing else.
    pub(crate) fn assert_upgraded(&self, version: &str) {
        self.assert_clean(&self.device, version);
    }

    fn assert_clean(&self, device: &Device, version: &str) -> u64 {
        let view = self.stage.fleet.view(device.name()).unwrap();
        let installed: Vec<_> =
            view.installed.iter().map(|installed| installed.release.to_string()).collect();
        assert_eq!(installed, [format!("{COMPONENT} {version}")]);
        let answer = HttpClient::new(device.port()).counter().unwrap();
        assert_eq!((answer.version.as_str(), answer.device.as_str()), (version, device.name()));
        assert!(HttpClient::new(device.stand_in_port()).counter().is_err(), "a stand-in still serves");

        let containers = device.containers().unwrap();
        let [only] = &containers[..] else { panic!("one container was expected: {containers:?}") };
        let (name, state) = only.split_once(' ').unwrap();
        assert_eq!(state, "running");
        let engine = Engine::shared().unwrap();
        let listed = engine.docker().args(["checkpoint", "ls", name]).output().unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 1, "only the head of the table was expected: {listed}");
        let artifacts = device.settings().with_file_name("state/artifacts");
        let left: Vec<_> =
            std::fs::read_dir(artifacts).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(left.is_empty(), "files of the order are left: {left:?}");
        answer.counter
    }

    /// The processes of a thread end with it, so they are ended before.
    pub(crate) fn rest(&mut self) {
        self.victim_mut().kill();
    }
}
