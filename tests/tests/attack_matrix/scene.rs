//! One device with all that it talks to: a coordinator that has enrolled it, and then a gate and an HTTPS server with the
//! coordinator's keys and certificates, over wires. An attacker gets a part of it; the rest goes on as it should.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use takt_agent::identity::IdentityFolder;
use takt_common::api::{CampaignState, TokenResponse};
use takt_common::order::{Action, Member, Mode, ORDER_FORMAT, Order, Policy, Position, SnapshotRef};
use takt_common::report::{Outcome, PhaseName, Report};
use takt_common::topic::Down;
use takt_common::{DeviceId, PublicKey, Sha256Digest};
use takt_matrix::attack::{Attack, Attacker, Row, Told};
use takt_tests::fleet::{COMPONENT, DOMAIN, Device, DeviceSpec, Fleet, ReleaseSpec, now, wait_until};
use takt_trust::{TargetCustom, names};
use takt_workload::Nature;
use tokio::runtime::Runtime;
use toml::{Table, Value};

use super::loot::{CoordinatorKeys, Papers};
use super::own_gate::OwnGate;
use super::releases;
use super::shelf::Shelf;
use super::wire::Wire;

/// For anything that a device must do.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// After so many cases a release is installed as it should be.
const INSTALL_EVERY: usize = 20;
/// What stands for the coordinator begins here with the numbers of its orders.
const GENERATION_FIRST: u64 = 1_000;

pub(crate) struct Scene {
    // Dropped before what it belongs to.
    pub(crate) device: Device,
    pub(crate) broker_wire: Wire,
    pub(crate) api_wire: Wire,
    pub(crate) gate: OwnGate,
    pub(crate) shelf: Shelf,
    pub(crate) fleet: Fleet,
    /// On which the gate runs.
    _runtime: Runtime,
    pub(crate) lane: usize,
    /// The coordinator in its right mind.
    honest: CoordinatorKeys,
    key: PublicKey,
    generation: u64,
    epoch: u64,
    /// Reports up to this number have been looked at.
    seen: u64,
    reports: Vec<Report>,
    /// How many releases have been published.
    published: usize,
    /// The release that the device must run.
    pub(crate) runs: String,
    /// The states of the repository, the newest last.
    pub(crate) history: Vec<Papers>,
    /// Releases that are published and that devices have not been told of.
    pub(crate) next: String,
    /// True orders that the device has acted on.
    pub(crate) remembered: Vec<Vec<u8>>,
    root_key: String,
    rows: BTreeMap<(Attack, Attacker), Row>,
    since_install: usize,
}

/// How the device answers an order.
#[derive(Debug)]
pub(crate) enum Answer {
    /// By a signed refusal.
    Refused { rule: String, why: String },
    /// By its end.
    Ended(Outcome),
    /// It waits, and says on what.
    Waits(String),
}

impl Scene {
    /// A device at rest with its first release, and one more that is published.
    pub(crate) fn begin(lane: usize) -> Self {
        let fleet = Fleet::start().unwrap();
        let token: TokenResponse = fleet.takt.json(&["enrol", "token", "--domain", DOMAIN]).unwrap();
        let spec = DeviceSpec {
            name: format!("device-{lane}"),
            file_roots: vec![releases::root(lane)],
            ..DeviceSpec::default()
        };
        let mut device = fleet.device(spec).unwrap();
        device.enrol(&token.token).unwrap();
        let key = IdentityFolder::open(&device.state()).unwrap().key().unwrap().public();

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = fleet.coordinator.profile().with_file_name("");
        let gate = runtime.block_on(OwnGate::open(&folder));
        let shelf = Shelf::open(&folder, fleet.trust.documents().as_ref());
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse().unwrap();
        let (broker_wire, api_wire) = (Wire::to(port(&gate.broker())), Wire::to(shelf.port()));
        let root_key = fleet.trust.root_key();
        let mut scene = Self {
            device,
            broker_wire,
            api_wire,
            gate,
            shelf,
            honest: CoordinatorKeys::of(&folder),
            fleet,
            _runtime: runtime,
            lane,
            key,
            generation: GENERATION_FIRST,
            epoch: 1,
            seen: 0,
            reports: Vec::new(),
            published: 0,
            runs: String::new(),
            history: Vec::new(),
            next: String::new(),
            remembered: Vec::new(),
            root_key,
            rows: BTreeMap::new(),
            since_install: 0,
        };
        scene.lead_to(scene.broker_wire.port(), scene.api_wire.port());
        scene.device.run().unwrap();
        scene.wait_heard();
        scene.publish_next();
        scene.install_next();
        scene
    }

