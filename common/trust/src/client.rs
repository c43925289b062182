//! A client of any TUF repository, Takt's or not: the code that devices use, with TUF's rules and none of Takt's own.
//!
//! Beside the roles that [`Refresh`](crate::Refresh) reads it searches delegated ones. With it Takt's verification can be held
//! against what others have published, and against the tests that TUF clients share.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use sigstore_tuf::TrustedMetadataSet;
use takt_common::UnixTime;
use takt_common::digest::to_hex;

use crate::error::TrustError;
use crate::names::{delegated_file, encoded_role};
use crate::package::Held;
use crate::refresh::{Need, TARGETS_LENGTH_MAX};
use crate::rules::Rules;
use crate::visit::{Visit, instant};
use crate::walk::{RootWalk, check_text};

/// So many delegated roles are looked at for one target.
pub const DELEGATIONS_MAX: usize = 32;

/// The documents that are trusted, as a client keeps them: the exact signed bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TufDocuments {
    /// The newest root.
    pub root: Vec<u8>,
    /// The timestamp.
    pub timestamp: Option<Vec<u8>>,
    /// The snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The targets.
    pub targets: Option<Vec<u8>>,
}

/// A look at a repository that has begun.
#[derive(Debug)]
pub struct TufRefresh {
    visit: Visit,
    now: UnixTime,
}

/// What a repository offers, verified.
#[derive(Debug)]
pub struct TufTargets {
    set: TrustedMetadataSet,
    now: UnixTime,
}

/// A search for one target through the delegated roles.
#[derive(Debug)]
pub struct TufSearch<'a> {
    targets: &'a mut TufTargets,
    path: String,
    /// Roles that are still to be looked at, with those that delegate them; the next one is the last.
    ahead: Vec<(String, String)>,
    seen: BTreeSet<String>,
    wanted: Option<Wanted>,
    found: Option<TufTarget>,
}

/// A document that a search waits for.
#[derive(Debug)]
struct Wanted {
    role: String,
    delegator: String,
    need: Need,
}

/// A file that a repository offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufTarget {
    /// Its exact length in bytes.
    pub length: u64,
    /// Its digests in hex digits, by algorithm.
    pub hashes: BTreeMap<String, String>,
    /// Where it lies below the folder of targets.
    pub file: String,
}

impl TufRefresh {
    /// Begins with what is stored, of which only the root must be sound: the rest is looked at as if it came from the repository.
    pub fn begin(stored: &TufDocuments, now: UnixTime) -> Result<Self, TrustError> {
        let TufDocuments { root, timestamp, snapshot, targets } = stored.clone();
        let walk = RootWalk::begin(Rules::Tuf, &root)?;
        let held = Held { timestamp, snapshot, targets, ..Held::default() };
        Ok(Self { visit: Visit::begin(&walk, held, false, now), now })
    }

    /// The file that is needed next; `None` when nothing is needed any more, or nothing would help.
    pub fn need(&self) -> Option<Need> {
        self.visit.need()
    }

    /// Takes the file that was needed; `None` when there is no such file. After an error the refresh is over.
    pub fn provide(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TrustError> {
        self.visit.provide(bytes)
    }

    /// What has been verified so far, also after an error: it takes the place of what was stored.
    pub fn verified(&self) -> TufDocuments {
        let Held { timestamp, snapshot, targets, .. } = self.visit.verified().clone();
        TufDocuments { root: self.visit.walk().root_bytes().to_vec(), timestamp, snapshot, targets }
    }

    /// What the repository offers, once nothing is needed any more.
    pub fn finish(self) -> Result<TufTargets, TrustError> {
        if !self.visit.is_done() {
            let document =
                self.need().map_or_else(|| "a document that was refused".to_owned(), |need| need.name);
            return Err(TrustError::Unfinished { document });
        }
        let (_, _, set) = self.visit.into_parts();
        Ok(TufTargets { set, now: self.now })
    }
}

impl TufTargets {
    /// Begins to look for the target at `path`: in the roles in the order in which they are delegated, each before those beside it.
    pub fn search(&mut self, path: &str) -> Result<TufSearch<'_>, TrustError> {
        let mut search = TufSearch {
            targets: self,
            path: path.to_owned(),
            ahead: vec![("targets".to_owned(), "root".to_owned())],
            seen: BTreeSet::new(),
            wanted: None,
            found: None,
        };
        search.go_on()?;
        Ok(search)
    }

    /// The version of a delegated role that the snapshot names; none for one that it does not know.
    fn pinned(&self, role: &str) -> Option<u64> {
        Some(self.set.snapshot()?.meta.get(&format!("{role}.json"))?.version)
    }

    fn need(&self, role: &str, version: u64) -> Need {
        let consistent = self.set.root().consistent_snapshot;
        let name = if consistent { delegated_file(version, role) } else { encoded_file(role) };
        Need { name, length_max: TARGETS_LENGTH_MAX }
    }
}

/// The file in which a client keeps a delegated role.
pub fn encoded_file(role: &str) -> String {
    format!("{}.json", encoded_role(role))
}

