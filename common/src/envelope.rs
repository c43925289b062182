//! DSSE envelopes: payload type, exact payload bytes and Ed25519 signatures over the pre-authentication encoding.
//!
//! The protocol is DSSE v1.0.2 (secure-systems-lab). A payload is only reachable through [`Envelope::open`], which
//! checks the signatures over the exact bytes before anything in them is parsed.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::key::{PublicKey, SigningKey};
use crate::strict_json::{self, StrictJsonError};

/// The largest envelope that is read, in bytes (DESIGN: device rules, size cap).
pub const ENVELOPE_LENGTH_MAX: usize = 64 * 1024;

/// More signatures than any threshold needs; bounds the work that a forged envelope can cause.
const SIGNATURES_MAX: usize = 16;

/// The kinds of payload that are signed this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadType {
    /// An order to one device.
    Order,
    /// A report by one device.
    Report,
    /// A health sample of one device.
    Health,
    /// A coordinator's statement that reports are durable.
    Ack,
    /// A device's statement about its memory that it hands to a standby.
    Checkpoint,
    /// A coordinator's statement of where its audit log ends.
    AuditHead,
    /// What people allow beyond what a coordinator may order by itself.
    Permission,
}

impl PayloadType {
    /// The media type that stands in the envelope and under the signature.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "application/vnd.takt.order+json",
            Self::Report => "application/vnd.takt.report+json",
            Self::Health => "application/vnd.takt.health+json",
            Self::Ack => "application/vnd.takt.ack+json",
            Self::Checkpoint => "application/vnd.takt.checkpoint+json",
            Self::AuditHead => "application/vnd.takt.audit-head+json",
            Self::Permission => "application/vnd.takt.permission+json",
        }
    }
}

/// A signed payload as it travels. Its content is unknown until [`Envelope::open`] has verified it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// Who may sign a payload, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// What the signers are, for error texts: "the coordinator's order keys".
    pub role: String,
    /// The keys; an order of no meaning.
    pub keys: Vec<PublicKey>,
    /// How many different keys must have signed; at least 1.
    pub threshold: usize,
}

/// An envelope is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not an envelope.
    #[error("the envelope is unreadable")]
    Unreadable(#[source] StrictJsonError),
    /// Another kind of payload.
    #[error("the envelope holds '{found}', '{expected}' was expected")]
    WrongType {
        /// The type in the envelope.
        found: String,
        /// The type that fits here.
        expected: &'static str,
    },
    /// The payload or a signature is not strict base64.
    #[error("the envelope's {field} is not base64")]
    NotBase64 {
        /// `payload` or `sig`.
        field: &'static str,
    },
    /// Too few different trusted keys have signed.
    #[error("{valid} of the {threshold} needed signatures of {role} are valid (signed by: {signed_by})")]
    Threshold {
        /// The signers' role.
        role: String,
        /// Different trusted keys whose signature is valid.
        valid: usize,
        /// How many are needed.
        threshold: usize,
        /// Key ids that the envelope names.
        signed_by: String,
    },
}

impl Envelope {
    /// Signs `payload` with each of `keys`.
    pub fn seal(payload_type: PayloadType, payload: &[u8], keys: &[&SigningKey]) -> Self {
        let message = pre_authentication_encoding(payload_type.as_str(), payload);
        let signatures = keys
            .iter()
            .map(|key| EnvelopeSignature {
                keyid: key.public().to_string(),
                sig: STANDARD.encode(key.sign(&message)),
            })
            .collect();
        Self { payload_type: payload_type.as_str().to_owned(), payload: STANDARD.encode(payload), signatures }
    }

    /// Signs what is in it with one more key; one that has signed already signs anew. `false` where the payload is not base64.
    pub fn add_signature(&mut self, key: &SigningKey) -> bool {
        let Ok(payload) = STANDARD.decode(&self.payload) else { return false };
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let keyid = key.public().to_string();
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(EnvelopeSignature { keyid, sig: STANDARD.encode(key.sign(&message)) });
        true
    }

    /// Of which type it says that its payload is; the signatures count for that type only.
    pub fn kind(&self) -> &str {
        &self.payload_type
    }

