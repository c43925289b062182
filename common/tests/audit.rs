//! Whatever is done to a log is found, and by which entry it shows.

#![allow(clippy::unwrap_used)] // In tests.

use proptest::prelude::*;
use takt_common::audit::{ChainError, Control, End, Entry, Head, SignedHead, Walk, What, Who};
use takt_common::envelope::Signers;
use takt_common::{DeviceId, Name, Sha256Digest, SigningKey, UnixTime};

const LATER: UnixTime = UnixTime::from_secs(1_900_000_000);

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._-]{0,20}".prop_map(|text| text.parse().unwrap())
}

fn digest() -> impl Strategy<Value = Sha256Digest> {
    any::<[u8; 8]>().prop_map(|bytes| Sha256Digest::of(&bytes))
}

fn device() -> DeviceId {
    "00112233445566778899aabbccddeeff".parse().unwrap()
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        name().prop_map(Who::operator),
        Just(Who::Coordinator),
        Just(Who::Device { device: device() }),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        (name(), digest()).prop_map(|(domain, sha256)| What::GraphSet { domain, sha256 }),
        name().prop_map(|name| What::OperatorAdded { name }),
        (name(), ".{0,40}").prop_map(|(name, why)| What::DeviceQuarantined { device: device(), name, why }),
        name().prop_map(|campaign| What::CampaignControlled { campaign, control: Control::Pause }),
        proptest::collection::btree_map("[1-9][.]root[.]json", digest(), 0..3)
            .prop_map(|documents| What::Published { documents }),
    ]
}

/// The exact bytes of a log of some entries.
fn log(least: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec((1_700_000_000_u64..1_900_000_000, who(), what()), least..12).prop_map(chained)
}

fn chained(told: Vec<(u64, Who, What)>) -> Vec<Vec<u8>> {
    let mut end = End::start();
    let link = |(secs, who, what)| {
        let bytes = Entry::after(end, UnixTime::from_secs(secs), who, what).to_bytes();
        end = End::at(end.number + 1, &bytes);
        bytes
    };
    told.into_iter().map(link).collect()
}

fn end(log: &[Vec<u8>]) -> End {
    log.last().map_or_else(End::start, |last| End::at(log.len() as u64, last))
}

fn verify(log: &[Vec<u8>], kept: Vec<Head>, head: &Head) -> Result<End, ChainError> {
    let mut walk = Walk::past(kept);
    for bytes in log {
        let entry = walk.next(bytes)?;
        assert_eq!(entry.to_bytes(), *bytes, "what is stored is what was written");
    }
    walk.finish(head)
}

/// Which entry an error names.
fn named(error: &ChainError) -> u64 {
    match error {
        ChainError::Unreadable { number, .. }
        | ChainError::Format { number, .. }
        | ChainError::Broken { number }
        | ChainError::Replaced { number, .. }
        | ChainError::Missing { number, .. }
        | ChainError::Uncovered { number, .. } => *number,
        ChainError::Number { expected, .. } => *expected,
    }
}

/// The log without the entry at `at`, each later one with the number and digest that it would then have.
fn written_anew(log: &[Vec<u8>], at: usize) -> Vec<Vec<u8>> {
    let kept = log.iter().enumerate().filter(|(index, _)| *index != at);
    let told = kept.map(|(_, bytes)| Entry::from_bytes(bytes).unwrap());
    chained(told.map(|entry| (entry.time.as_secs(), entry.who, entry.what)).collect())
}