impl TufSearch<'_> {
    /// The document of a delegated role that is needed next; `None` at the end of the search.
    pub fn need(&self) -> Option<Need> {
        self.wanted.as_ref().map(|wanted| wanted.need.clone())
    }

    /// The role whose document is needed next.
    pub fn role(&self) -> Option<&str> {
        self.wanted.as_ref().map(|wanted| wanted.role.as_str())
    }

    /// Takes a copy of the needed document that was stored before, if it is in force still; false when it has to be fetched.
    pub fn offer(&mut self, stored: &[u8]) -> Result<bool, TrustError> {
        let Some(Wanted { role, delegator, need }) = self.wanted.take() else { return Ok(true) };
        let now = instant(self.targets.now);
        let sound = check_text(&need.name, stored, need.length_max).is_ok();
        if !sound || self.targets.set.update_delegated_targets(stored, &role, &delegator, now).is_err() {
            self.wanted = Some(Wanted { role, delegator, need });
            return Ok(false);
        }
        self.look(role)?;
        self.go_on()?;
        Ok(true)
    }

    /// Takes the document that was needed; `None` when there is no such file.
    pub fn provide(&mut self, bytes: Option<&[u8]>) -> Result<(), TrustError> {
        let Some(Wanted { role, delegator, need }) = self.wanted.take() else { return Ok(()) };
        let bytes = bytes.ok_or_else(|| TrustError::Missing { document: need.name.clone() })?;
        check_text(&need.name, bytes, need.length_max)?;
        let now = instant(self.targets.now);
        let updated = self.targets.set.update_delegated_targets(bytes, &role, &delegator, now);
        updated.map_err(|source| TrustError::Delegated {
            document: need.name,
            delegator: delegator.clone(),
            source: source.into(),
        })?;
        self.look(role)?;
        self.go_on()
    }

    /// The target, when one of the roles that may speak of it does.
    pub fn finish(self) -> Option<TufTarget> {
        self.found
    }

    /// Looks at roles that are at hand, until one is needed or the search is at its end.
    fn go_on(&mut self) -> Result<(), TrustError> {
        while let (None, Some((role, delegator))) = (&self.found, self.ahead.pop()) {
            if self.seen.contains(&role) || self.seen.len() > DELEGATIONS_MAX {
                continue;
            }
            if role != "targets" {
                // One that the snapshot does not name is not in force.
                let Some(version) = self.targets.pinned(&role) else { continue };
                let need = self.targets.need(&role, version);
                if self.targets.set.targets_role(&role).is_none() {
                    self.wanted = Some(Wanted { role, delegator, need });
                    return Ok(());
                }
                // Whoever delegates it this time may ask for other keys.
                let now = instant(self.targets.now);
                self.targets.set.verify_delegated_targets(&role, &delegator, now).map_err(|source| {
                    TrustError::Delegated {
                        document: need.name,
                        delegator: delegator.clone(),
                        source: source.into(),
                    }
                })?;
            }
            self.look(role)?;
        }
        Ok(())
    }

    /// Looks for the target in a role that is at hand, and notes the roles to which that delegates it.
    fn look(&mut self, role: String) -> Result<(), TrustError> {
        let Some(signed) = self.targets.set.targets_role(&role) else { return Ok(()) };
        if let Some(target) = signed.target(&self.path) {
            let consistent = self.targets.set.root().consistent_snapshot;
            let (length, hashes) = (target.length, target.hashes.clone());
            let file = target_file(&self.path, hashes.values().next().filter(|_| consistent));
            self.found = Some(TufTarget { length, hashes, file });
            return Ok(());
        }
        let mut below = Vec::new();
        for child in signed.delegations.iter().flat_map(|delegations| &delegations.roles) {
            let malformed = |source| TrustError::Malformed { document: encoded_file(&role), source };
            if child.matches_path(&self.path).map_err(malformed)? {
                below.push((child.name.clone(), role.clone()));
                if child.terminating {
                    self.ahead.clear();
                    break;
                }
            }
        }
        self.ahead.extend(below.into_iter().rev());
        self.seen.insert(role);
        Ok(())
    }
}

impl TufTarget {
    /// Whether these bytes are the file: its length and every digest of a kind that is known here, of which one is needed.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        let known: [(&str, &Algorithm); 3] = [("sha256", &SHA256), ("sha384", &SHA384), ("sha512", &SHA512)];
        let hashes = || known.iter().filter_map(|(name, kind)| Some((self.hashes.get(*name)?, kind)));
        let length = u64::try_from(bytes.len()).is_ok_and(|length| length == self.length);
        let as_signed = |hash: &str, kind: &'static Algorithm| hash == to_hex(digest(kind, bytes).as_ref());
        length && hashes().count() > 0 && hashes().all(|(hash, kind)| as_signed(hash, kind))
    }
}

/// Where a target lies: with consistent snapshots its digest stands before its name.
fn target_file(path: &str, hash: Option<&String>) -> String {
    let Some(hash) = hash else { return path.to_owned() };
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{hash}.{name}"),
        None => format!("{hash}.{path}"),
    }
}
