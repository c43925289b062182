//! What is stored about one device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use takt_common::api::{DeviceView, Quarantine, Revocation};
use takt_common::order::{Nonce, Position};
use takt_common::release::HookPoint;
use takt_common::report::{Refused, Report, Timing};
use takt_common::{PublicKey, Sha256Digest, UnixTime};
use takt_coordinator_core::DeviceState;

use crate::live::LiveDevice;

/// How many warnings of a device are kept; the oldest go first.
pub const WARNINGS_KEPT: usize = 16;

/// Longer texts of a device are cut.
const WARNING_CHARS_MAX: usize = DeviceState::WARNING_CHARS_MAX;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Grows with every change.
    pub revision: u64,
    /// Its public key.
    pub key: PublicKey,
    /// When it was enrolled first.
    pub enrolled: UnixTime,
    /// What campaigns look at.
    pub state: DeviceState,
    /// The end of its chain of reports.
    pub head: Option<ReportHead>,
    /// The last order issued to it.
    pub issued: Option<IssuedOrder>,
    /// Times measured in its last switch.
    pub timing: Option<Timing>,
    /// Its last warnings, and those about its chain of reports.
    pub warnings: Vec<String>,
    /// What the hooks of its last order that ran any have written; the device cuts it, and so does the report's size.
    #[serde(default)]
    pub hooks: BTreeMap<HookPoint, String>,
    /// Its last refusal.
    pub refused: Option<Refused>,
    /// It has enrolled again, so that its reports may begin again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enrolled_again: bool,
}

/// The last report of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportHead {
    /// Its number.
    pub sequence: u64,
    /// Digest of its payload.
    pub digest: Sha256Digest,
    /// Its nonce.
    pub nonce: Nonce,
    /// Digest of the first report of this chain, by which a chain that begins again is known.
    pub first: Sha256Digest,
}

/// The last order of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedOrder {
    /// Its position.
    pub position: Position,
    /// Digest of its payload, for the next order.
    pub payload: Sha256Digest,
    /// Digest of its envelope, by which devices name what they refuse.
    pub envelope: Sha256Digest,
}

impl DeviceRecord {
    /// Notes something that people should know.
    pub fn warn(&mut self, text: &str) {
        let text: String = text.chars().take(WARNING_CHARS_MAX).collect();
        if self.warnings.last() == Some(&text) {
            return;
        }
        self.warnings.push(text);
        if self.warnings.len() > WARNINGS_KEPT {
            self.warnings.remove(0);
        }
    }

    /// Puts the device into quarantine; the first reason stays.
    pub fn quarantine(&mut self, why: &str, now: UnixTime) {
        let why: String = why.chars().take(WARNING_CHARS_MAX).collect();
        self.state.quarantine.get_or_insert(Quarantine { since: now, why });
    }

    /// Revokes the device; the first reason stays.
    pub fn revoke(&mut self, why: &str, now: UnixTime) {
        let why: String = why.chars().take(WARNING_CHARS_MAX).collect();
        self.state.revoked.get_or_insert(Revocation { since: now, why, for_ever: false });
    }

    /// Revokes the device for ever; why it was revoked before stays.
    pub fn decommission(&mut self, why: &str, now: UnixTime) {
        self.revoke(why, now);
        if let Some(revocation) = &mut self.state.revoked {
            (revocation.since, revocation.for_ever) = (now, true);
        }
    }

    /// The device may have forgotten what it had accepted: its order is sent again unless a report shows it.
    pub const fn forget_acceptance(&mut self) {
        if let Some(order) = self.state.order.as_mut() {
            order.accepted = false;
        }
    }

    /// Notes a verified report as the new end of the chain.
    pub fn record_report(
        &mut self,
        report: &Report,
        digest: Sha256Digest,
        first: Sha256Digest,
        now: UnixTime,
    ) {
        // The chain was judged before; a chain that forks or begins again may have a lower number.
        self.state.sequence = report.sequence.saturating_sub(1);
        let issued = self.issued.as_ref();
        let envelope = issued.map(|issued| issued.envelope);
        let impossible = report.impossible();
        if let Some(why) = &impossible {
            let (device, number) = (&self.state.name, report.sequence);
            tracing::warn!(%device, report = number, why, "impossible report");
            self.warn(&format!("report {number} is impossible: {why}"));
            self.state.record_report(&DeviceState::without_other(report), envelope.as_ref(), now);
        } else if issued.is_some_and(|issued| self.state.shows_another(report, &issued.payload)) {
            let (device, number) = (&self.state.name, report.sequence);
            tracing::warn!(%device, report = number, "another order with the position of the one in hand ignored");
            self.warn(&format!(
                "report {number} speaks of another order with the position of the one in hand"
            ));
            self.state.record_report(&DeviceState::without_other(report), envelope.as_ref(), now);
        } else {
            self.state.record_report(report, envelope.as_ref(), now);
        }
        self.head =
            Some(ReportHead { sequence: report.sequence, digest, nonce: report.nonce.clone(), first });
        if report.timing.is_some() {
            self.timing = report.timing;
        }
        if report.refused.is_some() {
            self.refused.clone_from(&report.refused);
        }
        if let Some(skipped) = &report.skipped {
            tracing::warn!(device = %self.state.name, %skipped, "an order has not arrived");
            self.warn(&skipped.to_string());
        }
        if !report.hooks.is_empty() {
            self.hooks.clone_from(&report.hooks);
        }
        for warning in report.warnings.iter().take(WARNINGS_KEPT) {
            self.warn(warning);
        }
    }

    /// As the API shows it.
    pub fn view(&self, live: &LiveDevice) -> DeviceView {
        let state = &self.state;
        DeviceView {
            id: state.id,
            name: state.name.clone(),
            domain: state.domain.clone(),
            hardware: state.hardware.clone(),
            enrolled: self.enrolled,
            online: live.online(),
            last_seen: state.last_seen.max(live.last_seen),
            quarantine: state.quarantine.clone(),
            revoked: state.revoked.clone(),
            unapproved: state.unapproved,
            installed: state.installed.clone(),
            standing_in_for: state.standing_in_for,
            lease: state.lease,
            phase: state.phase,
            waiting_on: state.waiting_on.as_ref().map(|waiting| waiting.on.clone()),
            order: state.order.clone(),
            last_outcome: state.ended.last().map(|ended| ended.outcome.clone()),
            timing: self.timing,
            warnings: self.warnings.clone(),
            hooks: self.hooks.clone(),
            refused: self.refused.clone(),
            health: live.health.clone(),
        }
    }
}
