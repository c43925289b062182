//! What the agents of a fleet have done, counted for all of them together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use takt_common::release::ReleaseId;
use takt_common::report::Outcome;
use takt_common::{DeviceId, UnixTime};

/// How the fleet stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Devices that have enrolled.
    pub devices: u64,
    /// Devices with a session at the gate, subscribed.
    pub connected: u64,
    /// Of these, devices of which a report was acknowledged in that session.
    pub back: u64,
    /// Sessions that were lost.
    pub lost: u64,
    /// Orders that were accepted.
    pub accepted: u64,
    /// Orders that came again after they were accepted.
    pub repeated: u64,
    /// Orders that were refused.
    pub refused: u64,
    /// Orders that ended verified.
    pub verified: u64,
    /// Orders that ended rolled back.
    pub rolled_back: u64,
    /// Orders that ended in any other way.
    pub otherwise: u64,
    /// How often a release was put in force where it was in force already, or verified where it had been verified
    /// before and was installed.
    pub twice: u64,
    /// Reports that were made.
    pub reports: u64,
    /// Reports that the coordinator has acknowledged.
    pub acknowledged: u64,
    /// Health samples that were sent.
    pub samples: u64,
}

impl Counts {
    /// Reports that have not been acknowledged yet.
    pub const fn waiting(&self) -> u64 {
        self.reports.saturating_sub(self.acknowledged)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} connected ({} lost), orders: {} accepted ({} came again), {} verified, {} rolled back, {} ended otherwise, \
             {} refused, {} done twice; reports: {} made, {} acknowledged; {} health samples",
            self.connected,
            self.devices,
            self.lost,
            self.accepted,
            self.repeated,
            self.verified,
            self.rolled_back,
            self.otherwise,
            self.refused,
            self.twice,
            self.reports,
            self.acknowledged,
            self.samples
        )
    }
}

/// An order that a device has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// Which device.
    pub device: DeviceId,
    /// When the coordinator signed it, in whole seconds.
    pub issued: UnixTime,
    /// When it was accepted, in milliseconds since 1970.
    pub at_millis: u64,
}

impl Acceptance {
    /// From the signature to the acceptance; up to a second too long, because orders tell whole seconds.
    pub const fn took(&self) -> Duration {
        Duration::from_millis(self.at_millis.saturating_sub(self.issued.as_secs().saturating_mul(1_000)))
    }
}

/// The counters that all agents share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) devices: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) back: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) refused: AtomicU64,
    verified: AtomicU64,
    rolled_back: AtomicU64,
    otherwise: AtomicU64,
    pub(crate) twice: AtomicU64,
    pub(crate) reports: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) samples: AtomicU64,
    acceptances: Mutex<Vec<Acceptance>>,
    in_force: Mutex<BTreeMap<ReleaseId, u64>>,
    answers: Mutex<Vec<Duration>>,
}

/// Adds one.
pub(crate) fn more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts are whole after each change, so a panic elsewhere does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    /// An order has ended.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        more(match outcome {
            Outcome::Verified { .. } => &self.verified,
            Outcome::RolledBack { .. } => &self.rolled_back,
            _ => &self.otherwise,
        });
    }

    /// Reports have been acknowledged, so long after each was made.
    pub(crate) fn answered(&self, took: impl Iterator<Item = Duration>) {
        lock(&self.answers).extend(took);
    }

    /// How long acknowledgements took since this was last asked.
    pub(crate) fn take_answers(&self) -> Vec<Duration> {
        std::mem::take(&mut *lock(&self.answers))
    }

    /// An order has been accepted.
    pub(crate) fn accepted(&self, acceptance: Acceptance) {
        lock(&self.acceptances).push(acceptance);
    }

    /// On one device `to` is in force where `from` was.
    pub(crate) fn changed(&self, from: Option<&ReleaseId>, to: Option<&ReleaseId>) {
        let mut in_force = lock(&self.in_force);
        if let Some(from) = from
            && let Some(count) = in_force.get_mut(from)
        {
            *count = count.saturating_sub(1);
        }
        if let Some(to) = to {
            *in_force.entry(to.clone()).or_default() += 1;
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            devices: of(&self.devices),
            connected: of(&self.connected),
            back: of(&self.back),
            lost: of(&self.lost),
            accepted: lock(&self.acceptances).len() as u64,
            repeated: of(&self.repeated),
            refused: of(&self.refused),
            verified: of(&self.verified),
            rolled_back: of(&self.rolled_back),
            otherwise: of(&self.otherwise),
            twice: of(&self.twice),
            acknowledged: of(&self.acknowledged),
            reports: of(&self.reports),
            samples: of(&self.samples),
        }
    }

    pub(crate) fn acceptances(&self) -> Vec<Acceptance> {
        lock(&self.acceptances).clone()
    }

    /// On how many devices each release is in force.
    pub(crate) fn in_force(&self) -> BTreeMap<ReleaseId, u64> {
        let mut in_force = lock(&self.in_force).clone();
        in_force.retain(|_, count| *count > 0);
        in_force
    }
}
