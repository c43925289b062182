//! A look at a package repository, without any I/O: it says which file it needs, and is given it.
//!
//! ```text
//!   N+1.root.json ... until there is none -> timestamp.json -> S.snapshot.json -> T.targets.json -> done
//! ```
//!
//! This is the client workflow of TUF 1.0.31, section 5. Beyond it: every pin has a length and a digest, one version
//! never has two contents, versions do not go back even when the timestamp key was changed, and floors do not fall.

use sigstore_tuf::{Error as TufError, MetaFile, Metadata, Snapshot, Targets, TrustedMetadataSet};
use takt_common::{Sha256Digest, UnixTime};

use crate::error::{Subject, TrustError};
use crate::names::{TIMESTAMP_FILE, snapshot_file, targets_file};
use crate::package::{Held, LONG_AGO, PackageTrust, View, floors_in};
use crate::rules::{RoleSpec, RootFacts};
pub use crate::walk::{ROOT_LENGTH_MAX, ROOTS_PER_VISIT_MAX};
use crate::walk::{RootWalk, check_text};

/// The largest timestamp that is read.
pub const TIMESTAMP_LENGTH_MAX: usize = 16 * 1024;

/// The largest snapshot that is read: room for hundreds of delegated roles.
pub const SNAPSHOT_LENGTH_MAX: usize = 64 * 1024;

/// The largest targets document that is read: about 3,000 releases, and little enough for a small device.
pub const TARGETS_LENGTH_MAX: usize = 2 * 1024 * 1024;

/// A file that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its name in the repository's folder.
    pub name: String,
    /// Reading may stop with an error after so many bytes.
    pub length_max: usize,
}

/// A look at the repository that has begun.
#[derive(Debug)]
pub struct Refresh {
    old: PackageTrust,
    now: UnixTime,
    walk: RootWalk,
    /// What the newest root still vouches for of what was trusted before.
    kept: Held,
    set: TrustedMetadataSet,
    timestamp: Vec<u8>,
    snapshot: Vec<u8>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Root,
    Timestamp,
    Snapshot(Pin),
    Targets(Pin),
    Done { targets: Vec<u8>, view: View },
    Failed,
}

/// What one document says about another.
#[derive(Debug, Clone)]
struct Pin {
    version: u64,
    length: usize,
    sha256: Sha256Digest,
}

impl Refresh {
    pub(crate) fn begin(trust: &PackageTrust, now: UnixTime) -> Self {
        Self {
            old: trust.clone(),
            now,
            walk: trust.walk.begin_visit(),
            kept: Held::default(),
            set: trust.walk.set().clone(),
            timestamp: Vec::new(),
            snapshot: Vec::new(),
            step: Step::Root,
        }
    }

    /// The file that is needed next; `None` when nothing is needed any more, or nothing would help.
    pub fn need(&self) -> Option<Need> {
        let (name, length_max) = match &self.step {
            Step::Root => (self.walk.next_file(), ROOT_LENGTH_MAX),
            Step::Timestamp => (TIMESTAMP_FILE.to_owned(), TIMESTAMP_LENGTH_MAX),
            Step::Snapshot(pin) => (snapshot_file(pin.version), pin.length),
            Step::Targets(pin) => (targets_file(pin.version), pin.length),
            Step::Done { .. } | Step::Failed => return None,
        };
        Some(Need { name, length_max })
    }

