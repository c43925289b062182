//! What the journal keeps: the phase and everything that follows from phases passed.
//!
//! Fields that are not known are passed over: an agent that comes back because its successor did not start reads the journal
//! that the successor wrote. What a later version adds has a default. Signed documents are strict all the same: an order that
//! only the successor understood is forgotten with it, and ends at its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use takt_common::order::{Action as OrderAction, Order, Position};
use takt_common::report::{Installed, Outcome, REPORT_FORMAT, Report, Skipped, Timing};
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};

use crate::phase::{Accepted, Phase, StandIn, Workload};

/// How far ahead of the device's trusted time the time in an order may move the floor.
pub const ISSUED_LEAP_MAX: Duration = Duration::from_hours(24);

/// The format this code writes and reads.
pub const RECORD_FORMAT: u32 = 1;

/// How many releases that failed here are remembered; when there are more, any but the latest goes.
const FAILED_HERE_MAX: usize = 64;

/// How many releases that were verified here are remembered; when there are more, the oldest goes.
const VERIFIED_HERE_MAX: usize = 64;

/// How many earlier releases of a component are kept at most, whatever an order says.
const RETAINED_MAX: u32 = 16;

/// The durable state of an agent. It changes as a whole, in one commit with the report that tells of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// Where the agent is.
    pub phase: Phase,
    /// The accepted order that waits for its turn; a later one replaces it.
    #[serde(deserialize_with = "if_known")]
    pub next: Option<Accepted>,
    /// What runs, by component.
    pub installed: BTreeMap<Name, Workload>,
    /// Earlier verified releases whose images are kept, newest first.
    pub retained: Vec<Workload>,
    /// For whom the device stands in.
    pub stand_in: Option<StandIn>,
    /// Releases that failed here, by manifest digest, with the cause.
    pub failed_here: BTreeMap<Sha256Digest, String>,
    /// Position of the last accepted order.
    pub last_position: Position,
    /// Digest of its payload.
    pub last_order: Option<Sha256Digest>,
    /// The earliest time it can be.
    pub time_floor: UnixTime,
    /// The part of it that people say as well, who publish away from any coordinator: what is left of the floor when a coordinator's
    /// key is taken away.
    #[serde(default)]
    pub sure_floor: UnixTime,
    /// The highest release counter that was ever verified, by component.
    pub highest: BTreeMap<Name, u64>,
    /// The manifests that were verified here last, so that the way back to them is open.
    #[serde(default)]
    pub verified_here: Vec<Sha256Digest>,
}

fn if_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Accepted>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: RECORD_FORMAT,
            phase: Phase::Idle,
            next: None,
            installed: BTreeMap::new(),
            retained: Vec::new(),
            stand_in: None,
            failed_here: BTreeMap::new(),
            last_position: Position::default(),
            last_order: None,
            time_floor: UnixTime::default(),
            sure_floor: UnixTime::default(),
            highest: BTreeMap::new(),
            verified_here: Vec::new(),
        }
    }
}

impl Record {
    /// Whether the order that waits is begun by the next decision: then the report of its first phase tells that it has arrived.
    pub fn begins_next(&self) -> bool {
        let next = self.next.as_ref().map(|next| &next.order.action);
        matches!((&self.phase, next), (Phase::Idle, Some(OrderAction::Install)))
    }

    /// Takes in an order that passed every rule. Returns the waiting order that it replaces, which has then ended.
    pub fn accept(&mut self, accepted: Accepted) -> Option<Accepted> {
        self.last_position = accepted.order.position();
        self.last_order = Some(accepted.digest);
        // Without a nonce the time in an order is only as fresh as its sender says: one order from the year 9999 must not
        // make every later one look expired.
        let believable = accepted.at + ISSUED_LEAP_MAX;
        self.time_floor = self.time_floor.max(accepted.order.issued.min(believable));
        self.next.replace(accepted)
    }

    /// Moves the floor to a time that was signed by keys that count until `until`, and at most to `believable`. They say that it is later
    /// than that, when they do, and nothing beyond: a thief of theirs cannot make it the year 9999.
    pub fn learn_time(&mut self, signed: UnixTime, believable: UnixTime, until: UnixTime) {
        let told = signed.min(believable).min(until + Duration::from_secs(1));
        self.time_floor = self.time_floor.max(told);
    }

    /// What has moved the floor above `before` counts until `until` only, as in [`Self::learn_time`].
    pub fn limit_time(&mut self, before: UnixTime, until: UnixTime) {
        self.time_floor = self.time_floor.min(until + Duration::from_secs(1)).max(before);
    }

    /// People who publish have signed something at this time, by a clock of their own. What they and the coordinator both say is sure.
    pub fn confirm_time(&mut self, signed: UnixTime) {
        self.sure_floor = self.sure_floor.max(signed.min(self.time_floor));
    }

    /// A key that said what time it is has been taken away, perhaps from a thief: what is sure stays.
    pub const fn forget_told_time(&mut self) {
        self.time_floor = self.sure_floor;
    }

    /// What does not follow in an order that is about to be accepted: it names another order before it than the last accepted one, and
    /// than any of those that `arrived` and were refused.
    pub fn skipped(&self, order: &Order, arrived: impl IntoIterator<Item = Sha256Digest>) -> Option<Skipped> {
        let follows = order.previous_order_digest;
        if follows == self.last_order || arrived.into_iter().any(|known| Some(known) == follows) {
            return None;
        }
        Some(Skipped { position: order.position(), follows, accepted: self.last_order })
    }

