//! What a device or coordinator trusts about packages.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Metadata, Root, Snapshot, Targets, Timestamp, TrustedMetadataSet};
use takt_common::order::SnapshotRef;
use takt_common::{Name, Sha256Digest, UnixTime};

use crate::author::ISSUED_FIELD;
use crate::delegation::{Delegation, DelegationRule};
use crate::error::{Subject, TrustError};
use crate::names::{TIMESTAMP_FILE, delegated_file, snapshot_file, targets_file};
use crate::refresh::{Need, Refresh, SNAPSHOT_LENGTH_MAX, TARGETS_LENGTH_MAX, TIMESTAMP_LENGTH_MAX};
use crate::rules::{Purpose, RoleSpec, RootFacts, Rules, instant_of};
use crate::stored::{STORED_FORMAT, StoredTrust};
use crate::targets::{Target, TargetCustom, floors, read_target};
use crate::walk::{RootWalk, check_text};

/// How much of a path is shown in an error.
const PATH_SHOWN_MAX: usize = 200;

/// The package metadata that has been verified: a root and, after the first refresh, everything below it.
#[derive(Debug, Clone)]
pub struct PackageTrust {
    pub(crate) walk: RootWalk,
    pub(crate) held: Held,
    /// What the documents say, when there is one of each.
    pub(crate) view: Option<View>,
    pub(crate) floors: BTreeMap<Name, u64>,
}

/// A target that the publishers have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTarget {
    /// Its path.
    pub path: String,
    /// Its exact length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// What it is.
    pub custom: TargetCustom,
    /// The domains whose devices may install it; none means any.
    pub domains: Vec<Name>,
}

/// The exact bytes of the documents below the root; each is signed as the root demands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) timestamp: Option<Vec<u8>>,
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) targets: Option<Vec<u8>>,
    /// Those of delegated roles, by role.
    pub(crate) delegated: BTreeMap<String, Vec<u8>>,
}

/// What a complete set of documents says.
#[derive(Debug, Clone)]
pub(crate) struct View {
    snapshot: SnapshotRef,
    issued: Option<UnixTime>,
    /// When its snapshot was made, by people.
    gathered: Option<UnixTime>,
    /// File, role and expiry of each document below the root.
    expiries: Vec<(String, &'static str, UnixTime)>,
    targets: BTreeMap<String, Target>,
    /// Releases that some domains may have only, by path.
    domains: BTreeMap<String, Vec<Name>>,
}

impl PackageTrust {
    /// Trust in this root and nothing else yet. Where the bytes come from must be trusted: enrolment, or a person.
    pub fn from_root(bytes: &[u8]) -> Result<Self, TrustError> {
        let walk = RootWalk::begin(Rules::Takt(Purpose::Packages), bytes)?;
        Ok(Self { walk, held: Held::default(), view: None, floors: BTreeMap::new() })
    }

    /// Reads the stored form back. Signatures and versions are checked again, expiry is not: what was accepted once
    /// stays accepted until something newer is.
    pub fn from_stored(stored: &StoredTrust) -> Result<Self, TrustError> {
        if stored.format != STORED_FORMAT {
            return Err(TrustError::StoredFormat { found: stored.format, expected: STORED_FORMAT });
        }
        let walk = RootWalk::begin(Rules::Takt(Purpose::Packages), stored.root.as_bytes())?;
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let held = Held {
            timestamp: bytes(&stored.timestamp),
            snapshot: bytes(&stored.snapshot),
            targets: bytes(&stored.targets),
            delegated: stored
                .delegated
                .iter()
                .map(|(role, text)| (role.clone(), text.as_bytes().to_vec()))
                .collect(),
        };
        held.check_signatures(walk.facts(), root_of(&walk))?;
        Self::of_held(walk, held)
    }