    /// Takes the file that was needed; `None` when the server says that there is no such file. (When the server says
    /// nothing, drop the refresh and try again later.) After an error the refresh is over.
    pub fn provide(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TrustError> {
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

    /// The new trust, once nothing is needed any more.
    pub fn finish(self) -> Result<PackageTrust, TrustError> {
        let document = self.need().map_or_else(|| "a document that was refused".to_owned(), |need| need.name);
        let Step::Done { targets, view } = self.step else {
            return Err(TrustError::Unfinished { document });
        };
        let held =
            Held { timestamp: Some(self.timestamp), snapshot: Some(self.snapshot), targets: Some(targets) };
        let floors = view.floors();
        Ok(PackageTrust { walk: self.walk, held, view: Some(view), floors })
    }

    /// The old trust under the newest root that was verified, for when the rest of the refresh failed: a root that takes
    /// a stolen key away counts at once. Documents that the new root does not vouch for are gone.
    pub fn keep_root(self) -> Result<PackageTrust, TrustError> {
        if !self.root_is_new() {
            return Ok(self.old);
        }
        let held = self.old.held.kept_under(&self.walk);
        PackageTrust::of_held(self.walk, held)
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
            // `need` was `None` for these, so nothing is given.
            Step::Done { .. } | Step::Failed => Ok(Step::Failed),
        }
    }

    fn end_of_roots(&mut self) -> Result<Step, TrustError> {
        self.walk.check_expiry(self.now)?;
        self.kept =
            if self.root_is_new() { self.old.held.kept_under(&self.walk) } else { self.old.held.clone() };
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
                self.timestamp = self.kept.timestamp.clone().unwrap_or_default();
                self.set.check_timestamp_expired(instant(self.now))
            }
            Ok(()) => {
                self.timestamp = bytes.to_vec();
                Ok(())
            }
            Err(error) => Err(error),
        };
        result.map_err(|error| {
            self.subject(TIMESTAMP_FILE, bytes, "timestamp", |facts| &facts.timestamp).refused(error)
        })?;
        let pinned = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let pin = Pin::read(TIMESTAMP_FILE, "snapshot.json", pinned, SNAPSHOT_LENGTH_MAX)?;
        let Some(kept) = self.kept.snapshot.clone() else {
            return Ok(Step::Snapshot(pin));
        };
        let version = parsed::<Snapshot>("the stored snapshot", &kept)?.signed().version;
        if !pin.same_as(TIMESTAMP_FILE, "snapshot", version, &kept)? {
            return Ok(Step::Snapshot(pin));
        }
        match self.unchanged()? {
            Some(done) => Ok(done),
            None => self.take_snapshot(kept),
        }
    }

    /// The usual case, with nothing to verify again: the same root and the same snapshot, under a newer timestamp.
    fn unchanged(&mut self) -> Result<Option<Step>, TrustError> {
        let Held { snapshot: Some(snapshot), targets: Some(targets), .. } = &self.old.held else {
            return Ok(None);
        };
        let (Some(old), Some(timestamp), false) = (&self.old.view, self.set.timestamp(), self.root_is_new())
        else {
            return Ok(None);
        };
        let view = old.under(timestamp);
        view.check_expiry(self.now)?;
        self.snapshot.clone_from(snapshot);
        Ok(Some(Step::Done { targets: targets.clone(), view }))
    }

    fn root_is_new(&self) -> bool {
        self.walk.facts().version != self.old.root_version()
    }

    fn take_snapshot(&mut self, bytes: Vec<u8>) -> Result<Step, TrustError> {
        let pinned = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let file = snapshot_file(pinned.map_or(0, |pin| pin.version));
        self.set.update_snapshot(&bytes, instant(self.now)).map_err(|error| {
            self.subject(&file, &bytes, "snapshot", |facts| &facts.snapshot).refused(error)
        })?;
        self.check_no_step_back(&file)?;
        self.snapshot = bytes;
        let pinned = self.set.snapshot().and_then(|snapshot| snapshot.meta.get("targets.json"));
        let pin = Pin::read(&file, "targets.json", pinned, TARGETS_LENGTH_MAX)?;
        if let Some(kept) = &self.kept.targets {
            let version = parsed::<Targets>("the stored targets", kept)?.signed().version;
            if pin.same_as(&file, "targets", version, kept)? {
                return self.take_targets(kept.clone());
            }
        }
        Ok(Step::Targets(pin))
    }

    fn take_targets(&mut self, bytes: Vec<u8>) -> Result<Step, TrustError> {
        let pinned = self.set.snapshot().and_then(|snapshot| snapshot.meta.get("targets.json"));
        let file = targets_file(pinned.map_or(0, |pin| pin.version));
        if let Err(error) = self.set.update_targets(&bytes, instant(self.now)) {
            return Err(self.subject(&file, &bytes, "targets", |facts| &facts.targets).refused(error));
        }
        let view = View::of(&self.set, &self.snapshot)?
            .ok_or(TrustError::NoMetadata { root: self.walk.facts().version })?;
        self.check_floors(&file, &view)?;
        Ok(Step::Done { targets: bytes, view })
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

    fn check_floors(&self, file: &str, view: &View) -> Result<(), TrustError> {
        let Some(kept) = &self.kept.targets else {
            return Ok(());
        };
        let floors = view.floors();
        for (component, trusted) in floors_in(kept)? {
            let found = floors.get(&component).copied().unwrap_or(0);
            if found < trusted {
                return Err(TrustError::FloorLowered {
                    document: file.to_owned(),
                    component,
                    trusted,
                    found,
                });
            }
        }
        Ok(())
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

impl Pin {
    fn read(document: &str, pinned: &str, meta: Option<&MetaFile>, limit: usize) -> Result<Self, TrustError> {
        let wrong =
            |what: &str| TrustError::Pin { document: document.to_owned(), what: format!("{pinned} {what}") };
        let meta = meta.ok_or_else(|| wrong("is not named in it"))?;
        let length = meta.length.ok_or_else(|| wrong("has no length in it"))?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit)
            .ok_or_else(|| wrong(&format!("would have {length} bytes, at most {limit} are allowed")))?;
        let hashes = meta.hashes.as_ref().ok_or_else(|| wrong("has no digest in it"))?;
        let sha256 = hashes.get("sha256").and_then(|text| text.parse().ok());
        let sha256 = sha256.ok_or_else(|| wrong("has no SHA-256 digest in it"))?;
        Ok(Self { version: meta.version, length, sha256 })
    }

    /// Whether the pinned document is the one that is trusted already.
    fn same_as(
        &self,
        document: &str,
        role: &'static str,
        version: u64,
        bytes: &[u8],
    ) -> Result<bool, TrustError> {
        let document = document.to_owned();
        if self.version < version {
            return Err(TrustError::Rollback {
                document,
                role: role.to_owned(),
                trusted: version,
                found: self.version,
            });
        }
        if self.version > version {
            return Ok(false);
        }
        if self.sha256 != Sha256Digest::of(bytes) {
            return Err(TrustError::Replaced { document, role, version });
        }
        Ok(true)
    }
}

fn parsed<T: sigstore_tuf::Role>(document: &str, bytes: &[u8]) -> Result<Metadata<T>, TrustError> {
    Metadata::from_slice(bytes)
        .map_err(|source| TrustError::Malformed { document: document.to_owned(), source })
}

/// The time in the TUF library's terms; beyond the year 9999 it stands still.
fn instant(now: UnixTime) -> jiff::Timestamp {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}
