//! RPM packages, by rpm and nothing else: no repository is asked.
//!
//! rpm cannot say that it was cut off, nor does it sync what it writes. So once it has begun, a set is in force only when
//! that is noted, after everything has been synced, and back only when the files are those of the previous packages.

mod change;
mod configs;
mod database;
pub mod fuzz;
mod look;
mod prepare;

use super::error::PackageError;
use super::lock;
use super::tool::{Said, Tool};
use super::work::Work;
use database::{Database, Rpm};

/// Noted when all of the set is installed, its configuration files are settled and everything is synced.
const DONE: &str = "done";

/// Lets rpm sync what it writes, where it knows how to.
const SYNCED: [&str; 2] = ["--define", "_flush_io 1"];

/// A set of RPM packages at work.
pub(super) struct Rpms<'a> {
    pub(super) work: &'a Work<'a>,
    rpm: Rpm,
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

impl<'a> Rpms<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        Self { work, rpm: Rpm { root: work.settings.root.clone() } }
    }

    fn read(&self) -> Result<Database, PackageError> {
        self.rpm.read(self.work.set.packages.iter().map(|package| package.name.as_str()))
    }

    /// Waits until nobody is at work with rpm: rpm would wait without a limit.
    fn wait_free(&self) -> Result<(), PackageError> {
        lock::wait_free(&self.rpm.lock()?, self.work.settings.lock_wait)
    }

    /// A run of rpm that changes something.
    fn run(&self) -> Tool {
        let own: &[_] = if self.work.own().is_some() { &[super::deb::SELF_UPGRADE] } else { &[] };
        self.rpm.run().args(SYNCED).with(own).wrapped(&self.work.settings.wrapper)
    }

    fn change(&self, tool: &Tool) -> Result<Said, PackageError> {
        let said = tool.change(self.work.settings.run_max)?;
        Ok(tool.well(said)?)
    }
}
