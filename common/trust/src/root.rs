//! Writing roots: who may sign what, for packages and for orders.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sigstore_tuf::Metadata;
use takt_common::UnixTime;

use crate::document::{Document, DocumentError};
use crate::rules::{Purpose, RoleSpec, RootFacts, RootRule, SPEC_VERSION, key_id, key_object};

/// How long a root is good for unless something else is wished: a year.
pub const ROOT_LIFE: Duration = Duration::from_hours(365 * 24);

/// The root of a package repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// Counts from 1, by one.
    pub version: u64,
    /// After this nothing new is accepted under it, except a newer root.
    pub expires: UnixTime,
    /// Who may sign what.
    pub roles: PackageRoles,
}

/// The four roles of a package repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRoles {
    /// Those who say who may sign what; offline.
    pub root: RoleSpec,
    /// The publishers; offline.
    pub targets: RoleSpec,
    /// Those who say which documents belong together; offline.
    pub snapshot: RoleSpec,
    /// The coordinator's key that says what is current; online, so it has no other role.
    pub timestamp: RoleSpec,
}

/// The root of those who order.
///
/// It is a TUF root with two signed fields more, so that every TUF tool can read and check it. TUF allows no roles
/// beside its four, so the order keys stand in the field `x-takt-order`, in the form of a role; the roles `targets`,
/// `snapshot` and `timestamp`, which TUF demands but nothing here uses, are those of `root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorSpec {
    /// The document's version, and the epoch of every order under it. Counts from 1, by one.
    pub epoch: u64,
    /// After this no order is accepted under it; a newer root is.
    pub expires: UnixTime,
    /// Those who say who may order; offline.
    pub root: RoleSpec,
    /// The coordinators' order keys; online, so they have no other role.
    pub order: RoleSpec,
    /// Who permits what coordinators may not order by themselves; offline. Nobody may where there is none.
    pub counter: Option<RoleSpec>,
}

#[derive(Serialize)]
struct RootBody {
    #[serde(rename = "_type")]
    kind: &'static str,
    consistent_snapshot: bool,
    expires: String,
    keys: BTreeMap<String, serde_json::Value>,
    roles: BTreeMap<&'static str, RoleBody>,
    spec_version: &'static str,
    version: u64,
    #[serde(rename = "x-takt-purpose")]
    purpose: Purpose,
    #[serde(rename = "x-takt-order", skip_serializing_if = "Option::is_none")]
    order: Option<RoleBody>,
    #[serde(rename = "x-takt-counter", skip_serializing_if = "Option::is_none")]
    counter: Option<RoleBody>,
}

#[derive(Serialize)]
struct RoleBody {
    keyids: Vec<String>,
    threshold: usize,
}

impl RootSpec {
    /// The document to sign, by the root keys of this version and, from version 2 on, of the version before.
    pub fn document(&self) -> Result<Document, RootRule> {
        let PackageRoles { root, targets, snapshot, timestamp } = self.roles.clone();
        let facts = RootFacts {
            version: self.version,
            expires: self.expires,
            root,
            targets,
            snapshot,
            timestamp,
            order: None,
            counter: None,
        };
        write(&facts, Purpose::Packages)
    }

    /// Reads a root back. Its signatures are not checked.
    pub fn from_document(document: &Document) -> Result<Self, DocumentError> {
        let RootFacts { version, expires, root, targets, snapshot, timestamp, .. } =
            read(document, Purpose::Packages)?;
        let spec = Self { version, expires, roles: PackageRoles { root, targets, snapshot, timestamp } };
        faithful(document, &spec.document()?)?;
        Ok(spec)
    }
}

impl DirectorSpec {
    /// The document to sign, by the root keys of this epoch and, from epoch 2 on, of the epoch before.
    pub fn document(&self) -> Result<Document, RootRule> {
        let facts = RootFacts {
            version: self.epoch,
            expires: self.expires,
            root: self.root.clone(),
            targets: self.root.clone(),
            snapshot: self.root.clone(),
            timestamp: self.root.clone(),
            order: Some(self.order.clone()),
            counter: self.counter.clone(),
        };
        write(&facts, Purpose::Director)
    }

    /// Reads a director root back. Its signatures are not checked.
    pub fn from_document(document: &Document) -> Result<Self, DocumentError> {
        let facts = read(document, Purpose::Director)?;
        let order = facts.order.ok_or(RootRule::OrderField { what: "missing" })?;
        let RootFacts { version: epoch, expires, root, counter, .. } = facts;
        let spec = Self { epoch, expires, root, order, counter };
        faithful(document, &spec.document()?)?;
        Ok(spec)
    }
}

