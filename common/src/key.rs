//! Ed25519 keys (RFC 8032) by `ring`: the only signature scheme that Takt uses.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{from_hex, to_hex};
use crate::id::serde_as_text;

/// A raw Ed25519 signature.
pub const SIGNATURE_LENGTH: usize = 64;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A private key that signs. It never prints itself.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

/// A public key, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system's random number generator failed.
    #[error("make a key: the system gave no random numbers")]
    NoRandom,
    /// Not a PEM document of a private key.
    #[error("read a key: a PEM block 'PRIVATE KEY' (PKCS#8) was expected")]
    NotPem,
    /// The PEM block is not an Ed25519 key in PKCS#8.
    #[error("read a key: the PEM block does not hold an Ed25519 key in PKCS#8 form")]
    NotEd25519,
    /// Not 64 hex digits.
    #[error("'{0}' is not an Ed25519 public key: 64 lower-case hex digits expected")]
    NotPublic(String),
}

impl SigningKey {
    /// Makes a new key from `random`.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(random).map_err(|_| KeyError::NoRandom)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads a PKCS#8 document (RFC 5958), with or without the public key in it.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { pair, pkcs8: pkcs8.to_vec() })
    }

    /// Reads a PEM block `PRIVATE KEY` (RFC 7468).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let begin = pem.find(PEM_BEGIN).ok_or(KeyError::NotPem)? + PEM_BEGIN.len();
        let end = begin + pem[begin..].find(PEM_END).ok_or(KeyError::NotPem)?;
        let base64: String = pem[begin..end].split_ascii_whitespace().collect();
        let pkcs8 = STANDARD.decode(base64).map_err(|_| KeyError::NotPem)?;
        Self::from_pkcs8(&pkcs8)
    }

    /// The key as a PEM block, for a file that only its owner may read.
    pub fn to_pem(&self) -> String {
        let base64 = STANDARD.encode(&self.pkcs8);
        let mut pem = format!("{PEM_BEGIN}\n");
        for line in base64.as_bytes().chunks(64) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem + PEM_END + "\n"
    }

    /// The PKCS#8 document.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let mut bytes = [0; SIGNATURE_LENGTH];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

impl PublicKey {
    /// The key with these raw bytes (RFC 8032 encoding).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// True when `signature` over `message` is by this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex::<32>(text).map(Self).ok_or_else(|| KeyError::NotPublic(text.chars().take(80).collect()))
    }
}

serde_as_text!(PublicKey);

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn a_key_survives_its_pem_form_and_signs_the_same() {
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let again = SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        let signature = again.sign(b"takt");
        assert!(key.public().verifies(b"takt", &signature));
        assert!(!key.public().verifies(b"tact", &signature));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        assert_eq!(SigningKey::from_pem("").unwrap_err(), KeyError::NotPem);
        assert_eq!(
            SigningKey::from_pem(&format!("{PEM_BEGIN}\nAAAA\n{PEM_END}")).unwrap_err(),
            KeyError::NotEd25519
        );
    }
}
