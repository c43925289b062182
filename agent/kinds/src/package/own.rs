//! The agent's own package. Its maintainer scripts leave the service alone; the agent starts itself anew when the decision
//! says so, and the launcher brings the previous one back when the new one does not start.
//!
//! Which agent runs is told by its program, not by a version that it would have to know of its package: a revision is given
//! when packages are made. The new agent runs when the program that runs is the one that is installed now; the previous one,
//! when it is the one that ran when the step was prepared.
//!
//! The launcher's trial begins after it is noted that the step has begun and before the first package changes, and ends with
//! the confirmation or with the way back. A step whose trial is left over is not back: the launcher would count starts of
//! an agent that is not there, and give up one that nobody tried.

use std::fs::File;
use std::io;
use std::path::Path;

use takt_agent_core::StepState;
use takt_common::Sha256Digest;
use takt_common::release::Package;
use takt_launcher::{Trial, TrialFolder, Version, Versions};

use super::PackageSettings;
use super::error::PackageError;
use super::record::{Before, Record};
use super::work::Work;
use crate::disk::failed;
use crate::effect::effect;
use crate::kept::Digests;

/// The package that holds the agent itself.
const OWN: &str = "takt-agent";

impl Work<'_> {
    /// The agent's own package, if it is in the set.
    pub(super) fn own(&self) -> Option<&Package> {
        self.set.packages.iter().find(|package| package.name == OWN)
    }

    fn trial(&self) -> TrialFolder {
        TrialFolder::new(&self.settings.launcher)
    }

    /// The program at `path`; `None` where there is none.
    fn program(&self, path: &Path) -> Result<Option<Sha256Digest>, PackageError> {
        digest(self.digests, path)
    }

    /// True when the program that runs is the one at `path`.
    fn runs(&self, path: &Path) -> Result<bool, PackageError> {
        let running = self.program(&self.settings.running)?;
        Ok(running.is_some() && running == self.program(path)?)
    }

    fn installed_runs(&self) -> Result<bool, PackageError> {
        self.runs(&self.settings.agent)
    }

    /// Where the step stands as long as the new agent is installed and does not run.
    pub(super) fn not_running_yet(&self, own: &Package) -> Result<Option<StepState>, PackageError> {
        if self.installed_runs()? {
            return Ok(None);
        }
        Ok(Some(match self.trial().look() {
            found @ Trial::FellBack(_) if is_of(&found, &own.version) => {
                StepState::FellBack(found.to_string())
            }
            _ => StepState::NewAfterReboot,
        }))
    }

    /// True as long as the new agent runs, of which the package has been taken back.
    pub(super) fn still_running(&self, record: &Record) -> Result<bool, PackageError> {
        if self.own().is_none() || self.installed_runs()? {
            return Ok(false);
        }
        Ok(record.runs != self.program(&self.settings.running)?)
    }

    /// Notes which agent runs before its package changes. Refuses a set that would install the agent's package where there
    /// is none, because taking it back would take the agent away, and where another agent runs than that of the package.
    pub(super) fn note_own(&self, record: &mut Record) -> Result<(), PackageError> {
        if self.own().is_some() {
            version_before(record).ok_or(PackageError::NotFromPackage)?;
            if !self.installed_runs()? && !self.runs(&self.trial().previous_agent())? {
                return Err(PackageError::FromElsewhere);
            }
            record.runs = self.program(&self.settings.running)?;
        }
        Ok(())
    }

    /// Before the agent's own package is replaced: the program that runs now is kept, and comes back if need be.
    pub(super) fn begin_trial(&self, record: &Record) -> Result<(), PackageError> {
        let Some(own) = self.own() else { return Ok(()) };
        let previous = version_before(record).ok_or(PackageError::NotFromPackage)?;
        if own.version == previous && self.installed_runs()? {
            return Ok(());
        }
        let trial = self.trial();
        let versions = Versions { new: version(&own.version)?, previous: version(previous)? };
        match trial.look() {
            Trial::None => {}
            Trial::On(on) if on.versions == versions => {}
            // Of an order that could not be taken back, or cut off and fallen back on the way: this one tries anew. The copy
            // stays where it is all that runs.
            found if self.runs(&trial.previous_agent())? => {
                return Ok(effect!("package.trial", trial.renew(&found, &versions))?);
            }
            _ => effect!("package.trial", trial.withdraw(&self.settings.agent))?,
        }
        Ok(effect!("package.trial", trial.begin(&self.settings.running, &versions))?)
    }

    /// The agent that runs stays.
    pub(super) fn confirm_trial(&self) -> Result<(), PackageError> {
        let Some(own) = self.own() else { return Ok(()) };
        if !self.installed_runs()? {
            return Err(PackageError::OwnNotRunning { version: own.version.clone() });
        }
        let running = version(&own.version)?;
        Ok(effect!("package.trial", self.trial().confirm(&self.settings.agent, &running))?)
    }

    /// The trial of this step, as long as it is in force although the agent's previous package is installed.
    pub(super) fn trial_left(&self, record: &Record) -> Option<String> {
        let own = self.own()?;
        let found = self.trial().look();
        let is_left = version_before(record) != Some(&own.version) && is_of(&found, &own.version);
        is_left.then(|| format!("the trial has not been withdrawn: {found}"))
    }

    /// After the agent's own package is back. As long as that is another program than the one that ran before, the copy of
    /// that one is the way back, and stays.
    pub(super) fn withdraw_trial(&self, record: &Record) -> Result<(), PackageError> {
        let trial = self.trial();
        if self.own().is_none() || trial.look() == Trial::None {
            return Ok(());
        }
        if record.runs.is_some() && record.runs != self.program(&self.settings.agent)? {
            return Err(PackageError::OwnNotBack { path: self.settings.agent.clone() });
        }
        Ok(effect!("package.trial", trial.withdraw(&self.settings.agent))?)
    }
}

/// The version of the agent's package before the order; `None` where there was no such package.
fn version_before(record: &Record) -> Option<&str> {
    let own = record.packages.iter().find(|package| package.name == OWN)?;
    match &own.before {
        Before::Installed { version, .. } => Some(version),
        Before::Absent | Before::Removed { .. } => None,
    }
}

fn version(text: &str) -> Result<Version, PackageError> {
    text.parse().map_err(PackageError::OwnVersion)
}

/// The agent that runs has been in good health for [`super::ALIVE_AFTER`]: its starts so far are forgiven, if it is not
/// the one from before the trial.
pub(super) fn alive(settings: &PackageSettings, digests: &Digests) -> Result<(), PackageError> {
    let trial = TrialFolder::new(&settings.launcher);
    let Trial::On(on) = trial.look() else { return Ok(()) };
    let (runs, previous) = (digest(digests, &settings.running)?, digest(digests, &trial.previous_agent())?);
    if runs.is_none() || previous.is_none() || runs == previous {
        return Ok(());
    }
    Ok(effect!("package.trial", trial.alive(&on.versions.new)).map(drop)?)
}

/// `None` where there is no file.
fn digest(digests: &Digests, program: &Path) -> Result<Option<Sha256Digest>, PackageError> {
    let mut file = match File::open(program) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", program))?,
    };
    Ok(Some(digests.of(&mut file).map_err(failed("read", program))?))
}

fn is_of(trial: &Trial, version: &str) -> bool {
    trial.versions().is_some_and(|versions| versions.new.as_str() == version)
}
