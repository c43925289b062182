//! Which signatures the newest documents have and miss.

use serde::Serialize;
use takt_common::PublicKey;
use takt_trust::RoleSpec;

use super::dir::{Role, Stored, TrustDir, TrustDirError};
use crate::output::{Output, Tone};

/// The newest documents of a trust folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// True when nothing is missing: the folder can be published.
    pub complete: bool,
    /// Each document.
    pub documents: Vec<DocumentStatus>,
}

/// A document and who has signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentStatus {
    /// Its name in the folder.
    pub file: String,
    /// Its version.
    pub version: u64,
    /// How many holders of its role must sign.
    pub threshold: usize,
    /// Those who have.
    pub signed_by: Vec<PublicKey>,
    /// Those who could as well.
    pub may_sign: Vec<PublicKey>,
}

impl Status {
    /// Looks at the folder.
    pub fn of(dir: &TrustDir) -> Result<Self, TrustDirError> {
        let mut documents = Vec::new();
        let all = dir.all()?;
        for role in &all {
            if let Some(stored) = dir.newest(role)? {
                documents.push(DocumentStatus::of(dir, role, &stored)?);
            }
        }
        let complete = match dir.complete(&all) {
            Ok(_) => true,
            Err(
                TrustDirError::Unsigned { .. }
                | TrustDirError::NoSnapshot { .. }
                | TrustDirError::Missing { .. },
            ) => false,
            Err(error) => return Err(error),
        };
        Ok(Self { complete, documents })
    }

    /// The status for people.
    pub fn lines(&self, output: Output) -> Vec<String> {
        let mut lines: Vec<String> = self.documents.iter().map(|document| document.line(output)).collect();
        if !self.complete && self.documents.iter().all(DocumentStatus::is_complete) {
            lines.push("the newest targets are in no snapshot yet: sign with the snapshot key".to_owned());
        }
        lines
    }
}

impl DocumentStatus {
    /// Looks at one document.
    pub fn of(dir: &TrustDir, role: &Role, stored: &Stored) -> Result<Self, TrustDirError> {
        // A root needs the holders of two roots: what is told is of those of whom more are missing.
        let missing =
            |spec: &RoleSpec| spec.threshold.saturating_sub(stored.document.valid_signatures(spec).len());
        let signers = dir.signers(role)?;
        let lacking = signers.iter().rev().max_by_key(|spec| missing(spec));
        let (threshold, signed_by) = lacking
            .map_or_else(Default::default, |spec| (spec.threshold, stored.document.valid_signatures(spec)));
        let mut may_sign: Vec<PublicKey> = Vec::new();
        for spec in &signers {
            let signed = stored.document.valid_signatures(spec);
            for key in &spec.keys {
                if !signed.contains(key) && !may_sign.contains(key) {
                    may_sign.push(*key);
                }
            }
        }
        Ok(Self { file: role.file(stored.version), version: stored.version, threshold, signed_by, may_sign })
    }

    /// True when enough have signed.
    pub const fn is_complete(&self) -> bool {
        self.signed_by.len() >= self.threshold
    }

    /// One line for people: how many signatures of how many are there.
    pub fn line(&self, output: Output) -> String {
        let (there, needed) = (self.signed_by.len(), self.threshold);
        let state = if self.is_complete() {
            output.toned(Tone::Good, "complete")
        } else {
            output.toned(Tone::Busy, &format!("{} more needed", needed - there))
        };
        format!("{:<24}{there} of {needed} signatures, {state}", self.file)
    }
}
