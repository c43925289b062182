//! The life of a trial, as the agent's package adapter drives it. Each call may be cut at any point, by a kill or by
//! the power, and is simply made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::FORGIVEN_MAX;
use crate::error::TrialError;
use crate::folder::{TrialFolder, make, may_run, parent, remove, rename, sync};
use crate::trial::{OnTrial, Trial, Version, Versions};

/// An agent has about 8 MiB, one built for debugging about 100; anything larger is none.
const AGENT_BYTES_MAX: u64 = 256 << 20;

/// The copy can be run, by its own user.
const COPY_MODE: u32 = 0o700;

impl TrialFolder {
    /// Puts `versions.new` on trial: keeps a copy of `agent`, then makes the trial. Call it before the package is
    /// replaced, and go on only when it succeeded.
    ///
    /// `agent` is the program to come back to. `/proc/self/exe` is the best there is: the very program that has shown
    /// that it runs here, whatever lies at its path by now.
    ///
    /// Nothing happens when this trial is already in force; a trial of other versions, one that fell back, or one that
    /// cannot be read must be confirmed or withdrawn first. After an error call it again, or withdraw.
    pub fn begin(&self, agent: &Path, versions: &Versions) -> Result<(), TrialError> {
        match self.look() {
            Trial::None => {}
            // Of a call that was cut: the name may not be durable yet.
            Trial::On(on) if on.versions == *versions => return sync(self.path()),
            found => return Err(TrialError::Unsettled { new: versions.new.clone(), found }),
        }
        make(self.path())?;
        make(&self.previous())?;
        self.keep_copy(agent)?;
        self.keep_origin(agent, &versions.previous)?;
        sync(&self.previous())?;
        may_run(&self.previous_agent())?;
        self.make_trial(versions)
    }

    /// Puts `versions.new` on trial in the place of `found`, of which the copy stays: it is what runs now, and is come back to
    /// again. One rename, so that no cut leaves a device without a trial.
    pub fn renew(&self, found: &Trial, versions: &Versions) -> Result<(), TrialError> {
        let anew = Trial::On(OnTrial { versions: versions.clone(), starts: 0, forgiven: 0 });
        if found.file_name().is_none() {
            return Err(TrialError::Unsettled { new: versions.new.clone(), found: found.clone() });
        }
        self.advance(found, &anew)
    }

    fn keep_copy(&self, agent: &Path) -> Result<(), TrialError> {
        let copy = self.previous_agent();
        write_beside(&copy, COPY_MODE, |file| {
            let from = File::open(agent).map_err(TrialError::file("open", agent))?;
            let bytes = from.metadata().map_err(TrialError::file("examine", agent))?.len();
            if !(1..=AGENT_BYTES_MAX).contains(&bytes) {
                return Err(TrialError::Size { path: agent.to_owned(), bytes, bytes_max: AGENT_BYTES_MAX });
            }
            let copied = io::copy(&mut from.take(bytes), file).map_err(TrialError::file("copy to", &copy))?;
            if copied == bytes {
                Ok(())
            } else {
                Err(TrialError::Cut { path: agent.to_owned(), copied, bytes })
            }
        })
    }

    fn keep_origin(&self, agent: &Path, version: &Version) -> Result<(), TrialError> {
        let origin = self.origin();
        let path = fs::read_link(agent).unwrap_or_else(|_not_a_link| agent.to_owned());
        write_beside(&origin, 0o600, |file| {
            writeln!(file, "format=1\nversion={version}\npath={}", path.display())
                .map_err(TrialError::file("write", &origin))
        })
    }

    fn make_trial(&self, versions: &Versions) -> Result<(), TrialError> {
        let trial = Trial::On(OnTrial { versions: versions.clone(), starts: 0, forgiven: 0 });
        let Some(name) = trial.file_name() else { return Ok(()) };
        let file = self.path().join(name);
        create(&file, 0o600)?.sync_all().map_err(TrialError::file("sync", &file))?;
        sync(self.path())
    }

