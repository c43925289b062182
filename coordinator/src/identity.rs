//! Who this coordinator is: its fleet CA, its online keys and the digest of its operator's token.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use takt_common::key::KeyError;
use takt_common::{Sha256Digest, SigningKey};

use crate::ca::{CaError, FleetCa};
use crate::files::{self, FileError};

/// Certificate of the fleet CA, for everybody.
pub const CA_FILE: &str = "ca.pem";
/// Key of the fleet CA.
pub const CA_KEY_FILE: &str = "ca.key";
/// Key that signs orders and acknowledgements.
pub const ORDER_KEY_FILE: &str = "order.key";
/// Key that signs the TUF timestamp.
pub const TIMESTAMP_KEY_FILE: &str = "timestamp.key";
/// SHA-256 of the operator's token; written last, so its presence says that a first start was completed.
pub const OPERATOR_HASH_FILE: &str = "operator-token.sha256";

/// Keys and certificates are a few hundred bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// All secrets in use.
pub struct Identity {
    /// The fleet CA.
    pub ca: FleetCa,
    /// Signs orders and acknowledgements.
    pub order_key: SigningKey,
    /// Signs the TUF timestamp.
    pub timestamp_key: SigningKey,
    /// The operator's token, hashed.
    pub operator: Sha256Digest,
}

/// A part of the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("load this coordinator's identity")]
    File(#[from] FileError),
    /// A file holds no key.
    #[error("load the key file '{}'", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The CA's two files.
    #[error("load the fleet CA of '{}'", .folder.display())]
    Ca {
        /// Their folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: CaError,
    },
    /// The file with the token's digest.
    #[error("load '{}': 64 hex digits were expected", .file.display())]
    OperatorHash {
        /// The file.
        file: PathBuf,
    },
}

impl Identity {
    /// Reads the identity kept in `folder`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let text = |name: &str| files::read_text(&folder.join(name), FILE_BYTES_MAX);
        let ca = FleetCa::from_pem(&text(CA_FILE)?, &text(CA_KEY_FILE)?)
            .map_err(|source| IdentityError::Ca { folder: folder.to_owned(), source })?;
        let key = |name: &str| -> Result<SigningKey, IdentityError> {
            SigningKey::from_pem(&text(name)?)
                .map_err(|source| IdentityError::Key { file: folder.join(name), source })
        };
        let operator = Sha256Digest::from_str(text(OPERATOR_HASH_FILE)?.trim())
            .map_err(|_| IdentityError::OperatorHash { file: folder.join(OPERATOR_HASH_FILE) })?;
        Ok(Self { ca, order_key: key(ORDER_KEY_FILE)?, timestamp_key: key(TIMESTAMP_KEY_FILE)?, operator })
    }
}
