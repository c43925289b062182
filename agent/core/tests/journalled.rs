//! What the journal keeps is read again as it was written; also by an agent whose successor did not come up and wrote more.

#![allow(clippy::unwrap_used, missing_docs)]

mod arbitrary;
mod cases;

use arbitrary::phase;
use proptest::prelude::*;
use serde_json::Value;
use takt_agent_core::{Phase, Record};

/// Signed documents and parts of reports: what this version does not know of those it would not have taken.
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
