//! Steps back, mixtures, and one version with two contents.

use takt_trust::{Document, TargetCustom, TrustError, snapshot_for};

use crate::repository::{DAY, Repository, release};
use crate::{NOW, repository};

#[test]
fn an_older_snapshot_is_refused() {
    let mut repository = repository();
    let old = repository.files["1.snapshot.json"].clone();
    repository.publish_release("2.0", 2, 1);
    let device = repository.informed_device();
    repository.pin_snapshot(old);
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Rollback { trusted: 2, found: 1, .. }), "{error}");
    // A device that comes from the factory cannot know better; the timestamp's key holder is trusted with that much.
    repository.informed_device();
}

#[test]
fn an_older_timestamp_is_refused() {
    let mut repository = repository();
    let old = repository.files["timestamp.json"].clone();
    repository.renew_timestamp();
    let device = repository.informed_device();
    repository.files.insert("timestamp.json".into(), old);
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Rollback { role, trusted: 2, found: 1, .. } if role == "timestamp"),
        "{error}"
    );
}

#[test]
fn a_new_snapshot_with_older_targets_is_refused() {
    let mut repository = repository();
    let old = repository.files["1.targets.json"].clone();
    repository.publish_release("2.0", 2, 1);
    let device = repository.informed_device();
    repository.pin_targets(old);
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Rollback { role, trusted: 2, found: 1, .. } if role == "targets"),
        "{error}"
    );
}

#[test]
fn documents_that_do_not_belong_together_are_refused() {
    let mut repository = repository();
    let device = repository.informed_device();
    // Two honest versions 2 that differ: the snapshot pins the second, the first is served.
    repository.targets.begin_next(NOW);
    let first = repository.signed_targets();
    repository.targets.add_release(&release("2.0", 2, 1)).unwrap();
    repository.publish();
    repository.files.insert("2.targets.json".into(), first);
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Pin { document, .. } if document == "2.targets.json"), "{error}");
}

#[test]
fn one_version_with_two_contents_is_refused() {
    let mut repository = repository();
    repository.publish_release("2.0", 2, 0);
    let device = repository.informed_device();
    let targets = repository.files["2.targets.json"].clone();
    let mut snapshot = snapshot_for(&targets, [], None, 2, NOW + DAY).unwrap();
    snapshot.add_signature(&repository.snapshot_key);
    repository.pin_snapshot(snapshot.to_bytes());
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Replaced { role, version: 2, .. } if role == "snapshot"), "{error}");

    repository.targets.expires = NOW + DAY;
    repository.publish();
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Replaced { role, version: 2, .. } if role == "targets"), "{error}");
}

#[test]
fn a_lowered_floor_is_refused_even_from_the_publishers() {
    let mut repository = repository();
    repository.publish_release("2.0", 2, 2);
    let device = repository.informed_device();
    repository.targets.begin_next(NOW);
    let target = repository.targets.targets.get_mut("releases/camera/2.0.json").unwrap();
    let TargetCustom::Manifest(about) = &mut target.custom else { panic!("not a manifest") };
    about.floor = 1;
    repository.publish();
    let error = repository.show(&device).unwrap_err();
    assert_eq!(error.to_string(), "3.targets.json lowers the floor of component 'camera' from 2 to 1");
}

#[test]
fn a_snapshot_that_drops_a_document_is_refused() {
    let mut repository = repository();
    let add_role = |repository: &Repository, version: u64, with: bool| {
        let targets = repository.files["1.targets.json"].clone();
        let snapshot = snapshot_for(&targets, [], None, version, NOW).unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&snapshot.to_bytes()).unwrap();
        if with {
            let pin = value["signed"]["meta"]["targets.json"].clone();
            value["signed"]["meta"]["os.json"] = pin;
        }
        let mut document = Document::from_bytes(value.to_string().as_bytes()).unwrap();
        document.add_signature(&repository.snapshot_key);
        document.to_bytes()
    };
    repository.pin_snapshot(add_role(&repository, 2, true));
    let device = repository.informed_device();
    repository.pin_snapshot(add_role(&repository, 3, false));
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Rollback { role, found: 0, .. } if role == "os"), "{error}");
}