    /// Forgives the starts so far, because agent `running`, on trial, has run in good health for
    /// [`ALIVE_AFTER`](crate::ALIVE_AFTER); says what is in force then. Without a trial of `running`, without a start
    /// to forgive, and after [`FORGIVEN_MAX`] times, nothing changes.
    pub fn alive(&self, running: &Version) -> Result<Trial, TrialError> {
        let found = self.look();
        match &found {
            Trial::On(on) if on.versions.new == *running && on.starts > 0 && on.forgiven < FORGIVEN_MAX => {
                let forgiven = Trial::On(OnTrial { starts: 0, forgiven: on.forgiven + 1, ..on.clone() });
                self.advance(&found, &forgiven)?;
                Ok(forgiven)
            }
            _ => Ok(found),
        }
    }

    /// Agent `running`, on trial and `installed` at that path, stays: the trial goes, then the copy. Fine when there
    /// is no trial (any more); an error when there is one of another agent, or one that fell back.
    pub fn confirm(&self, installed: &Path, running: &Version) -> Result<(), TrialError> {
        match self.look() {
            Trial::None | Trial::Damaged { .. } => {}
            Trial::On(on) if on.versions.new == *running => {}
            found => return Err(TrialError::NotOnTrial { running: running.clone(), found }),
        }
        self.settle(installed)
    }

    /// The package has been rolled back, the agent at `installed` is the previous one again: the trial goes, whatever
    /// became of it, then the copy.
    pub fn withdraw(&self, installed: &Path) -> Result<(), TrialError> {
        self.settle(installed)
    }

    /// Before the way back goes, the way forward is durable: rpm does not sync what it installs.
    fn settle(&self, installed: &Path) -> Result<(), TrialError> {
        may_run(installed)?;
        sync(installed)?;
        sync(parent(installed))?;
        self.forget_trial()?;
        self.forget_copy()
    }

    fn forget_trial(&self) -> Result<(), TrialError> {
        let mut names = self.names()?;
        // The name that is in force goes last, or a cut would put an older one in force.
        let in_force = self.look().file_name();
        names.sort_by_key(|name| Some(name) == in_force.as_ref());
        for name in names {
            remove(&self.path().join(name))?;
        }
        sync_if_there(self.path())
    }

    fn forget_copy(&self) -> Result<(), TrialError> {
        for file in [self.previous_agent(), self.origin()] {
            remove(&beside(&file))?;
            remove(&file)?;
        }
        match fs::remove_dir(self.previous()) {
            // Something of somebody else's is in it: then it stays.
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) =>
            {
                Err(TrialError::file("remove folder", &self.previous())(error))
            }
            _ => sync_if_there(self.path()),
        }
    }

    fn origin(&self) -> PathBuf {
        self.previous().join("origin")
    }
}

/// Where a file is written before it gets its name.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("part")
}

/// Writes a whole file beside its place, syncs it, and renames it; durable only after a sync of the folder. What
/// could not be written whole leaves no part behind that would keep a full disk full.
fn write_beside(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> Result<(), TrialError>,
) -> Result<(), TrialError> {
    let part = beside(path);
    remove(&part)?;
    let mut file = create(&part, mode)?;
    let written = write(&mut file)
        .and_then(|()| file.sync_all().map_err(TrialError::file("sync", &part)))
        .and_then(|()| rename(&part, path));
    if written.is_err() {
        // The first error tells more than one of this removal would; the next call removes it too.
        let _ = remove(&part);
    }
    written
}

/// Makes a file that must not be there. A file keeps the mode that it is made with: setting it later could be lost.
fn create(path: &Path, mode: u32) -> Result<File, TrialError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(TrialError::file("create", path))
}

/// A folder that was never made has no names to sync.
fn sync_if_there(folder: &Path) -> Result<(), TrialError> {
    match sync(folder) {
        Err(TrialError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}
