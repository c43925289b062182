//! What trust costs: orders signed by the coordinator and verified by a device, replays refused, and reports verified, each on one
//! processor and beside the bare signature. The programs of the coordinator and of `takt` must have been built beside.
//!
//! `cargo run --release -p takt-fleet --example trust [ROUNDS]`

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "no campaign is needed")]
mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ring::rand::SystemRandom;
use takt_agent::trust::PackageTargets;
use takt_agent_core::rules::{Refusal, Standing, address};
use takt_common::envelope::PayloadType;
use takt_common::order::{Action, Mode, Policy, Position};
use takt_common::release::ReleaseId;
use takt_common::report::{PhaseName, REPORT_FORMAT, Report, Timing};
use takt_common::{DeviceId, Envelope, SigningKey, UnixTime};
use takt_coordinator::artifacts::ArtifactStore;
use takt_coordinator::identity::Identity;
use takt_coordinator::orders::OrderBook;
use takt_coordinator::registry::{DeviceRecord, Registry};
use takt_coordinator::reports::read_report;
use takt_coordinator::repository::{Published, Repository};
use takt_coordinator_core::OrderRequest;
use takt_fleet::VirtualFleet;
use takt_store::{Options, SledStore};
use takt_tests::bench::{Figure, Goal, Spread, Unit, keep, machine, table};
use takt_tests::fleet::{Stopwatch, now, wait_until};

use support::World;

/// Whatever it takes.
const LIMIT: Duration = Duration::from_mins(2);
/// How often all is measured in turns.
const ROUNDS: usize = 20;
/// How many of each are measured together.
const MANY: u32 = 500;
/// What the verification of an order may take on a device, in microseconds.
const ORDER_MICROS_GOAL: f64 = 1_000.0;
/// What the refusal of a replayed order may take, in microseconds.
const REFUSAL_MICROS_GOAL: f64 = 200.0;
/// Orders that one processor is to sign in a second.
const SIGNED_GOAL: f64 = 5_000.0;
/// Reports that one processor is to verify in a second.
const REPORTS_GOAL: f64 = 10_000.0;

fn main() -> anyhow::Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let machine = machine(None);
    let site = Site::make()?;
    let published = site.repository.published();
    let book = OrderBook { published: &published, artifacts: &site.artifacts, key: &site.order_key };
    let release = book.release(&ReleaseId { name: "lamp".parse()?, version: "1.0".parse()? }, now())?;
    let request = |generation| OrderRequest {
        device: site.record.state.id,
        position: Position { epoch: 1, generation },
        action: Action::Install,
        release: Some(release.facts.id.clone()),
        mode: Mode::InPlace,
        deadline: now() + Duration::from_hours(1),
        policy: Policy::default(),
    };
    let (mut signs, mut signs_bare) = (Spread::default(), Spread::default());
    let (mut takes, mut verifies_bare, mut refuses) =
        (Spread::default(), Spread::default(), Spread::default());
    let (mut reads, mut reads_bare) = (Spread::default(), Spread::default());
    for _ in 0..rounds {
        let mut orders = Vec::new();
        signs.push(each(|number| {
            orders.push(
                book.seal(&request(u64::from(number) + 1), &release.members, None, &site.record, now())?
                    .envelope,
            );
            Ok(())
        })?);
        let envelopes =
            orders.iter().map(|bytes| Envelope::from_bytes(bytes)).collect::<Result<Vec<_>, _>>()?;
        let payload = envelopes[0].unverified_payload().context("an order has a payload")?;
        signs_bare.push(each(|_| {
            black_box(site.order_key.sign(&payload));
            Ok(())
        })?);
        let device = site.device(&published, Position { epoch: 1, generation: 0 })?;
        takes.push(each(|number| {
            let addressed = address(&orders[number as usize], &device.standing())?;
            black_box(addressed.accept(&PackageTargets(device.packages), &device.standing())?);
            Ok(())
        })?);
        let signature = site.order_key.sign(&payload);
        let public = site.order_key.public();
        verifies_bare.push(each(|_| {
            ensure!(public.verifies(black_box(&payload), &signature), "a true signature was refused");
            Ok(())
        })?);
        let served = site.device(&published, Position { epoch: 1, generation: u64::from(MANY) })?;
        refuses.push(each(|number| {
            let refused = address(&orders[number as usize], &served.standing());
            ensure!(matches!(refused, Err(Refusal::NeverOlder { .. })), "a replayed order was taken");
            Ok(())
        })?);
        let report = site.report();
        reads.push(each(|_| {
            black_box(read_report(&site.record, &report)?);
            Ok(())
        })?);
        let payload =
            Envelope::from_bytes(&report)?.unverified_payload().context("a report has a payload")?;
        let (signature, public) = (site.device_key.sign(&payload), site.device_key.public());
        reads_bare.push(each(|_| {
            ensure!(public.verifies(black_box(&payload), &signature), "a true signature was refused");
            Ok(())
        })?);
    }
    let micros = |name: &str, spread: &Spread| Figure::new(name, Unit::Micros, spread, &machine);
    let rate =
        |name: &str, spread: &Spread| Figure::once(name, Unit::PerSecond, 1e6 / spread.median(), &machine);
    let (one_signature, one_check) = ("the Ed25519 signature alone", "its Ed25519 signature alone");
    let figures = [
        micros("an order verified by a device's rules", &takes)
            .beside(one_check, &verifies_bare)
            .with(Goal::Value(ORDER_MICROS_GOAL)),
        micros("a replayed order refused", &refuses)
            .beside(one_check, &verifies_bare)
            .with(Goal::Value(REFUSAL_MICROS_GOAL)),
        micros("an order made and signed", &signs).beside(one_signature, &signs_bare),
        rate("orders signed a second, one processor", &signs).with(Goal::AtLeast(SIGNED_GOAL)),
        micros("a report verified", &reads).beside(one_check, &reads_bare),
        rate("reports verified a second, one processor", &reads).with(Goal::AtLeast(REPORTS_GOAL)),
    ];
    println!("{}", table(&figures).join("\n"));
    println!("kept in {}", keep("trust", &figures)?.display());
    Ok(())
}

