//! Delegated publishers, as devices see them: what they may speak of counts, and nothing else does.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_common::release::Artifact;
use takt_common::{Name, Sha256Digest, SigningKey, UnixTime};
use takt_trust::{
    Delegation, Document, ManifestCustom, PackageTrust, Release, TargetsDocument, TrustError, names,
    snapshot_for,
};

mod repository;
use repository::{Repository, key, role};

const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A release of `component` with one file.
fn release(component: &str, counter: u64, floor: u64) -> Release {
    let text = format!("{component} {counter}");
    let file = |text: &str| Artifact { length: text.len() as u64, sha256: Sha256Digest::of(text.as_bytes()) };
    let about = ManifestCustom {
        component: name(component),
        release: name(&format!("{counter}.0")),
        counter,
        floor,
        hardware: Vec::new(),
        requires: Vec::new(),
        kind: "os-image".to_owned(),
    };
    Release { about, manifest: file(&text), artifacts: vec![file(&format!("image of {text}"))] }
}

/// Role `os` of two, who must both sign, for components `os-*` in domain `north`.
fn delegation(holders: [&SigningKey; 2]) -> Delegation {
    Delegation {
        name: "os".to_owned(),
        holders: role(&holders, 2),
        components: vec!["os-*".to_owned()],
        kinds: vec!["os-image".to_owned()],
        domains: vec![name("north")],
    }
}

/// A repository that delegates to `os`, and the two who hold that role.
struct Fleet {
    repository: Repository,
    holders: [SigningKey; 2],
    /// What the role has published.
    os: TargetsDocument,
}

impl Fleet {
    fn new() -> Self {
        let mut repository = Repository::new(NOW);
        let holders = [key(), key()];
        repository.targets.begin_next(NOW);
        repository.targets.delegations.push(delegation(holders.each_ref()));
        repository.publish();
        Self { repository, holders, os: TargetsDocument::new(NOW) }
    }

    /// Publishes the role's document as it is now, signed by the first so many of its holders.
    fn publish(&mut self, signers: usize) {
        let mut document = self.os.document();
        for holder in &self.holders[..signers] {
            document.add_signature(holder);
        }
        self.repository.delegated.insert("os".to_owned(), document.to_bytes());
        self.repository.publish();
    }

    fn publish_release(&mut self, release: &Release) {
        self.os.begin_next(NOW);
        self.os.add_release(release).unwrap();
        self.publish(2);
    }
}

#[test]
fn what_a_role_publishes_is_there_with_its_limits() {
    let mut fleet = Fleet::new();
    let device = fleet.repository.informed_device();
    assert!(device.target("releases/os-base/1.0.json").is_none());

    let base = release("os-base", 1, 1);
    fleet.publish_release(&base);
    let device = fleet.repository.show(&device).unwrap();
    let target = device.target("releases/os-base/1.0.json").unwrap();
    assert_eq!((target.sha256, target.domains), (base.manifest.sha256, vec![name("north")]));
    let image = device.target(&base.artifacts[0].target_path()).unwrap();
    assert!(image.domains.is_empty());
    assert_eq!(device.floor(&name("os-base")), 1);
    // What the publishers have published themselves is for all.
    assert!(device.target("releases/camera/1.0.json").unwrap().domains.is_empty());

    // It outlives a restart, and an unchanged visit.
    let stored = PackageTrust::from_stored(&device.to_stored()).unwrap();
    assert!(stored.target("releases/os-base/1.0.json").is_some());
    fleet.repository.renew_timestamp();
    let device = fleet.repository.show(&stored).unwrap();
    assert!(device.target("releases/os-base/1.0.json").is_some());
    assert_eq!(device.to_stored().delegated.len(), 1);
}

#[test]
fn a_role_says_nothing_about_what_it_may_not_publish() {
    let mut fleet = Fleet::new();
    let mut other_kind = release("os-tool", 1, 0);
    other_kind.about.kind = "file".to_owned();
    for foreign in [release("camera", 9, 0), release("lamp", 1, 0), other_kind] {
        fleet.os.add_release(&foreign).unwrap();
    }
    fleet.publish_release(&release("os-base", 1, 0));
    let device = fleet.repository.informed_device();
    let paths: Vec<&str> = device.target_paths().filter(|path| path.starts_with("releases/")).collect();
    assert_eq!(paths, ["releases/camera/1.0.json", "releases/os-base/1.0.json"]);
    // Nor do the files of those count.
    assert!(device.target(&release("lamp", 1, 0).artifacts[0].target_path()).is_none());
    assert_eq!(device.floor(&name("camera")), 0);
}