    /// Changes where the agent finds broker and API; it must be started again to see it.
    fn lead_to(&self, broker: u16, api: u16) {
        let membership = self.device.state().join("identity/membership.json");
        let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&membership).unwrap()).unwrap();
        text["broker"] = format!("127.0.0.1:{broker}").into();
        fs::write(&membership, text.to_string()).unwrap();
        let file = self.device.settings();
        let mut settings: Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        settings.insert("coordinator".into(), Value::String(format!("https://127.0.0.1:{api}")));
        settings.insert("health_interval_secs".into(), Value::Integer(1));
        fs::write(file, settings.to_string()).unwrap();
    }

    pub(crate) fn wait_heard(&mut self) {
        let Self { device, gate, .. } = self;
        wait_until("the device at the gate", LIMIT, || {
            device.check()?;
            Ok(if gate.is_heard() { Ok(()) } else { Err("not yet".to_owned()) })
        })
        .unwrap();
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.device.id().unwrap()
    }

    /// Publishes a release, changed before it is signed, and keeps the state of the repository. Gives its version.
    pub(crate) fn publish(&mut self, change: impl FnOnce(&mut ReleaseSpec)) -> String {
        self.published += 1;
        let version = releases::version(self.published, self.lane);
        let mut release = releases::files(&version, Nature::Good);
        change(&mut release);
        self.fleet.publish(&release).unwrap();
        let timestamp: serde_json::Value = self.fleet.api.get("/api/v1/repository/timestamp.json").unwrap();
        let timestamp = timestamp.to_string().into_bytes();
        self.shelf.set_timestamp(timestamp.clone());
        let folder = PathBuf::from(self.fleet.trust.documents());
        let newest = |file: fn(u64) -> String| {
            let last = (1..10_000).find(|version| !folder.join(file(version + 1)).exists()).unwrap();
            fs::read(folder.join(file(last))).unwrap()
        };
        let (targets, snapshot) = (newest(names::targets_file), newest(names::snapshot_file));
        self.history.push(Papers { targets, snapshot, timestamp });
        version
    }

    /// Publishes the release that true orders bring next.
    fn publish_next(&mut self) {
        self.next = self.publish(|_| {});
    }

    /// The newest state of the repository.
    pub(crate) fn papers(&self) -> &Papers {
        self.history.last().unwrap()
    }

    /// An order as the coordinator would make it now; it gets the next number.
    pub(crate) fn order(&mut self, action: Action, version: Option<&str>) -> Order {
        self.generation += 1;
        let now = now();
        let papers = self.papers().clone();
        let targets = papers.read_targets().targets;
        let path = version.map(|version| {
            let file = format!("/{version}.json");
            targets
                .keys()
                .find(|path| path.starts_with("releases/") && path.ends_with(&file))
                .unwrap()
                .clone()
        });
        let manifest = path.as_ref().map(|path| targets[path].custom.clone());
        let members = targets.iter().filter_map(|(own, target)| {
            let Some(TargetCustom::Manifest(about)) = &manifest else { return None };
            let of_it = match &target.custom {
                TargetCustom::Manifest(_) => Some(own) == path.as_ref(),
                TargetCustom::Artifact(artifact) => artifact.releases.contains(path.as_ref()?),
            };
            of_it.then(|| Member {
                path: own.clone(),
                length: target.length,
                sha256: target.sha256,
                release: about.id(),
                hw: about.hardware.clone(),
            })
        });
        let mut members: Vec<Member> = members.collect();
        members.sort_by_key(|member| !member.path.starts_with("releases/"));
        Order {
            format: ORDER_FORMAT,
            device: self.id(),
            epoch: self.epoch,
            generation: self.generation,
            nonce: None,
            issued: now,
            not_after: now + Duration::from_hours(1),
            previous_order_digest: None,
            snapshot: SnapshotRef {
                version: papers.snapshot_version(),
                sha256: Sha256Digest::of(&papers.snapshot),
            },
            action,
            members,
            mode: Mode::InPlace,
            window: None,
            deadline: now + Duration::from_mins(10),
            policy: Policy { retry: true, ..Policy::default() },
            permission: None,
        }
    }

    /// A true order to install.
    pub(crate) fn install(&mut self, version: &str) -> Order {
        self.order(Action::Install, Some(version))
    }

    /// A true order's envelope, signed by the coordinator in its right mind.
    pub(crate) fn seal(&self, order: &Order) -> Vec<u8> {
        self.honest.order(order)
    }

    /// Says an order, again and again as a coordinator does, until the device has answered. What the order is of is known by
    /// its envelope and its position.
    pub(crate) fn answer(&mut self, envelope: &[u8], position: Option<Position>) -> Result<Answer, String> {
        let digest = Sha256Digest::of(envelope);
        let mut looks = 0;
        self.gate.waiting_on();
        let begun = self.reports.len();
        let Self { device, gate, reports, seen, key, .. } = self;
        let found = wait_until("an answer", LIMIT, || {
            device.check()?;
            if looks % 20 == 0 && gate.is_heard() {
                // It may be away just now.
                let _sent = gate.try_say(Down::Order, envelope);
            }
            looks += 1;
            take(gate, *key, seen, reports);
            let of = |report: &Report| {
                let refused = report.refused.as_ref().filter(|refused| refused.envelope == digest);
                let ended = report.order.as_ref().filter(|order| Some(order.position) == position);
                match (refused, ended.and(report.outcome.as_ref())) {
                    (Some(refused), _) => {
                        Some(Answer::Refused { rule: refused.rule.clone(), why: refused.why.clone() })
                    }
                    (None, outcome) => outcome.map(|outcome| Answer::Ended(outcome.clone())),
                }
            };
            let waits =
                || gate.waiting_on().filter(|why| why.contains("documents of the")).map(Answer::Waits);
            let answer = reports[begun..].iter().find_map(of).or_else(waits);
            Ok(answer.ok_or_else(|| format!("{} new reports", reports.len() - begun)))
        });
        found.map_err(|error| format!("silence: {error}"))
    }

    /// The same for an order that must be refused by one of these rules.
    pub(crate) fn refused(&mut self, envelope: &[u8], rules: &[&str]) -> Result<Told, String> {
        match self.answer(envelope, None)? {
            Answer::Refused { rule, why } if rules.contains(&rule.as_str()) => {
                Ok(Told { happened: format!("refused by rule `{rule}`"), saw: why })
            }
            other => Err(format!("not refused by {rules:?}: {other:?}")),
        }
    }

    /// The same for an order that is accepted and must fail with these words before anything is switched.
    pub(crate) fn fails(
        &mut self,
        envelope: &[u8],
        position: Position,
        words: &[&str],
    ) -> Result<Told, String> {
        match self.answer(envelope, Some(position))? {
            Answer::Ended(outcome @ (Outcome::Failed { .. } | Outcome::GivenUp { .. }))
                if words.iter().any(|words| outcome.to_string().contains(words)) =>
            {
                self.wait_rest()?;
                let saw = outcome.to_string();
                Ok(Told { happened: "order failed before the switch".to_owned(), saw })
            }
            other => Err(format!("it did not fail with {words:?}: {other:?}")),
        }
    }

    /// A true order without members, which shows that the device hears and obeys its coordinator. Gives what it told.
    pub(crate) fn obeys(&mut self) -> Result<String, String> {
        let order = self.order(Action::Withdraw, None);
        let envelope = self.seal(&order);
        let answer = self.answer(&envelope, Some(order.position()))?;
        self.remembered.push(envelope);
        match answer {
            Answer::Ended(outcome @ Outcome::Withdrawn) => Ok(format!("the true order's end: {outcome}")),
            other => Err(format!("the device is lost: a true order ended so: {other:?}")),
        }
    }

    /// A true order to install what was published next, and what is published after that.
    pub(crate) fn install_next(&mut self) {
        let version = self.next.clone();
        let order = self.install(&version);
        let envelope = self.seal(&order);
        let answer = self.answer(&envelope, Some(order.position())).unwrap();
        assert!(matches!(&answer, Answer::Ended(Outcome::Verified { .. })), "{answer:?}");
        self.remembered.push(envelope);
        self.wait_rest().unwrap();
        self.runs = version;
        self.publish_next();
        self.since_install = 0;
    }

    /// Until the last report says that nothing is in hand.
    pub(crate) fn wait_rest(&mut self) -> Result<(), String> {
        let Self { device, gate, reports, seen, key, .. } = self;
        wait_until("rest", LIMIT, || {
            device.check()?;
            take(gate, *key, seen, reports);
            let phase = reports.last().map(|report| report.phase);
            Ok(if phase == Some(PhaseName::Idle) { Ok(()) } else { Err(format!("{phase:?}")) })
        })
        .map_err(|error| error.to_string())
    }

    /// Waits for a new report of this phase.
    pub(crate) fn wait_phase(&mut self, wanted: PhaseName) -> Result<(), String> {
        self.wait_report(&format!("phase {wanted}"), |report| (report.phase == wanted).then_some(()))
    }

    /// How the order at this position ended.
    pub(crate) fn ended(&mut self, position: Position) -> Result<Outcome, String> {
        self.wait_report("the end of the order", |report| {
            let of = report.order.as_ref().is_some_and(|order| order.position == position);
            report.outcome.clone().filter(|_| of)
        })
    }

    /// How many reports have been looked at.
    pub(crate) const fn reports_so_far(&self) -> usize {
        self.reports.len()
    }

    /// How many orders have ended after so many reports.
    pub(crate) fn ended_since(&self, before: usize) -> usize {
        self.reports[before..].iter().filter(|report| report.outcome.is_some()).count()
    }

    fn wait_report<T>(&mut self, what: &str, found: impl Fn(&Report) -> Option<T>) -> Result<T, String> {
        let begun = self.reports.len();
        let Self { device, gate, reports, seen, key, .. } = self;
        let found = wait_until(what, LIMIT, || {
            device.check()?;
            take(gate, *key, seen, reports);
            Ok(reports[begun..].iter().find_map(&found).ok_or_else(String::new))
        });
        found.map_err(|error| format!("silence: {error}"))
    }

    /// Tries an attack in so many variants, and then whether the device still obeys.
    pub(crate) fn cell(
        &mut self,
        attack: Attack,
        attacker: Attacker,
        variants: usize,
        case: impl Fn(&mut Self, usize) -> Result<Told, String>,
    ) {
        for variant in 0..variants {
            let begun = self.reports.len();
            let came = case(self, variant);
            self.shelf.be_honest();
            let came = came.and_then(|told| self.unharmed(begun).map(|()| told));
            let lost = came.is_err();
            if let Err(fault) = &came {
                println!("{attack}, {attacker}, variant {variant}: {fault}");
            }
            self.count(attack, attacker, came);
            assert!(!lost, "what the device would show next proves nothing");
            self.since_install += 1;
            if self.since_install >= INSTALL_EVERY {
                self.install_next();
            }
        }
        let obeyed = self.obeys();
        if let Err(fault) = obeyed {
            self.count(attack, attacker, Err(fault.clone()));
            panic!("{fault}");
        }
        println!("{attack}, {attacker}: {variants} variants");
    }

    fn count(&mut self, attack: Attack, attacker: Attacker, came: Result<Told, String>) {
        let row = self.rows.entry((attack, attacker)).or_insert_with(|| Row::new(attack, attacker));
        row.count(came);
        row.write().unwrap();
    }

    /// The device lives, runs what it ran and tells nothing else.
    fn unharmed(&mut self, begun: usize) -> Result<(), String> {
        self.device.check().map_err(|error| format!("a device lost: {error}"))?;
        let file = fs::read_to_string(releases::file(self.lane)).unwrap_or_else(|error| error.to_string());
        if file != releases::content(&self.runs) {
            return Err(format!("it runs {file:.60}, not {}", self.runs));
        }
        let expected = format!("{COMPONENT} {}", self.runs);
        for report in &self.reports[begun..] {
            let installed: Vec<_> = report.installed.iter().map(|on| on.release.to_string()).collect();
            if installed != [expected.clone()] {
                return Err(format!("it tells of {installed:?}, not of {expected}"));
            }
        }
        Ok(())
    }

    /// The end of a lane: the coordinator has its broker back. It hears of the last refusal, which nobody has acknowledged to the
    /// device. A thief may have run ahead with the numbers of orders: new roots take that away. The device comes back by itself, and
    /// the coordinator's next campaign reaches its end.
    pub(crate) fn end(mut self) {
        self.install_next();
        self.wait_rest().unwrap();
        let mut order = self.order(Action::Withdraw, None);
        order.device = Sha256Digest::of(b"another").to_string()[..32].parse().unwrap();
        let bad = self.seal(&order);
        let heard = self.gate.heard().len();
        self.gate.say(Down::Order, &bad);
        let Self { device, gate, .. } = &mut self;
        wait_until("a refusal at the gate", LIMIT, || {
            device.check()?;
            Ok(if gate.heard().len() > heard { Ok(()) } else { Err("not yet".to_owned()) })
        })
        .unwrap();
        self.rotate(None);
        self.device.kill();
        let [api, gate] = self.fleet.coordinator.ports();
        self.lead_to(gate, api);
        self.device.run().unwrap();
        self.fleet.wait_online(&mut self.device).unwrap();
        let fleet = &self.fleet;
        wait_until("the operator sees the refusal", LIMIT, || {
            let refused = fleet.view(self.device.name())?.refused;
            let seen = refused.as_ref().is_some_and(|refused| refused.envelope == Sha256Digest::of(&bad));
            Ok(if seen { Ok(()) } else { Err(format!("{refused:?}")) })
        })
        .unwrap();
        let (name, release) = (self.device.name().to_owned(), format!("{COMPONENT}@{}", self.next));
        let options = ["--release", &release, "--domain", DOMAIN, "--device", &name, "--deadline", "60s"];
        self.fleet
            .takt
            .text(&[&["campaign", "start", "after-all", "--superseded"], &options[..]].concat())
            .unwrap();
        let end = self.fleet.wait_campaign("after-all", LIMIT).unwrap();
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
        self.runs = self.next.clone();
        self.unharmed(self.reports.len()).unwrap();
        fs::remove_dir_all(releases::root(self.lane)).unwrap();
    }

    /// The next roots, which another root key may have from then on.
    pub(crate) fn rotate(&mut self, to: Option<&str>) {
        let documents = self.fleet.trust.documents();
        let [one, two] = self.fleet.trust.publisher_keys();
        let keys = ["--key", &self.root_key, "--key", &one, "--key", &two];
        let next = to.map(|key| ["--root-key", key, "--key", key]);
        let rotate = ["trust", "rotate", "--dir", &documents];
        self.fleet.takt.text(&[&rotate[..], &keys, next.as_slice().as_flattened()].concat()).unwrap();
        if let Some(key) = to {
            key.clone_into(&mut self.root_key);
        }
        self.fleet.takt.text(&["trust", "publish", "--dir", &documents]).unwrap();
        self.epoch += 1;
    }
}

/// Takes what is new of the device's signed reports.
fn take(gate: &OwnGate, key: PublicKey, seen: &mut u64, reports: &mut Vec<Report>) {
    for report in gate.signed(key, *seen) {
        *seen = report.sequence;
        reports.push(report);
    }
}
