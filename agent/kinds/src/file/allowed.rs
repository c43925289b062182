//! Where files may change, and the way there: from the root down, each folder opened in the one before it, no symbolic
//! link followed. So nothing that is moved or linked meanwhile leads anywhere else.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;

use super::error::FileError;
use crate::disk::failed;
use crate::effect::effect;
use crate::kept::Place;

/// The mode of folders that a set makes.
const FOLDER_MODE: u32 = 0o755;

/// What a device allows.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Below these.
    pub(super) roots: Vec<PathBuf>,
    /// But never in these or above them: the agent's own.
    pub(super) never: Vec<PathBuf>,
}

/// What becomes of folders that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Named,
    Made,
}

/// The end of a way.
#[derive(Debug)]
struct Way {
    /// The place; `None` when a folder is not there.
    place: Option<Place>,
    /// The folders that are not there, from the top down.
    missing: Vec<PathBuf>,
}

impl Allowed {
    /// The place of `path`; `None` when its folder is not there.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Place>, FileError> {
        Ok(self.walk(path, Missing::Named)?.place)
    }

    /// The folders on the way to `path` that are not there, from the top down.
    pub(super) fn missing_folders(&self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
        Ok(self.walk(path, Missing::Named)?.missing)
    }

    /// The place of `path`, after making the folders on the way to it, durably.
    pub(super) fn make_way(&self, path: &Path) -> Result<Place, FileError> {
        let way = self.walk(path, Missing::Made)?;
        way.place.ok_or_else(|| failed("make the folder of", path)(Errno::NOENT).into())
    }

    /// The root that `path` lies below, and the names from there.
    fn below<'a>(&self, path: &'a Path) -> Result<(&Path, Vec<&'a OsStr>), FileError> {
        let plain = |part: Component| matches!(part, Component::Normal(_) | Component::RootDir);
        if !path.is_absolute() || !path.components().all(plain) {
            return Err(FileError::Path { path: path.to_owned() });
        }
        if let Some(own) = self.never.iter().find(|own| path.starts_with(own) || own.starts_with(path)) {
            return Err(FileError::Own { path: path.to_owned(), own: own.clone() });
        }
        // The nearest root: what is mounted in another one may be one too.
        let roots = self.roots.iter().filter(|root| path.starts_with(root) && path != root.as_path());
        let root = roots.max_by_key(|root| root.components().count());
        let outside = || FileError::Outside { path: path.to_owned(), roots: self.roots.clone() };
        let root = root.ok_or_else(outside)?;
        let names = path.strip_prefix(root).map_err(|_not_below| outside())?;
        Ok((root, names.iter().collect()))
    }

    fn walk(&self, path: &Path, missing: Missing) -> Result<Way, FileError> {
        let (root, names) = self.below(path)?;
        let Some((name, folders)) = names.split_last() else {
            return Err(FileError::Path { path: path.to_owned() });
        };
        let (mut at, mut folder) = (root.to_owned(), open_root(root, path)?);
        self.check_own(&folder, path)?;
        for (index, part) in folders.iter().enumerate() {
            let next = at.join(part);
            folder = match open_folder(&folder, part) {
                Err(Errno::NOENT) if missing == Missing::Named => {
                    let all = folders[index..].iter().scan(at, |at, part| {
                        at.push(part);
                        Some(at.clone())
                    });
                    return Ok(Way { place: None, missing: all.collect() });
                }
                Err(Errno::NOENT) => make_folder(&folder, part, &next)?,
                Err(error) => return Err(no_folder(&folder, part, path, next, error)),
                Ok(next) => next,
            };
            at = next;
            self.check_own(&folder, path)?;
        }
        let place = Place::new(folder, OsString::from(name), path.to_owned());
        Ok(Way { place: Some(place), missing: Vec::new() })
    }

    /// A folder of the agent's may be mounted in other places too.
    fn check_own(&self, folder: &OwnedFd, path: &Path) -> Result<(), FileError> {
        let stat = rustix::fs::fstat(folder).map_err(failed("examine the folder of", path))?;
        let same = |own: &&PathBuf| {
            fs::metadata(own).is_ok_and(|own| (own.dev(), own.ino()) == (stat.st_dev, stat.st_ino))
        };
        match self.never.iter().find(same) {
            Some(own) => Err(FileError::Own { path: path.to_owned(), own: own.clone() }),
            None => Ok(()),
        }
    }
}

