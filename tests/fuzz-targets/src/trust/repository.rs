//! An honest repository, with all keys at hand.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use takt_common::release::Artifact;
use takt_common::{Sha256Digest, SigningKey};
use takt_trust::{
    Delegation, DirectorSpec, DirectorTrust, Document, ManifestCustom, PackageRoles, PackageTrust, Release,
    RoleSpec, RootSpec, TargetsDocument, names, snapshot_for, timestamp_for,
};

use super::NOW;
use crate::envelopes::key;

const YEAR: Duration = Duration::from_hours(365 * 24);

/// The name of the delegated role.
const DELEGATED: &str = "os";

/// Whose document an input takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    Targets,
    Snapshot,
    Timestamp,
    Delegated,
}

impl Role {
    pub(super) const fn of(byte: u8) -> Self {
        match byte % 5 {
            0 => Self::Root,
            1 => Self::Targets,
            2 => Self::Snapshot,
            3 => Self::Timestamp,
            _ => Self::Delegated,
        }
    }
}

pub(super) struct Repository {
    /// Its documents, by name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// A device that knows its first root.
    pub(super) device: PackageTrust,
    /// The same after it has seen everything.
    pub(super) informed: PackageTrust,
    /// Who may order.
    pub(super) director: DirectorTrust,
    keys: Keys,
}

struct Keys {
    root: SigningKey,
    publisher: SigningKey,
    snapshot: SigningKey,
    timestamp: SigningKey,
    delegated: SigningKey,
}

pub(super) static REPOSITORY: LazyLock<Repository> = LazyLock::new(Repository::new);

fn one(key: &SigningKey) -> RoleSpec {
    RoleSpec { keys: vec![key.public()], threshold: 1 }
}

fn signed(mut document: Document, key: &SigningKey) -> Vec<u8> {
    document.add_signature(key);
    document.to_bytes()
}

fn release(component: &str, kind: &str) -> Release {
    let file = |text: &str| Artifact { length: text.len() as u64, sha256: Sha256Digest::of(text.as_bytes()) };
    let about = ManifestCustom {
        component: component.parse().expect("a name"),
        release: "1.0".parse().expect("a name"),
        counter: 1,
        floor: 0,
        hardware: Vec::new(),
        requires: Vec::new(),
        kind: kind.to_owned(),
    };
    Release { about, manifest: file(component), artifacts: vec![file(kind)] }
}

impl Repository {
    fn new() -> Self {
        let [root, publisher, snapshot, timestamp, delegated, order, counter] =
            [11, 12, 13, 14, 15, 16, 17].map(key);
        let keys = Keys { root, publisher, snapshot, timestamp, delegated };
        let roles = PackageRoles {
            root: one(&keys.root),
            targets: one(&keys.publisher),
            snapshot: one(&keys.snapshot),
            timestamp: one(&keys.timestamp),
        };
        let root = RootSpec { version: 1, expires: NOW + YEAR, roles }.document().expect("a root");
        let root = signed(root, &keys.root);
        let director = DirectorSpec {
            epoch: 1,
            expires: NOW + YEAR,
            root: one(&keys.root),
            order: one(&order),
            counter: Some(one(&counter)),
        };
        let director = signed(director.document().expect("a director root"), &keys.root);

        let mut targets = TargetsDocument::new(NOW);
        targets.add_release(&release("camera", "container")).expect("a release");
        targets.delegations.push(Delegation {
            name: DELEGATED.to_owned(),
            holders: one(&keys.delegated),
            components: vec!["os-*".to_owned()],
            kinds: vec!["os-image".to_owned()],
            domains: vec!["north".parse().expect("a name")],
        });
        let mut os = TargetsDocument::new(NOW);
        os.add_release(&release("os-base", "os-image")).expect("a release");

        let mut files = BTreeMap::from([
            (names::root_file(1), root.clone()),
            (names::targets_file(1), signed(targets.document(), &keys.publisher)),
            (names::delegated_file(1, DELEGATED), signed(os.document(), &keys.delegated)),
        ]);
        keys.pin(&mut files);
        let device = PackageTrust::from_root(&root).expect("the root is sound");
        let informed = device.refreshed(NOW, |need| files.get(&need.name).cloned()).expect("it is honest");
        let director = DirectorTrust::from_root(&director).expect("the director root is sound");
        Self { files, device, informed, director, keys }
    }

    /// The name of a role's document; of the root that of the next one.
    #[allow(clippy::unused_self, reason = "it is this repository's")]
    pub(super) fn name(&self, role: Role) -> String {
        match role {
            Role::Root => names::root_file(2),
            Role::Targets => names::targets_file(1),
            Role::Snapshot => names::snapshot_file(1),
            Role::Timestamp => names::TIMESTAMP_FILE.to_owned(),
            Role::Delegated => names::delegated_file(1, DELEGATED),
        }
    }

    /// The documents when the holders of `role` have signed what `said` says, and those above pin it.
    pub(super) fn with(&self, role: Role, said: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
        let document = [br#"{"signatures":[],"signed":"#, said, b"}"].concat();
        let document = Document::from_bytes(&document).ok()?;
        let key = match role {
            Role::Root => &self.keys.root,
            Role::Targets => &self.keys.publisher,
            Role::Snapshot => &self.keys.snapshot,
            Role::Timestamp => &self.keys.timestamp,
            Role::Delegated => &self.keys.delegated,
        };
        let mut files = self.files.clone();
        files.insert(self.name(role), signed(document, key));
        match role {
            Role::Targets | Role::Delegated => self.keys.pin(&mut files).then_some(files),
            Role::Snapshot => self.keys.time(&mut files).then_some(files),
            Role::Root | Role::Timestamp => Some(files),
        }
    }

    /// What an honest document of a role says, for the corpus.
    pub(super) fn said(&self, role: Role) -> Vec<u8> {
        let name = if role == Role::Root { names::root_file(1) } else { self.name(role) };
        let mut document: serde_json::Value = serde_json::from_slice(&self.files[&name]).expect("it is JSON");
        if role == Role::Root {
            document["signed"]["version"] = 2.into();
        }
        serde_json::to_vec(&document["signed"]).expect("it was JSON")
    }
}

impl Keys {
    /// Writes snapshot and timestamp for the targets that are there; they may be none that can be pinned.
    fn pin(&self, files: &mut BTreeMap<String, Vec<u8>>) -> bool {
        let delegated = files[&names::delegated_file(1, DELEGATED)].clone();
        let targets = files[&names::targets_file(1)].clone();
        let Ok(snapshot) = snapshot_for(&targets, [(DELEGATED, delegated.as_slice())], None, 1, NOW) else {
            return false;
        };
        files.insert(names::snapshot_file(1), signed(snapshot, &self.snapshot));
        self.time(files)
    }

    /// Writes the timestamp for the snapshot that is there.
    fn time(&self, files: &mut BTreeMap<String, Vec<u8>>) -> bool {
        let Ok(timestamp) = timestamp_for(&files[&names::snapshot_file(1)], 1, NOW) else { return false };
        files.insert(names::TIMESTAMP_FILE.to_owned(), signed(timestamp, &self.timestamp));
        true
    }
}
