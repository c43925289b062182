//! Where a set of Debian packages stands: told by dpkg's status, and by nothing that was tried.

use takt_agent_core::StepState;
use takt_common::release::Package;

use super::super::config;
use super::super::error::PackageError;
use super::super::record::{Before, PackageRecord, Record};
use super::super::tool;
use super::super::work::{AS_FOUND, BEGAN};
use super::database::{Database, Known};
use super::{Debs, Standing, half};
use crate::disk::marked;

impl Debs<'_> {
    pub(in super::super) fn look(&self) -> Result<StepState, PackageError> {
        if tool::find("dpkg").is_none() {
            // Preparing says so.
            return Ok(StepState::Untouched);
        }
        let record = Record::read(self.work.folder, self.work.set)?;
        let database = self.dpkg.read()?;
        match record {
            Some(record) if marked(self.work.folder, BEGAN) => self.begun(&record, &database),
            Some(record) => self.not_begun(&record, &database),
            None => self.without_way_back(&database),
        }
    }

    fn without_way_back(&self, database: &Database) -> Result<StepState, PackageError> {
        let packages = || self.work.set.packages.iter();
        let broken = packages().filter_map(|package| database.of(package)).find(|known| known.is_half());
        let all_new = packages().all(|package| database.has(package));
        match broken {
            Some(known) => Ok(StepState::Half(half(known))),
            None if all_new && !marked(self.work.folder, AS_FOUND) => self.work.in_force(),
            None => Ok(StepState::Untouched),
        }
    }

    fn not_begun(&self, record: &Record, database: &Database) -> Result<StepState, PackageError> {
        let standings = self.standings(record, database);
        let all =
            |one: Standing| standings.iter().all(|standing| *standing == one || *standing == Standing::Same);
        if all(Standing::Old) {
            return self.work.old(record);
        }
        if all(Standing::New) {
            return self.work.in_force();
        }
        let broken = standings.into_iter().find_map(|standing| match standing {
            Standing::Half(what) => Some(what),
            _ => None,
        });
        // What is neither was changed by somebody else since it was kept.
        Ok(broken.map_or(StepState::Untouched, StepState::Half))
    }

    fn begun(&self, record: &Record, database: &Database) -> Result<StepState, PackageError> {
        if let Some(holder) = self.holder() {
            return Ok(StepState::Half(format!("the package database is being changed by {holder}")));
        }
        if self.dpkg.has_journal() {
            let what = "dpkg was cut off before it had noted all that it did";
            return Ok(StepState::Half(what.to_owned()));
        }
        if let Some(known) = newly_unwell(record, database) {
            return Ok(StepState::Half(half(known)));
        }
        let standings = self.standings(record, database);
        let all =
            |one: Standing| standings.iter().all(|standing| *standing == one || *standing == Standing::Same);
        if all(Standing::New) {
            return self.work.in_force();
        }
        if all(Standing::Old) {
            return match self.not_back(record)? {
                Some(what) => Ok(StepState::Half(what)),
                None => self.work.back(record),
            };
        }
        let pairs = standings.into_iter().zip(&self.work.set.packages);
        let what = pairs.into_iter().find_map(|(standing, package)| match standing {
            Standing::Half(what) => Some(what),
            Standing::New | Standing::Same => None,
            Standing::Old => Some(format!("'{}' is still the previous version", package.name)),
            Standing::Other => {
                Some(format!("'{}' is neither the new nor the previous version", package.name))
            }
        });
        Ok(StepState::Half(what.unwrap_or_default()))
    }

    /// What of the configuration files is not as it was before.
    pub(super) fn not_back(&self, record: &Record) -> Result<Option<String>, PackageError> {
        if let Some(path) = config::first_changed(&record.files, self.work.digests)? {
            return Ok(Some(format!("configuration file '{}' is not back yet", path.display())));
        }
        for package in &record.packages {
            if let Some((architecture, list)) = listed(package, self.work.set.packages.iter())
                && self.dpkg.conffiles(&package.name, architecture)? != list
            {
                return Ok(Some(format!(
                    "dpkg's list of configuration files of '{}' is not back yet",
                    package.name
                )));
            }
        }
        Ok(None)
    }

    pub(super) fn standings(&self, record: &Record, database: &Database) -> Vec<Standing> {
        let pairs = self.work.set.packages.iter().zip(&record.packages);
        pairs.map(|(package, record)| stand(package, &record.before, database)).collect()
    }
}

fn stand(package: &Package, before: &Before, database: &Database) -> Standing {
    let known = database.of(package);
    let new = database.has(package);
    let old = match (before, known) {
        (Before::Absent, None) => true,
        (Before::Removed { .. }, Some(known)) => known.status == "config-files" && !known.is_half(),
        (Before::Installed { version, architecture, .. }, Some(known)) => {
            known.is_installed() && known.is(version, architecture)
        }
        _ => false,
    };
    match (new, old, known) {
        (true, true, _) => Standing::Same,
        (true, false, _) => Standing::New,
        (false, true, _) => Standing::Old,
        (false, false, Some(known)) if known.is_half() => Standing::Half(half(known)),
        (false, false, _) => Standing::Other,
    }
}

/// A package that was well before and is not now, of the set or triggered by it.
pub(super) fn newly_unwell<'d>(record: &Record, database: &'d Database) -> Option<&'d Known> {
    database.half().find(|known| !record.unwell.contains(&known.spec()))
}

/// The list of configuration files that a package had, and in which architecture it had it.
pub(super) fn listed<'a>(
    record: &'a PackageRecord,
    mut set: impl Iterator<Item = &'a Package>,
) -> Option<(&'a str, &'a str)> {
    match &record.before {
        Before::Absent => None,
        Before::Installed { architecture, conffiles, .. } => Some((architecture, conffiles)),
        // In the architecture that it now has: a removed package has nothing else of its own.
        Before::Removed { conffiles } => {
            let package = set.find(|package| package.name == record.name)?;
            Some((&package.architecture, conffiles))
        }
    }
}
