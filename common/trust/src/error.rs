//! Why trust documents are refused. Every variant names the document and the rule; the role and the keys where there are
//! any.

use sigstore_tuf::Error as TufError;
use takt_common::strict_json::StrictJsonError;
use takt_common::{Name, UnixTime};

use crate::delegation::DelegationRule;
use crate::document::Document;
use crate::rules::{RoleSpec, RootRule, instant_of, key_id};

/// A trust document is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The repository does not hold a document that another one promises.
    #[error("{document} is missing from the repository")]
    Missing {
        /// The file.
        document: String,
    },
    /// Larger than allowed, or larger than the document that pins it says.
    #[error("{document} has {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// The file.
        document: String,
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or JSON with duplicate keys.
    #[error("{document} is unreadable")]
    Unreadable {
        /// The file.
        document: String,
        /// What is wrong.
        #[source]
        source: StrictJsonError,
    },
    /// Not TUF metadata of the right type.
    #[error("{document} is not the TUF document it should be")]
    Malformed {
        /// The file.
        document: String,
        /// What is wrong.
        #[source]
        source: TufError,
    },
    /// A delegation that breaks one of Takt's rules.
    #[error("{document} breaks a rule for delegated roles")]
    Delegation {
        /// The file.
        document: String,
        /// The rule, with role and key.
        #[source]
        source: DelegationRule,
    },
    /// A root that breaks one of Takt's rules.
    #[error("{document} breaks a rule for roots")]
    Rule {
        /// The file.
        document: String,
        /// The rule, with role and key.
        #[source]
        source: RootRule,
    },
    /// Too few valid signatures.
    #[error(
        "{document} has {valid} of the {threshold} valid signatures that role '{role}' of root version {root} needs; \
         there is no valid one by {lacking}"
    )]
    Threshold {
        /// The file.
        document: String,
        /// The role.
        role: &'static str,
        /// The version of the root that says who has the role.
        root: u64,
        /// Different keys with a valid signature.
        valid: usize,
        /// How many are needed.
        threshold: usize,
        /// The ids of the role's keys without a valid signature.
        lacking: String,
    },
    /// One key signed twice.
    #[error("{document} is signed twice by key {key_id} of role '{role}'")]
    SignedTwice {
        /// The file.
        document: String,
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// A root that does not follow the one before.
    #[error(
        "{document} has version {found}, but only version {trusted} + 1 can follow root version {trusted}"
    )]
    RootVersion {
        /// The file.
        document: String,
        /// The version of the trusted root.
        trusted: u64,
        /// The version in the document.
        found: u64,
    },
    /// So many new roots that the walk goes on at the next visit.
    #[error(
        "{document} would be the {limit}th and last new root of this visit; the next visit goes on from there"
    )]
    TooManyRoots {
        /// The last file that was taken.
        document: String,
        /// The limit.
        limit: usize,
    },
    /// Older than what is trusted already.
    #[error(
        "{document} is a step back: version {found} of '{role}', but version {trusted} is trusted already"
    )]
    Rollback {
        /// The file that goes back, or that names an older file.
        document: String,
        /// The role whose version goes back.
        role: String,
        /// The version that is trusted.
        trusted: u64,
        /// The older version.
        found: u64,
    },
    /// One version with two contents.
    #[error("{document} names other bytes for version {version} of '{role}' than are trusted already")]
    Replaced {
        /// The file with the new name.
        document: String,
        /// The role.
        role: String,
        /// The version.
        version: u64,
    },
    /// A document is not the one that its pin describes.
    #[error("{document} does not fit the document that pins it: {what}")]
    Pin {
        /// The file, or the file that pins nothing usable.
        document: String,
        /// What differs.
        what: String,
    },
    /// Too old to be accepted now; or shown unchanged for too long.
    #[error("{document} of role '{role}' expired at {expires}, now is {now}")]
    Expired {
        /// The file.
        document: String,
        /// The role.
        role: &'static str,
        /// When it expired.
        expires: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// A component may go back further than before.
    #[error("{document} lowers the floor of component '{component}' from {trusted} to {found}")]
    FloorLowered {
        /// The file.
        document: String,
        /// The component.
        component: Name,
        /// The floor that holds.
        trusted: u64,
        /// The lower one.
        found: u64,
    },
    /// A target says of itself what cannot be read.
    #[error("{document} has an unreadable target '{path}'")]
    Target {
        /// The file.
        document: String,
        /// The target's path.
        path: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A delegated document is not what the one that delegates it, or the snapshot, says.
    #[error("{document} is not what its delegation by role '{delegator}' allows")]
    Delegated {
        /// The file.
        document: String,
        /// The role that delegates it.
        delegator: String,
        /// What is wrong.
        #[source]
        source: Box<TufError>,
    },
    /// A refresh was ended too early or after an error.
    #[error("the refresh has not come to its end, {document} is still needed")]
    Unfinished {
        /// The next file.
        document: String,
    },
    /// No package metadata has been accepted under the current root.
    #[error("no package metadata has been accepted under root version {root} yet")]
    NoMetadata {
        /// The version of the root.
        root: u64,
    },
    /// The stored form has an unknown format.
    #[error("the stored trust has format {found}, this version of Takt reads format {expected}")]
    StoredFormat {
        /// The format that was found.
        found: u32,
        /// The format that is known.
        expected: u32,
    },
}

/// What is being checked when an error occurs.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The file's name.
    pub(crate) document: &'a str,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// The role that must have signed it.
    pub(crate) role: &'static str,
    /// The version of the root that says who has the role.
    pub(crate) root: u64,
    /// Who has the role.
    pub(crate) holders: &'a RoleSpec,
    /// The time of the check.
    pub(crate) now: UnixTime,
}

impl Subject<'_> {
    /// Says in our words what the TUF library has found.
    pub(crate) fn refused(&self, error: TufError) -> TrustError {
        let document = self.document.to_owned();
        match error {
            TufError::ThresholdNotMet { .. } => self.threshold(),
            TufError::DuplicateSignature { role, key_id } => {
                TrustError::SignedTwice { document, role, key_id }
            }
            TufError::BadRootVersion { trusted, new } => {
                TrustError::RootVersion { document, trusted, found: new }
            }
            TufError::Rollback { role, trusted, new } => {
                TrustError::Rollback { document, role, trusted, found: new }
            }
            TufError::Expired { expires, .. } => {
                TrustError::Expired { document, role: self.role, expires: instant_of(expires), now: self.now }
            }
            TufError::IntegrityMismatch(what) => TrustError::Pin { document, what },
            source => TrustError::Malformed { document, source },
        }
    }

    fn threshold(&self) -> TrustError {
        let signers = Document::from_bytes(self.bytes)
            .map(|document| document.valid_signatures(self.holders))
            .unwrap_or_default();
        let lacking: Vec<String> =
            self.holders.keys.iter().filter(|key| !signers.contains(key)).map(key_id).collect();
        TrustError::Threshold {
            document: self.document.to_owned(),
            role: self.role,
            root: self.root,
            valid: signers.len(),
            threshold: self.holders.threshold,
            lacking: lacking.join(", "),
        }
    }
}
