//! Who the device is: its key, its certificate and where its coordinator is. Files, so that they outlive the journal.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SystemRandom;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use takt_common::{DeviceId, Name, SigningKey};

use crate::certificate::OwnCertificate;
use crate::clock::Clock;
use crate::tls::{Server, builder};

const KEY_FILE: &str = "device.key";
const MEMBERSHIP_FILE: &str = "membership.json";

/// What enrolment gave to the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The device's id.
    pub device: DeviceId,
    /// Its domain.
    pub domain: Name,
    /// Its certificate.
    pub certificate_pem: String,
    /// The fleet CA.
    pub ca_pem: String,
    /// The TUF root to begin from.
    pub package_root: String,
    /// The director root to begin from.
    pub director_root: String,
    /// `host:port` of the MQTT gate.
    pub broker: String,
}

/// The identity cannot be read, made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{doing} '{}'", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key file holds no key.
    #[error("use the device key '{}'", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: takt_common::key::KeyError,
    },
    /// The membership file is not one.
    #[error("use the membership file '{}'", path.display())]
    Membership {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A kept document is not one.
    #[error("use the document '{}'", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Never enrolled.
    #[error("this device is not enrolled ('{}' is missing): run `takt-agent enrol --token TOKEN`", path.display())]
    NotEnrolled {
        /// The missing file.
        path: PathBuf,
    },
    /// A certificate in the membership is unusable.
    #[error("use the certificates of '{}': {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The folder of the identity.
#[derive(Debug, Clone)]
pub struct IdentityFolder(PathBuf);

impl IdentityFolder {
    /// The identity under the agent's state folder, made if it is missing.
    pub fn open(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join("identity");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| IdentityError::File { doing: "make the folder", path: path.clone(), source })?;
        Ok(Self(path))
    }

    /// The device's key. One that is missing is not made anew here: the device would be another one.
    pub fn key(&self) -> Result<SigningKey, IdentityError> {
        let path = self.0.join(KEY_FILE);
        let pem = fs::read_to_string(&path).map_err(|source| IdentityError::File {
            doing: "read the device key",
            path: path.clone(),
            source,
        })?;
        SigningKey::from_pem(&pem).map_err(|source| IdentityError::Key { path, source })
    }

    /// The device's key for an enrolment, which makes it if there is none.
    pub fn key_or_new(&self) -> Result<SigningKey, IdentityError> {
        match self.key() {
            Err(IdentityError::File { path, source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let key = SigningKey::generate(&SystemRandom::new())
                    .map_err(|source| IdentityError::Key { path: path.clone(), source })?;
                write_whole(&path, key.to_pem().as_bytes())?;
                Ok(key)
            }
            read => read,
        }
    }

    /// What enrolment gave.
    pub fn membership(&self) -> Result<Membership, IdentityError> {
        let path = self.0.join(MEMBERSHIP_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(IdentityError::NotEnrolled { path });
            }
            Err(source) => return Err(IdentityError::File { doing: "read the membership", path, source }),
        };
        serde_json::from_slice(&bytes).map_err(|source| IdentityError::Membership { path, source })
    }

    /// Keeps what enrolment gave.
    pub fn keep_membership(&self, membership: &Membership) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec_pretty(membership).expect("a membership holds only texts");
        write_whole(&self.0.join(MEMBERSHIP_FILE), &bytes)
    }

    /// The document kept in `file`; `None` when there is none.
    pub fn document<T: DeserializeOwned>(&self, file: &'static str) -> Result<Option<T>, IdentityError> {
        let path = self.0.join(file);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(document) => Ok(Some(document)),
                Err(source) => Err(IdentityError::Document { path, source }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::File { doing: "read", path, source }),
        }
    }

    /// Keeps `document` in `file`.
    pub fn keep_document<T: Serialize>(&self, file: &'static str, document: &T) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec(document).expect("trust documents have only text keys");
        write_whole(&self.0.join(file), &bytes)
    }

    /// What the device shows of itself.
    pub fn own_certificate(
        &self,
        membership: &Membership,
        key: &SigningKey,
    ) -> Result<Arc<OwnCertificate>, IdentityError> {
        OwnCertificate::new(&membership.certificate_pem, key).map_err(|why| self.bad_certificate(why))
    }

    /// The TLS settings of an enrolled device: TLS 1.3, its own certificate, and no authority but the fleet CA.
    pub fn tls(
        &self,
        membership: &Membership,
        key: &SigningKey,
        clock: impl Into<Clock>,
    ) -> Result<Arc<rustls::ClientConfig>, IdentityError> {
        self.tls_of(membership, Some(self.own_certificate(membership, key)?), clock)
    }

    /// The same with `own` for a certificate, or without any.
    pub fn tls_of(
        &self,
        membership: &Membership,
        own: Option<Arc<OwnCertificate>>,
        clock: impl Into<Clock>,
    ) -> Result<Arc<rustls::ClientConfig>, IdentityError> {
        let bad = |why: String| self.bad_certificate(why);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(membership.ca_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        let server = Server::new(roots, clock).map_err(|error| bad(error.to_string()))?;
        let builder = builder().dangerous().with_custom_certificate_verifier(Arc::new(server));
        Ok(Arc::new(match own {
            Some(own) => builder.with_client_cert_resolver(own),
            None => builder.with_no_client_auth(),
        }))
    }

    fn bad_certificate(&self, why: String) -> IdentityError {
        IdentityError::Certificate { path: self.0.join(MEMBERSHIP_FILE), why }
    }
}

/// Writes a file so that after a power cut it is either whole or not there; only its owner may read it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let file_error = |source| IdentityError::File { doing: "write", path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(file_error)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(file_error)?;
    fs::rename(&beside, path).map_err(file_error)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error)
}
