//! One visit to a repository, without any I/O: it says which file it needs, and is given it.
//!
//! ```text
//!   N+1.root.json ... until there is none -> timestamp.json -> S.snapshot.json -> T.targets.json -> D.ROLE.json ... -> done
//! ```
//!
//! This is the client workflow of TUF 1.0.31, section 5, for Takt's repositories and for those of others. In Takt's, beyond it:
//! delegated roles are read at once, one level deep; every pin has a length and a digest, and one version never has two contents. Versions do not go back even when the timestamp
//! key was changed.

use sigstore_tuf::{Error as TufError, MetaFile, Metadata, Snapshot, Targets, TrustedMetadataSet};
use takt_common::{Sha256Digest, UnixTime};

use crate::error::{Subject, TrustError};
use crate::names::{
    SNAPSHOT_FILE, TARGETS_FILE, TIMESTAMP_FILE, delegated_file, snapshot_file, targets_file,
};
use crate::package::{Held, LONG_AGO, delegations_in, is_signed_for};
use crate::refresh::{Need, SNAPSHOT_LENGTH_MAX, TARGETS_LENGTH_MAX, TIMESTAMP_LENGTH_MAX};
use crate::rules::{RoleSpec, RootFacts, Rules};
use crate::walk::{ROOT_LENGTH_MAX, RootWalk, check_text};

/// A visit that has begun.
#[derive(Debug)]
pub(crate) struct Visit {
    now: UnixTime,
    walk: RootWalk,
    root_before: u64,
    before: Held,
    /// What the newest root still vouches for of that.
    kept: Held,
    set: TrustedMetadataSet,
    /// What has been verified in this visit, from here or from there.
    verified: Held,
    /// Whether the documents of before, if they are complete, need not be read again under a newer timestamp.
    known: bool,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Root,
    Timestamp,
    Snapshot(Pin),
    Targets(Pin),
    /// Documents of delegated roles, never none; the next one is the last.
    Delegated(Vec<Ahead>),
    Done {
        unchanged: bool,
    },
    Failed,
}

/// What one document says about another. Documents that are not Takt's may say nothing but the version.
#[derive(Debug, Clone)]
struct Pin {
    version: u64,
    length_max: usize,
    sha256: Option<Sha256Digest>,
}

/// The document of a delegated role.
#[derive(Debug, Clone)]
struct Ahead {
    role: String,
    pin: Pin,
}

impl Ahead {
    fn file(&self) -> String {
        delegated_file(self.pin.version, &self.role)
    }
}

impl Visit {
    /// Begins with what is held. `known` says that its documents, when there is one of each, were read and need not be read again
    /// as long as the snapshot stays the same.
    pub(crate) fn begin(walk: &RootWalk, before: Held, known: bool, now: UnixTime) -> Self {
        Self {
            now,
            walk: walk.begin_visit(),
            root_before: walk.facts().version,
            before,
            kept: Held::default(),
            set: walk.set().clone(),
            verified: Held::default(),
            known,
            step: Step::Root,
        }
    }

    /// The file that is needed next; `None` when nothing is needed any more, or nothing would help.
    pub(crate) fn need(&self) -> Option<Need> {
        let (name, length_max) = match &self.step {
            Step::Root => (self.walk.next_file(), ROOT_LENGTH_MAX),
            Step::Timestamp => (TIMESTAMP_FILE.to_owned(), TIMESTAMP_LENGTH_MAX),
            Step::Snapshot(pin) => (self.snapshot_file(pin.version), pin.length_max),
            Step::Targets(pin) => (self.targets_file(pin.version), pin.length_max),
            Step::Delegated(ahead) => ahead.last().map(|next| (next.file(), next.pin.length_max))?,
            Step::Done { .. } | Step::Failed => return None,
        };
        Some(Need { name, length_max })
    }

