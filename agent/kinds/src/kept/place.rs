//! A place for a file: a name in an open folder.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags, openat, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;
use takt_common::Sha256Digest;
use takt_common::digest::Sha256Hasher;

use super::digests::PIECE_LENGTH;
use super::{Attributes, Digests, KeptError};
use crate::disk::{DiskError, failed};
use crate::effect::effect;

/// A name in an open folder.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// What lies at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its content's digest.
        sha256: Sha256Digest,
        /// The rest of it.
        attributes: Attributes,
    },
    /// Something else; what.
    Other(&'static str),
}

/// What `kind` is, for people.
pub(crate) const fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown type",
    }
}

impl Place {
    /// `name` in the open `folder`; `path` is for errors.
    pub(crate) const fn new(folder: OwnedFd, name: OsString, path: PathBuf) -> Self {
        Self { folder, name, path }
    }

    /// The place `path`; `None` when its folder is not there. Symbolic links on the way are followed.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>, DiskError> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed("use as a file", path)(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        match File::open(folder) {
            Ok(open) => Ok(Some(Self::new(open.into(), name.to_owned(), path.to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open folder", folder)(error)),
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What lies there, without opening it; `None` for nothing.
    pub(crate) fn kind(&self) -> Result<Option<FileType>, DiskError> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("examine", &self.path)(error)),
        }
    }

