//! Files that commands read and write: limits, safe writing, and errors that name the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;

/// The largest text file that is read whole (graphs, profiles, documents): enough for 100,000 edges.
pub const TEXT_LENGTH_MAX: u64 = 16 * 1024 * 1024;

/// How much of a large file is in memory while it is digested.
const CHUNK_LENGTH: usize = 256 * 1024;

/// A file is in the way or out of reach.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than anything of its kind.
    #[error("read {}: it has more than {limit} bytes", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// It is not text.
    #[error("read {}: it is not UTF-8 text", path.display())]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// It would have been overwritten.
    #[error("write {}: it exists already and is not overwritten", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A text is not what its form asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only its owner (0600).
    Owner,
    /// Everyone (0644, less the process's mask).
    Everyone,
}

/// Reads a text of at most [`TEXT_LENGTH_MAX`] bytes.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let bytes = read_bytes(path, TEXT_LENGTH_MAX)?;
    String::from_utf8(bytes).map_err(|_| FileError::NotText { path: path.to_owned() })
}

/// Reads TOML; its own errors draw the line over several lines, ours say its number.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, SyntaxError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let why = error.message().lines().collect::<Vec<_>>().join(" ");
        SyntaxError { line: before.matches('\n').count() + 1, why }
    })
}

/// Reads a file of at most `limit` bytes.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(limit + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Writes a file that does not exist yet, and flushes it to the disk.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(
        |source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
            _ => FileError::Write { path: path.to_owned(), source },
        },
    )?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// Refuses a path where something is already, before work is done whose result could not be written there.
pub fn check_free(path: &Path) -> Result<(), FileError> {
    if path.symlink_metadata().is_ok() { Err(FileError::Exists { path: path.to_owned() }) } else { Ok(()) }
}

/// Replaces a file, or makes it, in one step: a reader sees the old or the new text, never half of one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let write = |source| FileError::Write { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside).map_err(write)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(write)?;
    fs::rename(&beside, path).map_err(write)
}

/// Makes a folder and those above it.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// The digest and length of a file, in one pass that keeps little of it in memory.
pub fn digest(path: &Path) -> Result<(Sha256Digest, u64), FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let mut hasher = Sha256Hasher::default();
    let mut chunk = vec![0; CHUNK_LENGTH];
    let mut length = 0;
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok((hasher.finish(), length)),
            Ok(count) => count,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(read(source)),
        };
        hasher.update(&chunk[..count]);
        length += count as u64;
    }
}
