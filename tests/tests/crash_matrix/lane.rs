//! One device, or a device and its standby, that go through one point after the other.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::report::{Memory, Outcome, PhaseName};
use takt_matrix::Fault;
use takt_tests::fleet::{COMPONENT, DOMAIN, Device, DeviceSpec, HttpClient, Proxy, Stopwatch, wait_until};

use super::stage::{LIMIT, Stage};
use super::{evidence, releases};

/// So many requests, so that a counter that begins again is below.
const COUNTS: u64 = 5;
/// The slowest way back that may be.
const BACK_MILLIS_MAX: u64 = 10_000;

/// Mends what has failed; it gets the file of points that were reached.
type Mend<'f> = dyn Fn(&mut Device, &Path) -> Result<(), Fault> + 'f;

/// What is done to the victim in a round.
pub(crate) enum Inject<'f> {
    Nothing,
    /// SIGKILL at this point; it is started again.
    Kill(String),
    /// What it stands on fails at this point, once, while the agent waits; then it goes on, and it is mended.
    Fault {
        point: String,
        strike: Box<dyn Fn(&mut Device) + 'f>,
        mend: Box<Mend<'f>>,
    },
    /// Variables with which it runs.
    Environment(Vec<String>),
}

/// What the releases of a lane bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// One container; perhaps a file beside it.
    Containers,
    /// A file at [`releases::file`].
    Files,
    /// A package in [`releases::package_root`].
    Package,
}

pub(crate) struct Lane<'a> {
    stage: &'a Stage,
    number: usize,
    name: String,
    body: Body,
    /// Gets the new release.
    device: Device,
    /// Takes over for it meanwhile, and is then the one that is killed.
    standby: Option<Device>,
    /// The ways to the coordinator, where a test can cut them.
    ways: Option<Arc<Ways>>,
    rounds: usize,
}

/// The ways from a device to its coordinator.
pub(crate) struct Ways {
    /// Enrolment and downloads.
    pub(crate) api: Proxy,
    /// Orders and reports.
    pub(crate) broker: Proxy,
}

/// How a round went.
pub(crate) struct Passed {
    /// The release of the round.
    pub(crate) version: String,
    /// The release that the victim ran before.
    before: String,
    pub(crate) campaign: CampaignView,
    /// The points that the victim passed, each once.
    pub(crate) points: Vec<String>,
    /// The victim's counter before.
    pub(crate) counter_before: u64,
    /// From the moment at which the victim could work again to its rest.
    pub(crate) recovery: Duration,
}

fn stuck(error: impl std::fmt::Display) -> Fault {
    Fault::Stuck(error.to_string())
}

fn expect(held: bool, fault: fn(String) -> Fault, said: impl FnOnce() -> String) -> Result<(), Fault> {
    if held { Ok(()) } else { Err(fault(said())) }
}

fn enrolled(stage: &Stage, lane: usize, name: String, body: Body, coordinator: Option<String>) -> Device {
    let token: TokenResponse = stage.fleet.takt.json(&["enrol", "token", "--domain", DOMAIN]).unwrap();
    let file_roots = vec![releases::root(lane)];
    let package_root = (body == Body::Package).then(|| releases::package_root(lane));
    let spec = DeviceSpec { name, file_roots, package_root, coordinator, ..DeviceSpec::default() };
    let mut device = stage.fleet.device(spec).unwrap();
    device.enrol(&token.token).unwrap();
    device.set_program(&stage.program);
    device
}

fn start(stage: &Stage, device: &mut Device) {
    device.run().unwrap();
    stage.fleet.wait_online(device).unwrap();
}

impl<'a> Lane<'a> {
    pub(crate) fn new(stage: &'a Stage, number: usize, standby: bool, body: Body) -> Self {
        let device = |name: String| {
            let mut device = enrolled(stage, number, name, body, None);
            start(stage, &mut device);
            device
        };
        let name = format!("device-{number}");
        let standby = standby.then(|| device(format!("standby-{number}")));
        Self { stage, number, device: device(name.clone()), name, body, standby, ways: None, rounds: 0 }
    }

