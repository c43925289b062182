//! A small package repository with real keys, for tests: honest by itself, and easy to bend.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::time::Duration;

use ring::rand::SystemRandom;
use takt_common::release::Artifact;
use takt_common::{Name, Sha256Digest, SigningKey, UnixTime};
use takt_trust::root::ROOT_LIFE;
use takt_trust::{
    Document, ManifestCustom, PackageRoles, PackageTrust, Release, RoleSpec, RootSpec, TargetsDocument,
    TrustError, names, snapshot_for, timestamp_for,
};

pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(&SystemRandom::new()).unwrap()
}

pub(crate) fn role(keys: &[&SigningKey], threshold: usize) -> RoleSpec {
    RoleSpec { keys: keys.iter().map(|key| key.public()).collect(), threshold }
}

/// The component of [`release`].
pub(crate) fn camera() -> Name {
    "camera".parse().unwrap()
}

pub(crate) fn release(version: &str, counter: u64, floor: u64) -> Release {
    let file =
        |text: String| Artifact { length: text.len() as u64, sha256: Sha256Digest::of(text.as_bytes()) };
    let about = ManifestCustom {
        component: camera(),
        release: version.parse().unwrap(),
        counter,
        floor,
        hardware: vec!["cm4".parse().unwrap()],
        requires: vec![],
        kind: "container".into(),
    };
    Release {
        about,
        manifest: file(manifest_text(version)),
        artifacts: vec![file(format!("image {version}"))],
    }
}

/// The bytes of the manifest that [`release`] publishes.
pub(crate) fn manifest_text(version: &str) -> String {
    format!("manifest {version}")
}

pub(crate) struct Repository {
    pub(crate) now: UnixTime,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) root_keys: [SigningKey; 3],
    pub(crate) publishers: [SigningKey; 2],
    pub(crate) snapshot_key: SigningKey,
    pub(crate) timestamp_key: SigningKey,
    pub(crate) root: RootSpec,
    pub(crate) targets: TargetsDocument,
    pub(crate) snapshot_version: u64,
    pub(crate) timestamp_version: u64,
    /// The documents of delegated roles, by role.
    pub(crate) delegated: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// Root 2 of 3, publishers 2 of 2, release 1.0 published in version 1 of everything.
    pub(crate) fn new(now: UnixTime) -> Self {
        let (root_keys, publishers) = ([key(), key(), key()], [key(), key()]);
        let (snapshot_key, timestamp_key) = (key(), key());
        let roles = PackageRoles {
            root: role(&root_keys.each_ref(), 2),
            targets: role(&publishers.each_ref(), 2),
            snapshot: role(&[&snapshot_key], 1),
            timestamp: role(&[&timestamp_key], 1),
        };
        let root = RootSpec { version: 1, expires: now + ROOT_LIFE, roles };
        let targets = TargetsDocument::new(now);
        let (files, snapshot_version, timestamp_version) = (BTreeMap::new(), 0, 0);
        let mut repository = Self {
            now,
            files,
            root_keys,
            publishers,
            snapshot_key,
            timestamp_key,
            root,
            targets,
            snapshot_version,
            timestamp_version,
            delegated: BTreeMap::new(),
        };
        repository.targets.add_release(&release("1.0", 1, 0)).unwrap();
        let bytes = repository.signed_root(&[0, 1]);
        repository.files.insert(names::root_file(1), bytes);
        repository.publish();
        repository
    }

    /// The root as it is now, signed by some of its keys.
    pub(crate) fn signed_root(&self, by: &[usize]) -> Vec<u8> {
        let mut document = self.root.document().unwrap();
        for at in by {
            document.add_signature(&self.root_keys[*at]);
        }
        document.to_bytes()
    }

    /// Writes the root as it is now as the next version.
    pub(crate) fn publish_root(&mut self) {
        self.root.version += 1;
        let bytes = self.signed_root(&[0, 1]);
        self.files.insert(names::root_file(self.root.version), bytes);
    }

    /// The targets as they are now, signed by both publishers.
    pub(crate) fn signed_targets(&self) -> Vec<u8> {
        let mut document = self.targets.document();
        for key in &self.publishers {
            document.add_signature(key);
        }
        document.to_bytes()
    }

    /// Writes the targets as they are now, and the next snapshot and timestamp.
    pub(crate) fn publish(&mut self) {
        let targets = self.signed_targets();
        self.pin_targets(targets);
    }

    /// Publishes one more release.
    pub(crate) fn publish_release(&mut self, version: &str, counter: u64, floor: u64) {
        self.targets.begin_next(self.now);
        self.targets.add_release(&release(version, counter, floor)).unwrap();
        self.publish();
    }

    /// Writes these targets, and the next snapshot and timestamp for them.
    pub(crate) fn pin_targets(&mut self, targets: Vec<u8>) {
        self.snapshot_version += 1;
        let delegated = self.delegated.iter().map(|(role, bytes)| (role.as_str(), bytes.as_slice()));
        let mut snapshot = snapshot_for(&targets, delegated, None, self.snapshot_version, self.now).unwrap();
        for (role, bytes) in &self.delegated {
            let version = Document::from_bytes(bytes).unwrap().version();
            self.files.insert(names::delegated_file(version, role), bytes.clone());
        }
        snapshot.add_signature(&self.snapshot_key);
        let version = Document::from_bytes(&targets).unwrap().version();
        self.files.insert(names::targets_file(version), targets);
        self.pin_snapshot(snapshot.to_bytes());
    }

    /// Writes this snapshot, and the next timestamp for it.
    pub(crate) fn pin_snapshot(&mut self, snapshot: Vec<u8>) {
        self.timestamp_version += 1;
        let mut timestamp = timestamp_for(&snapshot, self.timestamp_version, self.now).unwrap();
        timestamp.add_signature(&self.timestamp_key);
        let version = Document::from_bytes(&snapshot).unwrap().version();
        self.files.insert(names::snapshot_file(version), snapshot);
        self.files.insert(names::TIMESTAMP_FILE.to_owned(), timestamp.to_bytes());
    }

    /// Writes a fresh timestamp for the snapshot that is there.
    pub(crate) fn renew_timestamp(&mut self) {
        self.pin_snapshot(self.files[&names::snapshot_file(self.snapshot_version)].clone());
    }

    /// A device that knows the first root.
    pub(crate) fn device(&self) -> PackageTrust {
        PackageTrust::from_root(&self.files[&names::root_file(1)]).unwrap()
    }

    /// A device that has seen the repository as it is now.
    pub(crate) fn informed_device(&self) -> PackageTrust {
        self.show(&self.device()).unwrap()
    }

    /// A visit of a device.
    pub(crate) fn show(&self, device: &PackageTrust) -> Result<PackageTrust, TrustError> {
        device.refreshed(self.now, |need| self.files.get(&need.name).cloned())
    }

    /// Changes the text of a file.
    pub(crate) fn edit(&mut self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.files[name].clone()).unwrap();
        assert!(text.contains(from), "{name} does not contain {from}: {text}");
        self.files.insert(name.to_owned(), text.replace(from, to).into_bytes());
    }
}