    /// Takes the file that was needed; `None` when there is no such file. After an error the visit is over.
    pub(crate) fn provide(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TrustError> {
        let Some(need) = self.need() else {
            return Ok(());
        };
        match self.advance(&need, bytes) {
            Ok(step) => self.step = step,
            Err(error) => {
                self.step = Step::Failed;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends it: something that belongs to it was refused.
    pub(crate) fn fail(&mut self) {
        self.step = Step::Failed;
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.step, Step::Done { .. })
    }

    /// Whether it has ended with the snapshot and targets of before, which were not read again.
    pub(crate) const fn is_unchanged(&self) -> bool {
        matches!(self.step, Step::Done { unchanged: true })
    }

    /// The newest root that has been verified.
    pub(crate) const fn walk(&self) -> &RootWalk {
        &self.walk
    }

    /// What the newest root still vouches for of what was held before, once the roots are known.
    pub(crate) const fn kept(&self) -> &Held {
        &self.kept
    }

    /// The documents that have been verified in this visit so far.
    pub(crate) const fn verified(&self) -> &Held {
        &self.verified
    }

    pub(crate) const fn set(&self) -> &TrustedMetadataSet {
        &self.set
    }

    pub(crate) fn into_parts(self) -> (RootWalk, Held, TrustedMetadataSet) {
        (self.walk, self.verified, self.set)
    }

    /// The file of the targets in it.
    pub(crate) fn targets_name(&self) -> String {
        let pinned = self.set.snapshot().and_then(|snapshot| snapshot.meta.get(TARGETS_FILE));
        self.targets_file(pinned.map_or(0, |pin| pin.version))
    }

    pub(crate) fn root_is_new(&self) -> bool {
        self.walk.facts().version != self.root_before
    }

    fn advance(&mut self, need: &Need, bytes: Option<Vec<u8>>) -> Result<Step, TrustError> {
        let Some(bytes) = bytes else {
            return match self.step {
                Step::Root => self.end_of_roots(),
                _ => Err(TrustError::Missing { document: need.name.clone() }),
            };
        };
        check_text(&need.name, &bytes, need.length_max)?;
        match &self.step {
            Step::Root => self.walk.step(&bytes).map(|()| Step::Root),
            Step::Timestamp => self.take_timestamp(&bytes),
            Step::Snapshot(_) => self.take_snapshot(bytes),
            Step::Targets(_) => self.take_targets(bytes),
            Step::Delegated(ahead) => {
                let mut ahead = ahead.clone();
                if let Some(next) = ahead.pop() {
                    self.take_delegated(&next, bytes)?;
                }
                self.take_at_hand(ahead)
            }
            // `need` was `None` for these, so nothing is given.
            Step::Done { .. } | Step::Failed => Ok(Step::Failed),
        }
    }

    fn end_of_roots(&mut self) -> Result<Step, TrustError> {
        self.walk.check_expiry(self.now)?;
        // Where others keep documents nobody may have looked at them yet.
        let look = self.root_is_new() || !self.is_takt();
        self.kept = if look { self.before.kept_under(&self.walk) } else { self.before.clone() };
        self.set = self.walk.set().clone();
        if let Some(timestamp) = &self.kept.timestamp {
            // It sets the lowest version that is accepted; whether it has expired is asked when it is used.
            self.set.update_timestamp(timestamp, LONG_AGO).map_err(|error| {
                self.subject(TIMESTAMP_FILE, timestamp, "timestamp", |facts| &facts.timestamp).refused(error)
            })?;
        }
        Ok(Step::Timestamp)
    }

    fn take_timestamp(&mut self, bytes: &[u8]) -> Result<Step, TrustError> {
        let result = match self.set.update_timestamp(bytes, instant(self.now)) {
            // Nothing new; but what is trusted already must not have become too old meanwhile.
            Err(TufError::EqualVersion { .. }) => {
                self.verified.timestamp.clone_from(&self.kept.timestamp);
                self.set.check_timestamp_expired(instant(self.now))
            }
            Ok(()) => {
                self.verified.timestamp = Some(bytes.to_vec());
                Ok(())
            }
            Err(error) => Err(error),
        };
        result.map_err(|error| {
            self.subject(TIMESTAMP_FILE, bytes, "timestamp", |facts| &facts.timestamp).refused(error)
        })?;
        let pinned = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let pin = self.pin(TIMESTAMP_FILE, SNAPSHOT_FILE, pinned, SNAPSHOT_LENGTH_MAX)?;
        let Some(kept) = self.kept.snapshot.clone() else {
            return Ok(Step::Snapshot(pin));
        };
        let version = parsed::<Snapshot>("the stored snapshot", &kept)?.signed().version;
        if !self.is_pinned(&pin, TIMESTAMP_FILE, "snapshot", version, &kept)? {
            return Ok(Step::Snapshot(pin));
        }
        if self.known && !self.root_is_new() && self.before.is_complete() {
            // The usual case, with nothing to verify again: the same root and the same snapshot, under a newer timestamp.
            self.verified.snapshot.clone_from(&self.before.snapshot);
            self.verified.targets.clone_from(&self.before.targets);
            self.verified.delegated.clone_from(&self.before.delegated);
            return Ok(Step::Done { unchanged: true });
        }
        self.take_snapshot(kept)
    }

    fn take_snapshot(&mut self, bytes: Vec<u8>) -> Result<Step, TrustError> {
        let pinned = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let file = self.snapshot_file(pinned.map_or(0, |pin| pin.version));
        self.set.update_snapshot(&bytes, instant(self.now)).map_err(|error| {
            self.subject(&file, &bytes, "snapshot", |facts| &facts.snapshot).refused(error)
        })?;
        self.check_no_step_back(&file)?;
        self.verified.snapshot = Some(bytes);
        let pinned = self.set.snapshot().and_then(|snapshot| snapshot.meta.get(TARGETS_FILE));
        let pin = self.pin(&file, TARGETS_FILE, pinned, TARGETS_LENGTH_MAX)?;
        if let Some(kept) = &self.kept.targets {
            let version = parsed::<Targets>("the stored targets", kept)?.signed().version;
            if self.is_pinned(&pin, &file, "targets", version, kept)? {
                return self.take_targets(kept.clone());
            }
        }
        Ok(Step::Targets(pin))
    }

    fn take_targets(&mut self, bytes: Vec<u8>) -> Result<Step, TrustError> {
        let file = self.targets_name();
        if let Err(error) = self.set.update_targets(&bytes, instant(self.now)) {
            return Err(self.subject(&file, &bytes, "targets", |facts| &facts.targets).refused(error));
        }
        self.verified.targets = Some(bytes);
        if !self.is_takt() {
            return Ok(Step::Done { unchanged: false });
        }
        let delegations = delegations_in(&self.set, &file, &self.walk.facts().timestamp)?;
        // What others signed once for a role counts no more, and neither do its versions and floors.
        if let Some(signed) = self.set.targets_role("targets") {
            self.kept.delegated.retain(|role, bytes| is_signed_for(signed, role, bytes));
        }
        let mut ahead = Vec::new();
        for delegation in delegations.into_iter().rev() {
            ahead.extend(self.pinned(delegation.name)?);
        }
        self.take_at_hand(ahead)
    }

    /// The document of a delegated role, if there is one: a role that has never published anything is in no snapshot.
    fn pinned(&self, role: String) -> Result<Option<Ahead>, TrustError> {
        let name = format!("{role}.json");
        let Some(snapshot) = self.set.snapshot() else { return Ok(None) };
        let Some(meta) = snapshot.meta.get(&name) else { return Ok(None) };
        let pin = self.pin(&self.snapshot_file(snapshot.version), &name, Some(meta), TARGETS_LENGTH_MAX)?;
        Ok(Some(Ahead { role, pin }))
    }

    /// Takes documents that are here already, until one has to be fetched.
    fn take_at_hand(&mut self, mut ahead: Vec<Ahead>) -> Result<Step, TrustError> {
        while let Some(next) = ahead.last().cloned() {
            let Some(kept) = self.kept.delegated.get(&next.role).cloned() else { break };
            let version =
                parsed::<Targets>("the stored targets of a delegated role", &kept)?.signed().version;
            let document = self.snapshot_file(self.set.snapshot().map_or(0, |snapshot| snapshot.version));
            let role = next.role.clone();
            if next.pin.version < version {
                return Err(TrustError::Rollback {
                    document,
                    role,
                    trusted: version,
                    found: next.pin.version,
                });
            }
            if next.pin.version > version {
                break;
            }
            if next.pin.sha256 != Some(Sha256Digest::of(&kept)) {
                return Err(TrustError::Replaced { document, role, version });
            }
            ahead.pop();
            self.take_delegated(&next, kept)?;
        }
        Ok(if ahead.is_empty() { Step::Done { unchanged: false } } else { Step::Delegated(ahead) })
    }

    fn take_delegated(&mut self, next: &Ahead, bytes: Vec<u8>) -> Result<(), TrustError> {
        let updated = self.set.update_delegated_targets(&bytes, &next.role, "targets", instant(self.now));
        updated.map_err(|source| TrustError::Delegated {
            document: next.file(),
            delegator: "targets".to_owned(),
            source: source.into(),
        })?;
        self.verified.delegated.insert(next.role.clone(), bytes);
        Ok(())
    }

    /// No targets document disappears from the snapshot or gets an older version in it.
    fn check_no_step_back(&self, file: &str) -> Result<(), TrustError> {
        let (Some(kept), Some(new)) = (&self.kept.snapshot, self.set.snapshot()) else {
            return Ok(());
        };
        for (name, old) in &parsed::<Snapshot>("the stored snapshot", kept)?.signed().meta {
            let found = new.meta.get(name).map_or(0, |pin| pin.version);
            if found < old.version {
                let (document, role) = (file.to_owned(), name.trim_end_matches(".json").to_owned());
                return Err(TrustError::Rollback { document, role, trusted: old.version, found });
            }
        }
        Ok(())
    }

    fn pin(
        &self,
        document: &str,
        pinned: &str,
        meta: Option<&MetaFile>,
        limit: usize,
    ) -> Result<Pin, TrustError> {
        let wrong =
            |what: &str| TrustError::Pin { document: document.to_owned(), what: format!("{pinned} {what}") };
        let meta = meta.ok_or_else(|| wrong("is not named in it"))?;
        let length_max = match meta.length {
            Some(length) => usize::try_from(length)
                .ok()
                .filter(|length| *length <= limit)
                .ok_or_else(|| wrong(&format!("would have {length} bytes, at most {limit} are allowed")))?,
            None if self.is_takt() => return Err(wrong("has no length in it")),
            None => limit,
        };
        let sha256 = match &meta.hashes {
            Some(hashes) => hashes.get("sha256").and_then(|text| text.parse().ok()),
            None if self.is_takt() => return Err(wrong("has no digest in it")),
            None => None,
        };
        if sha256.is_none() && self.is_takt() {
            return Err(wrong("has no SHA-256 digest in it"));
        }
        Ok(Pin { version: meta.version, length_max, sha256 })
    }

    /// Whether the pinned document is the one that is trusted already.
    fn is_pinned(
        &self,
        pin: &Pin,
        document: &str,
        role: &'static str,
        version: u64,
        bytes: &[u8],
    ) -> Result<bool, TrustError> {
        let document = document.to_owned();
        if pin.version < version && !self.is_takt() {
            // By TUF, versions are held against those that a trusted timestamp or snapshot names. One whose key has been taken away
            // names nothing any more, which is how others come back from a thief who has run ahead.
            return Ok(false);
        }
        if pin.version < version {
            return Err(TrustError::Rollback {
                document,
                role: role.to_owned(),
                trusted: version,
                found: pin.version,
            });
        }
        if pin.version > version {
            return Ok(false);
        }
        match pin.sha256 {
            Some(sha256) if sha256 != Sha256Digest::of(bytes) => {
                if self.is_takt() {
                    return Err(TrustError::Replaced { document, role: role.to_owned(), version });
                }
                // What comes instead must be as it is pinned.
                Ok(false)
            }
            Some(_) | None => Ok(true),
        }
    }

    fn is_takt(&self) -> bool {
        self.walk.rules() != Rules::Tuf
    }

    fn snapshot_file(&self, version: u64) -> String {
        if self.set.root().consistent_snapshot { snapshot_file(version) } else { SNAPSHOT_FILE.to_owned() }
    }

    fn targets_file(&self, version: u64) -> String {
        if self.set.root().consistent_snapshot { targets_file(version) } else { TARGETS_FILE.to_owned() }
    }

    fn subject<'a>(
        &'a self,
        document: &'a str,
        bytes: &'a [u8],
        role: &'static str,
        holders: impl FnOnce(&RootFacts) -> &RoleSpec,
    ) -> Subject<'a> {
        let facts = self.walk.facts();
        Subject { document, bytes, role, root: facts.version, holders: holders(facts), now: self.now }
    }
}

fn parsed<T: sigstore_tuf::Role>(document: &str, bytes: &[u8]) -> Result<Metadata<T>, TrustError> {
    Metadata::from_slice(bytes)
        .map_err(|source| TrustError::Malformed { document: document.to_owned(), source })
}

/// The time in the TUF library's terms; beyond the year 9999 it stands still.
pub(crate) fn instant(now: UnixTime) -> jiff::Timestamp {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}
