//! Rounds of health checks, and how a release fares.

use std::time::Duration;

use takt_agent_core::facts::Baseline;
use takt_agent_core::{Phase, Vitals, Wellness, Workload};
use takt_common::release::HookPoint;

use super::natures::Nature;
use super::{OLD_NAME, World};

/// How long what runs is measured before a switch.
const MEASURED_MILLIS: u64 = 1_000;

/// When a release falls ill that was well at first.
const WELL_MILLIS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Rounds {
    of: Option<String>,
    wellness: Wellness,
    well_since: Option<u64>,
}

impl World {
    /// The release on watch, and what tells one watch from another.
    fn watched(&self) -> Option<(Workload, String)> {
        match &self.record.phase {
            Phase::Probation { swap, .. } | Phase::Confirming { swap, .. } => {
                Some((swap.new.clone(), swap.new.name.to_string()))
            }
            // Strategy `handover`: it must be well before clients come to it.
            Phase::Switching { swap, .. } if swap.up.is_some() => {
                Some((swap.new.clone(), swap.new.name.to_string()))
            }
            Phase::RollingBack { job, way, .. } => {
                job.old.clone().map(|old| (old.clone(), format!("{} {way:?}", old.name)))
            }
            _ => None,
        }
    }

    pub(super) fn probe(&mut self) -> Wellness {
        let watched = self.watched();
        let of = watched.as_ref().map(|(_, text)| text.clone());
        if self.rounds.of != of {
            self.rounds = Rounds { of, ..Rounds::default() };
        }
        let Some((workload, _)) = watched else { return Wellness::default() };
        if !self.engine.all_run(&workload) {
            return self.rounds.wellness.clone();
        }
        let sick = workload.name.0 != OLD_NAME && self.is_sick();
        let now = self.millis;
        let wellness = &mut self.rounds.wellness;
        if sick {
            wellness.failures_in_a_row += 1;
            wellness.last_failure = (self.nature != Nature::NeverReports).then(|| "status 500".to_owned());
            if wellness.failures_in_a_row >= workload.manifest.health.failures_max {
                self.rounds.well_since = None;
            }
        } else {
            wellness.failures_in_a_row = 0;
            wellness.ever_well = true;
            self.rounds.well_since.get_or_insert(now);
        }
        wellness.well_for = self.rounds.well_since.map(|since| Duration::from_millis(now - since));
        wellness.clone()
    }

    fn is_sick(&self) -> bool {
        match self.nature {
            Nature::StartsSick
            | Nature::NeverReports
            | Nature::RevertFails(_)
            | Nature::RevertsLate(_)
            | Nature::DiesReverting(_)
            | Nature::StaysIn(_)
            | Nature::WillNotRestartBack
            | Nature::RollbackHookFails
            | Nature::HookFails(HookPoint::Healthy) => true,
            Nature::FallsIllInProbation | Nature::PortsFailBack => match &self.record.phase {
                Phase::Probation { since, .. } => self.millis.saturating_sub(since.millis) > WELL_MILLIS,
                Phase::Confirming { .. } => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// What runs before the switch is measured once the release is staged.
    pub(super) fn baseline(&mut self) -> Baseline {
        if !matches!(self.record.phase, Phase::Staged { .. }) || self.record.installed.is_empty() {
            self.measuring_since = None;
            return Baseline::None;
        }
        let since = *self.measuring_since.get_or_insert(self.millis);
        match MEASURED_MILLIS.saturating_sub(self.millis - since) {
            0 => Baseline::Measured(fares(1)),
            left_millis => Baseline::Measuring { left_millis },
        }
    }

    pub(super) fn vitals(&self) -> Option<Vitals> {
        let on_probation = matches!(self.record.phase, Phase::Probation { .. });
        let measured = self.rounds.wellness.well_for >= Some(Duration::from_secs(1));
        let worse = if self.nature == Nature::WorseThanBefore { 3 } else { 1 };
        (on_probation && measured).then(|| fares(worse))
    }
}

fn fares(times: u32) -> Vitals {
    Vitals {
        cpu_permille: Some(100),
        memory_bytes: Some(u64::from(times) * (20 << 20)),
        response_millis: Some(5),
        restarts: 0,
    }
}
