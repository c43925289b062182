//! Which package files Takt has installed, so that a later release can go back to them: `<way back>/packages/` holds a
//! file for each, its name the package and its content the artifact's digest. It is a hint: the artifact may be gone, and
//! somebody else may have installed another version since.

use std::fs;
use std::path::{Path, PathBuf};

use takt_common::Sha256Digest;
use takt_common::release::{Package, PackageFormat};

use crate::disk::{self, DiskError};

/// The folder, which is no step's.
const FOLDER: &str = "packages";

/// More than a device ever has from Takt.
const ENTRIES_MAX: usize = 65536;

/// What Takt has installed.
#[derive(Debug, Clone)]
pub(crate) struct Memory(PathBuf);

impl Memory {
    /// In the folder of all ways back.
    pub(crate) fn new(way_back: &Path) -> Self {
        Self(way_back.join(FOLDER))
    }

    /// The digest of the file with which Takt installed exactly this.
    pub(crate) fn find(
        &self,
        format: PackageFormat,
        name: &str,
        version: &str,
        architecture: &str,
    ) -> Option<Sha256Digest> {
        let text = fs::read_to_string(self.0.join(entry(format, name, version, architecture))).ok()?;
        text.trim().parse().ok()
    }

    /// All digests of files with which Takt installed a package of this name.
    pub(crate) fn all(&self, format: PackageFormat, name: &str) -> Vec<Sha256Digest> {
        let read = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
        self.entries(format, name).into_iter().filter_map(read).collect()
    }

    /// Takt has installed this; of other versions of it only `before` is still of use.
    pub(crate) fn remember(
        &self,
        format: PackageFormat,
        package: &Package,
        before: Option<(&str, &str)>,
    ) -> Result<(), DiskError> {
        let own = entry(format, &package.name, &package.version, &package.architecture);
        let old = before.map(|(version, architecture)| entry(format, &package.name, version, architecture));
        if self.find(format, &package.name, &package.version, &package.architecture) != Some(package.file) {
            disk::make_folder(&self.0)?;
            disk::write(&self.0.join(&own), format!("{}\n", package.file).as_bytes())?;
        }
        for path in self.entries(format, &package.name) {
            let name = path.file_name().and_then(|name| name.to_str());
            if name != Some(&own) && name != old.as_deref() {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    fn entries(&self, format: PackageFormat, name: &str) -> Vec<PathBuf> {
        let beginning = format!("{}_{name}_", letters(format));
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let paths = entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path());
        let of_name = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&beginning)) && path.extension() != Some("part".as_ref())
        };
        paths.filter(of_name).collect()
    }
}

const fn letters(format: PackageFormat) -> &'static str {
    match format {
        PackageFormat::Deb => "deb",
        PackageFormat::Rpm => "rpm",
    }
}

/// Names and architectures of packages may have `_` in them with rpm only, and what is mistaken then is only a hint.
fn entry(format: PackageFormat, name: &str, version: &str, architecture: &str) -> String {
    format!("{}_{name}_{version}_{architecture}", letters(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_version_now_and_of_the_one_before_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path());
        let package = |version: &str| Package {
            file: Sha256Digest::of(version.as_bytes()),
            name: "app".to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
        };
        let find = |version: &str| memory.find(PackageFormat::Deb, "app", version, "all");
        assert_eq!(find("1:1.0~rc1-1"), None);
        memory.remember(PackageFormat::Deb, &package("1:1.0~rc1-1"), None).unwrap();
        memory.remember(PackageFormat::Deb, &package("2.0"), Some(("1:1.0~rc1-1", "all"))).unwrap();
        assert_eq!(find("1:1.0~rc1-1"), Some(Sha256Digest::of(b"1:1.0~rc1-1")));
        assert_eq!(memory.all(PackageFormat::Deb, "app").len(), 2);
        memory.remember(PackageFormat::Deb, &package("3.0"), Some(("2.0", "all"))).unwrap();
        assert_eq!((find("1:1.0~rc1-1"), find("2.0")), (None, Some(Sha256Digest::of(b"2.0"))));
        assert_eq!(memory.all(PackageFormat::Rpm, "app"), []);
    }
}
