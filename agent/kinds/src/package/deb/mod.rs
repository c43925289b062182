//! Debian packages, by dpkg and nothing else: no mirror is asked.

mod archive;
mod change;
mod database;
mod dependencies;
pub mod fuzz;
mod look;
mod prepare;
mod repack;
mod status;

use std::path::PathBuf;

use takt_common::release::{Conffiles, Package};

use super::error::PackageError;
use super::lock::{self, Lock};
use super::tool::{Said, Tool};
use super::work::Work;
use database::{Dpkg, Known};

/// The variables of every run: nobody is there to be asked, and frontends hold the outer lock themselves.
const VARIABLES: [(&str, &str); 3] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DPKG_FRONTEND_LOCKED", "true"),
];

/// Tells the agent's own maintainer scripts to leave its service alone: the agent starts itself anew.
pub(super) const SELF_UPGRADE: (&str, &str) = ("TAKT_SELF_UPGRADE", "1");

/// What dpkg does with a configuration file that the device has changed. `confdef` would keep the device's even where
/// the package's is to take its place, so it goes with `confold` only.
const KEEP: [&str; 2] = ["--force-confdef", "--force-confold"];
const TAKE: [&str; 2] = ["--force-confnew", "--force-confmiss"];

/// A set of Debian packages at work.
pub(super) struct Debs<'a> {
    pub(super) work: &'a Work<'a>,
    dpkg: Dpkg,
}

/// Where one package stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The release's is installed.
    New,
    /// What was there before is there.
    Old,
    /// Both: the release changes nothing of it.
    Same,
    /// Something is half done; what.
    Half(String),
    /// Neither.
    Other,
}

impl<'a> Debs<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        Self { work, dpkg: Dpkg { root: work.settings.root.clone() } }
    }

    /// Takes dpkg's outer lock, and waits until nobody holds the inner one: dpkg takes that itself.
    fn lock(&self) -> Result<Lock, PackageError> {
        let admin = self.dpkg.admin();
        let limit = self.work.settings.lock_wait;
        let lock = lock::take(&admin.join("lock-frontend"), limit)?;
        lock::wait_free(&admin.join("lock"), limit)?;
        Ok(lock)
    }

    /// Who holds a lock of dpkg, if anybody but this process does.
    fn holder(&self) -> Option<String> {
        let admin = self.dpkg.admin();
        lock::holder(&admin.join("lock")).or_else(|| lock::holder(&admin.join("lock-frontend")))
    }

    /// A run of dpkg that changes something.
    fn run(&self, conffiles: Conffiles) -> Tool {
        let own: &[_] = if self.work.own().is_some() { &[SELF_UPGRADE] } else { &[] };
        let policy = match conffiles {
            Conffiles::Keep => KEEP,
            Conffiles::Take => TAKE,
        };
        let run = self.dpkg.run().with(&VARIABLES).with(own).wrapped(&self.work.settings.wrapper);
        run.args(policy)
    }

    fn change(&self, tool: &Tool) -> Result<Said, PackageError> {
        Ok(tool.change(self.work.settings.run_max)?)
    }

    /// Completes what dpkg was cut off in, of all packages; whether that went well is for the next look.
    fn configure_all(&self) -> Result<Said, PackageError> {
        let run = self.run(self.work.set.conffiles).args(["--configure", "--pending"]);
        crate::effect::effect!("package.configure", self.change(&run))
    }

    fn files(&self, packages: &[&Package]) -> Vec<PathBuf> {
        packages.iter().map(|package| self.work.file(package)).collect()
    }
}

/// How a half-done package is, for people.
fn half(known: &Known) -> String {
    format!("'{}' {} is {}", known.name, known.version, known.how())
}
