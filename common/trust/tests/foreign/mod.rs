//! A TUF repository as others make them: no purpose in its root, no lengths and digests in its pins, delegated roles.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use takt_common::{Sha256Digest, SigningKey};
use takt_trust::rules::key_id;
use takt_trust::{Document, names};

/// When all of it expires, unless a test says otherwise.
pub(crate) const EXPIRES: &str = "2035-01-01T00:00:00Z";

/// What a role offers, delegated or not.
#[derive(Debug, Clone)]
pub(crate) struct Offers {
    pub(crate) version: u64,
    pub(crate) signer: usize,
    pub(crate) targets: BTreeMap<String, Value>,
    pub(crate) delegations: Vec<Value>,
}

/// The repository: what it says, and its files under the names by which clients ask for them.
pub(crate) struct Foreign {
    /// The first signs all but what is delegated.
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) root: u64,
    pub(crate) timestamp: u64,
    pub(crate) snapshot: u64,
    pub(crate) snapshot_expires: &'static str,
    pub(crate) consistent: bool,
    pub(crate) roles: BTreeMap<String, Offers>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Foreign {
    pub(crate) fn new(keys: Vec<SigningKey>) -> Self {
        let roles = BTreeMap::from([("targets".to_owned(), Offers::new(0))]);
        let mut repository = Self {
            keys,
            root: 1,
            timestamp: 0,
            snapshot: 0,
            snapshot_expires: EXPIRES,
            consistent: true,
            roles,
            files: BTreeMap::new(),
        };
        repository.publish_root();
        repository
    }

    /// Offers a target, by a role that is there.
    pub(crate) fn offer(&mut self, role: &str, path: &str, content: &[u8]) {
        let sha256 = Sha256Digest::of(content).to_string();
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let slash = if folder.is_empty() { "" } else { "/" };
        self.files.insert(format!("targets/{folder}{slash}{sha256}.{name}"), content.to_vec());
        let target = json!({"length": content.len(), "hashes": {"sha256": sha256}});
        self.roles.get_mut(role).unwrap().targets.insert(path.to_owned(), target);
    }

    /// Delegates `paths` to a new role, or to one that is there.
    pub(crate) fn delegate(
        &mut self,
        by: &str,
        role: &str,
        signer: usize,
        paths: &[&str],
        terminating: bool,
    ) {
        let delegation = json!({
            "name": role,
            "keyids": [key_id(&self.keys[signer].public())],
            "threshold": 1,
            "terminating": terminating,
            "paths": paths,
        });
        self.roles.get_mut(by).unwrap().delegations.push(delegation);
        self.roles.entry(role.to_owned()).or_insert_with(|| Offers::new(signer));
    }

    /// Signs everything below the root anew, under the next versions of snapshot and timestamp.
    pub(crate) fn publish(&mut self) {
        self.snapshot += 1;
        self.timestamp += 1;
        let mut pins = BTreeMap::new();
        for (name, role) in self.roles.clone() {
            pins.insert(format!("{name}.json"), json!({"version": role.version}));
            let keys: BTreeMap<String, Value> = self.keys.iter().map(key_entry).collect();
            let mut signed = json!({
                "_type": "targets",
                "spec_version": "1.0.31",
                "version": role.version,
                "expires": EXPIRES,
                "targets": role.targets,
            });
            if !role.delegations.is_empty() {
                signed["delegations"] = json!({"keys": keys, "roles": role.delegations});
            }
            let bytes = sign(&signed, &self.keys[role.signer]);
            self.put(names::delegated_file(role.version, &name), bytes);
        }
        let snapshot = json!({
            "_type": "snapshot",
            "spec_version": "1.0.31",
            "version": self.snapshot,
            "expires": self.snapshot_expires,
            "meta": pins,
        });
        self.put(names::snapshot_file(self.snapshot), sign(&snapshot, &self.keys[0]));
        let timestamp = json!({
            "_type": "timestamp",
            "spec_version": "1.0.31",
            "version": self.timestamp,
            "expires": EXPIRES,
            "meta": {"snapshot.json": {"version": self.snapshot}},
        });
        self.files.insert(names::TIMESTAMP_FILE.to_owned(), sign(&timestamp, &self.keys[0]));
    }

    pub(crate) fn publish_root(&mut self) {
        let id = key_id(&self.keys[0].public());
        let role = json!({"keyids": [id], "threshold": 1});
        let root = json!({
            "_type": "root",
            "spec_version": "1.0.31",
            "version": self.root,
            "expires": EXPIRES,
            "consistent_snapshot": self.consistent,
            "keys": BTreeMap::from([key_entry(&self.keys[0])]),
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
        });
        self.files.insert(names::root_file(self.root), sign(&root, &self.keys[0]));
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.files[&names::root_file(self.root)].clone()
    }

    /// Files have their versions in their names where the root says so.
    fn put(&mut self, name: String, bytes: Vec<u8>) {
        let name = if self.consistent { name } else { name.split_once('.').unwrap().1.to_owned() };
        self.files.insert(name, bytes);
    }
}

impl Offers {
    fn new(signer: usize) -> Self {
        Self { version: 1, signer, targets: BTreeMap::new(), delegations: Vec::new() }
    }
}

fn key_entry(key: &SigningKey) -> (String, Value) {
    let public = json!({"public": key.public().to_string()});
    (key_id(&key.public()), json!({"keytype": "ed25519", "keyval": public, "scheme": "ed25519"}))
}

fn sign(signed: &Value, key: &SigningKey) -> Vec<u8> {
    let text = json!({"signatures": [], "signed": signed}).to_string();
    let mut document = Document::from_bytes(text.as_bytes()).unwrap();
    document.add_signature(key);
    document.to_bytes()
}
