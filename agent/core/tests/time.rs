//! The time floor: it rises with what is signed, no signer pushes it beyond the life of the root that names its key, and what a key
//! said that was taken away is forgotten down to what people had said as well.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use takt_agent_core::Record;
use takt_common::UnixTime;

const DAY: Duration = Duration::from_hours(24);
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const NEVER: UnixTime = UnixTime::from_secs(u64::MAX);

fn later(days: u32) -> UnixTime {
    NOW + DAY * days
}

#[test]
fn the_floor_only_rises() {
    let mut record = Record::default();
    record.learn_time(NOW, NEVER, later(300));
    for earlier in [UnixTime::default(), UnixTime::from_secs(NOW.as_secs() - 1), NOW] {
        record.learn_time(earlier, NEVER, later(300));
        assert_eq!(record.time_floor, NOW);
    }
    record.learn_time(later(1), NEVER, later(300));
    assert_eq!(record.time_floor, later(1));
}

#[test]
fn a_leap_is_capped_by_what_is_believable_and_by_the_life_of_the_root() {
    let mut record = Record::default();
    record.learn_time(NEVER, later(2), later(300));
    assert_eq!(record.time_floor, later(2));
    // However often a thief of the coordinator's key says that it is the end of time.
    for _ in 0..1_000 {
        let believable = record.time_floor + DAY * 730;
        record.learn_time(NEVER, believable, later(300));
    }
    // So the root has expired for this device, and nothing new is installed until there is another one.
    assert_eq!(record.time_floor, later(300) + Duration::from_secs(1));
    let before = record.time_floor;
    record.time_floor = NEVER;
    record.limit_time(before, later(10));
    assert_eq!(
        record.time_floor, before,
        "what an order moves is capped too, and never below what was known"
    );
}

#[test]
fn what_a_thief_has_said_is_forgotten_with_the_key_and_what_people_have_said_stays() {
    let mut record = Record::default();
    record.learn_time(later(1), NEVER, later(300));
    record.confirm_time(NOW);
    assert_eq!(record.sure_floor, NOW);
    // People whose own clock is wrong cannot move it alone either.
    record.confirm_time(later(3_650));
    assert_eq!(record.sure_floor, later(1));
    record.confirm_time(NOW);
    assert_eq!(record.sure_floor, later(1), "it only rises");
    record.learn_time(NEVER, NEVER, later(300));
    record.forget_told_time();
    assert_eq!(record.time_floor, later(1));
}

#[test]
fn a_record_of_an_agent_that_knew_no_sure_floor_is_read() {
    let mut text = serde_json::to_value(Record::default()).unwrap();
    for field in ["sure_floor", "verified_here"] {
        text.as_object_mut().unwrap().remove(field).unwrap();
    }
    assert_eq!(serde_json::from_value::<Record>(text).unwrap(), Record::default());
}
