//! What the device learns of the time, and of the roots of those who tell it.

use std::sync::Arc;
use std::time::Duration;

use takt_common::UnixTime;
use takt_trust::Need;

use super::{Agent, AgentError};
use crate::clock::Answer;

/// An acknowledgement moves the time floor on disk when it is so much ahead: a flash chip has a limited number of writes.
const FLOOR_STEP: Duration = Duration::from_mins(1);
/// The furthest leap of the time floor that one acknowledgement makes: longer than a device lies in a store room. None goes beyond the
/// life of the director root.
const LEAP_MAX: Duration = Duration::from_hours(2 * 365 * 24);
/// How far ahead of the trusted time a document that answers nothing may move the floor.
const ISSUED_LEAP_MAX: Duration = Duration::from_hours(24);
/// From one look for a newer director root because of a strange signature to the next: whoever holds the broker can send many.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// An acknowledgement by a key that the director root does not name. Perhaps a newer root does.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    envelope: Option<Vec<u8>>,
    /// Since boot.
    not_before: Duration,
}

impl Foreign {
    /// The latest is enough: it acknowledges what came before.
    pub(super) fn keep(&mut self, envelope: &[u8]) {
        self.envelope = Some(envelope.to_owned());
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
        record.learn_time(time, self.now() + LEAP_MAX, until);
        if time <= until {
            self.clock.answered(Answer { time, at: self.uptime() });
        }
        if record.time_floor > self.journal.record().time_floor + FLOOR_STEP {
            if let Some(gathered) = self.keeper.package().gathered() {
                record.confirm_time(gathered);
            }
            self.clock.set_sure(record.sure_floor);
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
        self.foreign.not_before = uptime + LOOK_EVERY;
        let before = self.keeper.director().epoch();
        match self.walk_to_director().await {
            Ok(()) => {}
            Err(AgentError::Trust(error)) => {
                tracing::warn!(error = %crate::sentence(&error), "the newest director root was not reached");
            }
            Err(error) => return Err(error),
        }
        if let Some(envelope) = envelope.filter(|_| self.keeper.director().epoch() != before) {
            self.on_ack(&envelope).await?;
            // Once more is enough.
            self.foreign.envelope = None;
        }
        Ok(())
    }

    /// Walks to the newest director root. Where it takes an order key away, what that key said of the time counts no more.
    pub(super) async fn walk_to_director(&mut self) -> Result<(), AgentError> {
        let before = self.keeper.director().clone();
        let performer = Arc::clone(&self.performer);
        let walked = self.keeper.refresh_director(async |need: &Need| performer.document(need).await).await;
        if before.epoch() != self.keeper.director().epoch() {
            tracing::info!(epoch = self.keeper.director().epoch(), "director root changed");
        }
        if !self.keeper.director().keeps_order_keys_of(&before) {
            self.forget_told_time().await?;
        }
        Ok(walked?)
    }

    /// Looks at the package repository anew, which may also say what time it is.
    pub(super) async fn look_at_packages(&mut self) -> Result<(), AgentError> {
        let before = self.keeper.package().clone();
        let performer = Arc::clone(&self.performer);
        let now = self.now();
        let looked =
            self.keeper.refresh_package(now, async |need: &Need| performer.document(need).await).await;
        if !self.keeper.package().keeps_timestamp_keys_of(&before) {
            self.forget_told_time().await?;
        }
        looked?;
        let mut record = self.journal.record().clone();
        let package = self.keeper.package();
        if let Some(issued) = package.issued() {
            record.learn_time(issued, now + ISSUED_LEAP_MAX, package.root_expires());
        }
        if let Some(gathered) = package.gathered() {
            record.confirm_time(gathered);
        }
        if record != *self.journal.record() {
            self.clock.set_sure(record.sure_floor);
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
