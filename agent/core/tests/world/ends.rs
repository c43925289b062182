//! How an order must end, by what is the matter.

use takt_common::release::{HookPoint, Step};
use takt_common::report::Outcome;

use super::World;
use super::natures::Nature;

/// How an order ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Verified,
    RolledBack,
    Failed,
    GivenUp,
    Stranded,
}

impl End {
    fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Verified { .. } => Self::Verified,
            Outcome::RolledBack { .. } => Self::RolledBack,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::GivenUp { .. } => Self::GivenUp,
            Outcome::Stranded { .. } => Self::Stranded,
            Outcome::Withdrawn | Outcome::Serving | Outcome::Checkpointed | Outcome::HandedBack => {
                return None;
            }
        })
    }
}

impl World {
    /// The end that its nature deserves when nobody interrupts it.
    pub fn deserved(&self) -> End {
        match self.nature {
            Nature::NotNow(_, u32::MAX) | Nature::DiskFull => End::GivenUp,
            Nature::WillNotFetch
            | Nature::CorruptArtifact
            | Nature::ArchiveHoldsAnotherImage
            | Nature::PrepareFails(_)
            | Nature::HookFails(HookPoint::PreFetch | HookPoint::PreSwitch | HookPoint::ExportState) => {
                End::Failed
            }
            Nature::NeverHeard if self.brings_an_agent() => End::RolledBack,
            Nature::WillNotRestart if self.restarts() => End::RolledBack,
            Nature::RevertFails(_)
            | Nature::DiesReverting(_)
            | Nature::StaysIn(_)
            | Nature::UnseenWhenNew(_)
            | Nature::PortsFailBack => End::Stranded,
            Nature::WillNotRestartBack if self.restarts() => End::Stranded,
            Nature::Good
            | Nature::LockedForAWhile
            | Nature::WorseThanBefore
            | Nature::ClientsStay
            | Nature::NotNow(..)
            | Nature::NeverHeard
            | Nature::WillNotRestart => End::Verified,
            _ => End::RolledBack,
        }
    }

    /// Whether it may also end this way, because it was interrupted: a power cut restarts what would not be restarted, in
    /// the one direction or the other, and takes back what lives in memory only.
    fn may_also(&self, end: End) -> bool {
        match self.nature {
            Nature::WillNotRestart => matches!(end, End::Verified | End::Stranded),
            Nature::RevertFails(_) | Nature::WillNotRestartBack => end == End::RolledBack,
            _ => false,
        }
    }

    fn restarts(&self) -> bool {
        self.releases.has(|step| matches!(step, Step::OsImage(_))) || self.brings_an_agent()
    }

    fn brings_an_agent(&self) -> bool {
        self.releases.has(|step| match step {
            Step::OsImage(_) => true,
            Step::Package(set) => set.packages[0].name == "takt-agent",
            _ => false,
        })
    }

    /// Whether the order ended as such a release must end, and the right release runs.
    pub fn check_end(&self, what: &str) {
        let outcomes: Vec<&Outcome> = self.outcomes.iter().map(|(_, outcome)| outcome).collect();
        let [outcome] = outcomes.as_slice() else { panic!("{what}: one order, but {outcomes:?}") };
        let end = End::of(outcome).unwrap_or_else(|| panic!("{what}: {outcome:?}"));
        let deserved = self.deserved();
        assert!(end == deserved || self.may_also(end), "{what}: {outcome:?}, but {deserved:?} was expected");
        if end == End::Stranded {
            // What could be brought back is.
            return self.check_old_containers(what);
        }
        let (version, _) = self.at_rest();
        let expected = if end == End::Verified { "2.0" } else { "1.0" };
        assert_eq!(version, expected, "{what}: {outcome:?}");
        let containers = self.releases.new.manifest.containers().map_or(0, |set| set.containers.len());
        assert_eq!(self.containers(), containers, "{what}: only what runs is left");
        assert!(!self.has_checkpoint(), "{what}: a checkpoint holds keys and must go");
        assert!(self.images() <= 2 * containers, "{what}: the running images and the retained ones");
        assert_eq!(self.ways_back(), 0, "{what}: no way back is kept for ever");
    }
}