    /// A device with ways of its own to the coordinator.
    pub(crate) fn with_ways(stage: &'a Stage, number: usize, body: Body) -> Self {
        let name = format!("device-{number}");
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse().unwrap();
        let api = Proxy::to(port(&stage.fleet.coordinator.url())).unwrap();
        let at = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port());
        let mut device = enrolled(stage, number, name.clone(), body, Some(format!("https://{}", at(&api))));
        // What enrolment told it of the broker.
        let membership = device.settings().with_file_name("state/identity/membership.json");
        let mut text: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&membership).unwrap()).unwrap();
        let broker = Proxy::to(port(text["broker"].as_str().unwrap())).unwrap();
        text["broker"] = at(&broker).into();
        std::fs::write(&membership, text.to_string()).unwrap();
        start(stage, &mut device);
        Self {
            stage,
            number,
            device,
            name,
            body,
            standby: None,
            ways: Some(Arc::new(Ways { api, broker })),
            rounds: 0,
        }
    }

    /// The campaign that brings its devices to their first release.
    fn base_campaign(&self) -> String {
        format!("base-{}", self.number)
    }

    /// Begins to bring the devices to their first release.
    pub(crate) fn begin_base(&self) {
        let (release, campaign) = (self.stage.base(self.number).name(), self.base_campaign());
        let mut options = vec![
            "--release",
            &release,
            "--domain",
            DOMAIN,
            "--element-size",
            "9",
            "--deadline",
            "60s",
            "--observe",
            "0s",
        ];
        for device in std::iter::once(&self.device).chain(&self.standby) {
            options.extend(["--device", device.name()]);
        }
        // Other lanes are further on.
        let start = ["campaign", "start", &campaign, "--superseded"];
        self.stage.fleet.takt.text(&[&start, &options[..]].concat()).unwrap();
    }

    /// They have it.
    pub(crate) fn wait_base(&self) {
        let end = self.stage.fleet.wait_campaign(&self.base_campaign(), LIMIT).unwrap();
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    }

    pub(crate) fn ways(&self) -> Arc<Ways> {
        Arc::clone(self.ways.as_ref().unwrap())
    }

    pub(crate) fn victim(&self) -> &Device {
        self.standby.as_ref().unwrap_or(&self.device)
    }

    fn victim_mut(&mut self) -> &mut Device {
        self.standby.as_mut().unwrap_or(&mut self.device)
    }

    /// Brings the next version to the device, with a fault of the victim.
    pub(crate) fn round(&mut self, inject: &Inject<'_>) -> Result<Passed, Fault> {
        self.rounds += 1;
        let version = self.stage.next_version(self.number);
        let before = self.told().installed[0].release.version.to_string();
        let fleet = &self.stage.fleet;
        let folder = fleet.folder().join(format!("{}-points-{}", self.name, self.rounds));
        std::fs::create_dir(&folder).unwrap();
        let noting = format!("TAKT_FAILPOINT_DIR={}", folder.display());
        let mut variables = vec![noting.clone()];
        match inject {
            Inject::Nothing => {}
            Inject::Kill(point) => variables.push(format!("TAKT_FAILPOINT={point}")),
            Inject::Fault { point, .. } => {
                variables.push(format!("TAKT_FAILPOINT={point}"));
                variables.push(format!("TAKT_FAILPOINT_RUN={}", self.stage.hold.display()));
            }
            Inject::Environment(more) => variables.extend(more.iter().cloned()),
        }
        self.victim_mut().run_with(&variables).unwrap();
        let counter_before = self.count();

        let mut since = Stopwatch::start();
        let campaign = format!("{}-{}", self.name, self.rounds);
        let release = format!("{COMPONENT}@{version}");
        let options =
            ["--release", &release, "--domain", DOMAIN, "--device", &self.name, "--deadline", "60s"];
        let start = ["campaign", "start", &campaign, "--superseded"];
        fleet.takt.text(&[&start, &options[..]].concat()).unwrap();
        let died = folder.join("died");
        match inject {
            Inject::Nothing | Inject::Environment(_) => {}
            Inject::Kill(point) => {
                let victim = self.victim_mut();
                wait_until(&format!("the death at {point}"), LIMIT, || {
                    let dead = died.exists() && victim.check().is_err();
                    Ok(if dead { Ok(()) } else { Err("it lives".to_owned()) })
                })
                .map_err(stuck)?;
                since = Stopwatch::start();
                self.victim_mut().run_with(&[noting]).unwrap();
            }
            Inject::Fault { point, strike, mend } => {
                let held = folder.join("held");
                wait_until(&format!("the fault at {point}"), LIMIT, || {
                    Ok(if held.exists() { Ok(()) } else { Err("it was not reached".to_owned()) })
                })
                .map_err(stuck)?;
                strike(self.victim_mut());
                std::fs::write(folder.join("go"), "").unwrap();
                mend(self.victim_mut(), &folder.join("reached"))?;
                since = Stopwatch::start();
                if self.victim_mut().check().is_err() {
                    self.victim_mut().run_with(&[noting]).unwrap();
                }
            }
        }
        let end = fleet.wait_campaign(&campaign, LIMIT).map_err(stuck)?;
        assert!(matches!(end.state, CampaignState::Finished | CampaignState::Aborted));
        self.wait_at_rest()?;
        let recovery = since.elapsed();
        let reached = std::fs::read_to_string(folder.join("reached")).unwrap();
        let mut points: Vec<String> = Vec::new();
        for point in reached.lines().filter(|point| !point.starts_with("no-order/")) {
            if !points.iter().any(|known| known == point) {
                points.push(point.to_owned());
            }
        }
        Ok(Passed { version, before, campaign: end, points, counter_before, recovery })
    }

    fn count(&self) -> u64 {
        if self.body != Body::Containers {
            return 0;
        }
        let mut client = HttpClient::new(self.victim().port());
        (0..COUNTS).map(|_| client.count().unwrap().counter).last().unwrap()
    }

    /// Until the coordinator has heard that all is done.
    fn wait_at_rest(&mut self) -> Result<(), Fault> {
        let fleet = &self.stage.fleet;
        for device in std::iter::once(&mut self.device).chain(&mut self.standby) {
            wait_until(&format!("{} at rest", device.name()), LIMIT, || {
                device.check()?;
                let view = fleet.view(device.name())?;
                let rests = view.phase == Some(PhaseName::Idle) && view.online;
                Ok(if rests { Ok(()) } else { Err(format!("{:?}, online {}", view.phase, view.online)) })
            })
            .map_err(stuck)?;
        }
        Ok(())
    }

    /// Until the victim serves again: an engine that has come back starts what ran only a moment later.
    pub(crate) fn wait_serving(&self) -> Result<(), Fault> {
        wait_until("an answer", LIMIT, || {
            Ok(HttpClient::new(self.victim().port()).counter().map_err(|error| error.to_string()))
        })
        .map(|_| ())
        .map_err(stuck)
    }

    /// What the coordinator shows of the victim.
    pub(crate) fn told(&self) -> DeviceView {
        self.stage.fleet.view(self.victim().name()).unwrap()
    }

    /// How the victim's last orders ended, by the reports that the coordinator keeps: each order by exactly one.
    pub(crate) fn outcomes(&self, orders: usize) -> Result<Vec<Outcome>, Fault> {
        let store = self.stage.fleet.coordinator.profile().with_file_name("store");
        let mut last = evidence::outcomes(&store, self.victim().id().unwrap(), self.stage.fleet.folder());
        let mut outcomes = Vec::new();
        for (position, told) in last.split_off(last.len().saturating_sub(orders)) {
            expect(told.len() <= 1, Fault::Twice, || format!("order {position} was told {told:?}"))?;
            expect(!told.is_empty(), Fault::Wrong, || format!("the end of order {position} was never told"))?;
            outcomes.extend(told);
        }
        let told = self.told().last_outcome;
        expect(told.as_ref() == outcomes.last(), Fault::Wrong, || {
            format!("{told:?} is shown, {outcomes:?} was told")
        })?;
        Ok(outcomes)
    }

    /// The round ended with the new release verified, and it is so.
    pub(crate) fn verified(&self, round: &Passed) -> Result<(), Fault> {
        let told = self.outcomes(1)?;
        let well =
            matches!(told[..], [Outcome::Verified { .. }]) && round.campaign.state == CampaignState::Finished;
        expect(well, Fault::Wrong, || format!("{told:?}; {}", round.campaign.reason))?;
        self.runs(&round.version).map(|_| ())
    }

    /// The round ended either way, and it is so.
    pub(crate) fn ended(&self, round: &Passed) -> Result<(), Fault> {
        let back = matches!(self.outcomes(1)?[..], [Outcome::RolledBack { .. }]);
        if back { self.rolled_back(round) } else { self.verified(round) }
    }

    /// The round ended with the previous release back, and it is so; its memory is as was told.
    pub(crate) fn rolled_back(&self, round: &Passed) -> Result<(), Fault> {
        let told = self.outcomes(1)?;
        let [Outcome::RolledBack { memory, .. }] = told[..] else {
            return Err(Fault::Wrong(format!("{told:?}; {}", round.campaign.reason)));
        };
        expect(round.campaign.state == CampaignState::Aborted, Fault::Wrong, || {
            round.campaign.reason.clone()
        })?;
        let counter = self.runs(&round.before)?;
        let back = self.told().timing.and_then(|timing| timing.rollback_millis).unwrap_or_default();
        expect(back <= BACK_MILLIS_MAX, Fault::Stuck, || format!("the way back took {back} ms"))?;
        if self.body != Body::Containers {
            return Ok(());
        }
        let lost = counter < round.counter_before;
        expect(lost == (memory == Memory::Lost), Fault::Wrong, || {
            format!(
                "memory {memory:?} was told; it counted {} before and {counter} after",
                round.counter_before
            )
        })
    }

    /// The victim runs this release of its own and nothing else, nothing of the order is left, and its reports have
    /// no gap. Gives its counter.
    pub(crate) fn runs(&self, version: &str) -> Result<u64, Fault> {
        let told = self.told();
        let breaks = ["never arrived", "does not follow", "lost its state"];
        let broken = told.warnings.iter().find(|warning| breaks.iter().any(|text| warning.contains(text)));
        expect(broken.is_none(), Fault::Wrong, || format!("its chain of reports is broken: {broken:?}"))?;
        self.clean(self.victim(), version)
    }

    /// The victim runs what it began with.
    pub(crate) fn runs_base(&self) -> Result<u64, Fault> {
        self.runs(&releases::version(1, self.number))
    }

    /// The device that was served for runs the new release and nothing else.
    pub(crate) fn upgraded(&self, version: &str) -> Result<(), Fault> {
        self.clean(&self.device, version).map(|_| ())
    }

    fn clean(&self, device: &Device, version: &str) -> Result<u64, Fault> {
        let view = self.stage.fleet.view(device.name()).unwrap();
        let installed: Vec<_> =
            view.installed.iter().map(|installed| installed.release.to_string()).collect();
        expect(installed == [format!("{COMPONENT} {version}")], Fault::Wrong, || {
            format!("{installed:?} is told to be installed, not {version}")
        })?;
        let state = device.settings().with_file_name("state");
        // The file of a package that is installed stays, and what is known of it: they are the way back of the next one.
        let kept = usize::from(self.body == Body::Package);
        for (folder, why) in [("artifacts", "files of the order"), ("way-back", "ways back of the order")] {
            let left = names(&state.join(folder));
            expect(left.len() <= kept, Fault::Wrong, || format!("{why} are left: {left:?}"))?;
        }
        match self.body {
            Body::Files => clean_file(self.number, version),
            Body::Package => clean_package(self.number, version),
            Body::Containers => self.clean_containers(device, version),
        }
    }

    fn clean_containers(&self, device: &Device, version: &str) -> Result<u64, Fault> {
        let answer = HttpClient::new(device.port())
            .counter()
            .map_err(|error| Fault::Bricked(format!("{error}; {}", remembered(device.port()))))?;
        expect(
            (answer.version.as_str(), answer.device.as_str()) == (version, device.name()),
            Fault::Bricked,
            || format!("{} {} serves, not {version}", answer.device, answer.version),
        )?;
        let stand_in = HttpClient::new(device.stand_in_port()).counter();
        expect(stand_in.is_err(), Fault::Bricked, || "a stand-in still serves".to_owned())?;
        let containers = device.containers().unwrap();
        let [only] = &containers[..] else {
            return Err(Fault::Bricked(format!("one container was expected: {containers:?}")));
        };
        let (name, state) = only.split_once(' ').unwrap();
        expect(state == "running", Fault::Bricked, || only.clone())?;
        let listed = self.stage.engine.docker().args(["checkpoint", "ls", name]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        expect(listed.lines().count() == 1, Fault::Wrong, || format!("checkpoints are left: {listed}"))?;
        Ok(answer.counter)
    }

    /// The processes of a thread end with it, so they are ended before.
    pub(crate) fn rest(&mut self) {
        self.victim_mut().kill();
    }
}

