//! Installing a set of RPM packages, and taking it back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use takt_common::release::Package;

use super::super::config;
use super::super::error::PackageError;
use super::super::record::{Before, Record};
use super::super::tool::Said;
use super::super::work::{AS_FOUND, BEGAN, CONFIRMED};
use super::database::Database;
use super::{DONE, Rpms, Standing};
use crate::disk::{failed, mark, marked, unmark};
use crate::effect::effect;

impl Rpms<'_> {
    pub(in super::super) fn apply(&self) -> Result<(), PackageError> {
        let mut record = Record::read(self.work.folder, self.work.set)?.ok_or(PackageError::NoWayBack)?;
        self.wait_free()?;
        let mut database = self.read()?;
        if !marked(self.work.folder, BEGAN) {
            self.begin(&mut record, &database)?;
        }
        self.work.begin_trial(&record)?;
        let missing = self.missing(&database)?;
        let mut last = None;
        if !missing.is_empty() {
            let files = missing.into_iter().map(|package| self.work.file(package));
            let run = self.run().args(["--upgrade", "--oldpackage", "--replacepkgs"]).args(files);
            last = Some(effect!("package.install", self.change(&run))?);
            database = self.read()?;
        }
        self.check_done("install the packages", &record, &database, &Standing::New, last)?;
        self.settle_configs(&record)?;
        for (package, before) in self.work.set.packages.iter().zip(&record.packages) {
            self.work.remember(package, &before.before)?;
        }
        self.sync(&database)?;
        Ok(mark(self.work.folder, DONE)?)
    }

    /// Packages that are not the release's, or not whole: rpm may have been cut off before or after it noted one.
    fn missing(&self, database: &Database) -> Result<Vec<&Package>, PackageError> {
        let mut missing = Vec::new();
        for package in &self.work.set.packages {
            let whole = || {
                Ok::<_, PackageError>(!self.rpm.changed(&package.name)?.iter().any(|file| !file.is_config))
            };
            if !database.has(package) || !whole()? {
                missing.push(package);
            }
        }
        Ok(missing)
    }

    /// The last moment of before: configuration files are kept once more as they are now, then it is noted that it begins.
    fn begin(&self, record: &mut Record, database: &Database) -> Result<(), PackageError> {
        let standings = self.standings(record, database);
        let mut pairs = standings.iter().zip(&self.work.set.packages);
        let other =
            pairs.find(|(standing, _)| !matches!(standing, Standing::Old | Standing::Same | Standing::New));
        if let Some((_, package)) = other {
            return Err(PackageError::Changed { name: package.name.clone() });
        }
        if standings.iter().all(|standing| matches!(standing, Standing::Old | Standing::Same)) {
            record.files = self.keep_files(&record.packages, &record.files)?;
            record.write(self.work.folder)?;
        }
        Ok(mark(self.work.folder, BEGAN)?)
    }

    /// Syncs all that rpm has written, on whatever file systems it lies: rpm itself does not.
    fn sync(&self, database: &Database) -> Result<(), PackageError> {
        let mut folders = BTreeMap::new();
        let there = self.work.set.packages.iter().filter_map(|package| database.of(package));
        let mut paths = vec![self.rpm.lock()?];
        for known in there {
            paths.extend(self.rpm.files(&known.name)?.iter().map(|path| self.rpm.on(path)));
        }
        for folder in paths.iter().filter_map(|path| path.parent()) {
            if let Ok(metadata) = fs::metadata(folder) {
                folders.entry(metadata.dev()).or_insert(folder);
            }
        }
        effect!("package.sync", {
            for folder in folders.values() {
                let open = File::open(folder).map_err(failed("open folder", folder))?;
                rustix::fs::syncfs(&open).map_err(failed("sync the file system of", folder))?;
            }
        });
        Ok(())
    }

    fn check_done(
        &self,
        deed: &'static str,
        record: &Record,
        database: &Database,
        wanted: &Standing,
        said: Option<Said>,
    ) -> Result<(), PackageError> {
        let standings = self.standings(record, database);
        let mut pairs = standings.into_iter().zip(&self.work.set.packages);
        let amiss = pairs.find(|(standing, _)| standing != wanted && *standing != Standing::Same);
        let what = amiss.map(|(standing, package)| match (standing, database.of(package)) {
            (Standing::Half(what), _) => what,
            (_, Some(known)) => format!("'{}' is installed in version {}", known.name, known.version),
            (_, None) => format!("'{}' is not installed", package.name),
        });
        let said = || said.map_or_else(|| "nothing".to_owned(), |said| said.shown());
        what.map_or(Ok(()), |what| Err(PackageError::NotDone { deed, what, said: said() }))
    }

    pub(in super::super) fn revert(&self) -> Result<(), PackageError> {
        let Some(record) = Record::read(self.work.folder, self.work.set)? else {
            // It was installed before its order, so this is what was there.
            return Ok(mark(self.work.folder, AS_FOUND)?);
        };
        self.wait_free()?;
        unmark(self.work.folder, DONE)?;
        let mut database = self.read()?;
        let mut last = self.take_away(&record, &database)?;
        let files = self.files_back(&record, &database)?;
        if !files.is_empty() {
            let how = ["--upgrade", "--oldpackage", "--replacepkgs", "--replacefiles", "--nodeps"];
            let run = self.run().args(how).args(files);
            last = Some(effect!("package.install", self.change(&run))?);
        }
        database = self.read()?;
        self.check_done("bring the previous packages back", &record, &database, &Standing::Old, last)?;
        config::restore_all(&record.files, self.work.folder, self.work.digests)?;
        self.sync(&database)?;
        self.work.withdraw_trial(&record)?;
        unmark(self.work.folder, CONFIRMED)?;
        Ok(unmark(self.work.folder, BEGAN)?)
    }

    /// Removes what was not installed before.
    fn take_away(&self, record: &Record, database: &Database) -> Result<Option<Said>, PackageError> {
        let pairs = self.work.set.packages.iter().zip(&record.packages);
        let new = pairs.filter(|(package, record)| {
            record.before == Before::Absent
                && (database.of(package).is_some() || database.several(package).is_some())
        });
        let names: Vec<&str> = new.map(|(package, _)| package.name.as_str()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        let run = self.run().args(["--erase", "--nodeps", "--allmatches"]).args(names);
        Ok(Some(effect!("package.remove", self.change(&run))?))
    }

    /// The kept files of what is not back, or not whole.
    fn files_back(&self, record: &Record, database: &Database) -> Result<Vec<PathBuf>, PackageError> {
        let mut files = Vec::new();
        for (standing, package) in self.standings(record, database).into_iter().zip(&record.packages) {
            let Before::Installed { file, .. } = &package.before else { continue };
            let whole = || {
                Ok::<_, PackageError>(!self.rpm.changed(&package.name)?.iter().any(|file| !file.is_config))
            };
            let back = matches!(standing, Standing::Old | Standing::Same) && whole()?;
            if !back && !file.is_empty() {
                files.push(self.work.folder.join(file));
            }
        }
        Ok(files)
    }
}
