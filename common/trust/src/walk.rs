//! The walk from root to root, one version at a time: the same for packages and for orders.

use serde::de::IgnoredAny;
use sigstore_tuf::{Metadata, Root, TrustedMetadataSet};
use takt_common::{UnixTime, strict_json};

use crate::error::{Subject, TrustError};
use crate::names::{director_file, root_file};
use crate::provider;
use crate::rules::{Purpose, RootFacts, Rules};

/// The largest root that is read.
pub const ROOT_LENGTH_MAX: usize = 64 * 1024;

/// The most new roots that are taken in one visit: half a decade of weekly rotations.
pub const ROOTS_PER_VISIT_MAX: usize = 256;

/// A verified root and the way to the next one.
#[derive(Debug, Clone)]
pub(crate) struct RootWalk {
    /// Holds the root only.
    set: TrustedMetadataSet,
    facts: RootFacts,
    rules: Rules,
    steps: usize,
}

impl RootWalk {
    /// Begins at a root that is trusted because of where it comes from. It must still be signed by its own keys.
    pub(crate) fn begin(rules: Rules, bytes: &[u8]) -> Result<Self, TrustError> {
        provider::install();
        let document = match rules {
            Rules::Takt(Purpose::Packages) => "the package root",
            Rules::Takt(Purpose::Director) => "the director root",
            Rules::Tuf => "the root",
        };
        let facts = read_root(document, bytes, rules)?;
        let set = TrustedMetadataSet::from_root(bytes).map_err(|error| {
            let (role, root, holders, now) = ("root", facts.version, &facts.root, UnixTime::default());
            Subject { document, bytes, role, root, holders, now }.refused(error)
        })?;
        Ok(Self { set, facts, rules, steps: 0 })
    }

    /// The same root, at the beginning of a visit.
    pub(crate) fn begin_visit(&self) -> Self {
        Self { steps: 0, ..self.clone() }
    }

    pub(crate) fn facts(&self) -> &RootFacts {
        &self.facts
    }

    pub(crate) const fn rules(&self) -> Rules {
        self.rules
    }

    /// The trusted root, with no other metadata.
    pub(crate) fn set(&self) -> &TrustedMetadataSet {
        &self.set
    }

    pub(crate) fn root_bytes(&self) -> &[u8] {
        self.set.root_bytes()
    }

    /// The name of the trusted root.
    pub(crate) fn file(&self) -> String {
        self.file_of(self.facts.version)
    }

    /// The name of the root that may follow.
    pub(crate) fn next_file(&self) -> String {
        self.file_of(self.facts.version.saturating_add(1))
    }

    /// Takes the next root. On an error the walk stands where it stood, except for [`TrustError::TooManyRoots`].
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        let document = &self.next_file();
        let facts = read_root(document, bytes, self.rules)?;
        let (role, now) = ("root", UnixTime::default());
        let old = Subject { document, bytes, role, root: self.facts.version, holders: &self.facts.root, now };
        let new = Subject { root: facts.version, holders: &facts.root, ..old };
        self.set.update_root(bytes).map_err(|error| {
            let error = old.refused(error);
            match error {
                // Enough of the old holders have signed, so the new ones are those who have not.
                TrustError::Threshold { valid, threshold, .. } if valid >= threshold => {
                    new.refused(sigstore_tuf::Error::ThresholdNotMet {
                        role: role.to_owned(),
                        found: 0,
                        threshold: 0,
                    })
                }
                error => error,
            }
        })?;
        self.facts = facts;
        self.steps += 1;
        if self.steps >= ROOTS_PER_VISIT_MAX {
            return Err(TrustError::TooManyRoots { document: document.clone(), limit: ROOTS_PER_VISIT_MAX });
        }
        Ok(())
    }

    /// Refuses to go on under a root that has expired.
    pub(crate) fn check_expiry(&self, now: UnixTime) -> Result<(), TrustError> {
        let expires = self.facts.expires;
        if expires < now {
            return Err(TrustError::Expired { document: self.file(), role: "root", expires, now });
        }
        Ok(())
    }

    fn file_of(&self, version: u64) -> String {
        match self.rules {
            Rules::Takt(Purpose::Packages) | Rules::Tuf => root_file(version),
            Rules::Takt(Purpose::Director) => director_file(version),
        }
    }
}

fn read_root(document: &str, bytes: &[u8], rules: Rules) -> Result<RootFacts, TrustError> {
    check_text(document, bytes, ROOT_LENGTH_MAX)?;
    let metadata = Metadata::<Root>::from_slice(bytes)
        .map_err(|source| TrustError::Malformed { document: document.to_owned(), source })?;
    match rules {
        Rules::Takt(purpose) => RootFacts::read(metadata.signed(), purpose)
            .map_err(|source| TrustError::Rule { document: document.to_owned(), source }),
        Rules::Tuf => Ok(RootFacts::of_any(metadata.signed())),
    }
}

/// The checks before anything is read: length, and one meaning only.
pub(crate) fn check_text(document: &str, bytes: &[u8], limit: usize) -> Result<(), TrustError> {
    let document = document.to_owned();
    if bytes.len() > limit {
        return Err(TrustError::TooLong { document, length: bytes.len(), limit });
    }
    match strict_json::from_slice::<IgnoredAny>(bytes, limit) {
        Ok(IgnoredAny) => Ok(()),
        Err(source) => Err(TrustError::Unreadable { document, source }),
    }
}
