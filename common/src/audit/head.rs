//! Signed heads: what the coordinator says the end of its log is.

use serde::{Deserialize, Serialize};

use super::entry::{AUDIT_FORMAT, End};
use crate::envelope::{ENVELOPE_LENGTH_MAX, Envelope, EnvelopeError, PayloadType, Signers};
use crate::key::{PublicKey, SigningKey};
use crate::strict_json::{self, StrictJsonError};
use crate::time::UnixTime;

/// The end of the log at a time. It travels as an envelope that the coordinator's order key has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`AUDIT_FORMAT`].
    pub format: u32,
    /// The end.
    pub end: End,
    /// When it was signed.
    pub time: UnixTime,
}

/// A head of which the signature by the key that it names has been verified; whose key that is, is another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Head,
    /// Who has signed it.
    pub key: PublicKey,
}

/// A head is refused.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not signed as it must be, or no envelope at all.
    #[error("the signed head is refused")]
    Envelope(#[from] EnvelopeError),
    /// Signed, but not what was expected.
    #[error("the signed head is unreadable")]
    Content(#[from] StrictJsonError),
    /// From another version.
    #[error("the signed head has format {0}, this version reads {AUDIT_FORMAT}")]
    Format(u32),
    /// It names no key.
    #[error("the signed head names no key that could have signed it")]
    NoKey,
}

impl Head {
    /// `end` as it is at `time`.
    pub const fn new(end: End, time: UnixTime) -> Self {
        Self { format: AUDIT_FORMAT, end, time }
    }

    /// Signs it.
    pub fn seal(&self, key: &SigningKey) -> Envelope {
        let payload = serde_json::to_vec(self).expect("a head has only text keys");
        Envelope::seal(PayloadType::AuditHead, &payload, &[key])
    }

    /// Opens the envelope of a head that `signers` must have signed.
    pub fn open(envelope: &[u8], signers: &Signers) -> Result<Self, HeadError> {
        let payload = Envelope::from_bytes(envelope)?.open(PayloadType::AuditHead, signers)?;
        let head: Self = strict_json::from_slice(&payload, ENVELOPE_LENGTH_MAX)?;
        if head.format == AUDIT_FORMAT { Ok(head) } else { Err(HeadError::Format(head.format)) }
    }
}

impl SignedHead {
    /// Opens the envelope of a head that the key which it names must have signed.
    pub fn open(envelope: &[u8]) -> Result<Self, HeadError> {
        let named = Envelope::from_bytes(envelope)?.first_signer().ok_or(HeadError::NoKey)?;
        let signers = Signers { role: format!("key {named}"), keys: vec![named], threshold: 1 };
        Ok(Self { head: Head::open(envelope, &signers)?, key: named })
    }
}