proptest! {
    #[test]
    fn a_whole_log_is_found_whole(log in log(0)) {
        let head = Head::new(end(&log), LATER);
        prop_assert_eq!(verify(&log, Vec::new(), &head).unwrap(), head.end);
        for count in 0..=log.len() {
            let kept = Head::new(end(&log[..count]), LATER);
            prop_assert_eq!(verify(&log, vec![kept], &head).unwrap(), head.end);
        }
    }

    #[test]
    fn a_changed_byte_is_found_at_its_entry_or_the_next(log in log(1), at: prop::sample::Index, byte: prop::sample::Index, bits in 1_u8..) {
        let (mut changed, at) = (log.clone(), at.index(log.len()));
        let byte = byte.index(changed[at].len());
        changed[at][byte] ^= bits;
        let error = verify(&changed, Vec::new(), &Head::new(end(&log), LATER)).unwrap_err();
        let number = at as u64 + 1;
        prop_assert!((number..=number + 1).contains(&named(&error)), "entry {} was changed: {}", number, error);
    }

    #[test]
    fn a_removed_entry_is_found_where_it_stood(log in log(1), at: prop::sample::Index) {
        let (mut changed, at) = (log.clone(), at.index(log.len()));
        changed.remove(at);
        let error = verify(&changed, Vec::new(), &Head::new(end(&log), LATER)).unwrap_err();
        prop_assert_eq!(named(&error), at as u64 + 1, "{}", error);
    }

    #[test]
    fn a_doubled_entry_is_found_where_it_stands_again(log in log(1), at: prop::sample::Index, to: prop::sample::Index) {
        let (mut changed, at, to) = (log.clone(), at.index(log.len()), to.index(log.len() + 1));
        changed.insert(to, log[at].clone());
        prop_assume!(changed != log);
        let error = verify(&changed, Vec::new(), &Head::new(end(&log), LATER)).unwrap_err();
        let first = changed.iter().zip(&log).take_while(|(now, before)| now == before).count() as u64 + 1;
        prop_assert_eq!(named(&error), first, "{}", error);
    }

    #[test]
    fn a_foreign_entry_is_found_wherever_it_is_put(log in log(1), to: prop::sample::Index, who in who(), what in what()) {
        let (mut changed, to) = (log.clone(), to.index(log.len() + 1));
        // With the right number and the right digest of what stands before it.
        let foreign = Entry::after(end(&log[..to]), LATER, who, what).to_bytes();
        changed.insert(to, foreign);
        let error = verify(&changed, Vec::new(), &Head::new(end(&log), LATER)).unwrap_err();
        prop_assert!(named(&error) > to as u64, "{}", error);
    }

    #[test]
    fn another_order_is_found(log in log(2), one: prop::sample::Index, other: prop::sample::Index) {
        let (mut changed, one, other) = (log.clone(), one.index(log.len()), other.index(log.len()));
        prop_assume!(one != other);
        changed.swap(one, other);
        let error = verify(&changed, Vec::new(), &Head::new(end(&log), LATER)).unwrap_err();
        prop_assert_eq!(named(&error), one.min(other) as u64 + 1, "{}", error);
    }

    #[test]
    fn a_log_that_was_written_anew_is_found_by_a_head_from_before(log in log(2), at: prop::sample::Index) {
        let at = at.index(log.len());
        let anew = written_anew(&log, at);
        let head = Head::new(end(&anew), LATER);
        prop_assert!(verify(&anew, Vec::new(), &head).is_ok(), "in itself it is whole");
        for count in 0..=log.len() {
            let kept = Head::new(end(&log[..count]), LATER);
            let unharmed = anew.get(..count) == Some(&log[..count]);
            prop_assert_eq!(verify(&anew, vec![kept], &head).is_ok(), unharmed, "kept after entry {}", count);
        }
    }

    #[test]
    fn a_changed_byte_of_a_signed_head_is_found(byte: prop::sample::Index, bits in 1_u8..) {
        let key = SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap();
        let signers = Signers { role: "the order keys".into(), keys: vec![key.public()], threshold: 1 };
        let head = Head::new(End::at(7, b"entry"), LATER);
        let sealed = head.seal(&key).to_bytes();
        prop_assert_eq!(Head::open(&sealed, &signers).unwrap(), head);
        prop_assert_eq!(SignedHead::open(&sealed).unwrap(), SignedHead { head, key: key.public() });
        let mut changed = sealed;
        let byte = byte.index(changed.len());
        changed[byte] ^= bits;
        prop_assert!(Head::open(&changed, &signers).is_err());
        prop_assert!(SignedHead::open(&changed).is_err());
    }
}
