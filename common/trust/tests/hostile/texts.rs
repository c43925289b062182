//! Texts that are too large, ambiguous, broken or missing.

use ring::rand::SystemRandom;
use takt_trust::{Document, PackageTrust, TrustError};

use crate::repository::Repository;
use crate::{NOW, repository, words};

#[test]
fn files_that_are_too_large_are_refused() {
    let mut repository = repository();
    let device = repository.device();
    let padded = |bytes: &[u8], to: usize| [bytes, &vec![b' '; to - bytes.len()]].concat();
    let honest = repository.files["timestamp.json"].clone();
    let need = device.begin_refresh(NOW).need().unwrap();
    assert_eq!((need.name.as_str(), need.length_max), ("2.root.json", 64 * 1024));

    repository.files.insert("timestamp.json".into(), padded(&honest, 16 * 1024 + 1));
    let error = repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::TooLong { limit: 16_384, length: 16_385, .. }), "{error}");

    repository.files.insert("timestamp.json".into(), honest);
    let targets = repository.files["1.targets.json"].clone();
    repository.files.insert("1.targets.json".into(), padded(&targets, targets.len() + 1));
    let error = repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::TooLong { document, limit, .. }
        if document == "1.targets.json" && *limit == targets.len()),
        "{error}"
    );

    let snapshot = repository.files["1.snapshot.json"].clone();
    repository.pin_snapshot(padded(&snapshot, 64 * 1024 + 1));
    let error = repository.show(&device).unwrap_err();
    assert!(
        words(&error).contains("snapshot.json would have 65537 bytes, at most 65536 are allowed"),
        "{error}"
    );
}

#[test]
fn pins_without_digest_or_length_are_refused() {
    for (field, what) in [("hashes", "no digest"), ("length", "no length")] {
        let mut repository = repository();
        let mut value: serde_json::Value =
            serde_json::from_slice(&repository.files["timestamp.json"]).unwrap();
        value["signed"]["meta"]["snapshot.json"].as_object_mut().unwrap().remove(field);
        value["signatures"] = serde_json::json!([]);
        let mut document = Document::from_bytes(value.to_string().as_bytes()).unwrap();
        document.add_signature(&repository.timestamp_key);
        repository.files.insert("timestamp.json".into(), document.to_bytes());
        let error = repository.show(&repository.device()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn duplicate_names_in_a_document_are_refused() {
    let mut repository = repository();
    repository.edit("timestamp.json", "\"_type\":\"timestamp\"", "\"_type\":\"x\",\"_type\":\"timestamp\"");
    let error = repository.show(&repository.device()).unwrap_err();
    assert!(
        words(&error).contains("timestamp.json is unreadable") && words(&error).contains("duplicate key")
    );
}

#[test]
fn missing_documents_are_named() {
    let honest = repository();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let error = honest
            .device()
            .refreshed(NOW, |need| honest.files.get(&need.name).filter(|_| need.name != name).cloned())
            .unwrap_err();
        assert_eq!(error.to_string(), format!("{name} is missing from the repository"));
    }
}

#[test]
fn targets_of_unknown_types_are_not_seen_and_broken_ones_stop_the_refresh() {
    let mut repository = repository();
    let sign = |repository: &mut Repository, from: &str, to: &str| {
        repository.targets.begin_next(NOW);
        let text = String::from_utf8(repository.targets.document().to_bytes()).unwrap();
        assert!(text.contains(from));
        let mut document = Document::from_bytes(text.replace(from, to).as_bytes()).unwrap();
        for key in &repository.publishers {
            document.add_signature(key);
        }
        repository.pin_targets(document.to_bytes());
        repository.show(&repository.device())
    };
    let device = sign(&mut repository, "\"type\":\"artifact\"", "\"type\":\"book\"").unwrap();
    assert_eq!(device.target_paths().collect::<Vec<_>>(), ["releases/camera/1.0.json"]);
    let error = sign(&mut repository, "\"counter\":1", "\"counter\":-1").unwrap_err();
    assert!(words(&error).contains("unreadable target 'releases/camera/1.0.json'"), "{}", words(&error));
}

#[test]
fn random_bytes_never_pass_and_never_panic() {
    use ring::rand::SecureRandom;
    let honest = repository();
    let random = SystemRandom::new();
    for name in ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        for _ in 0..300 {
            let mut dice = [0; 4];
            random.fill(&mut dice).unwrap();
            let mut bytes = honest.files[name].clone();
            let at = usize::from(u16::from_be_bytes([dice[0], dice[1]])) % bytes.len();
            if bytes[at] == dice[2] {
                continue;
            }
            bytes[at] = dice[2];
            if name == "1.root.json" {
                // White space may change; what is trusted may not.
                if let Ok(trust) = PackageTrust::from_root(&bytes) {
                    assert_eq!(trust.root_version(), 1);
                }
                continue;
            }
            let shown = honest.device().refreshed(NOW, |need| {
                if need.name == name { Some(bytes.clone()) } else { honest.files.get(&need.name).cloned() }
            });
            if let Ok(trust) = shown {
                assert_eq!(trust.snapshot(), honest.informed_device().snapshot(), "{name} changed at {at}");
            }
        }
    }
}
