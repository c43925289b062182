//! A signed document: what it says, and the signatures that people add one by one.
//!
//! Signatures are over the canonical JSON of what is said, so a document may travel between signers in any spelling,
//! and several people can sign copies that are joined later.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use takt_common::digest::{from_hex, to_hex};
use takt_common::strict_json::{self, StrictJsonError};
use takt_common::{PublicKey, SigningKey};

use crate::rules::{RoleSpec, key_id};

/// The largest document that is read for signing; what a targets document may have.
pub const DOCUMENT_LENGTH_MAX: usize = crate::refresh::TARGETS_LENGTH_MAX;

/// A document with any number of signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    signatures: Vec<DocumentSignature>,
    signed: Value,
}

/// One signature under a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentSignature {
    /// The TUF key id of the signer.
    pub keyid: String,
    /// The Ed25519 signature in hex digits.
    pub sig: String,
}

/// A text is not the document that was expected.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON of the right shape, too long, or with duplicate keys.
    #[error("the document is unreadable")]
    Unreadable(#[source] StrictJsonError),
    /// JSON, but nothing that TUF can sign or that Takt can read.
    #[error("the document is not a TUF document")]
    NotTuf(#[source] sigstore_tuf::Error),
    /// Another kind of document.
    #[error("the document is of type '{found}', '{expected}' was expected")]
    WrongKind {
        /// The type of the document.
        found: String,
        /// The type that fits here.
        expected: &'static str,
    },
    /// A root that breaks a rule.
    #[error("the document breaks a rule for roots")]
    Rule(#[from] crate::rules::RootRule),
    /// Delegations that break a rule.
    #[error("the document breaks a rule for delegated roles")]
    Delegation(#[from] crate::delegation::DelegationRule),
    /// A field would get lost when the document is written again.
    #[error(
        "the {kind} document says more than this version of Takt can write; use the version that wrote it"
    )]
    TooNew {
        /// The document's type.
        kind: String,
    },
    /// The copies of a document say different things.
    #[error("the copies of the {kind} document say different things, so their signatures cannot be joined")]
    Differs {
        /// The document's type.
        kind: String,
    },
}

impl Document {
    /// A document that says `body` and that nobody has signed yet.
    pub(crate) fn unsigned(body: &impl Serialize) -> Self {
        let signed = serde_json::to_value(body).expect("bodies of documents are plain structures");
        Self { signatures: Vec::new(), signed }
    }

    /// Reads a document for signing or inspection; nothing in it is trusted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: Self =
            strict_json::from_slice(bytes, DOCUMENT_LENGTH_MAX).map_err(DocumentError::Unreadable)?;
        to_canonical_bytes(&document.signed).map_err(DocumentError::NotTuf)?;
        Ok(document)
    }

    /// The document as it is stored and served.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document is plain JSON")
    }

    /// The document's `_type`: `root`, `targets`, `snapshot` or `timestamp`.
    pub fn kind(&self) -> &str {
        self.signed.get("_type").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// The document's version; 0 when it has none.
    pub fn version(&self) -> u64 {
        self.signed.get("version").and_then(Value::as_u64).unwrap_or(0)
    }

    /// What the document says.
    pub(crate) fn signed(&self) -> &Value {
        &self.signed
    }

    /// Signs the document; an earlier signature by the same key is replaced.
    pub fn add_signature(&mut self, key: &SigningKey) {
        let signature =
            DocumentSignature { keyid: key_id(&key.public()), sig: to_hex(&key.sign(&self.canonical())) };
        self.put(signature);
    }

    /// Adds the signatures of another copy of the same document.
    pub fn join(&mut self, other: &Self) -> Result<(), DocumentError> {
        if self.signed != other.signed {
            return Err(DocumentError::Differs { kind: self.kind().to_owned() });
        }
        other.signatures.iter().cloned().for_each(|signature| self.put(signature));
        Ok(())
    }

    /// All signatures, valid or not, by key id.
    pub fn signatures(&self) -> &[DocumentSignature] {
        &self.signatures
    }

    /// The holders of `role` whose signature is there and valid.
    pub fn valid_signatures(&self, role: &RoleSpec) -> Vec<PublicKey> {
        let message = self.canonical();
        let signed_by = |key: &&PublicKey| {
            let id = key_id(key);
            self.signatures.iter().filter(|signature| signature.keyid == id).any(|signature| {
                from_hex::<64>(&signature.sig).is_some_and(|raw| key.verifies(&message, &raw))
            })
        };
        role.keys.iter().filter(signed_by).copied().collect()
    }

    /// True when enough holders of `role` have signed.
    #[must_use]
    pub fn is_signed_by(&self, role: &RoleSpec) -> bool {
        role.satisfied_by(&self.valid_signatures(role))
    }

    fn put(&mut self, signature: DocumentSignature) {
        self.signatures.retain(|known| known.keyid != signature.keyid);
        self.signatures.push(signature);
        self.signatures.sort_by(|one, other| one.keyid.cmp(&other.keyid));
    }

    fn canonical(&self) -> Vec<u8> {
        to_canonical_bytes(&self.signed).expect("checked when the document was made or read")
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use serde_json::json;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom::new()).unwrap()
    }

    #[test]
    fn two_people_sign_the_same_bytes_one_after_the_other_or_apart() {
        let (first, second) = (key(), key());
        let role = RoleSpec { keys: vec![first.public(), second.public()], threshold: 2 };
        let blank = Document::unsigned(&json!({"_type": "targets", "version": 1}));

        let mut one = Document::from_bytes(&blank.to_bytes()).unwrap();
        one.add_signature(&first);
        one.add_signature(&first);
        assert_eq!(one.valid_signatures(&role), [first.public()]);
        assert!(!one.is_signed_by(&role));
        let mut both = Document::from_bytes(&one.to_bytes()).unwrap();
        both.add_signature(&second);
        assert!(both.is_signed_by(&role));

        let mut apart = blank.clone();
        apart.add_signature(&second);
        apart.join(&one).unwrap();
        assert_eq!(apart.to_bytes(), both.to_bytes());
        let other = Document::unsigned(&json!({"_type": "targets", "version": 2}));
        assert!(matches!(apart.join(&other), Err(DocumentError::Differs { .. })));
    }

    #[test]
    fn a_signature_counts_only_for_what_was_signed_and_under_its_own_id() {
        let (signer, stranger) = (key(), key());
        let role = RoleSpec { keys: vec![signer.public()], threshold: 1 };
        let mut document = Document::unsigned(&json!({"_type": "targets", "version": 1}));
        document.add_signature(&stranger);
        assert!(!document.is_signed_by(&role));
        document.signatures[0].keyid = key_id(&signer.public());
        assert!(!document.is_signed_by(&role));
        document.add_signature(&signer);
        assert!(document.is_signed_by(&role));
        document.signed["version"] = json!(2);
        assert!(!document.is_signed_by(&role));
    }

    #[test]
    fn what_cannot_be_signed_is_not_read() {
        for text in [
            r#"{"signatures":[],"signed":{"a":1,"a":2}}"#,
            r#"{"signatures":[],"signed":{},"more":1}"#,
            r#"{"signatures":[],"signed":{"a":1.5}}"#,
            "[]",
        ] {
            assert!(Document::from_bytes(text.as_bytes()).is_err(), "{text}");
        }
    }
}
