//! What a .deb says of itself.

use std::path::{Component, Path};

use takt_common::release::Package;

use super::super::error::PackageError;
use super::super::tool::Tool;

/// The fields of a package's control file that tell what it is.
const NAME: &str = "Package";
const VERSION: &str = "Version";
const ARCHITECTURE: &str = "Architecture";

/// Scripts, lists and checksums of a package; the largest of Debian have some 2 MiB.
const CONTROL_MIB_MAX: u64 = 32;

/// The control fields of a .deb.
pub(super) fn control(file: &Path) -> Result<String, PackageError> {
    Ok(Tool::new("dpkg-deb").arg("--field").arg(file).answer()?.text())
}

/// The configuration files that it delivers.
pub(super) fn conffiles(file: &Path) -> Result<Vec<String>, PackageError> {
    // It fails where there are none; that the file can be read has been seen before.
    let said = Tool::new("dpkg-deb").arg("--info").arg(file).arg("conffiles").ask()?;
    if !said.status.success() {
        return Ok(Vec::new());
    }
    let text = said.text();
    Ok(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned).collect())
}

/// Refuses a file whose control data is not what the manifest says.
pub(super) fn check(package: &Package, file: &Path) -> Result<(), PackageError> {
    if !file.is_file() {
        return Err(PackageError::NoFile { name: package.name.clone(), path: file.to_owned() });
    }
    // Whoever reads its fields unpacks all of it first.
    if !Tool::new("dpkg-deb").arg("--ctrl-tarfile").arg(file).answers_within(CONTROL_MIB_MAX << 20)? {
        return Err(PackageError::Swells { name: package.name.clone(), limit_mib: CONTROL_MIB_MAX });
    }
    let control = control(file)?;
    let stated = [(NAME, &package.name), (VERSION, &package.version), (ARCHITECTURE, &package.architecture)];
    for (name, stated) in stated {
        let said = field(&control, name).unwrap_or("nothing");
        if said != stated {
            return Err(PackageError::Lies {
                name: package.name.clone(),
                field: name,
                stated: stated.clone(),
                said: said.to_owned(),
            });
        }
    }
    // They become paths below the root, which are kept and brought back.
    let out = |path: &&String| Path::new(path.as_str()).components().any(|part| part == Component::ParentDir);
    match conffiles(file)?.iter().find(out) {
        Some(path) => Err(PackageError::LeadsOut { name: package.name.clone(), path: path.clone() }),
        None => Ok(()),
    }
}

/// The first line of a field.
pub(super) fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A stanza without these fields.
pub(super) fn without(stanza: &str, fields: &[&str]) -> String {
    let mut kept = String::new();
    let mut dropped = false;
    for line in stanza.lines() {
        if !line.starts_with([' ', '\t']) {
            let key = line.split_once(':').map_or("", |(key, _)| key);
            dropped = fields.iter().any(|field| field.eq_ignore_ascii_case(key));
        }
        if !dropped {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZA: &str = "Package: app\nStatus: install ok installed\nConffiles:\n /etc/a 1\n /etc/b 2\nVersion: 1:2\n\
                          Description: short\n long\n";

    #[test]
    fn fields_are_found_and_left_out() {
        assert_eq!(field(STANZA, "version"), Some("1:2"));
        assert_eq!(field(STANZA, "Depends"), None);
        let expected = "Package: app\nVersion: 1:2\nDescription: short\n long\n";
        assert_eq!(without(STANZA, &["Status", "Conffiles"]), expected);
    }
}
