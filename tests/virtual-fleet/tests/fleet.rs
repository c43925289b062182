//! Hundreds of virtual devices against the real coordinator, which dies on the way.

mod support;

use std::time::Duration;

use takt_common::api::CampaignState;
use takt_fleet::{Counts, VirtualFleet};
use takt_tests::fleet::{FleetError, wait_until};

use support::World;

/// Far longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(5);
const DEVICES: usize = 300;
/// How many devices a campaign begins with at the most.
const ORDERED_MAX: u64 = 10;

/// Waits until every report has been acknowledged.
fn settled(fleet: &VirtualFleet) -> Result<Counts, FleetError> {
    wait_until("all reports acknowledged", LIMIT, || {
        let counts = fleet.counts();
        Ok(if counts.waiting() == 0 { Ok(counts) } else { Err(counts.to_string()) })
    })
}

/// On how many devices this version is in force.
fn in_force(fleet: &VirtualFleet, version: &str) -> u64 {
    let all = fleet.in_force();
    all.iter().filter(|(release, _)| release.version.as_str() == version).map(|(_, count)| count).sum()
}

#[test]
fn nobody_is_lost_or_upgraded_twice_when_the_coordinator_is_killed_twice() {
    let mut world = World::start(DEVICES).unwrap();
    world.publish("1.0").unwrap();
    let spec = world.spec(DEVICES).unwrap();
    let mut fleet = world.runtime.block_on(VirtualFleet::enrol(&spec)).unwrap();
    world.connect(&mut fleet, LIMIT).unwrap();
    world.start_campaign("first", "1.0", &[]).unwrap();
    // One fifth of the way, and three fifths: each time orders, reports and acknowledgements are under way.
    for reached in [DEVICES / 5, DEVICES * 3 / 5] {
        wait_until("a part of the devices verified", LIMIT, || {
            let counts = fleet.counts();
            Ok(if counts.verified >= reached as u64 { Ok(()) } else { Err(counts.to_string()) })
        })
        .unwrap();
        world.coordinator.restart().unwrap();
    }
    let view = world.wait_campaign("first", LIMIT).unwrap();
    let counts = settled(&fleet).unwrap();
    assert_eq!((view.state, view.done, view.total), (CampaignState::Finished, DEVICES, DEVICES));
    let all = DEVICES as u64;
    assert_eq!(
        (counts.verified, counts.accepted, counts.twice, counts.refused),
        (all, all, 0, 0),
        "{counts}"
    );
    assert_eq!((counts.rolled_back, counts.otherwise), (0, 0), "{counts}");
    assert!(counts.lost >= all, "each kill ends sessions: {counts}");
    assert_eq!(in_force(&fleet, "1.0"), all);
    assert_eq!(fleet.accepted_times().len(), DEVICES);
    assert_eq!(world.runtime.block_on(fleet.stop()), 0, "no agent ended by itself");
}

#[test]
fn a_release_that_is_ill_everywhere_stops_after_a_few_devices() {
    const DEVICES: usize = 60;
    let world = World::start(DEVICES).unwrap();
    world.publish("1.0").unwrap();
    let spec = world.spec(DEVICES).unwrap();
    let mut fleet = world.runtime.block_on(VirtualFleet::enrol(&spec)).unwrap();
    world.connect(&mut fleet, LIMIT).unwrap();
    world.start_campaign("good", "1.0", &[]).unwrap();
    assert_eq!(world.wait_campaign("good", LIMIT).unwrap().state, CampaignState::Finished);
    world.publish("2.0").unwrap();
    fleet.let_be_ill(1.0);
    world.start_campaign("ill", "2.0", &[]).unwrap();
    let view = world.wait_campaign("ill", LIMIT).unwrap();
    assert_eq!(view.state, CampaignState::Aborted, "{}", view.reason);
    let all = DEVICES as u64;
    // Who was in the middle of its switch comes back by itself.
    wait_until("the old release everywhere", LIMIT, || {
        let (old, new) = (in_force(&fleet, "1.0"), in_force(&fleet, "2.0"));
        Ok(if (old, new) == (all, 0) { Ok(()) } else { Err(format!("{old} old, {new} new")) })
    })
    .unwrap();
    let counts = settled(&fleet).unwrap();
    assert!(counts.rolled_back > 0, "{counts}");
    // The others of the first elements are told to leave it when the campaign has ended.
    assert!(counts.rolled_back + counts.otherwise <= ORDERED_MAX, "{counts}");
    assert_eq!((counts.verified, counts.twice), (all, 0), "{counts}");
    world.runtime.block_on(fleet.stop());
}