fn open_root(root: &Path, path: &Path) -> Result<OwnedFd, FileError> {
    match File::open(root) {
        Ok(open) => Ok(open.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(FileError::NoRoot { path: path.to_owned(), root: root.to_owned() })
        }
        Err(error) => Err(failed("open folder", root)(error).into()),
    }
}

fn open_folder(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Makes a folder that a new file lies in; like all others, whatever the agent's own mask is.
fn make_folder(folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, FileError> {
    match effect!("file.mkdir", mkdirat(folder, name, Mode::from_raw_mode(FOLDER_MODE))) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("make folder", path)(error).into()),
    }
    let made = open_folder(folder, name).map_err(failed("open folder", path))?;
    let made = File::from(made);
    made.set_permissions(fs::Permissions::from_mode(FOLDER_MODE)).map_err(failed("set the mode of", path))?;
    made.sync_all().map_err(failed("sync folder", path))?;
    rustix::fs::fsync(folder).map_err(failed("sync the folder of", path))?;
    Ok(made.into())
}

/// Why a part of the way cannot be gone.
fn no_folder(folder: &OwnedFd, name: &OsStr, path: &Path, at: PathBuf, error: Errno) -> FileError {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            let what = crate::kept::what(FileType::from_raw_mode(stat.st_mode));
            FileError::NoFolder { path: path.to_owned(), at, what }
        }
        _ => failed("open folder", &at)(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use takt_agent_core::failure::sentence;

    use super::*;

    fn refusal(allowed: &Allowed, path: &Path) -> String {
        sentence(&allowed.find(path).map(|found| found.is_some()).unwrap_err())
    }

    #[test]
    fn only_what_lies_below_a_root_is_found_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("etc"), folder.path().join("outside"));
        fs::create_dir_all(root.join("deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink(&outside, root.join("way-out")).unwrap();
        symlink("deep", root.join("way-in")).unwrap();
        let allowed = Allowed { roots: vec![root.clone()], never: vec![] };
        assert!(allowed.find(&root.join("deep/x")).unwrap().is_some());
        assert!(allowed.find(&root.join("new/er/x")).unwrap().is_none());
        let missing = allowed.missing_folders(&root.join("new/er/x")).unwrap();
        assert_eq!(missing, [root.join("new"), root.join("new/er")]);
        for (path, why) in [
            (outside.join("x"), "lies below none of this device's allowed roots ("),
            (root.clone(), "lies below none"),
            (root.join("../outside/x"), "not an absolute path without '.' and '..'"),
            (PathBuf::from("etc/x"), "not an absolute path"),
            (root.join("way-out/x"), "way-out' on the way to it is a symbolic link, not a folder"),
            (root.join("way-in/x"), "way-in' on the way to it is a symbolic link, not a folder"),
            (root.join("file/x"), "file' on the way to it is a regular file, not a folder"),
        ] {
            let text = refusal(&allowed, &path);
            assert!(text.contains(why), "{text}");
        }
        assert!(fs::read_dir(&outside).unwrap().next().is_none());
    }

    #[test]
    fn the_agents_own_folder_is_never_found_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("srv/takt");
        fs::create_dir_all(own.join("way-back")).unwrap();
        symlink(&own, folder.path().join("alias")).unwrap();
        let roots = vec![folder.path().join("srv"), folder.path().join("alias"), folder.path().join("none")];
        let allowed = Allowed { roots, never: vec![own.clone()] };
        for path in [own.clone(), own.join("x"), own.join("way-back/x"), folder.path().join("alias/x")] {
            let text = refusal(&allowed, &path);
            assert!(text.ends_with("srv/takt' is the agent's own"), "{text}");
        }
        assert!(allowed.find(&folder.path().join("srv/x")).unwrap().is_some());
        assert!(refusal(&allowed, &folder.path().join("none/x")).ends_with("none' is not there"));
    }
}
