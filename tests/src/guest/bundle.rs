//! RAUC bundles of the guest's system.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::GuestError;
use super::image::{run, script};

/// What becomes of a slot that a bundle was installed into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It boots.
    Good,
    /// There is nothing to start: the kernel panics and restarts.
    NoInit,
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::NoInit => "no-init",
        })
    }
}

/// What goes into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSpec {
    /// The bundle's version, which is also the text of `/etc/takt-os-version` in its image.
    pub version: String,
    /// What becomes of the slot.
    pub nature: Nature,
    /// Debian packages that its image has installed, in this order.
    pub packages: Vec<PathBuf>,
}

impl BundleSpec {
    /// The guest's own system in another version.
    pub fn new(version: &str, nature: Nature) -> Self {
        Self { version: version.to_owned(), nature, packages: Vec::new() }
    }
}

pub(super) fn make(guest: &Path, spec: &BundleSpec, file: &Path) -> Result<(), GuestError> {
    let mut command = Command::new(script("bundle.sh"));
    command.arg(guest).arg(file);
    command.args(["--version", &spec.version, "--nature", &spec.nature.to_string()]);
    for package in &spec.packages {
        command.arg("--deb").arg(package);
    }
    run(command).map(|_| ())
}
