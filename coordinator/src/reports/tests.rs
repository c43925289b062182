use std::collections::BTreeMap;

use ring::rand::SystemRandom;
use takt_common::order::{Action, Mode, Policy, Position};
use takt_common::report::{OrderRef, Outcome, PhaseName, Skipped};
use takt_coordinator_core::{DeviceState, OrderRequest};
use takt_store::{Options, SledStore};

use super::*;
use crate::registry::IssuedOrder;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const POSITION: Position = Position { epoch: 1, generation: 1 };

/// A registry with one device that has an order in hand.
struct Site {
    _folder: tempfile::TempDir,
    registry: Registry,
    key: SigningKey,
    device: DeviceId,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path().join("store"), &Options::default()).unwrap().store;
        let registry = Registry::open(store.into()).unwrap();
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let device = DeviceId::of_key(&key.public());
        let name = |text: &str| text.parse().unwrap();
        let mut state =
            DeviceState::enrolled(device, name("camera-1"), name("north"), name("demo"), POSITION);
        let order = OrderRequest {
            device,
            position: POSITION,
            action: Action::Install,
            release: None,
            mode: Mode::InPlace,
            deadline: NOW,
            policy: Policy::default(),
        };
        state.record_order(&order, NOW);
        let issued = IssuedOrder {
            position: POSITION,
            payload: Sha256Digest::of(b"issued"),
            envelope: Sha256Digest::of(b"envelope"),
        };
        let record = DeviceRecord {
            revision: 0,
            key: key.public(),
            enrolled: NOW,
            state,
            head: None,
            issued: Some(issued),
            timing: None,
            warnings: Vec::new(),
            hooks: BTreeMap::new(),
            refused: None,
            enrolled_again: false,
        };
        let together = registry.stage_new(CommitTogether::new(Batch::new()), record);
        registry.commit(together).unwrap();
        Self { _folder: folder, registry, key, device }
    }

    fn record(&self) -> std::sync::Arc<DeviceRecord> {
        self.registry.devices().get(self.device).unwrap()
    }

    fn accepted(&self) -> Option<bool> {
        self.record().state.order.as_ref().map(|order| order.accepted)
    }

    /// The device says that it has this order in hand; gives the digest of what it said.
    fn say(&self, sequence: u64, previous: Option<Sha256Digest>, order: Option<&[u8]>) -> Sha256Digest {
        self.say_outcome(sequence, previous, order, None)
    }

    fn say_outcome(
        &self,
        sequence: u64,
        previous: Option<Sha256Digest>,
        order: Option<&[u8]>,
        outcome: Option<Outcome>,
    ) -> Sha256Digest {
        self.take(&self.report(sequence, previous, order, outcome))
    }

    fn report(
        &self,
        sequence: u64,
        previous: Option<Sha256Digest>,
        order: Option<&[u8]>,
        outcome: Option<Outcome>,
    ) -> Report {
        Report {
            format: REPORT_FORMAT,
            device: self.device,
            sequence,
            previous_report_digest: previous,
            boot_id: "boot".to_owned(),
            nonce: format!("{sequence} {order:?}"),
            installed: Vec::new(),
            standing_in_for: None,
            order: order.map(|payload| OrderRef { position: POSITION, digest: Sha256Digest::of(payload) }),
            phase: if outcome.is_some() { PhaseName::Ended } else { PhaseName::Idle },
            outcome,
            warnings: Vec::new(),
            waiting_on: None,
            refused: None,
            hooks: BTreeMap::new(),
            timing: None,
            made: NOW,
            skipped: None,
            time_floor: NOW,
        }
    }

    fn take(&self, report: &Report) -> Sha256Digest {
        let payload = report.to_bytes();
        let envelope = Envelope::seal(PayloadType::Report, &payload, &[&self.key]).to_bytes();
        let taken = take_report(&self.registry, &self.key, self.device, &envelope, NOW).unwrap();
        assert!(matches!(taken, Taken::Durable(_)), "{taken:?}");
        Sha256Digest::of(&payload)
    }
}

#[test]
fn a_device_that_lost_its_state_is_sent_its_order_again() {
    let site = Site::new();
    let first = site.say(1, None, Some(b"issued"));
    let second = site.say(2, Some(first), None);
    assert_eq!(site.accepted(), Some(true), "a report that shows no order takes nothing back");
    // It begins again.
    let again = site.say(1, None, None);
    assert_ne!(again, second);
    assert_eq!(site.accepted(), Some(false));
    // It shows the order once more, in a report that follows and in one that forks.
    let shown = site.say(2, Some(again), Some(b"issued"));
    assert_eq!(site.accepted(), Some(true));
    site.say(3, Some(shown), None);
    site.say(2, Some(first), Some(b"issued"));
    assert_eq!(site.accepted(), Some(true), "a fork that shows the order has not forgotten it");
}

