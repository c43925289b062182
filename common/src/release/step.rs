//! The steps of a release: one for each thing it changes, in the order in which they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::container::ContainerSet;
use super::{ManifestError, wrong};
use crate::digest::Sha256Digest;

/// What a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files.
    File,
    /// Debian or RPM packages.
    Package,
    /// A container workload.
    Container,
    /// A whole operating system image.
    OsImage,
    /// A kernel live patch.
    LivePatch,
    /// Firmware of a microcontroller behind a gateway.
    LeafFirmware,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Package => "package",
            Self::Container => "container",
            Self::OsImage => "os-image",
            Self::LivePatch => "live-patch",
            Self::LeafFirmware => "leaf-firmware",
        })
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Step {
    /// Files.
    File(FileSet),
    /// Packages.
    Package(PackageSet),
    /// Containers.
    Container(ContainerSet),
    /// An operating system image.
    OsImage(OsImage),
    /// A kernel live patch.
    LivePatch(LivePatch),
}

impl Step {
    /// What it changes.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Package(_) => Kind::Package,
            Self::Container(_) => Kind::Container,
            Self::OsImage(_) => Kind::OsImage,
            Self::LivePatch(_) => Kind::LivePatch,
        }
    }

    pub(super) fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        match self {
            Self::File(set) => set.check(has),
            Self::Package(set) => set.check(has),
            Self::Container(set) => set.check(has),
            Self::OsImage(image) => image.check(has),
            Self::LivePatch(patch) => patch.check(has),
        }
    }
}

/// Files that change together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSet {
    /// Them.
    pub files: Vec<FileSpec>,
}

/// One file. What is not stated is kept from the file that it replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Where: absolute, without `.` and `..`, below one of the device's allowed roots.
    pub path: String,
    /// Its content, one of the release's artifacts; absent for a file that goes.
    pub content: Option<Sha256Digest>,
    /// Permission bits in octal digits, for example `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner and group by name or number, as `user:group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Extended attributes that are set, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl FileSet {
    fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        if self.files.is_empty() {
            return Err(wrong("files", "at least one file is expected"));
        }
        let mut paths = BTreeSet::new();
        for file in &self.files {
            let parts: Vec<&str> = file.path.split('/').collect();
            let plain =
                |part: &&str| !part.is_empty() && !matches!(*part, "." | "..") && !part.contains('\0');
            if parts.len() < 2 || !parts[0].is_empty() || !parts[1..].iter().all(plain) {
                let why = format!("'{}' is not an absolute path without '.' and '..'", file.path);
                return Err(wrong("file.path", why));
            }
            if !paths.insert(&file.path) {
                return Err(wrong("file.path", format!("'{}' stands there twice", file.path)));
            }
            if file.content.is_some_and(|content| !has(&content)) {
                return Err(wrong(
                    "file.content",
                    format!("'{}' names no artifact of the release", file.path),
                ));
            }
            if file.mode.as_deref().is_some_and(|mode| !is_mode(mode)) {
                return Err(wrong("file.mode", format!("'{}' needs octal digits such as 0644", file.path)));
            }
            let halves = |owner: &str| {
                owner.split_once(':').is_some_and(|(user, group)| !user.is_empty() && !group.is_empty())
            };
            if file.owner.as_deref().is_some_and(|owner| !halves(owner)) {
                return Err(wrong("file.owner", format!("'{}' needs 'user:group'", file.path)));
            }
        }
        // A file cannot be the folder of another one.
        let mut sorted = paths.iter().peekable();
        while let (Some(path), Some(next)) = (sorted.next(), sorted.peek()) {
            if next.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                return Err(wrong("file.path", format!("'{path}' cannot be a file and a folder")));
            }
        }
        Ok(())
    }
}

fn is_mode(mode: &str) -> bool {
    (3..=4).contains(&mode.len()) && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
}

/// The form of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageFormat {
    /// Debian's, by dpkg.
    Deb,
    /// RPM's, by rpm.
    Rpm,
}

/// What becomes of a configuration file that the device has changed and the new package brings anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conffiles {
    /// The device's stays; what was never changed is replaced.
    #[default]
    Keep,
    /// The package's takes its place.
    Take,
}

