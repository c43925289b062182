//! What a file is beside its content: mode, owner, time, extended attributes. POSIX ACLs are extended attributes too.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use takt_common::digest::to_hex;

use crate::disk::{DiskError, failed};

/// The kernel's limit for the list of names, and for one value.
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Attributes that the kernel or a security module makes from the content or its own rules: they are restored where that
/// is allowed, never given to other content, and no file counts as changed because of them.
const OF_THE_SYSTEM: [&str; 3] = ["security.ima", "security.evm", "security.selinux"];

/// The bits of a mode that can be set.
const MODE_BITS: u32 = 0o7777;

/// What a file is beside its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// The owner's number.
    pub(crate) user: u32,
    /// The group's number.
    pub(crate) group: u32,
    /// When its content was last changed: seconds and nanoseconds since 1970; absent for "now".
    pub(crate) modified: Option<(i64, u32)>,
    /// Extended attributes, their values in hex digits.
    pub(crate) xattrs: BTreeMap<String, Hex>,
}

/// Bytes, stored as hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        to_hex(&hex.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("'{text}' is not pairs of hex digits");
        let digits = text.as_bytes();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        };
        digits.chunks(2).map(byte).collect::<Option<_>>().map(Self).ok_or_else(wrong)
    }
}

impl Attributes {
    /// Those of an open file; `path` is for errors.
    pub(crate) fn of(file: &File, path: &Path) -> Result<Self, DiskError> {
        let metadata = file.metadata().map_err(failed("examine", path))?;
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Ok(Self {
            mode: metadata.mode() & MODE_BITS,
            user: metadata.uid(),
            group: metadata.gid(),
            modified: Some((metadata.mtime(), nanos)),
            xattrs: read_xattrs(file).map_err(failed("read the extended attributes of", path))?,
        })
    }

    /// Gives them to an open file; what it has beyond them goes.
    pub(crate) fn give(&self, file: &File, path: &Path) -> Result<(), DiskError> {
        // A change of the owner clears set-user-id bits and capabilities, so it comes first; a mode changes the mask of an
        // ACL, to what it was when both were read together.
        fchown(file, Some(self.user), Some(self.group)).map_err(failed("set the owner of", path))?;
        let has = read_xattrs(file).map_err(failed("read the extended attributes of", path))?;
        for name in has.keys().filter(|name| !self.xattrs.contains_key(*name) && !of_the_system(name)) {
            rustix::fs::fremovexattr(file, name.as_str())
                .map_err(failed("remove an extended attribute of", path))?;
        }
        for (name, value) in &self.xattrs {
            let set = rustix::fs::fsetxattr(file, name.as_str(), &value.0, XattrFlags::empty());
            if !of_the_system(name) {
                set.map_err(failed("set an extended attribute of", path))?;
            }
        }
        file.set_permissions(Permissions::from_mode(self.mode)).map_err(failed("set the mode of", path))?;
        if let Some(modified) = self.modified.and_then(instant) {
            file.set_times(FileTimes::new().set_modified(modified))
                .map_err(failed("set the time of", path))?;
        }
        Ok(())
    }

    /// The same as far as it counts: without times, and without what the system makes of itself.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let of_its_own = |xattrs: &BTreeMap<String, Hex>| {
            let own = xattrs.iter().filter(|(name, _)| !of_the_system(name));
            own.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        (self.mode, self.user, self.group) == (other.mode, other.user, other.group)
            && of_its_own(&self.xattrs) == of_its_own(&other.xattrs)
    }

    /// The same for other content, written now.
    pub(crate) fn for_new_content(&self) -> Self {
        let mut new = Self { modified: None, ..self.clone() };
        new.xattrs.retain(|name, _| !of_the_system(name));
        new
    }
}

fn of_the_system(name: &str) -> bool {
    OF_THE_SYSTEM.contains(&name)
}

fn instant((secs, nanos): (i64, u32)) -> Option<SystemTime> {
    let whole = Duration::from_secs(secs.unsigned_abs());
    let secs = if secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    secs?.checked_add(Duration::from_nanos(u64::from(nanos)))
}

fn read_xattrs(file: &File) -> io::Result<BTreeMap<String, Hex>> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        // A file system without them.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut value = vec![0; XATTR_BYTES_MAX];
    let mut found = BTreeMap::new();
    for name in names {
        let name = std::str::from_utf8(name).map_err(|_not_text| {
            io::Error::new(io::ErrorKind::InvalidData, "an attribute's name is not text")
        })?;
        match rustix::fs::fgetxattr(file, name, &mut value) {
            Ok(length) => {
                found.insert(name.to_owned(), Hex(value[..length].to_vec()));
            }
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_given_and_stored() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let (from, to) = (File::create(&one).unwrap(), File::create(&two).unwrap());
        rustix::fs::fsetxattr(&from, "user.colour", b"red\0", XattrFlags::empty()).unwrap();
        rustix::fs::fsetxattr(&to, "user.more", b"1", XattrFlags::empty()).unwrap();
        let long_ago = (-3, 500_000_000);
        let wanted =
            Attributes { mode: 0o640, modified: Some(long_ago), ..Attributes::of(&from, &one).unwrap() };
        wanted.give(&to, &two).unwrap();
        let given = Attributes::of(&to, &two).unwrap();
        assert_eq!(given, wanted);
        let text = serde_json::to_string(&given).unwrap();
        assert!(text.contains(r#""user.colour":"72656400""#), "{text}");
        assert_eq!(serde_json::from_str::<Attributes>(&text).unwrap(), given);
        assert!(serde_json::from_str::<Hex>(r#""7""#).is_err());
        assert!(serde_json::from_str::<Hex>(r#""7x""#).is_err());
    }
}