fn write(facts: &RootFacts, purpose: Purpose) -> Result<Document, RootRule> {
    facts.check()?;
    let RootFacts { version, expires, root, targets, snapshot, timestamp, order, counter } = facts;
    let all = [root, targets, snapshot, timestamp].into_iter().chain(order).chain(counter);
    let keys = all.flat_map(|role| &role.keys).map(|key| (key_id(key), key_object(key))).collect();
    let named = [("root", root), ("targets", targets), ("snapshot", snapshot), ("timestamp", timestamp)];
    Ok(Document::unsigned(&RootBody {
        kind: "root",
        consistent_snapshot: true,
        expires: expires.to_string(),
        keys,
        roles: named.map(|(name, role)| (name, role_body(role))).into(),
        spec_version: SPEC_VERSION,
        version: *version,
        purpose,
        order: order.as_ref().map(role_body),
        counter: counter.as_ref().map(role_body),
    }))
}

fn role_body(role: &RoleSpec) -> RoleBody {
    RoleBody { keyids: role.keys.iter().map(key_id).collect(), threshold: role.threshold }
}

fn read(document: &Document, purpose: Purpose) -> Result<RootFacts, DocumentError> {
    let metadata = Metadata::from_slice(&document.to_bytes()).map_err(DocumentError::NotTuf)?;
    Ok(RootFacts::read(metadata.signed(), purpose)?)
}

/// Refuses a document that would lose something by being read and written again.
pub(crate) fn faithful(document: &Document, again: &Document) -> Result<(), DocumentError> {
    if document.signed() == again.signed() {
        return Ok(());
    }
    Err(DocumentError::TooNew { kind: document.kind().to_owned() })
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use takt_common::SigningKey;

    use super::*;

    fn role() -> RoleSpec {
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        RoleSpec { keys: vec![key.public()], threshold: 1 }
    }

    fn package_root() -> RootSpec {
        let roles = PackageRoles { root: role(), targets: role(), snapshot: role(), timestamp: role() };
        RootSpec { version: 1, expires: UnixTime::from_secs(1_800_000_000), roles }
    }

    fn director_root() -> DirectorSpec {
        let (expires, counter) = (UnixTime::from_secs(1_800_000_000), Some(role()));
        DirectorSpec { epoch: 1, expires, root: role(), order: role(), counter }
    }

    #[test]
    fn roots_are_read_as_they_were_written() {
        let spec = package_root();
        let bytes = spec.document().unwrap().to_bytes();
        assert_eq!(RootSpec::from_document(&Document::from_bytes(&bytes).unwrap()).unwrap(), spec);
        let spec = director_root();
        let bytes = spec.document().unwrap().to_bytes();
        assert_eq!(DirectorSpec::from_document(&Document::from_bytes(&bytes).unwrap()).unwrap(), spec);
    }

    #[test]
    fn a_root_for_one_thing_is_none_for_the_other() {
        let document = director_root().document().unwrap();
        assert!(matches!(
            RootSpec::from_document(&document),
            Err(DocumentError::Rule(RootRule::Purpose { found, .. })) if found == "director"
        ));
        let document = package_root().document().unwrap();
        assert!(DirectorSpec::from_document(&document).is_err());
    }

    #[test]
    fn a_key_of_the_coordinator_has_one_role() {
        let mut spec = package_root();
        spec.roles.snapshot = spec.roles.timestamp.clone();
        assert!(matches!(spec.document(), Err(RootRule::OnlineKeyShared { role: "snapshot", .. })));
        let mut spec = director_root();
        spec.root = spec.order.clone();
        assert!(matches!(spec.document(), Err(RootRule::OnlineKeyShared { online: "order", .. })));
        let mut spec = director_root();
        spec.counter = Some(spec.order.clone());
        assert!(matches!(spec.document(), Err(RootRule::OnlineKeyShared { role: "counter", .. })));
    }

    #[test]
    fn fields_that_would_get_lost_are_refused() {
        let text = String::from_utf8(package_root().document().unwrap().to_bytes()).unwrap();
        let more = text.replace("\"x-takt-purpose\"", "\"x-takt-new\":1,\"x-takt-purpose\"");
        let document = Document::from_bytes(more.as_bytes()).unwrap();
        assert!(matches!(RootSpec::from_document(&document), Err(DocumentError::TooNew { .. })));
    }
}
