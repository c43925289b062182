//! The archive: a folder for each container, by its place in the release.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;

use super::error::{MemoryError, disk};

/// All memory, keys included: nobody else may read it.
pub(super) const FILE_MODE: u32 = 0o600;

/// Hashes and counts what is written through it.
struct Counted<W> {
    into: W,
    hasher: Sha256Hasher,
    length: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.into.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Packs `folders` into `file`; gives the archive's length and digest.
pub(super) fn pack(folders: &[PathBuf], file: &Path) -> Result<(u64, Sha256Digest), MemoryError> {
    let made = File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(file);
    let into = made.map_err(disk("make", file))?;
    let mut archive = tar::Builder::new(Counted { into, hasher: Sha256Hasher::default(), length: 0 });
    archive.follow_symlinks(false);
    for (place, folder) in folders.iter().enumerate() {
        archive.append_dir_all(place.to_string(), folder).map_err(disk("pack", folder))?;
    }
    let written = archive.into_inner().map_err(disk("write", file))?;
    Ok((written.length, written.hasher.finish()))
}

/// Unpacks `file` into `folders`, which are empty: files in them, and nothing else.
pub(super) fn unpack(file: &Path, folders: &[PathBuf]) -> Result<(), MemoryError> {
    let opened = File::open(file).map_err(disk("open", file))?;
    let mut archive = tar::Archive::new(BufReader::new(opened));
    for entry in archive.entries().map_err(disk("read", file))? {
        let mut entry = entry.map_err(disk("read", file))?;
        let path = entry.path().map_err(disk("read", file))?.into_owned();
        let refused = || MemoryError::Entry { entry: path.display().to_string() };
        let (folder, rest) = place(&path, folders).ok_or_else(refused)?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                let at = folder.join(&rest);
                fs::create_dir_all(&at).map_err(disk("make", &at))?;
            }
            tar::EntryType::Regular if !rest.as_os_str().is_empty() => {
                let at = folder.join(&rest);
                let made = File::options().write(true).create_new(true).mode(FILE_MODE).open(&at);
                let mut into = made.map_err(disk("make", &at))?;
                io::copy(&mut entry, &mut into).map_err(disk("write", &at))?;
            }
            _ => return Err(refused()),
        }
    }
    Ok(())
}

/// Which folder an entry belongs to, and where in it.
fn place<'a>(path: &Path, folders: &'a [PathBuf]) -> Option<(&'a PathBuf, PathBuf)> {
    let mut parts = path.components();
    let Some(Component::Normal(first)) = parts.next() else { return None };
    let folder = folders.get(first.to_str()?.parse::<usize>().ok()?)?;
    let rest = parts.as_path();
    rest.components().all(|part| matches!(part, Component::Normal(_))).then(|| (folder, rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let at = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = at.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (first, second) = (folder("first"), folder("second"));
        fs::write(first.join("core-1.img"), b"memory").unwrap();
        fs::create_dir(second.join("deep")).unwrap();
        fs::write(second.join("deep/pages-1.img"), vec![7; 100_000]).unwrap();
        let file = at.path().join("memory.tar");
        let (length, sha256) = pack(&[first, second], &file).unwrap();
        let bytes = fs::read(&file).unwrap();
        assert_eq!((length, sha256), (bytes.len() as u64, Sha256Digest::of(&bytes)));
        let (one, two) = (folder("one"), folder("two"));
        unpack(&file, &[one.clone(), two.clone()]).unwrap();
        assert_eq!(fs::read(one.join("core-1.img")).unwrap(), b"memory");
        assert_eq!(fs::read(two.join("deep/pages-1.img")).unwrap(), vec![7; 100_000]);
        // Of a release with one container there is no place for the second.
        let refused = unpack(&file, &[folder("other")]).unwrap_err();
        assert!(matches!(&refused, MemoryError::Entry { entry } if entry.starts_with('1')), "{refused}");
    }

    #[test]
    fn nothing_leaves_its_folder() {
        let at = tempfile::tempdir().unwrap();
        let into = at.path().join("into");
        fs::create_dir(&into).unwrap();
        let entries: [(&str, tar::EntryType); 6] = [
            ("0/../../escaped", tar::EntryType::Regular),
            ("/0/escaped", tar::EntryType::Regular),
            ("../escaped", tar::EntryType::Regular),
            ("escaped", tar::EntryType::Regular),
            ("0/link", tar::EntryType::Symlink),
            ("0/device", tar::EntryType::Char),
        ];
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            let file = at.path().join("bad.tar");
            let mut archive = tar::Builder::new(File::create(&file).unwrap());
            archive.append(&header, io::empty()).unwrap();
            archive.finish().unwrap();
            let refused = unpack(&file, std::slice::from_ref(&into)).unwrap_err();
            assert!(matches!(refused, MemoryError::Entry { .. }), "{name}: {refused}");
            assert_eq!(fs::read_dir(&into).unwrap().count(), 0, "{name}");
            assert!(!at.path().join("escaped").exists(), "{name}");
        }
    }
}
