//! What publishers may and may not change.

use super::*;

fn file(text: &str) -> Artifact {
    Artifact { length: text.len() as u64, sha256: Sha256Digest::of(text.as_bytes()) }
}

fn release(version: &str, counter: u64, floor: u64) -> Release {
    let about = ManifestCustom {
        component: "camera".parse().unwrap(),
        release: version.parse().unwrap(),
        counter,
        floor,
        hardware: vec!["cm4".parse().unwrap()],
        requires: vec![],
        kind: "container".into(),
    };
    Release {
        about,
        manifest: file(version),
        artifacts: vec![file("shared layer"), file(&format!("{version} image"))],
    }
}

fn published() -> TargetsDocument {
    let mut document = TargetsDocument::new(UnixTime::from_secs(1_795_248_000));
    document.add_release(&release("1.0", 1, 0)).unwrap();
    document.add_release(&release("2.0", 2, 1)).unwrap();
    document
}

#[test]
fn a_document_is_read_as_it_was_written_and_knows_shared_artifacts() {
    let document = published();
    let read =
        TargetsDocument::from_document(&Document::from_bytes(&document.document().to_bytes()).unwrap());
    assert_eq!(read.unwrap(), document);
    let shared = &document.targets[&file("shared layer").target_path()];
    let releases = ["releases/camera/1.0.json", "releases/camera/2.0.json"].map(String::from).into();
    assert_eq!(shared.custom, TargetCustom::Artifact(ArtifactCustom { releases }));
    assert_eq!(document.targets.len(), 5);
}

#[test]
fn publishing_again_changes_nothing_and_other_bytes_are_refused() {
    let mut document = published();
    document.add_release(&release("1.0", 1, 0)).unwrap();
    assert_eq!(document, published());

    let mut other = release("2.0", 2, 1);
    other.manifest = file("something else");
    let error = document.add_release(&other).unwrap_err();
    assert!(
        matches!(&error, TargetsError::Replaced { path, .. } if path == "releases/camera/2.0.json"),
        "{error}"
    );
    let mut longer = release("3.0", 3, 1);
    longer.artifacts[0].length += 1;
    assert!(matches!(document.add_release(&longer), Err(TargetsError::Length { .. })));
    let mut facts = release("2.0", 2, 1);
    facts.about.hardware.clear();
    assert!(matches!(document.add_release(&facts), Err(TargetsError::FactsChanged { .. })));
    assert_eq!(document, published());
}

#[test]
fn floors_only_rise_and_name_both_numbers() {
    let mut document = published();
    let error = document.add_release(&release("3.0", 3, 0)).unwrap_err();
    assert_eq!(error.to_string(), "the floor of component 'camera' is 1 and only rises; 0 was given");
    let camera: Name = "camera".parse().unwrap();
    document.raise_floor(&camera, 2).unwrap();
    assert_eq!(document.floor(&camera), 2);
    assert!(matches!(document.raise_floor(&camera, 1), Err(TargetsError::FloorLowered { current: 2, .. })));
    assert!(matches!(document.raise_floor(&camera, 3), Err(TargetsError::BelowFloor { counter: 2, .. })));
    let nobody = "nobody".parse().unwrap();
    assert!(matches!(document.raise_floor(&nobody, 1), Err(TargetsError::UnknownComponent { .. })));
}

#[test]
fn counters_order_the_releases_of_a_component() {
    let mut document = published();
    let error = document.add_release(&release("2.1", 2, 1)).unwrap_err();
    assert_eq!(error.to_string(), "counter 2 of component 'camera' belongs to release '2.0' already");
    assert!(matches!(document.add_release(&release("0.9", 0, 1)), Err(TargetsError::BelowFloor { .. })));
}

#[test]
fn what_this_version_cannot_write_is_not_rewritten_by_it() {
    let text = String::from_utf8(published().document().to_bytes()).unwrap();
    for (known, unknown) in [
        ("\"kind\":\"container\"", "\"kind\":\"container\",\"new\":1"),
        ("\"type\":\"artifact\"", "\"type\":\"book\""),
        ("\"spec_version\"", "\"delegations\":{\"keys\":{},\"roles\":[]},\"spec_version\""),
    ] {
        let changed = text.replace(known, unknown);
        assert_ne!(changed, text);
        let document = Document::from_bytes(changed.as_bytes()).unwrap();
        assert!(
            matches!(TargetsDocument::from_document(&document), Err(DocumentError::TooNew { .. })),
            "{unknown}"
        );
    }
}

#[test]
fn a_manifest_says_all_that_is_published_of_it() {
    let text = br#"{"format":1,"release":{"name":"os","version":"7"},"counter":7,"severity":"minor",
        "hardware":["cm4"],"artifacts":[{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "length":0}],"steps":[
        {"kind":"file","files":[{"path":"/etc/motd","content":null}]},{"kind":"os-image","compatible":"cm4","version":"7",
        "bundle":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"health":{"probes":[{"tcp":"127.0.0.1:80"}],"interval_millis":1,"timeout_millis":1,
        "start_millis":1,"probation_millis":1,"failures_max":1}}"#;
    let release = Release::of_manifest(text, 3, vec!["boot 2".into()]).unwrap();
    let ManifestCustom { component, release: version, counter, floor, hardware, requires, kind } =
        &release.about;
    assert_eq!((component.as_str(), version.as_str(), *counter, *floor), ("os", "7", 7, 3));
    assert_eq!(
        (hardware[0].as_str(), requires[0].as_str(), kind.as_str()),
        ("cm4", "boot 2", "file, os-image")
    );
    assert_eq!(release.manifest, Artifact { sha256: Sha256Digest::of(text), length: text.len() as u64 });
    assert_eq!(release.artifacts, [file("")]);
    assert!(Release::of_manifest(b"{}", 0, vec![]).is_err());
}