    /// The form for the disk: the exact signed bytes.
    pub fn to_stored(&self) -> StoredTrust {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        StoredTrust {
            format: STORED_FORMAT,
            root: String::from_utf8_lossy(self.walk.root_bytes()).into_owned(),
            timestamp: self.held.timestamp.as_ref().map(text),
            snapshot: self.held.snapshot.as_ref().map(text),
            targets: self.held.targets.as_ref().map(text),
            delegated: self.held.delegated.iter().map(|(role, bytes)| (role.clone(), text(bytes))).collect(),
        }
    }

    /// Begins a look at the repository. `self` stays as it is until it is replaced by what [`Refresh::finish`] gives.
    #[must_use]
    pub fn begin_refresh(&self, now: UnixTime) -> Refresh {
        Refresh::begin(self, now)
    }

    /// A whole refresh from a source that answers at once, such as a folder; `None` means that there is no such file.
    pub fn refreshed(
        &self,
        now: UnixTime,
        mut fetch: impl FnMut(&Need) -> Option<Vec<u8>>,
    ) -> Result<Self, TrustError> {
        let mut refresh = self.begin_refresh(now);
        while let Some(need) = refresh.need() {
            refresh.provide(fetch(&need))?;
        }
        refresh.finish()
    }

    /// The version of the root.
    pub fn root_version(&self) -> u64 {
        self.walk.facts().version
    }

    /// The exact bytes of the root.
    pub fn root_bytes(&self) -> &[u8] {
        self.walk.root_bytes()
    }

    /// The snapshot in force; `None` before the first refresh under this root.
    pub fn snapshot(&self) -> Option<SnapshotRef> {
        self.view.as_ref().map(|view| view.snapshot)
    }

    /// The target at `path`, if the publishers have signed one.
    pub fn target(&self, path: &str) -> Option<VerifiedTarget> {
        let view = self.view.as_ref()?;
        let Target { length, sha256, custom } = view.targets.get(path)?.clone();
        let domains = view.domains.get(path).cloned().unwrap_or_default();
        Some(VerifiedTarget { path: path.to_owned(), length, sha256, custom, domains })
    }

    /// The paths of all targets, in order.
    pub fn target_paths(&self) -> impl Iterator<Item = &str> {
        self.view.iter().flat_map(|view| view.targets.keys()).map(String::as_str)
    }

    /// The floor of a component: releases with a lower counter must not be installed. 0 when nothing is known. It stays
    /// when a newer root has taken other documents away, as long as that root vouches for the publishers' document.
    pub fn floor(&self, component: &Name) -> u64 {
        self.floors.get(component).copied().unwrap_or(0)
    }

    /// When the coordinator signed the timestamp in force: the real time is not earlier.
    pub fn issued(&self) -> Option<UnixTime> {
        self.view.as_ref().and_then(|view| view.issued)
    }

    /// When people made the snapshot in force, by their own clock.
    pub fn gathered(&self) -> Option<UnixTime> {
        self.view.as_ref().and_then(|view| view.gathered)
    }

    /// When the root expires: until then its keys say what time it is, and not beyond.
    pub fn root_expires(&self) -> UnixTime {
        self.walk.facts().expires
    }

    /// Whether every timestamp key of `earlier` may still say what is current.
    pub fn keeps_timestamp_keys_of(&self, earlier: &Self) -> bool {
        let (before, now) = (&earlier.walk.facts().timestamp.keys, &self.walk.facts().timestamp.keys);
        before.iter().all(|key| now.contains(key))
    }

    /// Whether anything *new* may be installed: metadata is there and none of it has expired. What runs already, a local
    /// rollback and a refresh do not depend on this.
    pub fn check_fresh(&self, now: UnixTime) -> Result<(), TrustError> {
        let view = self.view.as_ref().ok_or(TrustError::NoMetadata { root: self.root_version() })?;
        self.walk.check_expiry(now)?;
        view.check_expiry(now)
    }

