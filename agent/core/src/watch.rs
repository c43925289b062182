//! Which release is on watch: its health checks are asked and what it uses is measured.

use takt_common::release::Strategy;

use crate::phase::{Phase, Role, Way, Workload};

/// A release on watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnWatch<'a> {
    /// Which.
    pub workload: &'a Workload,
    /// What it serves as.
    pub role: Role,
    /// What its health checks and vitals are for.
    pub as_what: Watching,
    /// One watch ends and another begins when this text changes: what was said before counts no more.
    pub key: String,
}

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watching {
    /// The release that runs, before the switch: [`crate::facts::Baseline`].
    Baseline,
    /// The new release.
    New,
    /// The previous release, while it is brought back.
    Old,
}

impl Phase {
    /// The release on watch in this phase, if any.
    pub fn on_watch(&self) -> Option<OnWatch<'_>> {
        let role = self.job()?.role();
        let watch = |workload, as_what, key| Some(OnWatch { workload, role, as_what, key });
        match self {
            Self::Staged { job, .. } if role == Role::Own => {
                let old = job.old.as_ref()?;
                watch(old, Watching::Baseline, format!("{} baseline", old.name))
            }
            Self::Switching { swap, .. } if swap.strategy == Some(Strategy::Handover) => {
                watch(&swap.new, Watching::New, format!("{} ahead", swap.new.name))
            }
            Self::Probation { swap, .. } | Self::Confirming { swap, .. } => {
                watch(&swap.new, Watching::New, swap.new.name.to_string())
            }
            // A restart of the previous release by another way is watched from the beginning.
            Self::RollingBack { job, way, ran: true, .. }
                if !matches!(way, Way::Restart)
                    && (*way != Way::AsIs || !job.old.as_ref()?.has_containers()) =>
            {
                let old = job.old.as_ref()?;
                watch(old, Watching::Old, format!("{} {way:?}", old.name))
            }
            _ => None,
        }
    }
}