    /// Why the name cannot be given to another file, as far as the kernel says so ahead.
    pub(crate) fn fixed(&self) -> Option<&'static str> {
        let ask = |name: &OsStr, flags| {
            let found = statx(&self.folder, name, flags, StatxFlags::BASIC_STATS).ok()?;
            Some(found.stx_attributes)
        };
        let folder = ask(OsStr::new(""), AtFlags::EMPTY_PATH).unwrap_or(StatxAttributes::empty());
        if folder.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Some("lies in a folder that is marked immutable or append-only");
        }
        let own = ask(&self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if own.intersects(StatxAttributes::IMMUTABLE) {
            return Some("is marked immutable");
        }
        if own.intersects(StatxAttributes::APPEND) {
            return Some("is marked append-only");
        }
        own.intersects(StatxAttributes::MOUNT_ROOT).then_some("is a mount point")
    }

    /// The file there, open for reading; `None` for nothing.
    pub(crate) fn open(&self) -> Result<Option<File>, KeptError> {
        match self.kind()? {
            None => Ok(None),
            Some(FileType::RegularFile) => {
                // Not blocking: a pipe may have come in its place by now.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = match openat(&self.folder, &self.name, flags, Mode::empty()) {
                    Ok(file) => File::from(file),
                    Err(Errno::NOENT) => return Ok(None),
                    Err(error) => return Err(failed("open", &self.path)(error).into()),
                };
                let kind = file.metadata().map_err(failed("examine", &self.path))?.file_type();
                if kind.is_file() { Ok(Some(file)) } else { Err(self.not_a_file("no regular file")) }
            }
            Some(kind) => Err(self.not_a_file(what(kind))),
        }
    }

    fn not_a_file(&self, what: &'static str) -> KeptError {
        KeptError::NotAFile { path: self.path.display().to_string(), what }
    }

    /// What lies there.
    pub(crate) fn look(&self, digests: &Digests) -> Result<Seen, DiskError> {
        let mut file = match self.open() {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Seen::Absent),
            Err(KeptError::NotAFile { what, .. }) => return Ok(Seen::Other(what)),
            Err(KeptError::Disk(error)) => return Err(error),
            Err(other) => return Err(failed("open", &self.path)(io::Error::other(other))),
        };
        let attributes = Attributes::of(&file, &self.path)?;
        let sha256 = digests.of(&mut file).map_err(failed("read", &self.path))?;
        Ok(Seen::File { sha256, attributes })
    }

    /// Writes a whole file under the name `temp` beside the place, with its attributes, synced. After an error nothing is
    /// left of it.
    pub(crate) fn lay(
        &self,
        temp: &str,
        content: &mut File,
        from: &Path,
        sha256: &Sha256Digest,
        attributes: &Attributes,
    ) -> Result<(), KeptError> {
        self.remove_beside(temp)?;
        let laid = effect!("place.write", self.write(temp, content, from, sha256, attributes));
        if laid.is_err() {
            // The first error tells more than one of this removal would.
            let _ = self.remove_beside(temp);
        }
        laid
    }

    fn write(
        &self,
        temp: &str,
        content: &mut File,
        from: &Path,
        sha256: &Sha256Digest,
        attributes: &Attributes,
    ) -> Result<(), KeptError> {
        let beside = self.path.with_file_name(temp);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, temp, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(failed("create", &beside))?);
        let (found, _) = copy(content, from, &mut file, &beside)?;
        if found != *sha256 {
            return Err(KeptError::Content { path: from.display().to_string(), expected: *sha256, found });
        }
        attributes.give(&file, &beside)?;
        file.sync_all().map_err(failed("write", &beside))?;
        Ok(())
    }

    /// Gives the name to the file `temp` beside it.
    pub(crate) fn swap(&self, temp: &str) -> Result<(), KeptError> {
        let renamed = effect!("place.rename", renameat(&self.folder, temp, &self.folder, &self.name));
        renamed.map_err(failed("replace", &self.path))?;
        Ok(())
    }

    /// Gives the name to the file `from`, of the same file system, which is whole and synced already but for its
    /// attributes.
    pub(super) fn take(
        &self,
        from: &Path,
        sha256: &Sha256Digest,
        attributes: &Attributes,
    ) -> Result<(), KeptError> {
        let mut file = File::open(from).map_err(failed("open the kept copy", from))?;
        let found = Digests::default().of(&mut file).map_err(failed("read the kept copy", from))?;
        if found != *sha256 {
            return Err(KeptError::Content { path: from.display().to_string(), expected: *sha256, found });
        }
        attributes.give(&file, from)?;
        file.sync_all().map_err(failed("write", from))?;
        let renamed = effect!("place.rename", {
            let here = fs::canonicalize(from);
            here.and_then(|from| Ok(renameat(rustix::fs::CWD, &from, &self.folder, &self.name)?))
        });
        renamed.map_err(failed("replace", &self.path))?;
        Ok(())
    }

    /// Takes the file there away.
    pub(crate) fn remove(&self) -> Result<(), KeptError> {
        match self.kind()? {
            None => return Ok(()),
            Some(FileType::RegularFile) => {}
            Some(kind) => return Err(self.not_a_file(what(kind))),
        }
        match effect!("place.remove", unlinkat(&self.folder, &self.name, AtFlags::empty())) {
            Err(error) if error != Errno::NOENT => Err(failed("remove", &self.path)(error).into()),
            _ => Ok(()),
        }
    }

    /// Takes the folder there away, if it is there and has nothing in it.
    pub(crate) fn remove_folder(&self) -> Result<(), DiskError> {
        let removed = effect!("place.rmdir", unlinkat(&self.folder, &self.name, AtFlags::REMOVEDIR));
        match removed {
            Ok(()) => self.sync(),
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(failed("remove folder", &self.path)(error)),
        }
    }

    /// True when there is something of this name beside the place.
    pub(crate) fn has_beside(&self, temp: &str) -> bool {
        statat(&self.folder, temp, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file of this name beside the place. A disk that cannot be written to is only an error when there is one.
    pub(crate) fn remove_beside(&self, temp: &str) -> Result<(), DiskError> {
        if !self.has_beside(temp) {
            return Ok(());
        }
        match unlinkat(&self.folder, temp, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => {
                Err(failed("remove", &self.path.with_file_name(temp))(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the names in its folder durable.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        let folder = self.path.parent().unwrap_or(&self.path);
        rustix::fs::fsync(&self.folder).map_err(failed("sync folder", folder))
    }
}

/// Copies all of a file into another; its digest and length.
pub(super) fn copy(
    from: &mut File,
    from_path: &Path,
    to: &mut File,
    to_path: &Path,
) -> Result<(Sha256Digest, u64), DiskError> {
    let (mut hasher, mut piece, mut length) = (Sha256Hasher::default(), vec![0; PIECE_LENGTH], 0);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok((hasher.finish(), length)),
            Ok(read) => {
                hasher.update(&piece[..read]);
                to.write_all(&piece[..read]).map_err(failed("write", to_path))?;
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", from_path)(error)),
        }
    }
}
