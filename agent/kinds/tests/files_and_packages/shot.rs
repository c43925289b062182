//! A picture of a folder with everything that an upgrade must bring back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;

/// A folder's files and folders by their path in it.
pub(crate) type Shot = BTreeMap<String, Entry>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Of files only: a folder's time changes with what comes and goes in it.
    pub(crate) modified: Option<(i64, i64)>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// The content of a file, the target of a link.
    pub(crate) content: Option<Vec<u8>>,
}

/// What is in `folder`.
pub(crate) fn shot(folder: &Path) -> Shot {
    let mut found = Shot::new();
    walk(folder, folder, &mut found);
    found
}

fn walk(top: &Path, folder: &Path, found: &mut Shot) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_file() => Some(fs::read(&path).unwrap()),
            kind if kind.is_symlink() => {
                Some(fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            }
            _ => None,
        };
        let modified = metadata.is_file().then(|| (metadata.mtime(), metadata.mtime_nsec()));
        let owner = (metadata.uid(), metadata.gid());
        let xattrs = xattrs(&path);
        found.insert(name, Entry { mode: metadata.mode(), owner, modified, xattrs, content });
        if metadata.is_dir() {
            walk(top, &path, found);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else { return BTreeMap::new() };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut value = vec![0; 65536];
    names
        .map(|name| {
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), value[..length].to_vec())
        })
        .collect()
}

/// An ACL in the kernel's form: rw for the owner, r for user 5, r for the group, nothing for others.
pub(crate) const ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 5, 0, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255,
];

/// The capability to use low ports, in the kernel's form.
pub(crate) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Writes a file with all of it, last changed in 2001.
pub(crate) fn make(path: &Path, content: &str, mode: u32, owner: (u32, u32), xattrs: &[(&str, &[u8])]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    fchown(&file, Some(owner.0), Some(owner.1)).unwrap();
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(&file, *name, value, XattrFlags::empty()).unwrap();
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
    file.set_times(fs::FileTimes::new().set_modified(long_ago)).unwrap();
}
