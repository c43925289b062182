//! A guest with the agent's package, as a member of a fleet of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use takt_common::DeviceId;
use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::order::Position;
use takt_common::release::{Health, Manifest, Probe, Step};
use takt_common::report::Outcome;
use takt_package_tests::{Format, Machine, package};
use takt_tests::fleet::{COMPONENT, CampaignSpec, DOMAIN, Fleet, More, ReleaseSpec, wait_until};
use takt_tests::guest::{Forward, Guest, GuestImage, Slot};
use takt_workload::Nature;

use super::evidence;

/// What leads out of the guest's network, to the forwarded ports.
const GATEWAY: &str = "10.0.2.2";
const NAME: &str = "guest";
/// For a command in the guest; dpkg takes seconds on an emulated processor.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// For an order: at the most a bundle that is fetched and written twice, and four boots.
pub(crate) const ORDER_LIMIT: Duration = Duration::from_mins(9);

/// A device in QEMU, and its coordinator.
pub(crate) struct Device {
    /// Before the fleet: its agent must not outlive the coordinator's folder.
    pub(crate) guest: Guest,
    pub(crate) fleet: Fleet,
    id: DeviceId,
    /// The reports that ended an order, by their number.
    ends: BTreeMap<u64, (Position, Outcome)>,
}

impl Device {
    /// Installs the agent by dpkg, enrols it, and waits until the coordinator has heard from it.
    pub(crate) fn join() -> Self {
        let fleet = Fleet::start_reached_at(GATEWAY).unwrap();
        let forwards = fleet.coordinator.ports().map(Forward::same).into();
        let mut guest = Guest::new(&GuestImage::ready().unwrap(), forwards).unwrap();
        guest.power_on().unwrap();
        guest.wait_booted().unwrap();
        // A device as its factory leaves it: the system that it runs has proved itself.
        guest.text("rauc status mark-good", LIMIT).unwrap();
        guest.copy_in(&agent_package(), "/run/takt-agent.deb").unwrap();
        let install = "DEBIAN_FRONTEND=noninteractive dpkg --install /run/takt-agent.deb";
        guest.text(install, LIMIT).unwrap();
        let url = format!("https://{GATEWAY}:{}", fleet.coordinator.ports()[0]);
        let settings = format!("name = \"{NAME}\"\\ncoordinator = \"{url}\"\\nhealth_interval_secs = 2");
        guest.text(&format!("sed -i '1i {settings}' /etc/takt/agent.toml"), LIMIT).unwrap();
        let token: TokenResponse =
            fleet.takt.json(&["enrol", "token", "--domain", DOMAIN, "--uses", "1"]).unwrap();
        let said = guest.text(&format!("takt-agent enrol --token {}", token.token), LIMIT).unwrap();
        let id = said.split_whitespace().find_map(|word| word.parse::<DeviceId>().ok());
        guest.text("systemctl start takt-agent", LIMIT).unwrap();
        let mut device = Self { guest, fleet, id: id.unwrap(), ends: BTreeMap::new() };
        device.wait_told("online", |view| view.online && view.phase.is_some() && view.health.is_some());
        device
    }

    /// What the coordinator shows of it.
    pub(crate) fn told(&self) -> DeviceView {
        self.fleet.view(NAME).unwrap()
    }

