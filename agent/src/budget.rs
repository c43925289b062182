//! What bytes cost on the device's link: a budget of bytes for each period, counted over restarts.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_agent_core::facts::LinkCost;
use takt_common::UnixTime;

/// What the settings say of the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Bytes are paid for.
    pub metered: bool,
    /// How many may be fetched in a period.
    pub budget_bytes: Option<u64>,
    /// The period.
    pub period: Duration,
}

/// Bytes fetched in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    /// When the period began.
    since: UnixTime,
    /// What has been fetched in it.
    bytes: u64,
}

/// The budget. A file of its own: it is an estimate, and not worth a commit of the journal for each artifact.
#[derive(Debug)]
pub struct Budget {
    settings: LinkSettings,
    file: PathBuf,
    spent: Mutex<Spent>,
}

impl Budget {
    /// The budget as the last run left it; one that cannot be read begins anew.
    pub fn open(settings: LinkSettings, folder: &Path) -> Self {
        let file = folder.join("link-budget.json");
        let spent = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { settings, file, spent: Mutex::new(spent.unwrap_or_default()) }
    }

    /// What bytes cost at `now`.
    pub fn cost(&self, now: UnixTime) -> LinkCost {
        if !self.settings.metered {
            return LinkCost::Free;
        }
        let spent = self.current(*self.spent.lock().unwrap_or_else(PoisonError::into_inner), now);
        let left_bytes = self.settings.budget_bytes.map(|budget| budget.saturating_sub(spent.bytes));
        LinkCost::Metered { left_bytes }
    }

    /// So many bytes have come.
    pub fn spend(&self, bytes: u64, now: UnixTime) {
        if !self.settings.metered || bytes == 0 {
            return;
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = self.current(*spent, now);
        spent.bytes = spent.bytes.saturating_add(bytes);
        let text = serde_json::to_vec(&*spent).expect("two numbers have a text");
        let beside = self.file.with_extension("new");
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.file));
        if let Err(error) = written {
            tracing::warn!(path = %self.file.display(), %error, "the link budget could not be kept");
        }
    }

    fn current(&self, spent: Spent, now: UnixTime) -> Spent {
        // A clock that went back must not freeze a spent budget for years.
        let over = now >= spent.since + self.settings.period || now < spent.since;
        if over { Spent { since: now, bytes: 0 } } else { spent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_over_restarts_and_comes_back_with_the_next_period() {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            LinkSettings { metered: true, budget_bytes: Some(100), period: Duration::from_hours(24) };
        let at = |secs: u64| UnixTime::from_secs(1_800_000_000 + secs);
        let budget = Budget::open(settings, folder.path());
        assert_eq!(budget.cost(at(0)), LinkCost::Metered { left_bytes: Some(100) });
        budget.spend(70, at(1));
        drop(budget);
        let budget = Budget::open(settings, folder.path());
        assert_eq!(budget.cost(at(2)), LinkCost::Metered { left_bytes: Some(30) });
        budget.spend(70, at(3));
        assert_eq!(budget.cost(at(4)), LinkCost::Metered { left_bytes: Some(0) });
        assert_eq!(budget.cost(at(86_500)), LinkCost::Metered { left_bytes: Some(100) });
        assert_eq!(Budget::open(LinkSettings::default(), folder.path()).cost(at(4)), LinkCost::Free);
    }
}
