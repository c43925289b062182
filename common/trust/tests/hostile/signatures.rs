//! Too few or false signatures.

use takt_common::Sha256Digest;
use takt_trust::{TrustError, snapshot_for, timestamp_for};

use crate::repository::{key, release};
use crate::{NOW, repository};

#[test]
fn a_signature_that_is_not_by_its_key_is_refused() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.targets.begin_next(NOW);
    let mut document = repository.targets.document();
    let stranger = key();
    document.add_signature(&repository.publishers[0]);
    document.add_signature(&stranger);
    let ids = [&stranger, &repository.publishers[1]].map(|key| takt_trust::rules::key_id(&key.public()));
    let forged = String::from_utf8(document.to_bytes()).unwrap().replace(&ids[0], &ids[1]);
    repository.pin_targets(forged.into_bytes());
    let error = repository.show(&device).unwrap_err();
    let TrustError::Threshold { document, role, root: 1, valid: 1, threshold: 2, lacking } = &error else {
        panic!("{error}")
    };
    assert_eq!((document.as_str(), *role, lacking), ("2.targets.json", "targets", &ids[1]));
}

#[test]
fn one_of_two_publishers_is_not_enough() {
    let mut repository = repository();
    repository.targets.begin_next(NOW);
    let mut document = repository.targets.document();
    document.add_signature(&repository.publishers[1]);
    repository.pin_targets(document.to_bytes());
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(
        matches!(&error, TrustError::Threshold { role: "targets", valid: 1, threshold: 2, .. }),
        "{error}"
    );
}

#[test]
fn one_publisher_signing_twice_is_refused() {
    let mut repository = repository();
    repository.targets.begin_next(NOW);
    let mut document = repository.targets.document();
    document.add_signature(&repository.publishers[0]);
    let one = serde_json::to_string(&document.signatures()[0]).unwrap();
    let twice = String::from_utf8(document.to_bytes()).unwrap().replace(&one, &format!("{one},{one}"));
    repository.pin_targets(twice.into_bytes());
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(matches!(&error, TrustError::SignedTwice { role, .. } if role == "targets"), "{error}");
}

/// What a thief of the coordinator can do: sign timestamps. It is not enough to publish or to go back.
#[test]
fn a_stolen_coordinator_cannot_publish() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.targets.begin_next(NOW);
    repository.targets.add_release(&release("6.6.6", 666, 0)).unwrap();
    let mut targets = repository.targets.document();
    targets.add_signature(&repository.timestamp_key);
    let mut snapshot = snapshot_for(&targets.to_bytes(), [], None, 2, NOW).unwrap();
    snapshot.add_signature(&repository.timestamp_key);
    repository.files.insert("2.targets.json".into(), targets.to_bytes());
    repository.pin_snapshot(snapshot.to_bytes());
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Threshold { role: "snapshot", valid: 0, .. }), "{error}");
}

#[test]
fn a_swapped_target_digest_is_refused() {
    let mut repository = repository();
    let device = repository.device();
    let (good, bad) = ("manifest 1.0", "manifest 6.6");
    let digest = |text: &str| Sha256Digest::of(text.as_bytes()).to_string();
    repository.edit("1.targets.json", &digest(good), &digest(bad));
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Pin { document, .. } if document == "1.targets.json"), "{error}");
    // Even one who holds the snapshot key cannot make it count.
    let swapped = repository.files["1.targets.json"].clone();
    repository.pin_targets(swapped);
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Threshold { role: "targets", valid: 0, threshold: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_timestamp_by_another_key_or_for_another_role_is_refused() {
    let mut repository = repository();
    let mut timestamp = timestamp_for(&repository.files["1.snapshot.json"], 2, NOW).unwrap();
    timestamp.add_signature(&repository.snapshot_key);
    repository.files.insert("timestamp.json".into(), timestamp.to_bytes());
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(matches!(&error, TrustError::Threshold { role: "timestamp", valid: 0, .. }), "{error}");
    let snapshot = repository.files["1.snapshot.json"].clone();
    repository.files.insert("timestamp.json".into(), snapshot);
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(matches!(&error, TrustError::Malformed { .. }), "{error}");
}
