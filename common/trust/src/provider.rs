//! The cryptography behind `sigstore-tuf`: digests and signature checks by `ring`, nothing else.
//!
//! Takt's own documents need Ed25519 and SHA-256 only. The other schemes that `ring` knows are passed through as
//! well, so that public TUF conformance suites can run against the same provider; [`crate::rules`] keeps them out
//! of our roots.

use ring::digest::{Context, SHA256, SHA384, SHA512};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;

/// Makes `ring` the provider of this process. May be called any number of times; the verifying types of this
/// crate do so by themselves. A provider that was installed earlier stays.
pub fn install() {
    // The error only says that a provider is there already, which is all that is wanted.
    let _ = sigstore_crypto::install_default_provider(&RingProvider);
}

/// Verifies with `ring`; makes no keys and signs nothing.
#[derive(Debug)]
pub struct RingProvider;

struct RingHash(Context);

impl HashContext for RingHash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for RingProvider {
    fn hash(&self, algorithm: HashAlgorithm) -> sigstore_crypto::Result<Box<dyn HashContext>> {
        let algorithm = match algorithm {
            HashAlgorithm::Sha2256 => &SHA256,
            HashAlgorithm::Sha2384 => &SHA384,
            HashAlgorithm::Sha2512 => &SHA512,
            other => return Err(Error::UnsupportedAlgorithm(format!("digest {other:?}"))),
        };
        Ok(Box::new(RingHash(Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        let algorithm = algorithm_of(scheme)?;
        UnparsedPublicKey::new(algorithm, key)
            .verify(data, signature)
            .map_err(|_| Error::Verification(format!("the {} signature is not by this key", scheme.name())))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _key: &[u8],
        _digest: &[u8],
        _signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        // TUF signs whole documents, so nothing ever asks for this.
        Err(Error::UnsupportedAlgorithm(format!("{} over a digest", scheme.name())))
    }
}

fn algorithm_of(scheme: SigningScheme) -> sigstore_crypto::Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::Ed25519 => &signature::ED25519,
        SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
        SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        other => {
            return Err(Error::UnsupportedAlgorithm(format!("signatures by {}", other.name())));
        }
    })
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use takt_common::{Sha256Digest, SigningKey};

    use super::*;

    #[test]
    fn digests_are_those_of_sha_2_and_installing_twice_is_harmless() {
        install();
        install();
        assert_eq!(&RingProvider.sha256(b"takt"), Sha256Digest::of(b"takt").as_bytes());
        assert_eq!(RingProvider.sha384(b"")[..4], [0x38, 0xb0, 0x60, 0xa7]);
        assert_eq!(RingProvider.sha512(b"")[..4], [0xcf, 0x83, 0xe1, 0x35]);
    }

    #[test]
    fn a_changed_byte_voids_an_ed25519_and_an_ecdsa_signature() {
        let random = SystemRandom::new();
        let key = SigningKey::generate(&random).unwrap();
        let signature = key.sign(b"takt");
        let public = key.public();
        let check = |data: &[u8]| {
            RingProvider.verify_raw(SigningScheme::Ed25519, public.as_bytes(), data, &signature)
        };
        assert!(check(b"takt").is_ok());
        assert!(matches!(check(b"tact"), Err(Error::Verification(_))));

        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let signature = pair.sign(&random, b"takt").unwrap();
        let public = pair.public_key().as_ref();
        let scheme = SigningScheme::EcdsaP256Sha256;
        assert!(RingProvider.verify_raw(scheme, public, b"takt", signature.as_ref()).is_ok());
        assert!(RingProvider.verify_raw(scheme, public, b"tact", signature.as_ref()).is_err());
    }

    #[test]
    fn what_ring_does_not_know_is_named() {
        let error = RingProvider.verify_raw(SigningScheme::MlDsa44, b"", b"", b"").unwrap_err().to_string();
        assert!(error.contains("ML_DSA_44"), "{error}");
        let error = RingProvider.verify_prehashed(SigningScheme::Ed25519, b"", b"", b"").unwrap_err();
        assert!(matches!(error, Error::UnsupportedAlgorithm(_)));
    }
}
