//! Where a set of RPM packages stands.

use takt_agent_core::StepState;
use takt_common::release::Package;

use super::super::config;
use super::super::error::PackageError;
use super::super::lock;
use super::super::record::{Before, Record};
use super::super::tool;
use super::super::work::{AS_FOUND, BEGAN};
use super::database::Database;
use super::{DONE, Rpms, Standing};
use crate::disk::marked;

impl Rpms<'_> {
    pub(in super::super) fn look(&self) -> Result<StepState, PackageError> {
        if tool::find("rpm").is_none() {
            // Preparing says so.
            return Ok(StepState::Untouched);
        }
        let record = Record::read(self.work.folder, self.work.set)?;
        let database = self.read()?;
        match record {
            Some(record) if marked(self.work.folder, BEGAN) => self.begun(&record, &database),
            Some(record) => self.not_begun(&record, &database),
            None => {
                let mut packages = self.work.set.packages.iter();
                let all_new = packages.all(|package| database.has(package));
                let taken_back = marked(self.work.folder, AS_FOUND);
                if all_new && !taken_back { self.work.in_force() } else { Ok(StepState::Untouched) }
            }
        }
    }

    fn not_begun(&self, record: &Record, database: &Database) -> Result<StepState, PackageError> {
        let standings = self.standings(record, database);
        let all =
            |one: Standing| standings.iter().all(|standing| *standing == one || *standing == Standing::Same);
        if all(Standing::Old) {
            self.work.old(record)
        } else if all(Standing::New) {
            self.work.in_force()
        } else {
            // What is neither was changed by somebody else since it was kept.
            Ok(StepState::Untouched)
        }
    }

    fn begun(&self, record: &Record, database: &Database) -> Result<StepState, PackageError> {
        if let Some(holder) = lock::holder(&self.rpm.lock()?) {
            return Ok(StepState::Half(format!("the package database is being changed by {holder}")));
        }
        let standings = self.standings(record, database);
        let all =
            |one: Standing| standings.iter().all(|standing| *standing == one || *standing == Standing::Same);
        let done = marked(self.work.folder, DONE);
        if all(Standing::New) && done {
            return self.work.in_force();
        }
        if all(Standing::Old) && !done {
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
        let cut = || "rpm was cut off before everything was written to disk".to_owned();
        Ok(StepState::Half(what.unwrap_or_else(cut)))
    }

    /// What of the previous packages is not as it was before: rpm may have been cut off before it had noted anything.
    pub(super) fn not_back(&self, record: &Record) -> Result<Option<String>, PackageError> {
        for package in &record.packages {
            if !matches!(package.before, Before::Installed { .. }) {
                continue;
            }
            let changed = self.rpm.changed(&package.name)?;
            if let Some(changed) = changed.iter().find(|changed| !changed.is_config) {
                return Ok(Some(format!(
                    "'{}' of '{}' is not as it was delivered",
                    changed.path, package.name
                )));
            }
        }
        let path = config::first_changed(&record.files, self.work.digests)?;
        Ok(path.map(|path| format!("configuration file '{}' is not back yet", path.display())))
    }

    pub(super) fn standings(&self, record: &Record, database: &Database) -> Vec<Standing> {
        let pairs = self.work.set.packages.iter().zip(&record.packages);
        pairs.map(|(package, record)| stand(package, &record.before, database)).collect()
    }
}

fn stand(package: &Package, before: &Before, database: &Database) -> Standing {
    if let Some(versions) = database.several(package) {
        return Standing::Half(format!(
            "'{}' is installed in versions {}",
            package.name,
            versions.join(" and ")
        ));
    }
    let known = database.of(package);
    let new = database.has(package);
    let old = match (before, known) {
        (Before::Absent, None) => true,
        (Before::Installed { version, architecture, .. }, Some(known)) => known.is(version, architecture),
        _ => false,
    };
    match (new, old) {
        (true, true) => Standing::Same,
        (true, false) => Standing::New,
        (false, true) => Standing::Old,
        (false, false) => Standing::Other,
    }
}
