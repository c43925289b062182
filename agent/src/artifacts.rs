//! Files on disk, named by their SHA-256. A file bears its name only when it is whole, verified and synced; until
//! then it is `<digest>.part`, and a fetch goes on where the last one broke off.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use http::{Response, StatusCode};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use takt_agent_core::Nature;
use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::failure::Natured;
use crate::fetch::{Answer, Client, FetchError};

/// A link that brings less within a window counts as broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateMin {
    /// The window.
    pub window: Duration,
    /// What must come within it.
    pub bytes: u64,
}

impl Default for RateMin {
    /// 1 KiB/s over 30 s: slower than the slowest link that an upgrade over it would ever end on.
    fn default() -> Self {
        Self { window: Duration::from_secs(30), bytes: 30 * 1024 }
    }
}

/// How much is read at a time when a file on disk is hashed.
const HASH_PIECE_LENGTH: usize = 128 * 1024;
/// The name of a file that is not whole.
const PART: &str = "part";

/// A file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The disk fails.
    #[error("{deed} {}", path.display())]
    Disk {
        /// What was tried.
        deed: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No room.
    #[error("reserve {bytes} bytes in {}: the disk is full", folder.display())]
    Full {
        /// Where.
        folder: PathBuf,
        /// How much.
        bytes: u64,
    },
    /// The link or the server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Too slow.
    #[error("fetch artifact {sha256}: only {bytes} bytes came within {} s", window.as_secs_f64())]
    Slow {
        /// Which.
        sha256: Sha256Digest,
        /// What came.
        bytes: u64,
        /// Within what time.
        window: Duration,
    },
    /// More came than is stated.
    #[error("fetch artifact {sha256}: artifact larger than stated ({length} bytes)")]
    Larger {
        /// Which.
        sha256: Sha256Digest,
        /// Its stated length.
        length: u64,
    },
    /// The server has less than is stated.
    #[error("fetch artifact {sha256}: artifact smaller than stated ({found} of {length} bytes)")]
    Smaller {
        /// Which.
        sha256: Sha256Digest,
        /// What the server has.
        found: u64,
        /// Its stated length.
        length: u64,
    },
    /// It broke off; what came is kept.
    #[error("fetch artifact {sha256}: the answer ended after {found} of {length} bytes")]
    Short {
        /// Which.
        sha256: Sha256Digest,
        /// What is on disk.
        found: u64,
        /// Its stated length.
        length: u64,
    },
    /// The server went on elsewhere than it was asked to.
    #[error("fetch artifact {sha256}: asked for the bytes from {asked}, the server answered '{answered}'")]
    Elsewhere {
        /// Which.
        sha256: Sha256Digest,
        /// From where.
        asked: u64,
        /// What the server says it sends.
        answered: String,
    },
    /// Other bytes.
    #[error("fetch artifact {sha256}: what came has the digest {found}")]
    Digest {
        /// Which.
        sha256: Sha256Digest,
        /// What came.
        found: Sha256Digest,
    },
}

impl Natured for ArtifactError {
    fn nature(&self) -> Nature {
        match self {
            Self::Fetch(error) => error.nature(),
            Self::Larger { .. } | Self::Smaller { .. } | Self::Digest { .. } => Nature::Corrupt,
            // A full or failing disk says nothing about the release, and room can be made.
            Self::Disk { .. }
            | Self::Full { .. }
            | Self::Slow { .. }
            | Self::Short { .. }
            | Self::Elsewhere { .. } => Nature::Transient,
        }
    }
}

/// A folder of files.
#[derive(Debug)]
pub struct ArtifactStore {
    folder: PathBuf,
    rate_min: RateMin,
    /// Verified by this process: a file that was whole when it was renamed may have rotted since, so each is read
    /// once after a start.
    verified: Mutex<BTreeSet<Sha256Digest>>,
}

/// A `.part` being written.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256Hasher,
    found: u64,
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::Disk { deed, path, source }
}

impl ArtifactStore {
    /// The store in `folder`, which is made.
    pub fn open(folder: &Path) -> Result<Self, ArtifactError> {
        fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
        Ok(Self { folder: folder.to_owned(), rate_min: RateMin::default(), verified: Mutex::default() })
    }

    /// The same store with another limit for slow links.
    #[must_use]
    pub fn with_rate_min(self, rate_min: RateMin) -> Self {
        Self { rate_min, ..self }
    }

    /// Where the file is or will be.
    pub fn path(&self, sha256: &Sha256Digest) -> PathBuf {
        self.folder.join(sha256.to_string())
    }

    fn part_path(&self, sha256: &Sha256Digest) -> PathBuf {
        self.folder.join(format!("{sha256}.{PART}"))
    }