    /// Waits until the coordinator shows this.
    pub(crate) fn wait_told(&mut self, what: &str, is: impl Fn(&DeviceView) -> bool) -> DeviceView {
        let seen = wait_until(&format!("the guest {what}"), ORDER_LIMIT, || {
            let view = self.fleet.view(NAME)?;
            Ok(if is(&view) {
                Ok(view)
            } else {
                Err(format!("online {}, {:?}, {:?}", view.online, view.phase, view.waiting_on))
            })
        });
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.last_words()))
    }

    /// Publishes a release and orders it.
    pub(crate) fn begin(&mut self, release: &ReleaseSpec) {
        self.fleet.publish(release).unwrap();
        let (name, deadline) = (campaign(release), "3600s");
        let spec = CampaignSpec { name: &name, release: &release.name(), element_size: 1, deadline };
        self.fleet.start_campaign(spec).unwrap();
    }

    /// Waits until its campaign has ended, and says how, by the coordinator and by the device's own signed report.
    pub(crate) fn end(&mut self, release: &ReleaseSpec) -> (CampaignView, Outcome) {
        let ended = self.fleet.wait_campaign(&campaign(release), ORDER_LIMIT);
        let ended = ended.unwrap_or_else(|error| panic!("{error}\n{}", self.last_words()));
        let outcome = self.outcomes().pop().unwrap();
        (ended, outcome)
    }

    /// Both.
    pub(crate) fn upgrade(&mut self, release: &ReleaseSpec) -> (CampaignView, Outcome) {
        self.begin(release);
        self.end(release)
    }

    /// It ends as verified.
    pub(crate) fn verify(&mut self, release: &ReleaseSpec) {
        let (end, outcome) = self.upgrade(release);
        assert_eq!(end.state, CampaignState::Finished, "{}: {outcome}\n{}", end.reason, self.last_words());
        assert_eq!(outcome, Outcome::Verified { strategy: None });
    }

    /// How its orders ended, in their order, by its signed reports: each order by exactly one.
    pub(crate) fn outcomes(&mut self) -> Vec<Outcome> {
        let store = self.fleet.coordinator.profile().with_file_name("store");
        let kept =
            evidence::look(&store, self.fleet.folder(), |registry| evidence::reports(registry, self.id));
        let ends = kept
            .into_iter()
            .filter_map(|(number, report)| Some((number, (report.order?.position, report.outcome?))));
        // The coordinator forgets old ones.
        self.ends.extend(ends);
        let mut orders = BTreeMap::new();
        for (position, outcome) in self.ends.values() {
            let other = orders.insert(*position, outcome.clone());
            assert!(other.is_none(), "order {position} was told {other:?} and {outcome:?}");
        }
        orders.into_values().collect()
    }

    /// The releases that the device says it runs, as [`ReleaseSpec::name`] gives them.
    pub(crate) fn installed(&self) -> Vec<String> {
        self.told().installed.iter().map(|one| format!("{COMPONENT}@{}", one.release.version)).collect()
    }

    /// Cuts the power, and waits until the guest is up again, in this slot; no boot is helped.
    pub(crate) fn power_cut(&mut self) -> Slot {
        self.guest.power_cut();
        self.guest.power_on().unwrap();
        self.guest.wait_booted().unwrap()
    }

    /// A command's output in the guest.
    pub(crate) fn text(&mut self, command: &str) -> String {
        self.guest.text(command, LIMIT).unwrap()
    }

    /// The end of what the agent has said in the guest.
    pub(crate) fn last_words(&mut self) -> String {
        let said = self.guest.run("journalctl --no-pager --output cat --lines 60 --unit takt-agent", LIMIT);
        said.map_or_else(|error| error.to_string(), |said| said.out)
    }
}

/// The agent as `make test` has packed it.
pub(crate) fn agent_package() -> PathBuf {
    package("takt-agent", Machine::version(), Format::Deb)
}

fn campaign(release: &ReleaseSpec) -> String {
    format!("to-{}", release.version)
}

/// A release with `artifact` in the place of a container; `edit` makes the steps with [`only`].
pub(crate) fn release(version: &str, artifact: Vec<u8>, edit: fn(&mut Manifest)) -> ReleaseSpec {
    let more = Some(More { artifacts: vec![artifact], edit });
    ReleaseSpec { more, ..ReleaseSpec::new(version, Nature::Good) }
}

/// The manifest has this step alone, and is well as long as this command says so: for three seconds, within eight.
pub(crate) fn only(manifest: &mut Manifest, step: Step, probe: &[&str]) {
    manifest.artifacts.remove(0);
    manifest.steps = vec![step];
    manifest.health = Health {
        probes: vec![Probe::Exec(probe.iter().map(|word| (*word).to_owned()).collect())],
        timeout_millis: 4_000,
        start_millis: 8_000,
        probation_millis: 3_000,
        ..Health::default()
    };
}
