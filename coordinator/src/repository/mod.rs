//! The signed metadata that devices fetch: checked by the same rules as on a device before anything is served.
//!
//! Files are what is served; what they say is held in memory. `timestamp.json` is the coordinator's own and is signed
//! anew at every publication, at every start and every day. It is written last, so a crash in between leaves documents
//! that nothing points to, and they may be published again.

mod names;
mod overlay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use takt_common::{PublicKey, Sha256Digest, SigningKey, UnixTime};
use takt_trust::document::{Document, DocumentError};
use takt_trust::names::{TIMESTAMP_FILE, director_file, root_file, snapshot_file};
use takt_trust::{DirectorTrust, PackageTrust, TrustError, timestamp_for};

use crate::files::{self, Access, FileError};
use crate::registry::RegistryError;
use names::DocumentName;
use overlay::Overlay;

/// What is published, verified. Cheap to clone and always whole.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Packages; absent before the first root.
    pub packages: Option<Arc<PackageTrust>>,
    /// Who may order; absent before the first director root.
    pub director: Option<Arc<DirectorTrust>>,
}

/// The folder of documents.
pub struct Repository {
    folder: PathBuf,
    timestamp_key: SigningKey,
    order_key: PublicKey,
    published: RwLock<Published>,
    /// Publications and new timestamps one after the other.
    publishing: Mutex<()>,
}

/// Documents are not taken, or the repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The disk.
    #[error("keep the repository")]
    File(#[from] FileError),
    /// The store.
    #[error("note what is published")]
    Registry(#[from] RegistryError),
    /// A name that no document of an operator has.
    #[error(
        "document '{0}': a name like 1.root.json, 1.director.root.json, 1.targets.json or 1.snapshot.json is expected"
    )]
    Name(String),
    /// The timestamp.
    #[error("document 'timestamp.json': the coordinator signs it itself")]
    Timestamp,
    /// Other bytes under a published name.
    #[error("document '{0}' is published already with other content; a published document never changes")]
    Published(String),
    /// Nothing can be checked without a root.
    #[error(
        "there is no 1.root.json yet, so no other document can be checked; publish the package root first"
    )]
    NoRoot,
    /// A document that nothing points to.
    #[error("document '{0}' is not the next root, and no snapshot or timestamp points to it")]
    Unused(String),
    /// The rules of TUF or of Takt.
    #[error("the documents are refused")]
    Trust(#[from] TrustError),
    /// A document is none.
    #[error("document '{name}' is refused")]
    Document {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Orders would never be accepted.
    #[error("document '{name}' is refused: it does not let this coordinator's order key {key} order alone")]
    OrderKey {
        /// Its name.
        name: String,
        /// Our key.
        key: PublicKey,
    },
}

impl RepositoryError {
    /// True when the documents are at fault and not this machine.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Registry(_))
    }
}

impl Repository {
    /// Opens the folder and verifies what is in it. What cannot be verified now (it may have expired) is still
    /// served, because newer documents may stand on it; `Err` is the second value then.
    pub fn open(
        folder: PathBuf,
        timestamp_key: SigningKey,
        order_key: PublicKey,
        now: UnixTime,
    ) -> Result<(Self, Result<(), RepositoryError>), RepositoryError> {
        files::make_folder(&folder)?;
        let (published, publishing) = (RwLock::default(), Mutex::new(()));
        let repository = Self { folder, timestamp_key, order_key, published, publishing };
        let checked = repository.refresh_timestamp(now);
        Ok((repository, checked))
    }

    /// The key that signs timestamps.
    pub fn timestamp_public(&self) -> PublicKey {
        self.timestamp_key.public()
    }

    /// What is published.
    pub fn published(&self) -> Published {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The exact bytes of a document; `None` when there is none of that name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        if name != TIMESTAMP_FILE && DocumentName::parse(name).is_none() {
            return Ok(None);
        }
        read_if_there(&self.folder.join(name))
    }

