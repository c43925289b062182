//! What the journal keeps is read again as it was written; also by an agent whose successor did not come up and wrote more.

#![allow(clippy::unwrap_used, missing_docs)]

mod arbitrary;
mod cases;

use arbitrary::phase;
use cases::{Case, accepted, manifest, order};
use proptest::prelude::*;
use serde_json::Value;
use takt_agent_core::{Phase, Record};
use takt_common::order::Action as OrderAction;

/// Signed documents, and parts of them and of reports, are strict.
const DOCUMENTS: [&str; 5] = ["manifest", "order", "timing", "outcome", "last_position"];
/// Their fields are names, not words of the format.
const MAPS: [&str; 3] = ["stuck", "hooks", "back"];

/// Puts a field of a later version into everything that has fields, and gives how many there were.
fn add_fields(value: &mut Value, is_map: bool) -> usize {
    match value {
        Value::Array(values) => values.iter_mut().map(|value| add_fields(value, false)).sum(),
        Value::Object(fields) => {
            let mut added = 0;
            for (name, value) in fields.iter_mut().filter(|(name, _)| !DOCUMENTS.contains(&name.as_str())) {
                added += add_fields(value, MAPS.contains(&name.as_str()));
            }
            // An object of one field may also be a variant, which has no others.
            if !is_map && fields.len() > 1 {
                fields.insert("of-a-later-version".to_owned(), Value::Bool(true));
                added += 1;
            }
            added
        }
        _ => 0,
    }
}

proptest! {
    #[test]
    fn a_phase_is_read_as_it_was_written(phase in phase()) {
        let text = serde_json::to_vec(&phase).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Phase>(&text).unwrap(), phase);
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over(phase in phase()) {
        let mut text = serde_json::to_value(&phase).unwrap();
        let added = add_fields(&mut text, false);
        prop_assert!(added > 0 || phase == Phase::Idle);
        prop_assert_eq!(serde_json::from_value::<Phase>(text).unwrap(), phase);
    }
}

#[test]
fn so_are_those_of_the_whole_record() {
    let mut text = serde_json::to_value(Record::default()).unwrap();
    assert!(add_fields(&mut text, false) > 0);
    assert_eq!(serde_json::from_value::<Record>(text).unwrap(), Record::default());
}

#[test]
fn a_switch_with_steps_that_could_not_go_back_is_read_again() {
    let Phase::RollingBack { job, mut swap, cause, since, way, ran, tries } = Case::upgrade().rolling_back()
    else {
        panic!()
    };
    swap.stuck.insert(3, "read-only file system".to_owned());
    swap.bounds.back.insert(12, tries.clone());
    let phase = Phase::RollingBack { job, swap, cause, since, way, ran, tries };
    let text = serde_json::to_vec(&phase).unwrap();
    assert_eq!(serde_json::from_slice::<Phase>(&text).unwrap(), phase);
}

#[test]
fn an_order_that_only_a_later_version_understood_is_forgotten_and_keeps_nothing_from_being_read() {
    let next = accepted(order(8, OrderAction::Install, Some(&manifest(2))));
    let record = Record { next: Some(next), ..Record::default() };
    let mut text = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<Record>(text.clone()).unwrap(), record);
    text["next"]["order"]["of-a-later-version"] = true.into();
    assert_eq!(serde_json::from_value::<Record>(text).unwrap(), Record::default());
}