    /// Puts verified documents together; with one missing there is no view.
    pub(crate) fn of_held(walk: RootWalk, held: Held) -> Result<Self, TrustError> {
        let view = match (&held.timestamp, &held.snapshot, &held.targets) {
            (Some(timestamp), Some(snapshot), Some(targets)) => {
                load(&walk, [timestamp, snapshot, targets], &held.delegated)?
            }
            _ => None,
        };
        let floors = match &view {
            Some(view) => view.floors(),
            None => held.floors(&walk.facts().timestamp)?,
        };
        Ok(Self { walk, held, view, floors })
    }
}

impl Held {
    /// Whether there is one of each.
    pub(crate) const fn is_complete(&self) -> bool {
        self.timestamp.is_some() && self.snapshot.is_some() && self.targets.is_some()
    }

    /// Every document is signed as `root` demands.
    fn check_signatures(&self, facts: &RootFacts, root: &Root) -> Result<(), TrustError> {
        let Self { timestamp, snapshot, targets, delegated: _ } = self;
        check_signatures::<Timestamp>(timestamp.as_deref(), root, facts, &facts.timestamp)?;
        check_signatures::<Snapshot>(snapshot.as_deref(), root, facts, &facts.snapshot)?;
        check_signatures::<Targets>(targets.as_deref(), root, facts, &facts.targets)
    }

    /// What of this a newer root still vouches for. The rest is forgotten, and its versions with it: that is how a
    /// repository recovers from a stolen key that was used to run ahead (TUF 5.3.11).
    pub(crate) fn kept_under(&self, walk: &RootWalk) -> Self {
        let (facts, root) = (walk.facts(), root_of(walk));
        let Self { timestamp, snapshot, targets, delegated } = self.clone();
        let targets = targets
            .filter(|bytes| check_signatures::<Targets>(Some(bytes), root, facts, &facts.targets).is_ok());
        Self {
            // Whom the publishers trust is said in their document.
            delegated: if targets.is_some() { delegated } else { BTreeMap::new() },
            timestamp: timestamp.filter(|bytes| {
                check_signatures::<Timestamp>(Some(bytes), root, facts, &facts.timestamp).is_ok()
            }),
            snapshot: snapshot.filter(|bytes| {
                check_signatures::<Snapshot>(Some(bytes), root, facts, &facts.snapshot).is_ok()
            }),
            targets,
        }
    }

    /// The floors that its documents set, complete or not.
    pub(crate) fn floors(&self, online: &RoleSpec) -> Result<BTreeMap<Name, u64>, TrustError> {
        let document = "the stored targets";
        let malformed = |source| TrustError::Malformed { document: document.to_owned(), source };
        let Some(targets) = &self.targets else { return Ok(BTreeMap::new()) };
        let metadata = Metadata::<Targets>::from_slice(targets).map_err(malformed)?;
        let mut all: Vec<Target> = read_targets(document, metadata.signed())?.into_values().collect();
        for delegation in read_delegations(document, metadata.signed(), online)? {
            let Some(bytes) = self.delegated.get(&delegation.name) else { continue };
            if is_signed_for(metadata.signed(), &delegation.name, bytes) {
                let role = Metadata::<Targets>::from_slice(bytes).map_err(malformed)?;
                all.extend(delegation.limit(read_targets(document, role.signed())?).into_values());
            }
        }
        Ok(floors(all.iter()))
    }
}

impl View {
    /// Reads what the documents in `set` say; `snapshot` are the bytes of the snapshot in it.
    pub(crate) fn of(
        set: &TrustedMetadataSet,
        snapshot: &[u8],
        online: &RoleSpec,
    ) -> Result<Option<Self>, TrustError> {
        let (Some(timestamp), Some(pins), Some(signed)) =
            (set.timestamp(), set.snapshot(), set.targets_role("targets"))
        else {
            return Ok(None);
        };
        let file = targets_file(signed.version);
        let mut view = Self {
            snapshot: SnapshotRef { version: pins.version, sha256: Sha256Digest::of(snapshot) },
            issued: issued_in(&timestamp.extra),
            gathered: issued_in(&pins.extra),
            expiries: vec![
                (TIMESTAMP_FILE.to_owned(), "timestamp", instant_of(timestamp.expires)),
                (snapshot_file(pins.version), "snapshot", instant_of(pins.expires)),
                (file.clone(), "targets", instant_of(signed.expires)),
            ],
            targets: read_targets(&file, signed)?,
            domains: BTreeMap::new(),
        };
        for delegation in delegations_in(set, &file, online)? {
            if let Some(signed) = set.targets_role(&delegation.name) {
                view.add(&delegation, signed)?;
            } else if pins.meta.contains_key(&format!("{}.json", delegation.name)) {
                // Not there, though the snapshot names it.
                return Ok(None);
            }
        }
        Ok(Some(view))
    }

