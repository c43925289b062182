//! What a manifest states of a file, with names made numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use takt_common::Sha256Digest;
use takt_common::release::FileSpec;

use super::error::FileError;
use crate::kept::{Attributes, Hex, Seen};

/// The mode of a new file of which none is stated.
const MODE_DEFAULT: u32 = 0o644;

/// What is stated of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    /// Absent for a file that goes.
    pub(super) content: Option<Sha256Digest>,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    xattrs: BTreeMap<String, Hex>,
}

impl Wanted {
    /// What `spec` states. A user or group that this device does not have is an error.
    pub(super) fn of(spec: &FileSpec) -> Result<Self, FileError> {
        let path = PathBuf::from(&spec.path);
        let owner = spec.owner.as_deref().map(|owner| numbers(owner, &path)).transpose()?;
        let mode = spec.mode.as_deref().map(|mode| u32::from_str_radix(mode, 8));
        let mode = mode.transpose().map_err(|_not_octal| FileError::Record {
            path: path.clone(),
            what: "its mode is not octal digits".to_owned(),
        })?;
        let text = |(name, value): (&String, &String)| (name.clone(), Hex(value.clone().into_bytes()));
        let xattrs = spec.xattrs.iter().map(text).collect();
        Ok(Self { path, content: spec.content, mode, owner, xattrs })
    }

    /// True when what is there is all that is stated.
    pub(super) fn is_met(&self, seen: &Seen) -> bool {
        let Some(content) = &self.content else { return *seen == Seen::Absent };
        let Seen::File { sha256, attributes } = seen else { return false };
        sha256 == content
            && self.mode.is_none_or(|mode| mode == attributes.mode)
            && self.owner.is_none_or(|owner| owner == (attributes.user, attributes.group))
            && self.xattrs.iter().all(|(name, value)| attributes.xattrs.get(name) == Some(value))
    }

    /// All attributes of the new file: what is not stated is that of the one it replaces.
    pub(super) fn attributes(&self, old: Option<&Attributes>) -> Attributes {
        let mut new = old.map_or_else(
            || Attributes {
                mode: MODE_DEFAULT,
                user: Uid::effective().as_raw(),
                group: Gid::effective().as_raw(),
                modified: None,
                xattrs: BTreeMap::new(),
            },
            Attributes::for_new_content,
        );
        new.mode = self.mode.unwrap_or(new.mode);
        (new.user, new.group) = self.owner.unwrap_or((new.user, new.group));
        new.xattrs.extend(self.xattrs.clone());
        new
    }
}

/// `user:group`, each a number or a name.
fn numbers(owner: &str, path: &Path) -> Result<(u32, u32), FileError> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let unknown = |kind, name: &str| FileError::Owner { path: path.to_owned(), kind, name: name.to_owned() };
    let user = user
        .parse()
        .ok()
        .or_else(|| Some(User::from_name(user).ok()??.uid.as_raw()))
        .ok_or_else(|| unknown("user", user))?;
    let group = group
        .parse()
        .ok()
        .or_else(|| Some(Group::from_name(group).ok()??.gid.as_raw()))
        .ok_or_else(|| unknown("group", group))?;
    Ok((user, group))
}

#[cfg(test)]
mod tests {
    use takt_agent_core::failure::sentence;

    use super::*;

    fn spec(owner: Option<&str>, mode: Option<&str>) -> FileSpec {
        FileSpec {
            path: "/etc/x".to_owned(),
            content: Some(Sha256Digest::of(b"x")),
            mode: mode.map(str::to_owned),
            owner: owner.map(str::to_owned),
            xattrs: BTreeMap::from([("user.a".to_owned(), "1".to_owned())]),
        }
    }

    #[test]
    fn what_is_not_stated_stays_and_what_is_new_has_the_default() {
        let stated = Wanted::of(&spec(Some("7:root"), None)).unwrap();
        let old = Attributes {
            mode: 0o4750,
            user: 1,
            group: 2,
            modified: Some((3, 4)),
            xattrs: BTreeMap::from([
                ("user.a".to_owned(), Hex(b"0".to_vec())),
                ("user.b".to_owned(), Hex(b"2".to_vec())),
                ("security.ima".to_owned(), Hex(b"of other content".to_vec())),
            ]),
        };
        let new = stated.attributes(Some(&old));
        assert_eq!((new.mode, new.user, new.group, new.modified), (0o4750, 7, 0, None));
        let names: Vec<&str> = new.xattrs.keys().map(String::as_str).collect();
        assert_eq!(names, ["user.a", "user.b"]);
        assert_eq!(new.xattrs["user.a"], Hex(b"1".to_vec()));
        let fresh = Wanted::of(&spec(None, None)).unwrap().attributes(None);
        assert_eq!(fresh.mode, 0o644);
        let seen = |attributes: &Attributes| Seen::File {
            sha256: Sha256Digest::of(b"x"),
            attributes: attributes.clone(),
        };
        assert!(stated.is_met(&seen(&new)));
        assert!(!stated.is_met(&seen(&old)));
        assert!(!stated.is_met(&Seen::Absent));
    }

    #[test]
    fn a_name_that_the_device_does_not_know_is_named() {
        let error = Wanted::of(&spec(Some("root:no-such-group-here"), Some("0600"))).unwrap_err();
        let expected = "give '/etc/x' to group 'no-such-group-here': this device has no such group";
        assert_eq!(sentence(&error), expected);
    }
}