fn clean_file(lane: usize, version: &str) -> Result<u64, Fault> {
    let (root, file) = (releases::root(lane), releases::file(lane));
    let found = std::fs::read_to_string(&file).unwrap_or_else(|error| error.to_string());
    let expected = [releases::content(version), releases::large_content(version)];
    expect(expected.contains(&found), Fault::Bricked, || {
        format!("the file holds {found:.60}, not that of {version}")
    })?;
    let left = names(&root);
    expect(left.len() == 1, Fault::Bricked, || format!("beside the file there are others: {left:?}"))?;
    Ok(0)
}

/// What dpkg says, and what is there.
fn clean_package(lane: usize, version: &str) -> Result<u64, Fault> {
    let root = releases::package_root(lane);
    let admin = format!("--admindir={}", root.join("var/lib/dpkg").display());
    let audit = Command::new("dpkg").args([&admin, "--audit"]).output().unwrap();
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    expect(audit.is_empty(), Fault::Bricked, || format!("dpkg is not content: {audit}"))?;
    let format = "${Version} ${db:Status-Status}";
    let found = Command::new("dpkg-query").args([&admin, "-W", "-f", format, "app"]).output().unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    expect(found == format!("{version}-1 installed"), Fault::Bricked, || {
        format!("{found:?} is installed, not {version}")
    })?;
    let read = |path| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    for (path, expected) in [
        ("usr/share/app/version", releases::packaged(version)),
        ("etc/app.conf", format!("delivered with {version}\n")),
    ] {
        expect(read(path) == expected, Fault::Bricked, || format!("{path} holds {:?}", read(path)))?;
    }
    let left = names(&root.join("etc"));
    expect(left == ["app.conf"], Fault::Bricked, || {
        format!("beside its configuration there are others: {left:?}")
    })?;
    Ok(0)
}

/// What the kernel remembers of connections to this port, for a client who was not served.
fn remembered(port: u16) -> String {
    let all = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_else(|error| error.to_string());
    let port = format!("port={port} ");
    all.lines().filter(|line| line.contains(&port)).collect::<Vec<_>>().join("; ")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