    /// Adds what a delegated role may speak of, behind all that is there already.
    fn add(&mut self, delegation: &Delegation, signed: &Targets) -> Result<(), TrustError> {
        let file = delegated_file(signed.version, &delegation.name);
        if signed.delegations.as_ref().is_some_and(|below| !below.roles.is_empty()) {
            let source = DelegationRule::Deep { role: delegation.name.clone() };
            return Err(TrustError::Delegation { document: file, source });
        }
        for (path, target) in delegation.limit(read_targets(&file, signed)?) {
            let domains = match &target.custom {
                TargetCustom::Manifest(_) => delegation.domains.clone(),
                TargetCustom::Artifact(_) => Vec::new(),
            };
            match self.targets.entry(path) {
                Entry::Vacant(new) => {
                    if !domains.is_empty() {
                        self.domains.insert(new.key().clone(), domains);
                    }
                    new.insert(target);
                }
                // One file in releases of several roles.
                Entry::Occupied(mut known) => known.get_mut().share(&target),
            }
        }
        self.expiries.push((file, "targets", instant_of(signed.expires)));
        Ok(())
    }

    /// The same under a newer timestamp.
    pub(crate) fn under(&self, timestamp: &Timestamp) -> Self {
        let mut view = self.clone();
        view.issued = issued_in(&timestamp.extra);
        view.expiries[0].2 = instant_of(timestamp.expires);
        view
    }