/// Packages that change together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    /// Their form.
    pub format: PackageFormat,
    /// Exactly these, never what a mirror has today.
    pub packages: Vec<Package>,
    /// Changed configuration files.
    #[serde(default)]
    pub conffiles: Conffiles,
}

/// One package. Its name, version and architecture are held against what its file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The file, one of the release's artifacts.
    pub file: Sha256Digest,
    /// Its name.
    pub name: String,
    /// Its whole version, epoch and revision included.
    pub version: String,
    /// Its architecture, `all` or `noarch` among them.
    pub architecture: String,
}

impl PackageSet {
    fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        if self.packages.is_empty() {
            return Err(wrong("packages", "at least one package is expected"));
        }
        let mut names = BTreeSet::new();
        for package in &self.packages {
            // They become arguments of dpkg and rpm: nothing that could be an option or a path.
            let plain = |text: &str, more: &[u8]| {
                text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
            };
            if !plain(&package.name, b"+-._") {
                return Err(wrong("package.name", format!("'{}' is no package name", package.name)));
            }
            if !plain(&package.version, b"+-._~:^") {
                return Err(wrong("package.version", format!("'{}' is no package version", package.version)));
            }
            if !plain(&package.architecture, b"-_") {
                let why = format!("'{}' is no architecture", package.architecture);
                return Err(wrong("package.architecture", why));
            }
            if !has(&package.file) {
                let why = format!("'{}' names no artifact of the release", package.name);
                return Err(wrong("package.file", why));
            }
            if !names.insert(&package.name) {
                return Err(wrong("package.name", format!("'{}' stands there twice", package.name)));
            }
        }
        Ok(())
    }
}

/// A whole operating system, for the slot that does not run: a RAUC bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsImage {
    /// The bundle, one of the release's artifacts.
    pub bundle: Sha256Digest,
    /// The bundle's `compatible`, which must be the device's.
    pub compatible: String,
    /// The version that its manifest states.
    pub version: String,
    /// How many seconds the device may take to come back after the reboot.
    #[serde(default = "boot_secs_default")]
    pub boot_secs: u32,
}

const fn boot_secs_default() -> u32 {
    OsImage::BOOT_SECS_DEFAULT
}

impl OsImage {
    /// [`OsImage::boot_secs`] where nothing else is said.
    pub const BOOT_SECS_DEFAULT: u32 = 600;

    fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        if !has(&self.bundle) {
            return Err(wrong("os-image.bundle", "it names no artifact of the release"));
        }
        if self.compatible.is_empty() || self.version.is_empty() {
            return Err(wrong("os-image", "'compatible' and 'version' must be stated"));
        }
        Ok(())
    }
}

/// A patch of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivePatch {
    /// The kernel module, one of the release's artifacts.
    pub module: Sha256Digest,
    /// Its name in `/sys/module` and `/sys/kernel/livepatch`.
    pub name: String,
    /// The kernel release it is built for, exactly as `uname -r` says it.
    pub kernel: String,
    /// The kernel release that has what the patch mends: where that runs, the patch is not needed.
    pub stands_for: String,
    /// How many seconds all tasks may take to come to the patched code.
    #[serde(default = "transition_secs_default")]
    pub transition_secs: u32,
}

const fn transition_secs_default() -> u32 {
    LivePatch::TRANSITION_SECS_DEFAULT
}

impl LivePatch {
    /// [`LivePatch::transition_secs`] where nothing else is said.
    pub const TRANSITION_SECS_DEFAULT: u32 = 60;

    fn check(&self, has: &impl Fn(&Sha256Digest) -> bool) -> Result<(), ManifestError> {
        if !has(&self.module) {
            return Err(wrong("live-patch.module", "it names no artifact of the release"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if self.name.is_empty() || self.name.len() > 55 || !self.name.bytes().all(plain) {
            return Err(wrong("live-patch.name", "a module's name has 1 to 55 letters, digits and '_'"));
        }
        if self.kernel.is_empty() || self.stands_for.is_empty() || self.kernel == self.stands_for {
            let why = "'kernel' and 'stands_for' are two kernel releases";
            return Err(wrong("live-patch.kernel", why));
        }
        Ok(())
    }
}
