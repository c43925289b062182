//! Expired and frozen repositories.

use takt_common::UnixTime;
use takt_trust::{PackageTrust, TrustError};

use crate::repository::{DAY, Repository};
use crate::{NOW, repository};

#[test]
fn new_metadata_that_has_expired_is_refused() {
    let expect =
        |repository: &Repository, expected: &str| match repository.show(&repository.device()).unwrap_err() {
            TrustError::Expired { role, .. } => assert_eq!(role, expected),
            other => panic!("{other}"),
        };
    let mut repository = repository();
    repository.now = NOW + 8 * DAY;
    expect(&repository, "timestamp");
    repository.now = NOW + 91 * DAY;
    repository.renew_timestamp();
    expect(&repository, "snapshot");
    repository.targets.expires = NOW;
    repository.targets.version += 1;
    repository.publish();
    expect(&repository, "targets");
    repository.now = NOW + 366 * DAY;
    repository.targets.begin_next(repository.now);
    repository.publish();
    expect(&repository, "root");
    repository.root.expires = repository.now + DAY;
    repository.publish_root();
    repository.informed_device();
}

#[test]
fn a_frozen_repository_is_noticed_and_a_device_that_slept_recovers() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.now = NOW + 6 * DAY;
    let device = repository.show(&device).unwrap();
    repository.now = NOW + 8 * DAY;
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Expired { role: "timestamp", .. }), "{error}");
    // What was accepted stays known; only new installs stop.
    assert!(device.target("releases/camera/1.0.json").is_some());
    assert!(device.check_fresh(NOW + 8 * DAY).is_err());
    let again = PackageTrust::from_stored(&device.to_stored()).unwrap();
    repository.renew_timestamp();
    repository.show(&again).unwrap().check_fresh(repository.now).unwrap();
    // A device that wakes in 1970 takes part as well.
    again.refreshed(UnixTime::from_secs(0), |need| repository.files.get(&need.name).cloned()).unwrap();
}

#[test]
fn a_fresh_timestamp_does_not_keep_an_expired_snapshot_alive() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.now = NOW + 89 * DAY;
    repository.renew_timestamp();
    let device = repository.show(&device).unwrap();
    assert_eq!(device.issued(), Some(repository.now));
    device.check_fresh(NOW + 90 * DAY).unwrap();
    repository.now = NOW + 91 * DAY;
    repository.renew_timestamp();
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Expired { document, role: "snapshot", .. }
        if document == "1.snapshot.json"),
        "{error}"
    );
}
