//! dpkg's status file, where its lists of configuration files must be put right after a way back.
//!
//! dpkg remembers of each configuration file the digest of what was delivered; by it alone it tells a file that the device
//! has changed from one that it has not. A .deb made from what is installed delivers the changed file, and dpkg would
//! take it for unchanged ever after and replace it with the next upgrade. So the lists of before come back too.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::error::PackageError;
use super::archive::field;
use crate::disk::{failed, sync_folder};
use crate::effect::effect;

/// dpkg's own name for a status that is not in force yet.
const NEW: &str = "status-new";

/// The mode that dpkg gives it.
const MODE: u32 = 0o644;

/// A package's list as it should be.
pub(super) struct List<'a> {
    pub(super) name: &'a str,
    pub(super) architecture: &'a str,
    pub(super) conffiles: &'a str,
}

/// Puts the lists right. The locks of dpkg must be held, and its journal must be empty.
pub(super) fn put_right(admin: &Path, lists: &[List]) -> Result<(), PackageError> {
    let path = admin.join("status");
    let status = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let right = rewritten(&status, lists);
    if right == status {
        return Ok(());
    }
    let new = admin.join(NEW);
    effect!("package.status", {
        let written = File::create(&new).and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(MODE))?;
            file.write_all(right.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
    });
    Ok(sync_folder(admin)?)
}

pub(super) fn rewritten(status: &str, lists: &[List]) -> String {
    let stanzas = status.split_inclusive("\n\n").map(|stanza| {
        let is = |list: &&List| {
            field(stanza, "Package") == Some(list.name)
                && field(stanza, "Architecture") == Some(list.architecture)
        };
        lists.iter().find(is).map_or_else(|| stanza.to_owned(), |list| with_list(stanza, list.conffiles))
    });
    stanzas.collect()
}

/// A stanza with this list in the place of its own; dpkg has it before the description.
fn with_list(stanza: &str, conffiles: &str) -> String {
    let (mut before, mut after, mut in_list, mut seen) = (String::new(), String::new(), false, false);
    for line in stanza.split_inclusive('\n') {
        if !line.starts_with(' ') {
            in_list = line.starts_with("Conffiles:");
            // The blank line ends it, unless it stands before all of it.
            seen |= in_list || line.starts_with("Description:") || (line == "\n" && !before.is_empty());
        }
        if !in_list {
            if seen { after.push_str(line) } else { before.push_str(line) }
        }
    }
    if conffiles.is_empty() {
        return before + &after;
    }
    if !before.is_empty() && !before.ends_with('\n') {
        before.push('\n');
    }
    format!("{before}Conffiles:\n{conffiles}\n{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: a\nArchitecture: all\nConffiles:\n /etc/a 1\n /etc/new 2 obsolete\nDescription: x\n y\n\n\
                          Package: b\nArchitecture: all\nDescription: z\n\nPackage: a\nArchitecture: i386\n\n";

    #[test]
    fn only_the_lists_of_the_packages_meant_are_put_right() {
        let list = |name, conffiles| List { name, architecture: "all", conffiles };
        let found = rewritten(STATUS, &[list("a", " /etc/a 9"), list("b", " /etc/b 8\n /etc/c 7")]);
        let expected = "Package: a\nArchitecture: all\nConffiles:\n /etc/a 9\nDescription: x\n y\n\n\
                        Package: b\nArchitecture: all\nConffiles:\n /etc/b 8\n /etc/c 7\nDescription: z\n\n\
                        Package: a\nArchitecture: i386\n\n";
        assert_eq!(found, expected);
        assert_eq!(rewritten(&found, &[list("a", " /etc/a 9")]), found);
        let without = rewritten(STATUS, &[list("a", "")]);
        assert!(!without.contains("Conffiles"), "{without}");
        let spaced = "\nPackage: a\nArchitecture: all\n\n";
        assert_eq!(
            rewritten(spaced, &[list("a", " /etc/a 9")]),
            "\nPackage: a\nArchitecture: all\nConffiles:\n /etc/a 9\n\n"
        );
        let cut = "Package: a\nArchitecture: all";
        assert_eq!(
            rewritten(cut, &[list("a", " /etc/a 9")]),
            "Package: a\nArchitecture: all\nConffiles:\n /etc/a 9\n"
        );
        let last = "Package: a\nArchitecture: all\n\n";
        assert_eq!(
            rewritten(last, &[list("a", " /etc/a 9")]),
            "Package: a\nArchitecture: all\nConffiles:\n /etc/a 9\n\n"
        );
    }
}
