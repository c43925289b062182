//! Orders are a chain: one that follows another than the last accepted one shows that one was withheld or reordered.

#![allow(clippy::unwrap_used, missing_docs)]

use takt_agent_core::Record;
use takt_common::Sha256Digest;
use takt_common::order::Position;

mod cases;
use cases::{accepted, manifest, order};
use takt_common::order::Action;

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

#[test]
fn an_order_whose_predecessor_never_arrived_is_told_with_both_digests_and_accepted_all_the_same() {
    let mut record = Record::default();
    let mut first = order(1, Action::Install, Some(&manifest(1)));
    assert_eq!(record.skipped(&first, []), None, "nothing before nothing");
    first.previous_order_digest = Some(digest("withheld"));
    let skipped = record.skipped(&first, []).unwrap();
    assert_eq!((skipped.follows, skipped.accepted), (Some(digest("withheld")), None));

    let first = accepted(order(1, Action::Install, Some(&manifest(1))));
    let known = first.digest;
    record.accept(first);
    let mut second = order(3, Action::Withdraw, None);
    second.previous_order_digest = Some(known);
    assert_eq!(record.skipped(&second, []), None, "it follows");
    second.previous_order_digest = Some(digest("withheld"));
    let skipped = record.skipped(&second, [digest("another")]).unwrap();
    let text = skipped.to_string();
    assert!(text.contains(&known.to_string()) && text.contains(&digest("withheld").to_string()), "{text}");
    assert_eq!(record.skipped(&second, [digest("withheld")]), None, "it has arrived and was refused");
    second.previous_order_digest = None;
    assert_eq!(record.skipped(&second, []).unwrap().follows, None, "a coordinator that has lost its store");
    record.accept(accepted(second));
    assert_eq!(record.last_position, Position { epoch: 1, generation: 3 });
}
