//! What reports change.

use takt_common::order::Position;
use takt_common::report::{OrderRef, Outcome, Refused, Report};
use takt_common::{Sha256Digest, UnixTime};
use takt_coordinator_core::DeviceState;

use crate::site::{START, Site, report_of};

fn ordered() -> DeviceState {
    let mut site = Site::begun();
    site.advance();
    site.device("gateway").clone()
}

#[test]
fn a_report_accepts_the_order_it_shows_and_its_outcome_ends_it() {
    let mut device = ordered();
    let shown = report_of(&device);
    assert!(device.record_report(&shown, None, START));
    assert!(device.order.as_ref().unwrap().accepted);
    let end = Report { outcome: Some(Outcome::Verified { strategy: None }), ..report_of(&device) };
    assert!(device.record_report(&end, None, START));
    assert_eq!(device.order, None);
    assert_eq!(device.ended.last().unwrap().outcome, Outcome::Verified { strategy: None });
}

#[test]
fn the_end_of_an_older_order_does_not_touch_the_one_in_hand() {
    let mut device = ordered();
    let older = Position { epoch: 1, generation: 0 };
    let digest = Sha256Digest::of(b"payload");
    let end = Report {
        order: Some(OrderRef { position: older, digest }),
        outcome: Some(Outcome::Withdrawn),
        ..report_of(&device)
    };
    let before = device.order.clone();
    assert!(device.record_report(&end, None, START));
    assert_eq!(device.order, before);
}

#[test]
fn another_order_with_the_same_position_neither_accepts_nor_ends_the_one_in_hand() {
    let mut device = ordered();
    let issued = Sha256Digest::of(b"issued");
    let verified = Outcome::Verified { strategy: None };
    let end = |device: &DeviceState, digest| {
        let position = device.order.as_ref().unwrap().position;
        let order = Some(OrderRef { position, digest });
        Report { order, outcome: Some(verified.clone()), ..report_of(device) }
    };
    let before = device.order.clone();
    let other = end(&device, Sha256Digest::of(b"lost with the store"));
    assert!(device.shows_another(&other, &issued));
    assert!(device.record_report(&DeviceState::without_other(&other), None, START));
    assert_eq!((&device.order, device.ended.as_slice()), (&before, [].as_slice()));
    let own = end(&device, issued);
    assert!(!device.shows_another(&own, &issued));
    assert!(device.record_report(&own, None, START));
    assert_eq!((&device.order, &device.ended[0].outcome), (&None, &verified));
}

#[test]
fn a_repeated_report_changes_nothing() {
    let mut device = ordered();
    let report = report_of(&device);
    assert!(device.record_report(&report, None, START));
    let before = device.clone();
    assert!(!device.record_report(&report, None, UnixTime::from_secs(9_999_999_999)));
    assert_eq!(device, before);
}

#[test]
fn the_next_order_stands_above_what_the_device_has_seen() {
    let mut device = ordered();
    let seen = Position { epoch: 1, generation: 41 };
    let digest = Sha256Digest::of(b"payload");
    let report = Report { order: Some(OrderRef { position: seen, digest }), ..report_of(&device) };
    assert!(device.record_report(&report, None, START));
    assert_eq!(device.next, Position { epoch: 1, generation: 42 });
}

#[test]
fn a_thief_who_has_used_up_all_generations_is_undone_by_the_next_epoch() {
    let mut device = ordered();
    let seen = Position { epoch: 1, generation: u64::MAX };
    let digest = Sha256Digest::of(b"by a stolen order key");
    let report = Report { order: Some(OrderRef { position: seen, digest }), ..report_of(&device) };
    assert!(device.record_report(&report, None, START));
    device.begin_epoch(1);
    assert_eq!(device.next, seen, "nothing is above it in this epoch");
    device.begin_epoch(2);
    assert_eq!(device.next, Position { epoch: 2, generation: 1 });
    assert!(device.next > seen);
    device.next.generation = 7;
    device.begin_epoch(2);
    assert_eq!(device.next.generation, 7, "once an epoch");
}

#[test]
fn only_the_refusal_of_the_envelope_in_hand_counts_and_only_before_it_is_accepted() {
    let (own, other) = (Sha256Digest::of(b"own"), Sha256Digest::of(b"other"));
    let refusal = |device: &DeviceState, envelope| Report {
        order: None,
        refused: Some(Refused { envelope, rule: "addressee".to_owned(), why: "not for me".to_owned() }),
        ..report_of(device)
    };
    let mut device = ordered();
    let report = refusal(&device, other);
    device.record_report(&report, Some(&own), START);
    assert_eq!(device.refused, None);
    let report = refusal(&device, own);
    device.record_report(&report, Some(&own), START);
    assert_eq!(device.refused.as_ref().unwrap().refused.rule, "addressee");
    let accepted = report_of(&device);
    device.record_report(&accepted, Some(&own), START);
    assert_eq!(device.refused, None);
    let copy = refusal(&device, own);
    device.record_report(&copy, Some(&own), START);
    assert_eq!(device.refused, None, "a late copy of an accepted order");
}

#[test]
fn a_wait_is_counted_from_its_first_report() {
    let mut device = ordered();
    let waits = |device: &DeviceState, on: Option<&str>| Report {
        waiting_on: on.map(str::to_owned),
        ..report_of(device)
    };
    for (secs, on) in [(10, Some("load 3.2")), (20, Some("load 3.1"))] {
        let report = waits(&device, on);
        device.record_report(&report, None, UnixTime::from_secs(secs));
    }
    let waiting = device.waiting_on.clone().unwrap();
    assert_eq!((waiting.on.as_str(), waiting.since), ("load 3.1", UnixTime::from_secs(10)));
    let report = waits(&device, None);
    device.record_report(&report, None, UnixTime::from_secs(30));
    assert_eq!(device.waiting_on, None);
}

#[test]
fn the_memory_of_ended_orders_is_bounded() {
    let mut device = ordered();
    for generation in 1..100 {
        let (position, digest) = (Position { epoch: 1, generation }, Sha256Digest::of(b"payload"));
        let order = Some(OrderRef { position, digest });
        let report = Report { order, outcome: Some(Outcome::Withdrawn), ..report_of(&device) };
        device.record_report(&report, None, START);
    }
    assert_eq!(device.ended.len(), DeviceState::ENDED_KEPT);
    assert_eq!(device.ended.last().unwrap().position.generation, 99);
}