    /// Reads an envelope; nothing in it is trusted yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        strict_json::from_slice(bytes, ENVELOPE_LENGTH_MAX).map_err(EnvelopeError::Unreadable)
    }

    /// The envelope as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope holds only strings")
    }

    /// The exact payload bytes, if at least the threshold of `signers` has signed them.
    pub fn open(&self, payload_type: PayloadType, signers: &Signers) -> Result<Vec<u8>, EnvelopeError> {
        if self.payload_type != payload_type.as_str() {
            let found = self.payload_type.chars().take(80).collect();
            return Err(EnvelopeError::WrongType { found, expected: payload_type.as_str() });
        }
        let payload =
            STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::NotBase64 { field: "payload" })?;
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let mut valid = BTreeSet::new();
        for signature in self.signatures.iter().take(SIGNATURES_MAX) {
            let raw =
                STANDARD.decode(&signature.sig).map_err(|_| EnvelopeError::NotBase64 { field: "sig" })?;
            // The key id is a hint: it chooses which key to try, never whether a signature counts.
            let key = signers.keys.iter().find(|key| key.to_string() == signature.keyid);
            if let Some(key) = key.filter(|key| key.verifies(&message, &raw)) {
                valid.insert(*key);
            }
        }
        if valid.len() >= signers.threshold.max(1) {
            return Ok(payload);
        }
        Err(EnvelopeError::Threshold {
            role: signers.role.clone(),
            valid: valid.len(),
            threshold: signers.threshold,
            signed_by: self.signed_by(),
        })
    }

    /// The payload without any check, for showing refused documents and for reading who claims to have sent one.
    pub fn unverified_payload(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.payload).ok()
    }

    /// The key that the first signature names, where it is one; whether it has signed is for [`Envelope::open`] to say.
    pub fn first_signer(&self) -> Option<PublicKey> {
        self.signatures.first().and_then(|signature| signature.keyid.parse().ok())
    }

    fn signed_by(&self) -> String {
        let ids: Vec<String> =
            self.signatures.iter().take(SIGNATURES_MAX).map(|s| s.keyid.chars().take(12).collect()).collect();
        if ids.is_empty() { "nobody".to_owned() } else { ids.join(", ") }
    }
}

/// DSSE's PAE: `DSSEv1 SP len(type) SP type SP len(payload) SP payload`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom::new()).unwrap()
    }

    fn signers(keys: &[&SigningKey], threshold: usize) -> Signers {
        Signers {
            role: "the order keys".into(),
            keys: keys.iter().map(|key| key.public()).collect(),
            threshold,
        }
    }

    #[test]
    fn the_encoding_is_the_published_one() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn one_key_signing_twice_counts_once() {
        let (first, second) = (key(), key());
        let envelope = Envelope::seal(PayloadType::Order, b"{}", &[&first, &first]);
        let error = envelope.open(PayloadType::Order, &signers(&[&first, &second], 2)).unwrap_err();
        assert!(error.to_string().starts_with("1 of the 2 needed signatures of the order keys"), "{error}");
        let envelope = Envelope::seal(PayloadType::Order, b"{}", &[&first, &second]);
        assert_eq!(envelope.open(PayloadType::Order, &signers(&[&first, &second], 2)).unwrap(), b"{}");
    }

    #[test]
    fn a_changed_payload_type_or_byte_voids_the_signature() {
        let key = key();
        let trusted = signers(&[&key], 1);
        let good = Envelope::seal(PayloadType::Report, b"{\"a\":1}", &[&key]);
        assert!(good.open(PayloadType::Order, &trusted).is_err());
        let mut changed = good.clone();
        changed.payload = STANDARD.encode(b"{\"a\":2}");
        assert!(matches!(
            changed.open(PayloadType::Report, &trusted),
            Err(EnvelopeError::Threshold { valid: 0, .. })
        ));
        let mut renamed = good;
        renamed.payload_type = PayloadType::Order.as_str().to_owned();
        assert!(renamed.open(PayloadType::Order, &trusted).is_err());
    }

    #[test]
    fn loose_base64_unknown_fields_and_size_are_refused() {
        let key = key();
        let trusted = signers(&[&key], 1);
        let mut loose = Envelope::seal(PayloadType::Report, b"{}x", &[&key]);
        loose.payload.push('\n');
        assert!(matches!(loose.open(PayloadType::Report, &trusted), Err(EnvelopeError::NotBase64 { .. })));
        assert!(Envelope::from_bytes(br#"{"payloadType":"a","payload":"","signatures":[],"x":1}"#).is_err());
        assert!(Envelope::from_bytes(&vec![b' '; ENVELOPE_LENGTH_MAX + 1]).is_err());
    }
}
