//! Roots that break a rule, and the walk from root to root.

use takt_common::{PublicKey, SigningKey};
use takt_trust::rules::key_id;
use takt_trust::{DirectorSpec, Document, PackageTrust, RootRule, TrustError, names};

use crate::repository::{DAY, Repository, key, role};
use crate::{NOW, repository};

/// Signs a root whose text was changed, by the first two root keys, and loads it.
fn load_changed(repository: &Repository, change: impl FnOnce(&mut serde_json::Value)) -> RootRule {
    let mut value: serde_json::Value = serde_json::from_slice(&repository.files["1.root.json"]).unwrap();
    change(&mut value["signed"]);
    value["signatures"] = serde_json::json!([]);
    let mut document = Document::from_bytes(value.to_string().as_bytes()).unwrap();
    for key in &repository.root_keys[..2] {
        document.add_signature(key);
    }
    match PackageTrust::from_root(&document.to_bytes()).unwrap_err() {
        TrustError::Rule { source, .. } => source,
        other => panic!("{other}"),
    }
}

/// Puts `key` under `id` into the targets role, in place of the first publisher.
fn put_publisher(signed: &mut serde_json::Value, key: &PublicKey, id: &str) {
    let public = serde_json::json!({"public": key.to_string()});
    let object = serde_json::json!({"keytype": "ed25519", "keyval": public, "scheme": "ed25519"});
    signed["keys"][id] = object;
    signed["roles"]["targets"]["keyids"][0] = id.into();
}

#[test]
fn a_root_that_skips_a_version_is_refused() {
    let mut repository = repository();
    repository.root.version = 3;
    let bytes = repository.signed_root(&[0, 1]);
    repository.files.insert(names::root_file(2), bytes);
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(matches!(&error, TrustError::RootVersion { trusted: 1, found: 3, .. }), "{error}");
}

#[test]
fn a_root_needs_the_old_keys_and_the_new_ones() {
    let mut repository = repository();
    let device = repository.informed_device();
    let new_keys = [key(), key(), key()];
    repository.root.version = 2;
    repository.root.roles.root = role(&new_keys.each_ref(), 2);
    let mut signed_by = |keys: &[&SigningKey]| {
        let mut document = repository.root.document().unwrap();
        for key in keys {
            document.add_signature(key);
        }
        repository.files.insert(names::root_file(2), document.to_bytes());
        repository.show(&device)
    };
    let old = [key(), key()];
    assert!(signed_by(&[&old[0], &old[1]]).is_err());
    let error = signed_by(&[&new_keys[0], &new_keys[1]]).unwrap_err();
    assert!(
        matches!(&error, TrustError::Threshold { role: "root", root: 1, valid: 0, threshold: 2, .. }),
        "{error}"
    );

    let mut repository = crate::repository();
    let device = repository.informed_device();
    repository.root.version = 2;
    repository.root.roles.root = role(&new_keys.each_ref(), 2);
    let mut document = repository.root.document().unwrap();
    for key in &repository.root_keys[..2] {
        document.add_signature(key);
    }
    document.add_signature(&new_keys[2]);
    repository.files.insert(names::root_file(2), document.to_bytes());
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Threshold { role: "root", root: 2, valid: 1, threshold: 2, .. }),
        "{error}"
    );

    document.add_signature(&new_keys[0]);
    repository.files.insert(names::root_file(2), document.to_bytes());
    assert_eq!(repository.show(&device).unwrap().root_version(), 2);
}

#[test]
fn a_root_below_its_threshold_is_no_beginning() {
    let repository = repository();
    let error = PackageTrust::from_root(&repository.signed_root(&[2])).unwrap_err();
    assert!(matches!(&error, TrustError::Threshold { role: "root", valid: 1, threshold: 2, .. }), "{error}");
}

