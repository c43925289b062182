//! Holding the set against the device, and keeping what it will replace. Nothing in force changes.

use std::path::PathBuf;

use takt_common::release::Package;

use super::super::config::{self, beside};
use super::super::error::PackageError;
use super::super::record::{Before, FileRecord, PackageRecord, RECORD, Record};
use super::super::tool::{self, ToolError};
use super::super::work::{BEGAN, link_or_copy};
use super::Rpms;
use super::database::{Database, Known, configs_of_file};
use crate::disk::{self, marked};

/// What rpm adds to the name of a configuration file for the one that it does not leave or put in its place.
const ENDINGS: [&str; 4] = ["", ".rpmnew", ".rpmsave", ".rpmorig"];

/// What Debian's rpm says before everything else.
const NOISE: &str = "rpm: ";

impl Rpms<'_> {
    pub(in super::super) fn prepare(&self) -> Result<(), PackageError> {
        if marked(self.work.folder, BEGAN) && Record::read(self.work.folder, self.work.set)?.is_some() {
            return Err(PackageError::Begun);
        }
        if tool::find("rpm").is_none() {
            return Err(ToolError::Missing { program: "rpm".to_owned() }.into());
        }
        for package in &self.work.set.packages {
            self.check(package)?;
        }
        self.wait_free()?;
        let database = self.read()?;
        self.check_dependencies()?;
        disk::remove_folder(self.work.folder, RECORD)?;
        disk::make_folder(self.work.folder)?;
        let (mut kept, mut changed) = (Vec::new(), Vec::new());
        for (index, package) in self.work.set.packages.iter().enumerate() {
            let before = self.keep(package, &database, index)?;
            if matches!(before, Before::Installed { .. }) {
                let configs =
                    self.rpm.changed(&package.name)?.into_iter().filter(|changed| changed.is_config);
                changed.extend(configs.map(|changed| self.rpm.on(&changed.path)));
            }
            kept.push(PackageRecord { name: package.name.clone(), before });
        }
        let files = self.keep_files(&kept, &[])?;
        let mut record = Record::new(kept, files);
        record.changed = changed;
        self.work.note_own(&mut record)?;
        record.write(self.work.folder)
    }

    /// Refuses a file that is not what the manifest says.
    fn check(&self, package: &Package) -> Result<(), PackageError> {
        let file = self.work.file(package);
        if !file.is_file() {
            return Err(PackageError::NoFile { name: package.name.clone(), path: file });
        }
        let said = Known::of_file(&file)?;
        let lies = |field, stated: &str, said: &str| PackageError::Lies {
            name: package.name.clone(),
            field,
            stated: stated.to_owned(),
            said: said.to_owned(),
        };
        if said.name != package.name {
            return Err(lies("Name", &package.name, &said.name));
        }
        if said.architecture != package.architecture {
            return Err(lies("Arch", &package.architecture, &said.architecture));
        }
        if !said.is(&package.version, &package.architecture) {
            return Err(lies("EVR", &package.version, &said.version));
        }
        Ok(())
    }

    /// Asks rpm for all that would keep it from installing the set.
    fn check_dependencies(&self) -> Result<(), PackageError> {
        let files = self.work.set.packages.iter().map(|package| self.work.file(package));
        let run = self.rpm.run().args(["--upgrade", "--test", "--oldpackage", "--replacepkgs"]).args(files);
        let said = run.ask()?;
        if said.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&said.errors).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(NOISE));
        let what = lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ");
        Err(PackageError::Unmet { what })
    }

    fn keep(&self, package: &Package, database: &Database, index: usize) -> Result<Before, PackageError> {
        if let Some(versions) = database.several(package) {
            let (count, versions) = (versions.len(), versions.join(", "));
            return Err(PackageError::Several { name: package.name.clone(), count, versions });
        }
        let Some(known) = database.of(package) else { return Ok(Before::Absent) };
        let at_hand = self.at_hand(known);
        let file = match at_hand {
            Some(artifact) => {
                let file = format!("{index}.rpm");
                link_or_copy(&artifact, &self.work.folder.join(&file))?;
                file
            }
            // It stays as it is: there is nothing to come back to.
            None if known.is(&package.version, &package.architecture) => String::new(),
            None => {
                let (name, version) = (known.name.clone(), known.version.clone());
                return Err(PackageError::NoWayBackFor { name, version });
            }
        };
        let (version, architecture) = (known.version.clone(), known.architecture.clone());
        Ok(Before::Installed { version, architecture, file, conffiles: String::new() })
    }

    /// The file with which Takt installed this version, if it is still there and says so itself.
    fn at_hand(&self, known: &Known) -> Option<PathBuf> {
        let file = self.work.remembered(&known.name, &known.version, &known.architecture)?;
        let same = Known::of_file(&file)
            .is_ok_and(|said| said.name == known.name && said.is(&known.version, &known.architecture));
        same.then_some(file)
    }

    /// Keeps the configuration files of what is installed and of what comes, and the names beside them that rpm uses.
    pub(super) fn keep_files(
        &self,
        packages: &[PackageRecord],
        before: &[FileRecord],
    ) -> Result<Vec<FileRecord>, PackageError> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for (package, record) in self.work.set.packages.iter().zip(packages) {
            let installed = match &record.before {
                Before::Installed { .. } => self.rpm.configs(&package.name)?,
                Before::Absent | Before::Removed { .. } => Vec::new(),
            };
            let delivered = configs_of_file(&self.work.file(package))?;
            for path in installed.into_iter().chain(delivered).map(|path| self.rpm.on(&path)) {
                for path in ENDINGS.map(|ending| beside(&path, ending)) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
            }
        }
        config::keep_all(&paths, self.work.folder, before)
    }
}