    pub(crate) fn check_expiry(&self, now: UnixTime) -> Result<(), TrustError> {
        match self.expiries.iter().find(|(_, _, expires)| *expires < now) {
            Some((document, role, expires)) => {
                Err(TrustError::Expired { document: document.clone(), role, expires: *expires, now })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn floors(&self) -> BTreeMap<Name, u64> {
        floors(self.targets.values())
    }
}

fn issued_in(more: &BTreeMap<String, serde_json::Value>) -> Option<UnixTime> {
    more.get(ISSUED_FIELD).and_then(serde_json::Value::as_u64).map(UnixTime::from_secs)
}

/// To whom the publishers' targets in `set` delegate; `online` has keys that must not be among theirs.
pub(crate) fn delegations_in(
    set: &TrustedMetadataSet,
    document: &str,
    online: &RoleSpec,
) -> Result<Vec<Delegation>, TrustError> {
    set.targets_role("targets")
        .map_or_else(|| Ok(Vec::new()), |signed| read_delegations(document, signed, online))
}

fn read_delegations(
    document: &str,
    signed: &Targets,
    online: &RoleSpec,
) -> Result<Vec<Delegation>, TrustError> {
    let Some(delegations) = &signed.delegations else { return Ok(Vec::new()) };
    let refused = |source| TrustError::Delegation { document: document.to_owned(), source };
    let all = Delegation::read_all(delegations).map_err(refused)?;
    all.iter().try_for_each(|delegation| delegation.check_apart(online)).map_err(refused)?;
    Ok(all)
}

/// Whether a document is signed as the publishers' targets demand it of a role.
pub(crate) fn is_signed_for(publishers: &Targets, role: &str, bytes: &[u8]) -> bool {
    let Some(delegations) = &publishers.delegations else { return false };
    let Some(delegated) = delegations.roles.iter().find(|delegated| delegated.name == role) else {
        return false;
    };
    Metadata::<Targets>::from_slice(bytes).is_ok_and(|metadata| {
        metadata.verify_threshold(&delegations.keys, &delegated.role_keys(), role).is_ok()
    })
}

fn read_targets(document: &str, signed: &Targets) -> Result<BTreeMap<String, Target>, TrustError> {
    let mut targets = BTreeMap::new();
    for (path, entry) in &signed.targets {
        let target = read_target(entry).map_err(|source| TrustError::Target {
            document: document.to_owned(),
            path: path.chars().take(PATH_SHOWN_MAX).collect(),
            source,
        })?;
        targets.extend(target.map(|target| (path.clone(), target)));
    }
    Ok(targets)
}

/// The payload of the trusted root.
fn root_of(walk: &RootWalk) -> &Root {
    walk.set().root()
}

/// Feeds one of each document to the TUF library as if time stood still.
fn load(
    walk: &RootWalk,
    [timestamp, snapshot, targets]: [&Vec<u8>; 3],
    delegated: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<View>, TrustError> {
    let facts = walk.facts();
    let mut set = walk.set().clone();
    let subject = |document, bytes, role, holders| Subject {
        document,
        bytes,
        role,
        root: facts.version,
        holders,
        now: UnixTime::default(),
    };
    set.update_timestamp(timestamp, LONG_AGO)
        .map_err(|error| subject(TIMESTAMP_FILE, timestamp, "timestamp", &facts.timestamp).refused(error))?;
    set.update_snapshot(snapshot, LONG_AGO).map_err(|error| {
        subject("the stored snapshot", snapshot, "snapshot", &facts.snapshot).refused(error)
    })?;
    set.update_targets(targets, LONG_AGO)
        .map_err(|error| subject("the stored targets", targets, "targets", &facts.targets).refused(error))?;
    for delegation in delegations_in(&set, "the stored targets", &facts.timestamp)? {
        let Some(bytes) = delegated.get(&delegation.name) else { continue };
        let document = format!("the stored targets of role '{}'", delegation.name);
        check_text(&document, bytes, TARGETS_LENGTH_MAX)?;
        set.update_delegated_targets(bytes, &delegation.name, "targets", LONG_AGO).map_err(|source| {
            TrustError::Delegated { document, delegator: "targets".to_owned(), source: source.into() }
        })?;
    }
    View::of(&set, snapshot, &facts.timestamp)
}

/// Before any document expires: for checks that are not about expiry.
pub(crate) const LONG_AGO: jiff::Timestamp = jiff::Timestamp::MIN;

fn check_signatures<T: Role>(
    bytes: Option<&[u8]>,
    root: &Root,
    facts: &RootFacts,
    holders: &RoleSpec,
) -> Result<(), TrustError> {
    let Some(bytes) = bytes else {
        return Ok(());
    };
    let (role, limit) = match T::TYPE {
        "timestamp" => ("timestamp", TIMESTAMP_LENGTH_MAX),
        "snapshot" => ("snapshot", SNAPSHOT_LENGTH_MAX),
        _ => ("targets", TARGETS_LENGTH_MAX),
    };
    let document = &format!("the stored {role} document");
    check_text(document, bytes, limit)?;
    let subject = Subject { document, bytes, role, root: facts.version, holders, now: UnixTime::default() };
    let metadata = Metadata::<T>::from_slice(bytes).map_err(|error| subject.refused(error))?;
    let role_keys = root.role(role).ok_or(TrustError::NoMetadata { root: facts.version })?;
    metadata.verify_threshold(&root.keys, role_keys, role).map_err(|error| subject.refused(error))
}