#[test]
fn keys_of_small_order_are_refused() {
    let repository = repository();
    let mut sign_only = [0; 32];
    sign_only[31] = 0x80;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    for bytes in [[0; 32], sign_only, minus_one] {
        let weak = PublicKey::from_bytes(bytes);
        let rule = load_changed(&repository, |signed| put_publisher(signed, &weak, &key_id(&weak)));
        assert!(matches!(&rule, RootRule::WeakKey { role, .. } if role == "targets"), "{rule}");
    }
}

#[test]
fn one_key_under_two_ids_is_refused() {
    let repository = repository();
    let second = repository.publishers[1].public();
    let rule = load_changed(&repository, |signed| {
        put_publisher(signed, &second, &"ab".repeat(32));
    });
    assert!(
        matches!(&rule, RootRule::KeyId { role, computed, .. }
        if role == "targets" && *computed == key_id(&second)),
        "{rule}"
    );
    let rule = load_changed(&repository, |signed| {
        put_publisher(signed, &second, &key_id(&second));
    });
    assert!(matches!(&rule, RootRule::KeyTwice { .. }), "{rule}");
}

#[test]
fn other_schemes_unknown_keys_and_missing_roles_are_refused() {
    let repository = repository();
    let rule = load_changed(&repository, |signed| {
        signed["roles"]["targets"]["keyids"][0] = "cd".into();
    });
    assert!(matches!(&rule, RootRule::KeyMissing { key_id, .. } if key_id == "cd"), "{rule}");
    let id = key_id(&repository.publishers[0].public());
    let rule = load_changed(&repository, |signed| {
        signed["keys"][&id]["scheme"] = "rsassa-pss-sha256".into();
    });
    assert!(matches!(&rule, RootRule::KeyScheme { .. }), "{rule}");
    let rule = load_changed(&repository, |signed| {
        let upper = repository.publishers[0].public().to_string().to_uppercase();
        signed["keys"][&id]["keyval"]["public"] = upper.into();
    });
    assert!(matches!(&rule, RootRule::KeyText { .. }), "{rule}");
    let rule = load_changed(&repository, |signed| {
        signed["roles"].as_object_mut().unwrap().remove("targets");
    });
    assert!(matches!(&rule, RootRule::Roles { .. }), "{rule}");
    let rule = load_changed(&repository, |signed| signed["consistent_snapshot"] = false.into());
    assert_eq!(rule, RootRule::NotConsistent);
    let rule = load_changed(&repository, |signed| signed["version"] = 0.into());
    assert_eq!(rule, RootRule::VersionZero);
}

/// The same people sign both roots with the same keys, so only the purpose keeps them apart.
#[test]
fn a_director_root_is_not_the_next_package_root() {
    let mut repository = repository();
    let director = DirectorSpec {
        epoch: 2,
        expires: NOW + DAY,
        root: repository.root.roles.root.clone(),
        order: role(&[&key()], 1),
        counter: None,
    };
    let mut document = director.document().unwrap();
    for key in &repository.root_keys[..2] {
        document.add_signature(key);
    }
    repository.files.insert("2.root.json".into(), document.to_bytes());
    let error = repository.show(&repository.device()).unwrap_err();
    let TrustError::Rule { source: RootRule::Purpose { found, expected }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((found.as_str(), *expected), ("director", "packages"));
}

#[test]
fn a_visit_takes_256_roots_and_the_next_one_goes_on() {
    let mut repository = repository();
    (0..257).for_each(|_| repository.publish_root());
    let device = repository.device();
    let mut refresh = device.begin_refresh(NOW);
    let error = loop {
        let need = refresh.need().unwrap();
        if let Err(error) = refresh.provide(repository.files.get(&need.name).cloned()) {
            break error;
        }
    };
    assert!(matches!(&error, TrustError::TooManyRoots { limit: 256, .. }), "{error}");
    let device = refresh.keep_root().unwrap();
    assert_eq!(device.root_version(), 257);
    assert_eq!(repository.show(&device).unwrap().root_version(), 258);
}