/// How long one takes, in microseconds, on average over many.
fn each(mut one: impl FnMut(u32) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = Stopwatch::start();
    (0..MANY).try_for_each(&mut one)?;
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(MANY))
}

/// What a coordinator has left on disk that knew one device and published one release; and the device's key.
struct Site {
    _world: World,
    repository: Repository,
    artifacts: ArtifactStore,
    order_key: SigningKey,
    device_key: SigningKey,
    record: Arc<DeviceRecord>,
}

impl Site {
    fn make() -> anyhow::Result<Self> {
        let mut world = World::start(1)?;
        world.publish("1.0")?;
        let spec = world.spec(1)?;
        let mut fleet = world.runtime.block_on(VirtualFleet::enrol(&spec))?;
        world.connect(&mut fleet, LIMIT)?;
        wait_until("all reports acknowledged", LIMIT, || {
            let counts = fleet.counts();
            Ok(if counts.reports > 0 && counts.waiting() == 0 { Ok(()) } else { Err(counts.to_string()) })
        })?;
        world.runtime.block_on(fleet.stop());
        world.coordinator.stop()?;
        let profile = world.coordinator.profile();
        let folder = profile.parent().context("the profile lies in the coordinator's folder")?;
        let Identity { order_key, timestamp_key, .. } = Identity::load(folder)?;
        let store = SledStore::open(folder.join("store"), &Options::default())?.store;
        let known = Registry::open(Arc::new(store))?.devices().all();
        let (repository, checked) =
            Repository::open(folder.join("repository"), timestamp_key, order_key.public(), now())?;
        checked?;
        let artifacts = ArtifactStore::open(folder.join("artifacts"), u64::MAX)?;
        // The same device with a key that is known here.
        let device_key = SigningKey::generate(&SystemRandom::new())?;
        let mut record = known.first().context("the device is known")?.as_ref().clone();
        (record.key, record.state.id) = (device_key.public(), DeviceId::of_key(&device_key.public()));
        let record = Arc::new(record);
        Ok(Self { _world: world, repository, artifacts, order_key, device_key, record })
    }

    fn device<'a>(&'a self, published: &'a Published, last: Position) -> anyhow::Result<Served<'a>> {
        let packages = published.packages.as_deref().context("packages are published")?;
        let signers = published.director.as_deref().context("the director is published")?.order_signers();
        Ok(Served { record: &self.record, packages, signers, last, highest: BTreeMap::new(), now: now() })
    }

    /// A report as a device makes one in the middle of an upgrade.
    fn report(&self) -> Vec<u8> {
        let report = Report {
            format: REPORT_FORMAT,
            device: self.record.state.id,
            sequence: 2,
            previous_report_digest: self.record.head.as_ref().map(|head| head.digest),
            boot_id: "00000000-0000-0000-0000-000000000000".to_owned(),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
            installed: self.record.state.installed.clone(),
            standing_in_for: None,
            order: None,
            phase: PhaseName::Probation,
            timing: Some(Timing::default()),
            warnings: Vec::new(),
            hooks: BTreeMap::new(),
            outcome: None,
            waiting_on: None,
            refused: None,
            skipped: None,
            made: now(),
            time_floor: now(),
        };
        Envelope::seal(PayloadType::Report, &report.to_bytes(), &[&self.device_key]).to_bytes()
    }
}

/// A device as the rules see it.
struct Served<'a> {
    record: &'a DeviceRecord,
    packages: &'a takt_trust::PackageTrust,
    signers: takt_common::envelope::Signers,
    last: Position,
    highest: BTreeMap<takt_common::Name, u64>,
    now: UnixTime,
}

impl Served<'_> {
    fn standing(&self) -> Standing<'_> {
        Standing {
            me: self.record.state.id,
            hardware: &self.record.state.hardware,
            domain: &self.record.state.domain,
            signers: &self.signers,
            epoch: 1,
            last: self.last,
            highest: &self.highest,
            way_back: Vec::new(),
            counter_signers: None,
            nonces: &[],
            time_floor: self.now,
            now: self.now,
        }
    }
}
