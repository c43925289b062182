//! What the device learns of the time, and of the roots of those who tell it.

use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::record::ISSUED_LEAP_MAX;
use takt_common::UnixTime;
use takt_trust::Need;

use super::{Agent, AgentError};
use crate::clock::Answer;
use crate::trust::KeeperError;

/// An acknowledgement moves the time floor on disk when it is so much ahead: a flash chip has a limited number of writes.
const FLOOR_STEP: Duration = Duration::from_mins(1);
/// The furthest leap of the time floor that one acknowledgement makes: longer than a device lies in a store room. None goes beyond the
/// life of the director root.
const ANSWER_LEAP_MAX: Duration = Duration::from_hours(2 * 365 * 24);
/// From one look for a newer director root because of a strange signature to the next: whoever holds the broker can send many.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The longest rest between two, after looks that found nothing new.
const LOOK_EVERY_MAX: Duration = Duration::from_mins(10);

/// An acknowledgement by a key that the director root does not name. Perhaps a newer root does.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    envelope: Option<Vec<u8>>,
    /// Since boot.
    not_before: Duration,
    pause: Duration,
}

impl Foreign {
    /// The latest is enough: it acknowledges what came before.
    pub(super) fn keep(&mut self, envelope: &[u8]) {
        self.envelope = Some(envelope.to_owned());
    }

    /// A look has ended: the next one comes later and later while nothing changes.
    fn rest(&mut self, changed: bool, uptime: Duration) {
        self.pause = if changed { LOOK_EVERY } else { (self.pause * 2).clamp(LOOK_EVERY, LOOK_EVERY_MAX) };
        self.not_before = uptime + self.pause;
    }
}

impl Agent {
    /// The device's trusted time.
    pub(super) fn now(&self) -> UnixTime {
        self.clock.now(self.journal.record().time_floor, self.uptime())
    }

    /// The coordinator has answered the device at this time.
    pub(super) async fn learn_time(&mut self, time: UnixTime) -> Result<(), AgentError> {
        let until = self.keeper.director().expires();
        let mut record = self.journal.record().clone();
        record.learn_time(time, self.now() + ANSWER_LEAP_MAX, until);
        if time <= until {
            self.clock.answered(Answer { time, at: self.uptime() });
        }
        if record.time_floor > self.journal.record().time_floor + FLOOR_STEP {
            if let Some(gathered) = self.keeper.package().gathered() {
                record.confirm_time(gathered);
            }
            self.clock.set_floors(record.sure_floor, record.time_floor);
            self.journal.commit(record, Vec::new(), &self.key).await?;
        }
        Ok(())
    }

    /// Looks for a newer director root where an acknowledgement was strange: after the coordinator's keys have changed a device without
    /// an order would never hear of it otherwise, and its reports would wait for ever.
    pub(super) async fn look_for_root(&mut self) -> Result<(), AgentError> {
        let uptime = self.uptime();
        if self.foreign.envelope.is_none() || uptime < self.foreign.not_before || !self.is_at_leisure() {
            return Ok(());
        }
        let envelope = self.foreign.envelope.take();
        let before = self.keeper.director().epoch();
        let walked = self.walk_to_director().await;
        let changed = self.keeper.director().epoch() != before;
        // Counted from its end: a look that somebody makes last long must not be followed by the next one at once.
        self.foreign.rest(changed, self.uptime());
        match walked {
            Ok(()) => {}
            Err(AgentError::Trust(error)) => {
                tracing::warn!(error = %crate::sentence(&error), "the newest director root was not reached");
            }
            Err(error) => return Err(error),
        }
        if let Some(envelope) = envelope.filter(|_| changed) {
            self.on_ack(&envelope).await?;
            // Once more is enough.
            self.foreign.envelope = None;
        }
        Ok(())
    }

    /// Walks to the newest director root. Where it takes an order key away, what that key said of the time counts no more; that is
    /// forgotten first, so that a power cut between the two leaves a device that walks once more.
    pub(super) async fn walk_to_director(&mut self) -> Result<(), AgentError> {
        let performer = Arc::clone(&self.performer);
        let (director, walked) =
            self.keeper.walk_director(async |need: &Need| performer.document(need).await).await?;
        if director.epoch() != self.keeper.director().epoch() {
            tracing::info!(epoch = director.epoch(), "director root changed");
        }
        if !director.keeps_order_keys_of(self.keeper.director()) {
            self.forget_told_time().await?;
        }
        self.keeper.keep_director(director)?;
        Ok(walked?)
    }

    /// Looks at the package repository anew, which may also say what time it is. Where its root takes a timestamp key away, what was said
    /// of the time is forgotten, and there is another look: the first may have been refused by that time.
    pub(super) async fn look_at_packages(&mut self) -> Result<(), AgentError> {
        let (taken_away, mut looked) = self.look_at_packages_once().await?;
        if taken_away {
            looked = self.look_at_packages_once().await?.1;
        }
        Ok(looked?)
    }

    /// Whether the root has taken a timestamp key away, and how far the look came.
    async fn look_at_packages_once(&mut self) -> Result<(bool, Result<(), KeeperError>), AgentError> {
        let performer = Arc::clone(&self.performer);
        let now = self.now();
        let (package, looked) =
            self.keeper.look_at_package(now, async |need: &Need| performer.document(need).await).await?;
        let taken_away = !package.keeps_timestamp_keys_of(self.keeper.package());
        if taken_away {
            self.forget_told_time().await?;
        }
        self.keeper.keep_package(package)?;
        if looked.is_ok() {
            self.learn_from_packages().await?;
        }
        Ok((taken_away, looked))
    }

    async fn learn_from_packages(&mut self) -> Result<(), AgentError> {
        let believable = self.now() + ISSUED_LEAP_MAX;
        let mut record = self.journal.record().clone();
        let package = self.keeper.package();
        if let Some(issued) = package.issued() {
            record.learn_time(issued, believable, package.root_expires());
        }
        if let Some(gathered) = package.gathered() {
            record.confirm_time(gathered);
        }
        if record != *self.journal.record() {
            self.clock.set_floors(record.sure_floor, record.time_floor);
            self.journal.commit(record, Vec::new(), &self.key).await?;
        }
        Ok(())
    }

    async fn forget_told_time(&mut self) -> Result<(), AgentError> {
        self.clock.forget();
        let mut record = self.journal.record().clone();
        record.forget_told_time();
        if record != *self.journal.record() {
            tracing::warn!(from = %self.journal.record().time_floor, to = %record.time_floor, "what a key that was taken away said of the time is forgotten");
            self.journal.commit(record, Vec::new(), &self.key).await?;
        }
        Ok(())
    }
}