    /// The bytes of a small file that is staged.
    pub fn read(&self, sha256: &Sha256Digest, length_max: usize) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path(sha256);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed("open", &path))?;
        file.take(length_max as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        if bytes.len() > length_max {
            return Err(ArtifactError::Larger { sha256: *sha256, length: length_max as u64 });
        }
        Ok(bytes)
    }

    /// Whether the file is whole and verified. One that this process has not seen whole yet is read through, which
    /// happens once after a start; one that does not hold what its name says is removed.
    pub fn is_staged(&self, sha256: &Sha256Digest, length: u64) -> bool {
        let path = self.path(sha256);
        let Ok(found) = fs::metadata(&path) else { return false };
        if found.len() == length {
            if self.verified().contains(sha256) {
                return true;
            }
            let read = OpenOptions::new().read(true).clone();
            match hash(&path, &read).map(|(hasher, _file)| hasher.finish()) {
                Ok(found) if found == *sha256 => {
                    self.verified().insert(*sha256);
                    return true;
                }
                Ok(_other) => {}
                Err(error) => {
                    warn!(error = crate::failure::sentence(&error), "could not verify a file");
                    return false;
                }
            }
        }
        warn!(file = %path.display(), "a file does not hold what its name says and is removed");
        if let Err(error) = remove(&path) {
            warn!(error = crate::failure::sentence(&error), "could not remove a file");
        }
        false
    }

    /// Bytes on disk of a file that is not whole.
    pub fn partial(&self, sha256: &Sha256Digest) -> Option<u64> {
        fs::metadata(self.part_path(sha256)).ok().map(|part| part.len())
    }

    fn verified(&self) -> MutexGuard<'_, BTreeSet<Sha256Digest>> {
        // Whoever panicked while holding it had at most not inserted a digest, which only costs a reading.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a file to disk: goes on with what is there, checks the digest while the bytes come, takes exactly
    /// `length` of them, and gives it its name when it is whole, right and synced.
    pub async fn fetch(
        &self,
        client: &Client,
        sha256: &Sha256Digest,
        length: u64,
    ) -> Result<(), ArtifactError> {
        if self.is_staged(sha256, length) {
            return Ok(());
        }
        let path = self.part_path(sha256);
        let mut part = self.part(path, length).await?;
        if part.found < length {
            let received = receive(client, sha256, length, self.rate_min, &mut part).await;
            if let Err(
                ArtifactError::Larger { .. }
                | ArtifactError::Smaller { .. }
                | ArtifactError::Elsewhere { .. },
            ) = received
            {
                // What came so far is no use either.
                remove(&part.path)?;
            }
            received?;
        }
        self.put_in_place(part, sha256).await?;
        info!(artifact = %sha256, bytes = length, "fetched an artifact");
        Ok(())
    }

    /// Opens what is there of the file, hashed, with room for all of it.
    async fn part(&self, path: PathBuf, length: u64) -> Result<Part, ArtifactError> {
        if fs::metadata(&path).is_ok_and(|found| found.len() > length) {
            remove(&path)?;
        }
        let open = OpenOptions::new().read(true).append(true).create(true).clone();
        let (hasher, file) = {
            // It may be large and its disk slow.
            let path = path.clone();
            blocking(move || hash(&path, &open)).await?
        };
        let found = file.metadata().map_err(failed("look at", &path))?.len();
        self.reserve(&file, &path, length)?;
        Ok(Part { path, file, hasher, found })
    }

    /// Takes the room before the first byte. The file's length stays what has come.
    fn reserve(&self, file: &File, path: &Path, length: u64) -> Result<(), ArtifactError> {
        let full = || ArtifactError::Full { folder: self.folder.clone(), bytes: length };
        let Ok(bytes) = i64::try_from(length) else { return Err(full()) };
        if bytes == 0 {
            return Ok(());
        }
        match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT) => {
                // An empty leftover would only hold an inode of a full disk.
                if file.metadata().is_ok_and(|found| found.len() == 0) {
                    remove(path)?;
                }
                Err(full())
            }
            // The file system cannot reserve (FAT, some network ones): the space that is free must do.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                let there = file.metadata().map_or(0, |found| found.len());
                let (_, free) = crate::host::space(&self.folder).map_err(|error| match error {
                    crate::host::HostError::Space { path, source } => {
                        failed("ask for the space of", &path)(source)
                    }
                    other => failed("ask for the space of", &self.folder)(io::Error::other(other)),
                })?;
                if free < length.saturating_sub(there) { Err(full()) } else { Ok(()) }
            }
            Err(errno) => Err(failed("reserve room for", path)(errno.into())),
        }
    }

    async fn put_in_place(&self, part: Part, sha256: &Sha256Digest) -> Result<(), ArtifactError> {
        let Part { path, file, hasher, .. } = part;
        let found = hasher.finish();
        if found != *sha256 {
            remove(&path)?;
            return Err(ArtifactError::Digest { sha256: *sha256, found });
        }
        let (whole, folder) = (self.path(sha256), self.folder.clone());
        blocking(move || {
            file.sync_all().map_err(failed("write to disk", &path))?;
            fs::rename(&path, &whole).map_err(failed("put in place", &whole))?;
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed("write to disk", &folder))
        })
        .await?;
        self.verified().insert(*sha256);
        Ok(())
    }

    /// Removes every file of the store but `keep`, whole or not.
    pub fn prune(&self, keep: &[Sha256Digest]) -> Result<(), ArtifactError> {
        let list = fs::read_dir(&self.folder).map_err(failed("list", &self.folder))?;
        for entry in list {
            let entry = entry.map_err(failed("list", &self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let digest = name.strip_suffix(PART).map_or(name, |name| name.trim_end_matches('.')).parse();
            // Whatever else lies here was not put here by this code.
            let Ok(sha256) = digest else { continue };
            if !keep.contains(&sha256) {
                remove(&entry.path())?;
                self.verified().remove(&sha256);
            }
        }
        Ok(())
    }
}

/// Asks for what is missing of `part` and writes it.
async fn receive(
    client: &Client,
    sha256: &Sha256Digest,
    length: u64,
    rate_min: RateMin,
    part: &mut Part,
) -> Result<(), ArtifactError> {
    let path = format!("/api/v1/artifacts/{sha256}");
    let mut headers = HeaderMap::new();
    if part.found > 0 {
        let value = |text: String| HeaderValue::from_str(&text).expect("digits are a header value");
        headers.insert(RANGE, value(format!("bytes={}-", part.found)));
        // The name of a file is its digest, so it is its entity tag too. A server that sees this otherwise sends
        // everything, and the file begins anew.
        headers.insert(IF_RANGE, value(format!("\"{sha256}\"")));
    }
    let mut answer = client.get(&path, headers).await?;
    match answer.response.status() {
        StatusCode::OK => part.begin_anew()?,
        StatusCode::PARTIAL_CONTENT => goes_on(&answer.response, sha256, part.found)?,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(ArtifactError::Smaller { sha256: *sha256, found: part.found, length });
        }
        status => return Err(client.status(&path, status).into()),
    }
    match answer.length().map(|rest| part.found.saturating_add(rest)) {
        Some(found) if found > length => return Err(ArtifactError::Larger { sha256: *sha256, length }),
        Some(found) if found < length => {
            return Err(ArtifactError::Smaller { sha256: *sha256, found, length });
        }
        _ => {}
    }
    loop {
        let before = part.found;
        let enough = before.saturating_add(rate_min.bytes);
        let some = receive_some(client, &path, &mut answer, sha256, length, enough, part);
        match timeout(rate_min.window, some).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => {
                let bytes = part.found - before;
                return Err(ArtifactError::Slow { sha256: *sha256, bytes, window: rate_min.window });
            }
        }
    }
}

