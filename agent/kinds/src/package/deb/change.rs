//! Installing a set of Debian packages, and taking it back.

use takt_common::release::{Conffiles, Package};

use super::super::config;
use super::super::error::PackageError;
use super::super::lock;
use super::super::record::{Before, PackageRecord, Record};
use super::super::tool::Said;
use super::super::work::{AS_FOUND, BEGAN, CONFIRMED};
use super::database::{Database, Known};
use super::look::{listed, newly_unwell};
use super::status::{self, List};
use super::{Debs, Standing, half};
use crate::disk::{mark, marked, unmark};
use crate::effect::effect;

/// What dpkg may pass over on the way back: all that comes back was installed together before, only the steps to it
/// may not fit each other.
const BACK: [&str; 6] = [
    "--force-downgrade",
    "--force-depends",
    "--force-breaks",
    "--force-conflicts",
    "--force-overwrite",
    "--force-remove-reinstreq",
];

impl Debs<'_> {
    pub(in super::super) fn apply(&self) -> Result<(), PackageError> {
        let mut record = Record::read(self.work.folder, self.work.set)?.ok_or(PackageError::NoWayBack)?;
        let _lock = self.lock()?;
        let mut database = self.dpkg.read()?;
        if !marked(self.work.folder, BEGAN) {
            self.begin(&mut record, &database)?;
        }
        self.work.begin_trial(&record)?;
        let mut last = None;
        if self.dpkg.has_journal() || newly_unwell(&record, &database).is_some() {
            last = Some(self.configure_all()?);
            database = self.dpkg.read()?;
        }
        let packages = self.work.set.packages.iter();
        let missing: Vec<&Package> = packages.filter(|package| !database.has(package)).collect();
        if !missing.is_empty() {
            last = Some(self.install(&missing)?);
            database = self.dpkg.read()?;
        }
        self.check_done("install the packages", &record, &database, &Standing::New, last)?;
        for (package, before) in self.work.set.packages.iter().zip(&record.packages) {
            self.work.remember(package, &before.before)?;
        }
        Ok(())
    }

    /// The last moment of before: configuration files are kept once more as they are now, then it is noted that it begins.
    fn begin(&self, record: &mut Record, database: &Database) -> Result<(), PackageError> {
        let standings = self.standings(record, database);
        let mut pairs = standings.iter().zip(&self.work.set.packages);
        if let Some((_, package)) = pairs.find(|(standing, _)| **standing == Standing::Other) {
            return Err(PackageError::Changed { name: package.name.clone() });
        }
        if standings.iter().all(|standing| matches!(standing, Standing::Old | Standing::Same)) {
            record.files = self.keep_files(&record.packages, &record.files)?;
            record.write(self.work.folder)?;
        }
        Ok(mark(self.work.folder, BEGAN)?)
    }

    fn install(&self, packages: &[&Package]) -> Result<Said, PackageError> {
        let run = self.run(self.work.set.conffiles);
        let run =
            run.args(["--force-downgrade", "--auto-deconfigure", "--install"]).args(self.files(packages));
        let said = effect!("package.install", self.change(&run))?;
        Ok(run.well(said)?)
    }

    /// All packages are where they should be, and none suffered from it.
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
        let what = match amiss {
            Some((Standing::Half(what), _)) => Some(what),
            Some((_, package)) => Some(match database.of(package) {
                Some(known) => half(known),
                None => format!("'{}' is not installed", package.name),
            }),
            None => newly_unwell(record, database).map(half),
        };
        let said = || said.map_or_else(|| "nothing".to_owned(), |said| said.shown());
        what.map_or(Ok(()), |what| Err(PackageError::NotDone { deed, what, said: said() }))
    }

    pub(in super::super) fn revert(&self) -> Result<(), PackageError> {
        let Some(record) = Record::read(self.work.folder, self.work.set)? else {
            // It was installed before its order, so this is what was there.
            return Ok(mark(self.work.folder, AS_FOUND)?);
        };
        let lock = self.lock()?;
        let mut database = self.dpkg.read()?;
        let mut last = self.take_away(&record, &database)?;
        if let Some(said) = self.bring_back(&record, &database)? {
            last = Some(said);
        }
        database = self.dpkg.read()?;
        if self.dpkg.has_journal() || newly_unwell(&record, &database).is_some() {
            last = Some(self.configure_all()?);
            database = self.dpkg.read()?;
        }
        self.check_done("bring the previous packages back", &record, &database, &Standing::Old, last)?;
        config::restore_all(&record.files, self.work.folder, self.work.digests)?;
        self.put_lists_right(&record)?;
        drop(lock);
        self.work.withdraw_trial(&record)?;
        unmark(self.work.folder, CONFIRMED)?;
        Ok(unmark(self.work.folder, BEGAN)?)
    }

    /// Removes what was not installed before.
    fn take_away(&self, record: &Record, database: &Database) -> Result<Option<Said>, PackageError> {
        let mut last = None;
        let gone = |before: &Before| match before {
            Before::Absent => Some("--purge"),
            Before::Removed { .. } => Some("--remove"),
            Before::Installed { .. } => None,
        };
        for how in ["--purge", "--remove"] {
            let pairs = self.work.set.packages.iter().zip(&record.packages);
            let those = pairs.filter(|(_, record)| gone(&record.before) == Some(how));
            let known = those.filter_map(|(package, _)| database.of(package));
            let names: Vec<String> = known
                .filter(|known| how == "--purge" || known.status != "config-files")
                .map(Known::spec)
                .collect();
            if names.is_empty() {
                continue;
            }
            let run = self.run(Conffiles::Keep).args(BACK).arg(how).args(names);
            let said = effect!("package.remove", self.change(&run))?;
            last = Some(run.well(said)?);
        }
        Ok(last)
    }

    /// Installs the files of what was there before.
    fn bring_back(&self, record: &Record, database: &Database) -> Result<Option<Said>, PackageError> {
        let standings = self.standings(record, database).into_iter().zip(&record.packages);
        let back = standings.filter(|(standing, _)| !matches!(standing, Standing::Old | Standing::Same));
        let file = |record: &PackageRecord| match &record.before {
            Before::Installed { file, .. } => Some(self.work.folder.join(file)),
            _ => None,
        };
        let files: Vec<_> = back.filter_map(|(_, record)| file(record)).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let run = self.run(Conffiles::Keep).args(BACK).args(["--auto-deconfigure", "--install"]).args(files);
        let said = effect!("package.install", self.change(&run))?;
        Ok(Some(run.well(said)?))
    }

    /// dpkg's lists of configuration files as they were.
    fn put_lists_right(&self, record: &Record) -> Result<(), PackageError> {
        let list = |record| {
            let (architecture, conffiles) = listed(record, self.work.set.packages.iter())?;
            Some(List { name: &record.name, architecture, conffiles })
        };
        let lists: Vec<List> = record.packages.iter().filter_map(list).collect();
        let admin = self.dpkg.admin();
        let _inner = lock::take(&admin.join("lock"), self.work.settings.lock_wait)?;
        status::put_right(&admin, &lists)
    }
}