#[test]
fn a_chain_that_forks_or_begins_again_puts_the_device_into_quarantine_for_the_first_reason() {
    let site = Site::new();
    let quarantined = || site.record().state.quarantine.clone();
    let first = site.say(1, None, None);
    let second = site.say(2, Some(first), None);
    site.say(4, Some(second), None);
    assert_eq!(quarantined(), None, "reports that were lost are warned of");
    // Two that sign as one.
    site.say(4, Some(first), None);
    let why = quarantined().unwrap();
    assert!(why.why.contains("report 4 does not follow"), "{why:?}");
    assert_eq!(why.since, NOW);
    site.say(1, None, Some(b"issued"));
    assert_eq!(quarantined(), Some(why), "the first reason stays");
}

#[test]
fn a_device_that_has_enrolled_again_may_begin_again_once() {
    let site = Site::new();
    let first = site.say(1, None, None);
    site.say(2, Some(first), None);
    let again = |record: &DeviceRecord| {
        let mut changed = record.clone();
        changed.enrolled_again = true;
        Ok(Change::To(Box::new(changed), CommitTogether::new(Batch::new()), ()))
    };
    site.registry.change(site.device, again).unwrap();
    site.say(1, None, Some(b"issued"));
    assert_eq!((site.record().state.quarantine.clone(), site.record().warnings.len()), (None, 0));
    site.say(1, None, None);
    assert!(site.record().state.quarantine.is_some());
}

#[test]
fn the_end_of_another_order_with_the_same_position_is_ignored_with_a_warning() {
    let site = Site::new();
    let verified = Some(Outcome::Verified { strategy: None });
    let first = site.say_outcome(1, None, Some(b"lost with the store"), verified.clone());
    let record = site.record();
    assert_eq!((site.accepted(), record.state.ended.len()), (Some(false), 0));
    assert!(record.warnings.iter().any(|warning| warning.contains("another order")), "{:?}", record.warnings);
    site.say_outcome(2, Some(first), Some(b"issued"), verified);
    assert_eq!((site.accepted(), site.record().state.ended.len()), (None, 1));
}

#[test]
fn what_no_agent_can_be_in_counts_for_nothing_and_is_warned_of() {
    let site = Site::new();
    let verified = Some(Outcome::Verified { strategy: None });
    let ended = site.report(1, None, Some(b"issued"), verified.clone());
    let first = site.take(&Report { phase: PhaseName::Probation, ..ended });
    assert_eq!((site.accepted(), site.record().state.ended.len()), (Some(false), 0));
    let second = site.take(&site.report(2, Some(first), None, verified.clone()));
    let nothing = site.report(3, Some(second), None, None);
    let third = site.take(&Report { phase: PhaseName::Switching, ..nothing });
    let warned: Vec<_> = site.record().warnings.clone();
    assert_eq!(
        warned,
        [
            "report 1 is impossible: an order that is in phase probation has no end",
            "report 2 is impossible: it tells the end of no order",
            "report 3 is impossible: phase switching without an order",
        ]
    );
    // What follows counts.
    site.say_outcome(4, Some(third), Some(b"issued"), verified);
    assert_eq!(site.record().state.ended.len(), 1);
}

#[test]
fn a_change_that_was_decided_on_an_older_look_is_a_conflict() {
    let site = Site::new();
    let looked_at = site.record();
    site.say(1, None, None);
    let changed = (*looked_at).clone();
    let staged = site.registry.stage(CommitTogether::new(Batch::new()), &looked_at, changed);
    assert!(staged.is_err_and(|error| error.is_conflict()));
}

#[test]
fn an_order_that_was_withheld_is_remembered_at_the_device() {
    let site = Site::new();
    let (follows, accepted) = (Some(Sha256Digest::of(b"withheld")), Some(Sha256Digest::of(b"last")));
    let skipped = Some(Skipped { position: POSITION, follows, accepted });
    site.take(&Report { skipped, ..site.report(1, None, Some(b"issued"), None) });
    let warnings = site.record().warnings.clone();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    for digest in [follows, accepted].into_iter().flatten() {
        assert!(warning.contains(&digest.to_string()), "{warning}");
    }
    assert_eq!((site.accepted(), site.record().state.quarantine.clone()), (Some(true), None));
}
