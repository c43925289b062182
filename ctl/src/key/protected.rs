//! Private keys under a passphrase: PKCS#8 with PBES2 (RFC 5958 and RFC 8018), which other programs read and write too.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::pem::{LineEnding, PemLabel as _};
use pkcs8::der::{Document, SecretDocument};
use pkcs8::pkcs5::pbes2;
use ring::rand::{SecureRandom, SystemRandom};
use takt_common::SigningKey;
use takt_common::key::KeyError;
use zeroize::Zeroizing;

use super::KeyFileError;
use super::passphrase;

/// Rounds of PBKDF2 with HMAC-SHA-256: what the OWASP password storage guide of 2023 asks for. Of scrypt, OpenSSL reads no more than 32 MiB.
const ROUNDS: u32 = 600_000;
const SALT_LENGTH: usize = 16;
const IV_LENGTH: usize = 16;

/// Whether a key file holds a private key under a passphrase.
pub(super) fn is_protected(text: &str) -> bool {
    text.contains(&format!("-----BEGIN {}-----", EncryptedPrivateKeyInfo::PEM_LABEL))
}

/// Reads such a key, with a passphrase that is asked for.
pub(super) fn open(path: &Path, text: &str) -> Result<SigningKey, KeyFileError> {
    let unreadable = || KeyFileError::Unreadable { path: path.to_owned() };
    let (label, document) = Document::from_pem(text.trim()).map_err(|_| unreadable())?;
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .ok()
        .filter(|_| label == EncryptedPrivateKeyInfo::PEM_LABEL)
        .ok_or_else(unreadable)?;
    Ok(passphrase::unlock(path, |passphrase| {
        // A wrong passphrase may by chance leave padding that looks right, but no key behind it.
        SigningKey::from_pkcs8(info.decrypt(passphrase).ok()?.as_bytes()).ok()
    })?)
}

/// The key under a passphrase, as a PEM block.
pub(super) fn seal(
    path: &Path,
    key: &SigningKey,
    passphrase: &str,
) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = || KeyFileError::Seal { path: path.to_owned() };
    let (mut salt, mut iv) = ([0; SALT_LENGTH], [0; IV_LENGTH]);
    let random = SystemRandom::new();
    for bytes in [&mut salt, &mut iv] {
        random.fill(bytes).map_err(|_| KeyFileError::Generate(KeyError::NoRandom))?;
    }
    let parameters = pbes2::Parameters::pbkdf2_sha256_aes256cbc(ROUNDS, &salt, &iv).map_err(|_| failed())?;
    let encrypted = parameters.encrypt(passphrase, key.pkcs8()).map_err(|_| failed())?;
    let info =
        EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data: &encrypted };
    let document = SecretDocument::try_from(&info).map_err(|_| failed())?;
    document.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|_| failed())
}