    /// Enters `phase` and draws the consequences.
    pub fn enter(&mut self, phase: Phase) {
        let taken_up = phase.job().map(|job| job.accepted.digest);
        if self.next.as_ref().is_some_and(|next| Some(next.digest) == taken_up) {
            self.next = None;
        }
        if let Phase::Ended { job, swap, outcome, .. } = &phase {
            let already_ended =
                matches!(&self.phase, Phase::Ended { job: before, .. } if before.accepted == job.accepted);
            if !already_ended {
                self.conclude(
                    &job.accepted,
                    job.old.as_ref(),
                    swap.as_deref().map(|swap| &swap.new),
                    outcome,
                );
            }
        }
        self.phase = phase;
    }

    fn conclude(
        &mut self,
        accepted: &Accepted,
        old: Option<&Workload>,
        new: Option<&Workload>,
        outcome: &Outcome,
    ) {
        match (outcome, new, &accepted.order.action) {
            (Outcome::Verified { .. }, Some(new), _) => {
                let component = &new.manifest.release.name;
                let highest = self.highest.entry(component.clone()).or_default();
                *highest = (*highest).max(new.manifest.counter);
                self.failed_here.remove(&new.manifest_sha256);
                self.note_verified(new.manifest_sha256);
                self.installed.insert(component.clone(), new.clone());
                self.retain(old, new, accepted.order.policy.retain);
            }
            (Outcome::RolledBack { cause, .. } | Outcome::Stranded { cause }, Some(new), _)
            | (Outcome::Failed { cause }, Some(new), OrderAction::Install) => {
                self.note_failed(new.manifest_sha256, cause);
            }
            (Outcome::Serving, Some(new), OrderAction::TakeOver { device, name, lease, .. }) => {
                let (name, workload) = (name.clone(), new.clone());
                self.stand_in = Some(StandIn { device: *device, name, workload, lease: *lease });
            }
            (Outcome::HandedBack, _, OrderAction::HandBack { device, .. }) => {
                self.stand_in.take_if(|stand_in| stand_in.device == *device);
            }
            _ => {}
        }
    }

    fn note_verified(&mut self, release: Sha256Digest) {
        self.verified_here.retain(|known| *known != release);
        self.verified_here.push(release);
        let over = self.verified_here.len().saturating_sub(VERIFIED_HERE_MAX);
        self.verified_here.drain(..over);
    }

    /// Manifests of releases that this device has verified, as far as it remembers: it may be ordered back to them.
    pub fn way_back(&self) -> Vec<Sha256Digest> {
        let kept = self.installed.values().chain(&self.retained).map(|workload| workload.manifest_sha256);
        self.verified_here.iter().copied().chain(kept).collect()
    }

    fn note_failed(&mut self, release: Sha256Digest, cause: &str) {
        self.failed_here.insert(release, cause.to_owned());
        while self.failed_here.len() > FAILED_HERE_MAX {
            let other = self.failed_here.keys().find(|known| **known != release).copied();
            other.map(|other| self.failed_here.remove(&other));
        }
    }

    /// Keeps the images of the last `retain` releases of the component beside the running one.
    fn retain(&mut self, old: Option<&Workload>, new: &Workload, retain: u32) {
        let component = &new.manifest.release.name;
        if let Some(old) = old {
            self.retained.insert(0, old.clone());
        }
        let mut left = retain.min(RETAINED_MAX);
        self.retained.retain(|workload| {
            if workload.manifest_sha256 == new.manifest_sha256 {
                return false;
            }
            if workload.manifest.release.name != *component {
                return true;
            }
            let stays = left > 0;
            left = left.saturating_sub(1);
            stays
        });
    }

    /// A report of this record; what belongs to the chain of reports is filled in when it is committed.
    pub fn report(
        &self,
        device: DeviceId,
        boot_id: String,
        made: UnixTime,
        outcome: Option<Outcome>,
    ) -> Report {
        let swap = self.phase.swap();
        Report {
            format: REPORT_FORMAT,
            device,
            sequence: 0,
            previous_report_digest: None,
            boot_id,
            nonce: String::new(),
            installed: self.installed_list(),
            standing_in_for: self.stand_in.as_ref().map(|stand_in| stand_in.device),
            order: self.phase.job().map(|job| job.accepted.order_ref()),
            phase: self.phase.name(),
            timing: swap.map(|swap| swap.timing).filter(|timing| *timing != Timing::default()),
            warnings: swap.map(|swap| swap.warnings.clone()).unwrap_or_default(),
            hooks: swap.map(|swap| swap.hooks.clone()).unwrap_or_default(),
            outcome,
            waiting_on: None,
            refused: None,
            made,
            skipped: None,
            time_floor: self.time_floor,
        }
    }

    /// What runs, as reports tell it.
    pub fn installed_list(&self) -> Vec<Installed> {
        self.installed
            .values()
            .map(|workload| Installed {
                release: workload.manifest.release.clone(),
                counter: workload.manifest.counter,
                manifest: workload.manifest_sha256,
            })
            .collect()
    }
}