    /// Checks `documents` together with what is published, and serves them; all or none.
    ///
    /// `note` hears what is new, when it has been found good and before any of it is served: files are in no batch of the store, so
    /// after a crash in between it has heard of documents that are not published, and never the other way round.
    pub fn publish<'a>(
        &self,
        documents: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        note: impl FnOnce(BTreeMap<String, Sha256Digest>) -> Result<(), RegistryError>,
        now: UnixTime,
    ) -> Result<(), RepositoryError> {
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut overlay = Overlay::over(&self.folder);
        let current = self.current_snapshot()?;
        // A publication that broke off may have left its snapshot here with no timestamp that points to it.
        let mut left: Option<(u64, &str, &[u8])> = None;
        for (name, bytes) in documents {
            let parsed = match DocumentName::parse(name) {
                Some(parsed) => parsed,
                None if name == TIMESTAMP_FILE => return Err(RepositoryError::Timestamp),
                None => return Err(RepositoryError::Name(name.chars().take(80).collect())),
            };
            match self.read(name)? {
                Some(there) if there == bytes => {
                    if let DocumentName::Snapshot(version) = parsed
                        && current.is_none_or(|current| version > current)
                        && left.is_none_or(|(newest, ..)| version > newest)
                    {
                        left = Some((version, name, bytes));
                    }
                }
                Some(_) if self.is_vouched_for(&parsed) => {
                    return Err(RepositoryError::Published(name.to_owned()));
                }
                _ => overlay.add(parsed, name, bytes),
            }
        }
        if let Some((version, name, bytes)) = left
            && overlay.newest_snapshot().is_none_or(|newest| version > newest)
        {
            overlay.add(DocumentName::Snapshot(version), name, bytes);
        }
        let published = self.check(&mut overlay, now)?;
        note(overlay.digests())?;
        overlay.write()?;
        self.set(published);
        Ok(())
    }

    /// Signs the timestamp anew and verifies everything as a device would.
    pub fn refresh_timestamp(&self, now: UnixTime) -> Result<(), RepositoryError> {
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut overlay = Overlay::over(&self.folder);
        match self.check(&mut overlay, now) {
            Ok(published) => {
                overlay.write()?;
                self.set(published);
                Ok(())
            }
            Err(error) => {
                // The roots count for themselves: enrolment and orders of another kind go on.
                let (packages, director) =
                    (self.roots(&mut Overlay::over(&self.folder)), self.director(&overlay));
                let held = self.published();
                self.set(Published {
                    packages: held.packages.or(packages.ok().flatten()),
                    director: held.director.or(director.ok().flatten()),
                });
                Err(error)
            }
        }
    }

    fn set(&self, published: Published) {
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = published;
    }

    /// Whether a document belongs to what has been verified, so that it must not change any more.
    fn is_vouched_for(&self, name: &DocumentName) -> bool {
        let Published { packages, director } = self.published();
        match name {
            DocumentName::Root(version) => packages.is_some_and(|trust| *version <= trust.root_version()),
            DocumentName::Director(epoch) => director.is_some_and(|trust| *epoch <= trust.epoch()),
            DocumentName::Snapshot(version) => packages
                .and_then(|trust| trust.snapshot())
                .is_some_and(|snapshot| *version <= snapshot.version),
            // Snapshots pin targets by digest: the check of the snapshot finds a change.
            DocumentName::Targets(_) | DocumentName::Delegated(..) => false,
        }
    }

    /// Verifies what is in `overlay` and adds the new timestamp to it.
    fn check(&self, overlay: &mut Overlay, now: UnixTime) -> Result<Published, RepositoryError> {
        let mut packages = self.roots(overlay)?;
        if let (Some(roots), Some((version, snapshot))) = (&packages, self.snapshot(overlay)?) {
            let timestamp = self.timestamp(&snapshot_file(version), &snapshot, now)?;
            overlay.set_timestamp(timestamp);
            packages = Some(Arc::new(roots.refreshed(now, |need| overlay.get(&need.name))?));
        }
        let director = self.director(overlay)?;
        if let Some(unused) = overlay.unused() {
            return Err(if packages.is_none() {
                RepositoryError::NoRoot
            } else {
                RepositoryError::Unused(unused)
            });
        }
        Ok(Published { packages, director })
    }

    /// The newest package root alone.
    fn roots(&self, overlay: &mut Overlay) -> Result<Option<Arc<PackageTrust>>, RepositoryError> {
        let held = self.published().packages;
        let begin = match held {
            Some(trust) => trust,
            None => match overlay.get(&root_file(1)) {
                Some(bytes) => Arc::new(PackageTrust::from_root(&bytes)?),
                None => return Ok(None),
            },
        };
        // The time of a root alone is not asked for here: a newer root is taken whatever the time is.
        let mut refresh = begin.begin_refresh(UnixTime::from_secs(0));
        while let Some(need) = refresh.need() {
            let Some(bytes) = (need.name != TIMESTAMP_FILE).then(|| overlay.get(&need.name)).flatten() else {
                break;
            };
            refresh.provide(Some(bytes))?;
        }
        Ok(Some(Arc::new(refresh.keep_root()?)))
    }

    /// The newest director root, which must let our key order alone.
    fn director(&self, overlay: &Overlay) -> Result<Option<Arc<DirectorTrust>>, RepositoryError> {
        let begin = match self.published().director {
            Some(trust) => trust,
            None => match overlay.get(&director_file(1)) {
                Some(bytes) => Arc::new(DirectorTrust::from_root(&bytes)?),
                None => return Ok(None),
            },
        };
        let trust = begin.refreshed(|need| overlay.get(&need.name))?;
        let signers = trust.order_signers();
        if signers.threshold != 1 || !signers.keys.contains(&self.order_key) {
            return Err(RepositoryError::OrderKey {
                name: director_file(trust.epoch()),
                key: self.order_key,
            });
        }
        Ok(Some(Arc::new(trust)))
    }

    /// The snapshot that is to be current: the newest of those that come now, else the one that is current.
    fn snapshot(&self, overlay: &Overlay) -> Result<Option<(u64, Vec<u8>)>, RepositoryError> {
        let version = match overlay.newest_snapshot() {
            Some(version) => Some(version),
            None => self.current_snapshot()?,
        };
        Ok(version.and_then(|version| overlay.get(&snapshot_file(version)).map(|bytes| (version, bytes))))
    }

    /// The snapshot that the timestamp points to.
    fn current_snapshot(&self) -> Result<Option<u64>, FileError> {
        Ok(self.read(TIMESTAMP_FILE)?.and_then(|bytes| names::snapshot_of_timestamp(&bytes)))
    }

    fn timestamp(&self, name: &str, snapshot: &[u8], now: UnixTime) -> Result<Vec<u8>, RepositoryError> {
        let last = self.read(TIMESTAMP_FILE)?.and_then(|bytes| Document::from_bytes(&bytes).ok());
        let version = last.map_or(0, |document| document.version()) + 1;
        let document = |source| RepositoryError::Document { name: name.to_owned(), source };
        let mut timestamp = timestamp_for(snapshot, version, now).map_err(document)?;
        timestamp.add_signature(&self.timestamp_key);
        Ok(timestamp.to_bytes())
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("read file", path)(error)),
    }
}

/// Makes `path` hold `bytes` for everybody to read.
fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    files::write_atomic(path, bytes, Access::Everybody)
}
