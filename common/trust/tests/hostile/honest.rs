//! What an honest repository gives, and what is kept of it on disk.

use takt_common::Sha256Digest;
use takt_trust::{PackageTrust, StoredTrust, TargetCustom, TrustError};

use crate::repository::{camera, manifest_text};
use crate::{NOW, repository};

#[test]
fn an_honest_repository_is_taken_and_survives_the_disk() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.publish_release("2.0", 2, 1);
    let device = repository.show(&device).unwrap();

    let target = device.target("releases/camera/2.0.json").unwrap();
    assert_eq!(target.sha256, Sha256Digest::of(manifest_text("2.0").as_bytes()));
    assert!(matches!(target.custom, TargetCustom::Manifest(about) if about.counter == 2 && about.floor == 1));
    assert!(device.target("releases/camera/3.0.json").is_none());
    assert_eq!(device.floor(&camera()), 1);
    assert_eq!(device.issued(), Some(NOW));
    let pin = device.snapshot().unwrap();
    assert_eq!((pin.version, pin.sha256), (2, Sha256Digest::of(&repository.files["2.snapshot.json"])));
    device.check_fresh(NOW).unwrap();

    let text = serde_json::to_string(&device.to_stored()).unwrap();
    let again = PackageTrust::from_stored(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.to_stored(), device.to_stored());
    assert_eq!((again.snapshot(), again.floor(&camera())), (device.snapshot(), 1));
    assert_eq!(again.target_paths().count(), 4);
}

#[test]
fn only_new_files_are_fetched() {
    let mut repository = repository();
    let device = repository.informed_device();
    repository.renew_timestamp();
    let mut asked = Vec::new();
    let renewed = device.refreshed(NOW, |need| {
        asked.push(need.name.clone());
        repository.files.get(&need.name).cloned()
    });
    assert_eq!(asked, ["2.root.json", "timestamp.json"]);
    assert_eq!(renewed.unwrap().snapshot(), device.snapshot());
}

#[test]
fn a_changed_byte_on_the_disk_is_noticed() {
    let stored = repository().informed_device().to_stored();
    PackageTrust::from_stored(&stored).unwrap();
    let changed = |text: &String| text.replacen("\"version\":1", "\"version\":2", 1);
    let cases = [
        StoredTrust { root: changed(&stored.root), ..stored.clone() },
        StoredTrust { timestamp: stored.timestamp.as_ref().map(changed), ..stored.clone() },
        StoredTrust { snapshot: stored.snapshot.as_ref().map(changed), ..stored.clone() },
        StoredTrust { targets: stored.targets.as_ref().map(changed), ..stored.clone() },
    ];
    for case in cases {
        assert_ne!(case, stored);
        let error = PackageTrust::from_stored(&case).unwrap_err();
        assert!(matches!(error, TrustError::Threshold { valid: 0, .. }), "{error}");
    }
    let later = StoredTrust { format: 2, ..stored };
    assert!(matches!(
        PackageTrust::from_stored(&later),
        Err(TrustError::StoredFormat { found: 2, expected: 1 })
    ));
}

#[test]
fn an_unfinished_refresh_is_no_trust() {
    let repository = repository();
    let error = repository.device().begin_refresh(NOW).finish().unwrap_err();
    assert_eq!(error.to_string(), "the refresh has not come to its end, 2.root.json is still needed");
}
