//! When the device's certificate is renewed: at two thirds of its life by the trusted time, and when the link does not come up.
//!
//! After a long time off, the trusted time may be too early to show that the certificate has expired, while the coordinator, which refuses
//! it, knows better. A link that does not come up is all that the device then sees, so that is a reason as well.

use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::Phase;
use takt_common::UnixTime;
use tokio::task::JoinHandle;

use super::Agent;
use crate::certificate::Validity;
use crate::link::jittered;
use crate::renew::{RenewError, Renewal};

/// A link that has not been up for so long may be refused because of the certificate.
const NOT_UP_FOR: Duration = Duration::from_mins(1);
/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_mins(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// Pauses are shorter where certificates live shortly: at first a hundredth of the life, a tenth at most.
const PAUSE_FIRST_PART: u32 = 100;
const PAUSE_MAX_PART: u32 = 10;
/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// After a renewal the next one is not before a quarter of the life, and this at most, whatever the clock says.
const REST_PART: u32 = 4;
const REST_MAX: Duration = Duration::from_hours(24);

/// The renewal of the certificate.
pub(super) struct Renewing {
    renewal: Arc<Renewal>,
    asking: Option<JoinHandle<Result<(), RenewError>>>,
    /// By uptime: not before this.
    not_before: Duration,
    failures: u32,
    /// When the link was up last, or the agent began.
    last_up: Duration,
}

impl Renewing {
    pub(super) fn new(renewal: Renewal, uptime: Duration) -> Self {
        let renewal = Arc::new(renewal);
        Self { renewal, asking: None, not_before: Duration::ZERO, failures: 0, last_up: uptime }
    }

    fn is_due(&self, now: impl Fn(UnixTime) -> UnixTime, uptime: Duration) -> bool {
        if self.asking.is_some() || uptime < self.not_before {
            return false;
        }
        // The fleet CA has signed that it was not earlier when the certificate was made.
        let by_time = |validity: Validity| now(validity.not_before) >= validity.renew_at();
        self.renewal.own().validity().is_none_or(by_time) || uptime.saturating_sub(self.last_up) >= NOT_UP_FOR
    }

    /// How a renewal has ended.
    fn ended(&mut self, result: Result<(), RenewError>, uptime: Duration) {
        let life = self.renewal.own().validity().map_or(Duration::MAX, Validity::life);
        let rest = match result {
            Ok(()) => {
                let until = self.renewal.own().validity().map(|validity| validity.not_after.to_string());
                tracing::info!(until, "certificate renewed");
                self.failures = 0;
                (life / REST_PART).min(REST_MAX)
            }
            Err(error) => {
                let why = crate::sentence(&error);
                if self.failures == 0 {
                    tracing::warn!(%why, "certificate not renewed; it is tried again");
                } else {
                    tracing::debug!(%why, failures = self.failures, "certificate not renewed");
                }
                let first = PAUSE_FIRST.min(life / PAUSE_FIRST_PART);
                let pause = first.saturating_mul(2_u32.saturating_pow(self.failures));
                self.failures = self.failures.saturating_add(1);
                jittered(pause.min(PAUSE_MAX).min(life / PAUSE_MAX_PART))
            }
        };
        self.not_before = uptime + rest.max(PAUSE_MIN);
    }
}

impl Agent {
    /// Begins a renewal that is due, and ends one that is done. It waits for nothing: a task of its own does the work.
    pub(super) async fn look_at_certificate(&mut self) {
        let uptime = self.uptime();
        if self.flow.is_up() {
            self.renewing.last_up = uptime;
        }
        if let Some(asking) = self.renewing.asking.take_if(|asking| asking.is_finished()) {
            match asking.await {
                Ok(result) => self.renewing.ended(result, uptime),
                Err(error) => {
                    tracing::error!(%error, "the renewal of the certificate broke off");
                    self.renewing.not_before = uptime + PAUSE_MAX;
                }
            }
        }
        // Never while releases change places: a handshake takes the processor for some milliseconds.
        let at_leisure = matches!(
            self.journal.record().phase,
            Phase::Idle
                | Phase::Fetching { .. }
                | Phase::Staged { .. }
                | Phase::GivingMemory { .. }
                | Phase::Probation { .. }
                | Phase::Ended { .. }
        );
        if !at_leisure {
            return;
        }
        let floor = self.journal.record().time_floor;
        let now = |at_least: UnixTime| self.clock.now(floor.max(at_least), uptime);
        if self.renewing.is_due(now, uptime) {
            self.renewing.asking = Some(tokio::spawn(Arc::clone(&self.renewing.renewal).renew()));
        }
    }
}
