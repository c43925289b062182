//! The agent's own package. Its maintainer scripts leave the service alone; the agent starts itself anew when the decision
//! says so, and the launcher brings the previous one back when the new one does not start.
//!
//! The launcher's trial begins after it is noted that the step has begun and before the first package changes, and ends with
//! the confirmation or with the way back. A step whose trial is left over is not back: the launcher would count starts of
//! an agent that is not there, and give up one that nobody tried.

use std::path::Path;

use takt_agent_core::StepState;
use takt_common::release::Package;
use takt_launcher::{Trial, TrialFolder, Version, Versions};

use super::PackageSettings;
use super::error::PackageError;
use super::record::{Before, Record};
use super::work::Work;
use crate::effect::effect;

/// The package that holds the agent itself.
const OWN: &str = "takt-agent";

/// The program that runs, whatever lies at its path by now.
const RUNNING: &str = "/proc/self/exe";

impl Work<'_> {
    /// The agent's own package, if it is in the set.
    pub(super) fn own(&self) -> Option<&Package> {
        self.set.packages.iter().find(|package| package.name == OWN)
    }

    fn trial(&self) -> TrialFolder {
        TrialFolder::new(&self.settings.launcher)
    }

    /// Where the step stands as long as the new agent is installed and does not run.
    pub(super) fn not_running_yet(&self, own: &Package) -> Option<StepState> {
        if own.version == self.settings.running_version {
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
        let running = &self.settings.running_version;
        let runs = |own: &Package| {
            own.version == *running && version_before(record).is_some_and(|old| old != running)
        };
        self.own().is_some_and(runs)
    }

    /// Refuses a set that would install the agent's package where there is none: taking it back would take the agent away.
    pub(super) fn check_own(&self, record: &Record) -> Result<(), PackageError> {
        match self.own() {
            Some(_) if version_before(record).is_none() => Err(PackageError::NotFromPackage),
            _ => Ok(()),
        }
    }

    /// Before the agent's own package is replaced: the program that runs now is kept, and comes back if need be.
    pub(super) fn begin_trial(&self) -> Result<(), PackageError> {
        let Some(own) = self.own() else { return Ok(()) };
        if own.version == self.settings.running_version {
            return Ok(());
        }
        let trial = self.trial();
        let versions =
            Versions { new: version(&own.version)?, previous: version(&self.settings.running_version)? };
        match trial.look() {
            Trial::None => {}
            Trial::On(on) if on.versions == versions => {}
            // Of an order that could not be taken back, or cut off and fallen back on the way: this one tries anew.
            _ => effect!("package.trial", trial.withdraw(&self.settings.agent))?,
        }
        Ok(effect!("package.trial", trial.begin(Path::new(RUNNING), &versions))?)
    }

    /// The agent that runs stays.
    pub(super) fn confirm_trial(&self) -> Result<(), PackageError> {
        if self.own().is_none() {
            return Ok(());
        }
        let running = version(&self.settings.running_version)?;
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

/// The agent that runs has been in good health for [`super::ALIVE_AFTER`]: its starts so far are forgiven.
pub(super) fn alive(settings: &PackageSettings) -> Result<(), PackageError> {
    let running = version(&settings.running_version)?;
    let trial = TrialFolder::new(&settings.launcher);
    Ok(effect!("package.trial", trial.alive(&running)).map(drop)?)
}

fn is_of(trial: &Trial, version: &str) -> bool {
    trial.versions().is_some_and(|versions| versions.new.as_str() == version)
}