/// Receives until `enough` is there, or the file is whole: then true.
///
/// Writes go to the page cache at once: being dropped at the await loses nothing that was counted.
async fn receive_some(
    client: &Client,
    path: &str,
    answer: &mut Answer,
    sha256: &Sha256Digest,
    length: u64,
    enough: u64,
    part: &mut Part,
) -> Result<bool, ArtifactError> {
    while part.found < enough {
        match answer.next().await {
            Some(Ok(bytes)) if bytes.len() as u64 > length - part.found => {
                return Err(ArtifactError::Larger { sha256: *sha256, length });
            }
            Some(Ok(bytes)) => part.write(&bytes)?,
            Some(Err(source)) => {
                return Err(client.broken_off(path, crate::failure::sentence(&source)).into());
            }
            None if part.found == length => return Ok(true),
            None => return Err(ArtifactError::Short { sha256: *sha256, found: part.found, length }),
        }
    }
    Ok(false)
}

/// Whether a partial answer begins where the part ends: `Content-Range: bytes FIRST-LAST/LENGTH` (RFC 9110, 14.4).
fn goes_on<T>(response: &Response<T>, sha256: &Sha256Digest, found: u64) -> Result<(), ArtifactError> {
    let range =
        response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse::<u64>().ok());
    if first == Some(found) {
        return Ok(());
    }
    Err(ArtifactError::Elsewhere {
        sha256: *sha256,
        asked: found,
        answered: range.chars().take(80).collect(),
    })
}

impl Part {
    fn begin_anew(&mut self) -> Result<(), ArtifactError> {
        if self.found > 0 {
            self.file.set_len(0).map_err(failed("empty", &self.path))?;
            self.hasher = Sha256Hasher::default();
            self.found = 0;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.file.write_all(bytes).map_err(failed("write", &self.path))?;
        self.hasher.update(bytes);
        self.found += bytes.len() as u64;
        Ok(())
    }
}

/// Opens a file and reads it through.
fn hash(path: &Path, open: &OpenOptions) -> Result<(Sha256Hasher, File), ArtifactError> {
    let mut file = open.open(path).map_err(failed("open", path))?;
    let mut hasher = Sha256Hasher::default();
    let mut piece = vec![0; HASH_PIECE_LENGTH];
    loop {
        match file.read(&mut piece).map_err(failed("read", path))? {
            0 => return Ok((hasher, file)),
            read => hasher.update(&piece[..read]),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    tokio::task::spawn_blocking(work).await.expect("disk work neither panics nor is it cancelled")
}

fn remove(path: &Path) -> Result<(), ArtifactError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
