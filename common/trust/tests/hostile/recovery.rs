//! What a newer root takes away and what it leaves.

use takt_trust::{PackageTrust, TrustError};

use crate::repository::{camera, key, role};
use crate::{NOW, repository};

#[test]
fn a_new_timestamp_key_does_not_open_the_way_back() {
    let mut repository = repository();
    let old = repository.files["1.snapshot.json"].clone();
    repository.publish_release("2.0", 2, 1);
    let device = repository.informed_device();
    repository.timestamp_key = key();
    repository.root.roles.timestamp = role(&[&repository.timestamp_key], 1);
    repository.publish_root();
    repository.timestamp_version = 0;
    repository.pin_snapshot(old);
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Rollback { role, trusted: 2, found: 1, .. } if role == "snapshot"),
        "{error}"
    );
    // The version of the timestamp begins anew: a thief of the old key may have run ahead with it.
    repository.renew_timestamp();
    assert_eq!(repository.show(&device).unwrap().root_version(), 2);
}

#[test]
fn a_new_root_recovers_from_stolen_keys_that_ran_ahead() {
    let mut repository = repository();
    (repository.targets.version, repository.snapshot_version) = (u64::MAX - 1, u64::MAX - 2);
    repository.timestamp_version = u64::MAX - 1;
    repository.publish_release("9.0", u64::MAX, u64::MAX);
    let device = repository.informed_device();
    assert_eq!(device.floor(&camera()), u64::MAX);

    let mut clean = crate::repository();
    clean.root_keys = repository.root_keys;
    clean.root = takt_trust::RootSpec { version: 1, ..clean.root.clone() };
    clean.root.roles.root = repository.root.roles.root.clone();
    clean.publish_root();
    clean.publish_release("2.0", 2, 1);
    let recovered = clean.show(&device).unwrap();
    assert_eq!((recovered.root_version(), recovered.floor(&camera())), (2, 1));
    assert!(recovered.target("releases/camera/9.0.json").is_none());
}

#[test]
fn a_failed_refresh_changes_nothing_but_the_newer_root_can_be_kept() {
    let mut repository = repository();
    let device = repository.informed_device();
    let before = device.to_stored();
    // The second publisher's key was stolen: a new root takes it away, and the server goes silent after it.
    repository.publishers[1] = key();
    repository.root.roles.targets = role(&repository.publishers.each_ref(), 2);
    repository.publish_root();
    let mut refresh = device.begin_refresh(NOW);
    refresh.provide(Some(repository.files["2.root.json"].clone())).unwrap();
    refresh.provide(None).unwrap();
    assert_eq!(refresh.need().unwrap().name, "timestamp.json");
    assert!(refresh.provide(None).is_err());
    assert_eq!(refresh.need(), None);
    assert_eq!(device.to_stored(), before);

    let kept = refresh.keep_root().unwrap();
    assert_eq!((kept.root_version(), kept.snapshot()), (2, None));
    assert!(kept.target("releases/camera/1.0.json").is_none());
    assert!(matches!(kept.check_fresh(NOW), Err(TrustError::NoMetadata { root: 2 })));
    let again = PackageTrust::from_stored(&kept.to_stored()).unwrap();
    repository.publish_release("2.0", 2, 0);
    assert!(repository.show(&again).unwrap().target("releases/camera/2.0.json").is_some());
}

#[test]
fn floors_outlive_a_lost_timestamp() {
    let mut repository = repository();
    repository.publish_release("2.0", 2, 2);
    let device = repository.informed_device();
    repository.timestamp_key = key();
    repository.root.roles.timestamp = role(&[&repository.timestamp_key], 1);
    repository.publish_root();
    let mut refresh = device.begin_refresh(NOW);
    refresh.provide(Some(repository.files["2.root.json"].clone())).unwrap();
    let kept = refresh.keep_root().unwrap();
    assert_eq!((kept.snapshot(), kept.floor(&camera())), (None, 2));
    let again = PackageTrust::from_stored(&kept.to_stored()).unwrap();
    assert_eq!(again.floor(&camera()), 2);
}
