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
use std::path::Path;

use takt_agent_core::StepState;
use takt_common::Sha256Digest;
use takt_common::release::Package;
use takt_launcher::{Trial, TrialFolder, Version, Versions};

use super::PackageSettings;
use super::error::PackageError;
use super::record::{Before, Record};
use super::work::Work;
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

    fn runs(&self) -> Option<Sha256Digest> {
        digest(self.digests, &self.settings.running)
    }

    /// True when the program that runs is the installed one.
    fn installed_runs(&self) -> bool {
        self.runs().is_some_and(|runs| digest(self.digests, &self.settings.agent) == Some(runs))
    }

    /// Where the step stands as long as the new agent is installed and does not run.
    pub(super) fn not_running_yet(&self, own: &Package) -> Option<StepState> {
        if self.installed_runs() {
            return None;
        }
        Some(match self.trial().look() {
            found @ Trial::FellBack(_) if is_of(&found, &own.version) => {
                StepState::FellBack(found.to_string())
            }
            _ => StepState::NewAfterReboot,
        })
    }

    /// True as long as the new agent runs, of which the package has been taken back.
    pub(super) fn still_running(&self, record: &Record) -> bool {
        self.own().is_some() && record.runs.is_some() && record.runs != self.runs() && !self.installed_runs()
    }

    /// Notes which agent runs before its package changes. Refuses a set that would install the agent's package where there
    /// is none: taking it back would take the agent away.
    pub(super) fn note_own(&self, record: &mut Record) -> Result<(), PackageError> {
        if self.own().is_some() {
            version_before(record).ok_or(PackageError::NotFromPackage)?;
            record.runs = self.runs();
        }
        Ok(())
    }

    /// Before the agent's own package is replaced: the program that runs now is kept, and comes back if need be.
    pub(super) fn begin_trial(&self, record: &Record) -> Result<(), PackageError> {
        let Some(own) = self.own() else { return Ok(()) };
        let previous = version_before(record).ok_or(PackageError::NotFromPackage)?;
        if own.version == previous {
            return Ok(());
        }
        let trial = self.trial();
        let versions = Versions { new: version(&own.version)?, previous: version(previous)? };
        match trial.look() {
            Trial::None => {}
            Trial::On(on) if on.versions == versions => {}
            // Of an order that could not be taken back, or cut off and fallen back on the way: this one tries anew.
            _ => effect!("package.trial", trial.withdraw(&self.settings.agent))?,
        }
        Ok(effect!("package.trial", trial.begin(&self.settings.running, &versions))?)
    }

    /// The agent that runs stays.
    pub(super) fn confirm_trial(&self) -> Result<(), PackageError> {
        let Some(own) = self.own() else { return Ok(()) };
        if !self.installed_runs() {
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

    /// After the agent's own package is back.
    pub(super) fn withdraw_trial(&self) -> Result<(), PackageError> {
        let trial = self.trial();
        if self.own().is_none() || trial.look() == Trial::None {
            return Ok(());
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

/// The agent that runs has been in good health for [`super::ALIVE_AFTER`]: its starts so far are forgiven, if it is the
/// one on trial.
pub(super) fn alive(settings: &PackageSettings, digests: &Digests) -> Result<(), PackageError> {
    let trial = TrialFolder::new(&settings.launcher);
    let Trial::On(on) = trial.look() else { return Ok(()) };
    let (runs, previous) = (digest(digests, &settings.running), digest(digests, &trial.previous_agent()));
    if runs.is_none() || previous.is_none() || runs == previous {
        return Ok(());
    }
    Ok(effect!("package.trial", trial.alive(&on.versions.new)).map(drop)?)
}

/// `None` of what cannot be read.
fn digest(digests: &Digests, program: &Path) -> Option<Sha256Digest> {
    digests.of(&mut File::open(program).ok()?).ok()
}

fn is_of(trial: &Trial, version: &str) -> bool {
    trial.versions().is_some_and(|versions| versions.new.as_str() == version)
}