#[test]
fn too_few_signatures_a_missing_document_and_deeper_roles_are_refused() {
    let mut fleet = Fleet::new();
    let device = fleet.repository.informed_device();
    fleet.os.begin_next(NOW);
    fleet.publish(1);
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Delegated { document, .. } if document == "2.os.json"), "{error}");

    fleet.publish(2);
    assert!(fleet.repository.show(&device).is_ok());
    let file = names::delegated_file(2, "os");
    let there = fleet.repository.files.remove(&file).unwrap();
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Missing { document } if *document == file), "{error}");
    fleet.repository.files.insert(file.clone(), [there.as_slice(), b" "].concat());
    assert!(fleet.repository.show(&device).is_err(), "longer than it is pinned");

    fleet.os.begin_next(NOW);
    let below = Delegation { name: "deeper".to_owned(), ..delegation(fleet.holders.each_ref()) };
    fleet.os.delegations.push(below);
    fleet.publish(2);
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Delegation { document, .. } if document == "3.os.json"), "{error}");
}

#[test]
fn a_roles_document_never_goes_back_and_its_floors_only_rise() {
    let mut fleet = Fleet::new();
    fleet.publish_release(&release("os-base", 1, 0));
    let old = fleet.repository.delegated["os"].clone();
    fleet.publish_release(&release("os-base", 5, 5));
    let device = fleet.repository.informed_device();
    assert_eq!(device.floor(&name("os-base")), 5);

    fleet.repository.delegated.insert("os".to_owned(), old);
    fleet.repository.publish();
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(
        matches!(&error, TrustError::Rollback { role, trusted: 3, found: 2, .. } if role == "os"),
        "{error}"
    );

    fleet.os.targets.retain(|path, _| !path.contains("5.0"));
    fleet.os.begin_next(NOW);
    fleet.publish(2);
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::FloorLowered { trusted: 5, found: 0, .. }), "{error}");
}

#[test]
fn other_holders_take_over_from_stolen_keys_and_forget_what_those_have_done() {
    let mut fleet = Fleet::new();
    fleet.publish_release(&release("os-base", 1, 0));
    // The thief runs ahead with what only his keys have signed.
    fleet.os.version = 900;
    fleet.publish_release(&release("os-base", 800, 800));
    let device = fleet.repository.informed_device();
    assert_eq!(device.floor(&name("os-base")), 800);

    let thieves = std::mem::replace(&mut fleet.holders, [key(), key()]);
    fleet.repository.targets.begin_next(NOW);
    fleet.repository.targets.delegations = vec![delegation(fleet.holders.each_ref())];
    fleet.os = TargetsDocument::new(NOW);
    fleet.os.version = 901;
    fleet.publish_release(&release("os-base", 2, 0));
    let device = fleet.repository.show(&device).unwrap();
    assert_eq!(device.floor(&name("os-base")), 0);
    assert!(device.target("releases/os-base/2.0.json").is_some());
    assert!(device.target("releases/os-base/800.0.json").is_none());

    fleet.holders = thieves;
    fleet.os.begin_next(NOW);
    fleet.publish(2);
    assert!(matches!(fleet.repository.show(&device), Err(TrustError::Delegated { .. })));
}

#[test]
fn a_role_that_is_taken_away_has_nothing_to_say_any_more() {
    let mut fleet = Fleet::new();
    fleet.publish_release(&release("os-base", 1, 1));
    let device = fleet.repository.informed_device();
    fleet.repository.targets.begin_next(NOW);
    fleet.repository.targets.delegations.clear();
    // A snapshot that does not name its document any more is a step back, also for this one.
    let (targets, before) = (fleet.repository.signed_targets(), fleet.repository.snapshot_version);
    let before = fleet.repository.files[&names::snapshot_file(before)].clone();
    fleet.repository.delegated.clear();
    fleet.repository.pin_targets(targets.clone());
    assert!(matches!(fleet.repository.show(&device), Err(TrustError::Rollback { found: 0, .. })));

    let before = Document::from_bytes(&before).unwrap();
    fleet.repository.snapshot_version += 1;
    let version = fleet.repository.snapshot_version;
    let mut snapshot = snapshot_for(&targets, [], Some(&before), version, NOW).unwrap();
    snapshot.add_signature(&fleet.repository.snapshot_key);
    fleet.repository.pin_snapshot(snapshot.to_bytes());
    let device = fleet.repository.show(&device).unwrap();
    assert!(device.target("releases/os-base/1.0.json").is_none());
    assert_eq!((device.floor(&name("os-base")), device.to_stored().delegated.len()), (0, 0));
}

#[test]
fn a_key_of_the_coordinator_publishes_nothing() {
    let mut fleet = Fleet::new();
    let device = fleet.repository.informed_device();
    let timestamp = fleet.repository.timestamp_key.public();
    fleet.repository.targets.begin_next(NOW);
    fleet.repository.targets.delegations[0].holders.keys.push(timestamp);
    fleet.repository.publish();
    let error = fleet.repository.show(&device).unwrap_err();
    assert!(matches!(&error, TrustError::Delegation { .. }), "{error}");
}
