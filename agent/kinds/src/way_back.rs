//! The folder of ways back: one folder a step, whole or not there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use takt_agent_core::failure::{Natured, failure};
use takt_agent_core::{ActionFailure, Nature, StepKey};

/// More ways back than an agent ever keeps: one order has 16 steps at the most.
const KEPT_MAX: usize = 256;

/// All ways back.
#[derive(Debug)]
pub struct WayBack(PathBuf);

/// The way back of one step. Its folder is made by the kind, which decides what lies in it and when it is whole.
#[derive(Debug, Clone)]
pub struct StepFolder(PathBuf);

/// The folder of a way back fails.
#[derive(Debug, thiserror::Error)]
pub enum WayBackError {
    /// It cannot be removed.
    #[error("remove the way back '{}'", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Natured for WayBackError {
    fn nature(&self) -> Nature {
        Nature::Transient
    }
}

impl WayBack {
    /// Ways back in `folder`, which is made when first needed.
    pub const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// That of one step.
    pub fn of(&self, key: &StepKey) -> StepFolder {
        StepFolder(self.0.join(key.to_string()))
    }

    /// The steps that have one.
    pub fn kept(&self) -> BTreeSet<StepKey> {
        let Ok(entries) = fs::read_dir(&self.0) else { return BTreeSet::new() };
        let names = entries.take(KEPT_MAX).flatten().map(|entry| entry.file_name());
        names.filter_map(|name| StepKey::parse(name.to_str()?)).collect()
    }
}

impl StepFolder {
    /// A folder beside those of steps. Its name has no dot, so it is never taken for one of them.
    pub(crate) fn of_no_step(way_back: &Path, name: &str) -> Self {
        Self(way_back.join(name))
    }

    /// Where it is or would be.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it with all that lies in it.
    pub fn forget(&self) -> Result<(), ActionFailure> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failure(&WayBackError::Remove { path: self.0.clone(), source: error }))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use takt_agent_core::WorkloadName;

    use super::*;

    #[test]
    fn what_is_kept_is_found_by_its_key_and_forgotten_whole() {
        let folder = tempfile::tempdir().unwrap();
        let all = WayBack::new(folder.path().join("way-back"));
        assert!(all.kept().is_empty());
        let key = StepKey { workload: WorkloadName("takt-00-app.web-g1-7".to_owned()), index: 2 };
        let own = all.of(&key);
        fs::create_dir_all(own.path().join("deep")).unwrap();
        fs::write(own.path().join("deep/file"), "old").unwrap();
        assert_eq!(all.kept(), BTreeSet::from([key.clone()]));
        own.forget().unwrap();
        own.forget().unwrap();
        assert!(all.kept().is_empty());
    }
}
