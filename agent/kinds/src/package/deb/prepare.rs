//! Holding the set against the device, and keeping what it will replace. Nothing in force changes, but for what dpkg was
//! cut off in before.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::config::{self, beside};
use super::super::error::PackageError;
use super::super::record::{Before, FileRecord, PackageRecord, RECORD, Record};
use super::super::tool::{self, ToolError};
use super::super::work::BEGAN;
use super::Debs;
use super::archive;
use super::database::{Database, Known, conffile_paths};
use super::dependencies::{self, New};
use super::repack;
use crate::disk::{self, marked};

/// The programs that are needed.
const PROGRAMS: [&str; 3] = ["dpkg", "dpkg-query", "dpkg-deb"];

/// What dpkg adds to the name of a configuration file for the one that it does not put in its place.
const ENDINGS: [&str; 5] = ["", ".dpkg-dist", ".dpkg-old", ".dpkg-new", ".dpkg-tmp"];

impl Debs<'_> {
    pub(in super::super) fn prepare(&self) -> Result<(), PackageError> {
        if marked(self.work.folder, BEGAN) && Record::read(self.work.folder, self.work.set)?.is_some() {
            return Err(PackageError::Begun);
        }
        if let Some(program) = PROGRAMS.into_iter().find(|program| tool::find(program).is_none()) {
            return Err(ToolError::Missing { program: program.to_owned() }.into());
        }
        let packages = &self.work.set.packages;
        for package in packages {
            archive::check(package, &self.work.file(package))?;
        }
        let _lock = self.lock()?;
        let database = self.mended()?;
        disk::remove_folder(self.work.folder, RECORD)?;
        disk::make_folder(self.work.folder)?;
        self.check_dependencies()?;
        self.check_room(&database)?;
        let mut kept = Vec::new();
        for (index, package) in packages.iter().enumerate() {
            let before = match database.of(package) {
                None => Before::Absent,
                Some(known) => self.keep(known, index)?,
            };
            kept.push(PackageRecord { name: package.name.clone(), before });
        }
        let files = self.keep_files(&kept, &[])?;
        let mut record = Record::new(kept, files);
        record.unwell = database.half().map(Known::spec).collect();
        self.work.note_own(&mut record)?;
        record.write(self.work.folder)
    }

    /// The database, after dpkg has completed what it was cut off in before this order.
    fn mended(&self) -> Result<Database, PackageError> {
        let broken = |database: &Database| {
            let known = self.work.set.packages.iter().filter_map(|package| database.of(package));
            known.into_iter().find(|known| known.is_half()).cloned()
        };
        let database = self.dpkg.read()?;
        if broken(&database).is_none() && !self.dpkg.has_journal() {
            return Ok(database);
        }
        self.configure_all()?;
        let database = self.dpkg.read()?;
        match broken(&database) {
            None => Ok(database),
            Some(known) => Err(PackageError::Broken { name: known.name.clone(), state: known.how() }),
        }
    }

    fn check_dependencies(&self) -> Result<(), PackageError> {
        let files: Vec<PathBuf> =
            self.work.set.packages.iter().map(|package| self.work.file(package)).collect();
        let set = files.iter().map(|file| Ok(New { control: archive::control(file)? }));
        let set = set.collect::<Result<Vec<_>, PackageError>>()?;
        dependencies::check(&self.dpkg, &set, &files, &self.work.folder.join("simulated"))
    }

    fn check_room(&self, database: &Database) -> Result<(), PackageError> {
        let mut needed = 0;
        for package in &self.work.set.packages {
            let known = database.of(package).filter(|known| known.is_installed());
            if let Some(known) = known.filter(|known| self.at_hand(known).is_none()) {
                needed += repack::length(&self.dpkg, known)?;
            }
        }
        let free = disk::free_bytes(self.work.folder)?;
        if needed > free {
            return Err(PackageError::NoRoom { path: self.work.folder.to_owned(), needed, free });
        }
        Ok(())
    }

    /// The file with which Takt installed this version, if it is still there and says so itself.
    fn at_hand(&self, known: &Known) -> Option<PathBuf> {
        let file = self.work.remembered(&known.name, &known.version, &known.architecture)?;
        repack::is_of(known, &file).then_some(file)
    }

    fn keep(&self, known: &Known, index: usize) -> Result<Before, PackageError> {
        let conffiles = self.dpkg.conffiles(&known.name, &known.architecture)?;
        if !known.is_installed() {
            return Ok(Before::Removed { conffiles });
        }
        let file = format!("{index}.deb");
        let path = self.work.folder.join(&file);
        match self.at_hand(known) {
            Some(artifact) => super::super::work::link_or_copy(&artifact, &path)?,
            None => repack::repack(&self.dpkg, known, &path)?,
        }
        let (version, architecture) = (known.version.clone(), known.architecture.clone());
        Ok(Before::Installed { version, architecture, file, conffiles })
    }

    /// Keeps the configuration files of what is installed and of what comes, and the names beside them that dpkg uses.
    pub(super) fn keep_files(
        &self,
        packages: &[PackageRecord],
        before: &[FileRecord],
    ) -> Result<Vec<FileRecord>, PackageError> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for (package, record) in self.work.set.packages.iter().zip(packages) {
            let listed = match &record.before {
                Before::Absent => "",
                Before::Removed { conffiles } | Before::Installed { conffiles, .. } => conffiles,
            };
            let listed = conffile_paths(listed).into_iter().map(str::to_owned);
            let delivered = archive::conffiles(&self.work.file(package))?;
            for path in listed.chain(delivered) {
                // dpkg's own names may be beside the link or beside what it leads to.
                let (named, there) = (self.dpkg.on(&path), self.there(&path));
                for path in ENDINGS.iter().flat_map(|ending| [beside(&named, ending), beside(&there, ending)])
                {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
            }
        }
        config::keep_all(&paths, self.work.folder, before)
    }

    /// Where a configuration file lies: dpkg follows links that the device's people made of it.
    fn there(&self, path: &str) -> PathBuf {
        /// More links are a circle.
        const LINKS_MAX: usize = 16;
        let mut path = self.dpkg.on(path);
        for _ in 0..LINKS_MAX {
            let Ok(target) = fs::read_link(&path) else { break };
            path = match target.strip_prefix("/") {
                Ok(absolute) => self.dpkg.on(&absolute.to_string_lossy()),
                Err(_) => path.parent().unwrap_or(Path::new("/")).join(&target),
            };
        }
        path
    }
}
