//! The logical export: every pair in one file with a checksum, beside the database.
//!
//! Version 1, numbers big-endian: the line `takt-store-export 1`, the commit number (8 bytes), then for each
//! pair `1`, key length (2), value length (4), key, value; then `0`, the number of pairs (8), and the SHA-256 of
//! all before it. It is written aside, synced and renamed; the one before it is kept.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use ring::digest::{self, SHA256, SHA256_OUTPUT_LEN};

use super::database::Database;
use super::folder::{self, Folder};
use crate::batch::check_key;
use crate::{StoreError, VALUE_BYTES_MAX};

const HEADER: &[u8] = b"takt-store-export 1\n";
const PAIR: u8 = 1;
const END: u8 = 0;

/// An export that was written, or found sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The number of the last commit it holds.
    pub commit: u64,
    /// How many pairs it holds.
    pub pairs: u64,
}

/// Writes an export of `database`; nothing may be committed meanwhile.
pub(super) fn write(folder: &Folder, database: &Database) -> Result<Exported, StoreError> {
    let new = folder.new_export();
    let exported = write_file(&new, database)?;
    folder::rename_if_there(&folder.export(), &folder.previous_export())?;
    fs::rename(&new, folder.export()).map_err(StoreError::file("rename", &new))?;
    folder.sync()?;
    Ok(exported)
}

fn write_file(path: &Path, database: &Database) -> Result<Exported, StoreError> {
    let failed =
        |source| StoreError::File { doing: "write", path: path.to_path_buf(), source: Arc::new(source) };
    let file = File::create(path).map_err(failed)?;
    let mut out = Hashing { inner: BufWriter::new(file), hash: digest::Context::new(&SHA256) };
    let commit = database.commit_number();
    out.write_all(HEADER).map_err(failed)?;
    out.write_all(&commit.to_be_bytes()).map_err(failed)?;
    let mut pairs = 0_u64;
    for pair in database.scan(&[], None) {
        let (key, value) = pair?;
        write_pair(&mut out, &key, &value).map_err(failed)?;
        pairs += 1;
    }
    out.write_all(&[END]).map_err(failed)?;
    out.write_all(&pairs.to_be_bytes()).map_err(failed)?;
    let Hashing { mut inner, hash } = out;
    inner.write_all(hash.finish().as_ref()).map_err(failed)?;
    let file = inner.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(Exported { commit, pairs })
}

fn write_pair(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    let key_length = u16::try_from(key.len()).expect("KEY_BYTES_MAX fits");
    let value_length = u32::try_from(value.len()).expect("VALUE_BYTES_MAX fits");
    out.write_all(&[PAIR])?;
    out.write_all(&key_length.to_be_bytes())?;
    out.write_all(&value_length.to_be_bytes())?;
    out.write_all(key)?;
    out.write_all(value)
}

/// The newest sound export: `export`, else `export.previous`. `None` when neither is there and sound.
pub(super) fn newest_sound(folder: &Folder) -> Option<(std::path::PathBuf, Exported)> {
    [folder.export(), folder.previous_export()].into_iter().find_map(|path| {
        let exported = read(&path, |_, _| Ok(())).ok()?;
        Some((path, exported))
    })
}

/// Reads an export, tells every pair, and says at the end whether it was sound: believe nothing before that.
pub(super) fn read(
    path: &Path,
    mut tell: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), StoreError>,
) -> Result<Exported, StoreError> {
    let unsound = |reason: String| StoreError::ExportUnsound { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(StoreError::file("open", path))?;
    let mut input = Hashing { inner: BufReader::new(file), hash: digest::Context::new(&SHA256) };
    let number = |input: &mut Hashing<_>, bytes: usize| {
        let mut buffer = [0; 8];
        input.read_exact(&mut buffer[8 - bytes..]).map_err(|error| unsound(error.to_string()))?;
        Ok::<u64, StoreError>(u64::from_be_bytes(buffer))
    };
    let mut header = [0; HEADER.len()];
    input.read_exact(&mut header).map_err(|error| unsound(error.to_string()))?;
    if header != HEADER {
        return Err(unsound("it does not begin as an export of version 1".to_owned()));
    }
    let commit = number(&mut input, 8)?;
    let mut pairs = 0;
    while number(&mut input, 1)? == u64::from(PAIR) {
        let key_length = usize::try_from(number(&mut input, 2)?).expect("two bytes fit");
        let value_length = usize::try_from(number(&mut input, 4)?).unwrap_or(usize::MAX);
        if value_length > VALUE_BYTES_MAX {
            return Err(unsound("a value is too large".to_owned()));
        }
        let mut key = vec![0; key_length];
        let mut value = vec![0; value_length];
        input.read_exact(&mut key).map_err(|error| unsound(error.to_string()))?;
        input.read_exact(&mut value).map_err(|error| unsound(error.to_string()))?;
        check_key(&key).map_err(|error| unsound(error.to_string()))?;
        tell(key, value)?;
        pairs += 1;
    }
    if number(&mut input, 8)? != pairs {
        return Err(unsound("the number of its pairs is wrong".to_owned()));
    }
    let Hashing { mut inner, hash } = input;
    let mut checksum = [0; SHA256_OUTPUT_LEN];
    inner.read_exact(&mut checksum).map_err(|error| unsound(error.to_string()))?;
    if checksum != hash.finish().as_ref() {
        return Err(unsound("its checksum is wrong".to_owned()));
    }
    Ok(Exported { commit, pairs })
}

/// A reader or writer that hashes what passes.
struct Hashing<T> {
    inner: T,
    hash: digest::Context,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}
