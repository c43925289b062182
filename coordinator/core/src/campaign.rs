//! A campaign as it is stored: what was asked, where every device is, and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::api::{
    CampaignDevice, CampaignEvent, CampaignRequest, CampaignState, CampaignView, DeviceStep, ExcludedDevice,
    PlanView, PlannedSlot,
};
use takt_common::digest::Sha256Digest;
use takt_common::order::Position;
use takt_common::regulation::OnAbort;
use takt_common::release::{Manifest, ReleaseId, Requirements, Severity};
use takt_common::report::{Installed, Outcome};
use takt_common::{DeviceId, Name, UnixTime};

use crate::members::Members;
use crate::pace::Pace;
use crate::query::Query;
use crate::sheets::EVENTS;
use crate::targets::Asked;

/// The format this code writes and reads.
pub const CAMPAIGN_FORMAT: u32 = 2;

/// How many events are kept: the timeline of a few dozen devices; the oldest go first.
pub(crate) const EVENTS_MAX: usize = 256;

/// How long a report may be on its way from a device that has just ended an order, in seconds.
const REPORT_TRAVEL_SECS: u64 = 10;

/// What a device takes for fetching and switching at the least, in seconds.
const START_SECS: u64 = 5;

/// What a campaign must know about its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFacts {
    /// Which.
    pub id: ReleaseId,
    /// Its release counter.
    pub counter: u64,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
    /// The hardware it fits; empty for any.
    pub hardware: Vec<Name>,
    /// Seconds that a switch which began at the deadline may still take, its way back and the report included; see
    /// [`Manifest::settle`].
    pub settle_secs: u64,
    /// How urgent it is.
    pub severity: Severity,
    /// What a device must have and run.
    pub requires: Requirements,
    /// Bytes that a device fetches for it.
    pub bytes: u64,
    /// Seconds that a device takes for it at the least: its start and its probation.
    pub expected_secs: u64,
}

impl ReleaseFacts {
    /// The facts of a verified manifest with this digest.
    pub fn of(manifest: &Manifest, digest: Sha256Digest) -> Self {
        Self {
            id: manifest.release.clone(),
            counter: manifest.counter,
            manifest: digest,
            hardware: manifest.hardware.clone(),
            settle_secs: manifest.settle().as_secs() + 1 + REPORT_TRAVEL_SECS,
            severity: manifest.severity,
            requires: manifest.requires.clone(),
            bytes: manifest.download_bytes(),
            expected_secs: u64::from(manifest.health.probation_millis).div_ceil(1_000) + START_SECS,
        }
    }

    /// The facts of a release for any device, that nothing is required for.
    pub fn plain(id: ReleaseId, counter: u64, manifest: Sha256Digest, settle_secs: u64) -> Self {
        Self {
            id,
            counter,
            manifest,
            hardware: Vec::new(),
            settle_secs,
            severity: Severity::Minor,
            requires: Requirements::default(),
            bytes: 0,
            expected_secs: START_SECS,
        }
    }
}

/// A campaign. Only this crate changes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// [`CAMPAIGN_FORMAT`].
    pub(crate) format: u32,
    pub(crate) request: CampaignRequest,
    pub(crate) release: ReleaseFacts,
    /// Releases over which devices may have to go first, by their counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<ReleaseFacts>,
    pub(crate) state: CampaignState,
    pub(crate) reason: String,
    pub(crate) started: UnixTime,
    pub(crate) ended: Option<UnixTime>,
    /// Set by failures or by an operator; from then on no device begins.
    pub(crate) brake: Option<Brake>,
    /// How many elements have begun.
    pub(crate) elements: u32,
    /// How large they are.
    #[serde(default)]
    pub(crate) pace: Pace,
    /// The plan that members have their slots from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<StoredPlan>,
    /// Why its devices have no slots although the domain has a schedule: none of them begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unplanned: Option<String>,
    /// Who has approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approved_by: Option<String>,
    /// Who has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked_by: Option<String>,
    /// Until when outages of the coordinator have been noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outage_until: Option<UnixTime>,
    /// Until when its devices are watched although it has finished; absent once that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watched_until: Option<UnixTime>,
    /// In upgrade order; those that have joined later at the end.
    pub(crate) members: Members,
    /// Devices that were asked for and are no targets now.
    #[serde(default)]
    pub(crate) excluded: Vec<ExcludedDevice>,
    pub(crate) events: Vec<CampaignEvent>,
    /// How many events were forgotten before these, a whole sheet at a time.
    #[serde(default)]
    pub(crate) events_gone: usize,
}

/// Why no further device begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Brake {
    pub(crate) reason: String,
    pub(crate) by: Braking,
}

/// Who braked, and so what becomes of the devices in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Braking {
    /// Failures: orders in hand are withdrawn as well.
    Failure,
    /// An operator: orders in hand are withdrawn.
    Operator,
    /// It has expired: devices in work go on.
    Expiry,
}

/// A plan without its slots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredPlan {
    pub(crate) view: PlanView,
    /// Of graph, DRM and schedule that it was made from.
    pub(crate) ground: Sha256Digest,
    /// Load was known until here.
    pub(crate) known_until: UnixTime,
}

/// A device of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) device: DeviceId,
    pub(crate) name: Name,
    /// The element it belongs to, from 0, once its turn has come.
    pub(crate) element: Option<u32>,
    /// When its turn came; its wait for a standby is counted from here.
    pub(crate) turn: Option<UnixTime>,
    /// How long it has waited in turns that passed with their slots, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) waited_secs: u64,
    pub(crate) step: DeviceStep,
    /// When it is to begin; it keeps the slot in which it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<PlannedSlot>,
    /// Since when its clock stands still, because it is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suspended: Option<UnixTime>,
    /// The withdrawal of its order, once issued.
    pub(crate) withdrawal: Option<Withdrawal>,
    /// A standby that serves until it is known how the device ended.
    pub(crate) owed: Option<Owed>,
    /// The order by which it hands its memory to its standby, in a takeover by `restore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Position>,
    /// Its order, whose end nobody knows, until the device is heard of again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unheard: Option<Position>,
    /// What its device warned of when its order ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// What went wrong beside or after the end of its order; it counts as a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
    /// Which release of the path it is brought to first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hop: Option<usize>,
    /// How many of its orders failed before anything was switched.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) failed_attempts: u32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) again_at: Option<UnixTime>,
    /// What it ran before its order, where it is to be brought back to that after an abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Installed>,
    /// It is on its way back, or has been; its step speaks of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) back: Option<Back>,
}

/// The way back of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Back {
    /// How its order ended on the way there.
    pub(crate) outcome: Outcome,
}

impl Member {
    /// A device whose turn has not come.
    pub(crate) const fn pending(device: DeviceId, name: Name, hop: Option<usize>) -> Self {
        Self {
            device,
            name,
            element: None,
            turn: None,
            waited_secs: 0,
            step: DeviceStep::Pending,
            slot: None,
            suspended: None,
            withdrawal: None,
            owed: None,
            memory: None,
            unheard: None,
            warnings: Vec::new(),
            fault: None,
            hop,
            failed_attempts: 0,
            again_at: None,
            before: None,
            back: None,
        }
    }
}

/// A withdrawal of a device's own order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Withdrawal {
    pub(crate) order: Position,
    pub(crate) at: UnixTime,
    pub(crate) why: WithdrawalCause,
}

/// Why an order was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause", content = "text")]
pub(crate) enum WithdrawalCause {
    /// It was not accepted, or its end was not reported, in time.
    Deadline(String),
    /// The device refused it.
    Refused(String),
    /// The operator aborted the campaign.
    Abort,
}

/// A hand-back that waits for the device to be heard of: nobody knows whether it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    pub(crate) standby: DeviceId,
    /// The device's own order; its end, or that of a later one, settles it.
    pub(crate) order: Position,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(secs: &u64) -> bool {
    *secs == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(crate) const fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Campaign {
    /// The permission that its orders carry.
    pub fn permission(&self) -> Option<&str> {
        self.request.permission.as_deref()
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.request.name
    }

    /// Its domain.
    pub const fn domain(&self) -> &Name {
        &self.request.domain
    }

    /// Its release.
    pub const fn release(&self) -> &ReleaseFacts {
        &self.release
    }

    /// Its state.
    pub const fn state(&self) -> CampaignState {
        self.state
    }

    /// Why it is in that state, in one sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it has ended. Something may follow all the same, see [`Campaign::is_settled`].
    pub const fn is_over(&self) -> bool {
        matches!(self.state, CampaignState::Aborted | CampaignState::Finished)
    }

    /// When it ended.
    pub const fn ended(&self) -> Option<UnixTime> {
        self.ended
    }

    /// Whether it has ended, its devices are watched no more, no standby serves for a silent one of them, and none is awaited that may
    /// come back with a release that was aborted. Until then it is to be advanced.
    pub fn is_settled(&self) -> bool {
        let open = |member: &Member| member.owed.is_some() || self.awaits(member);
        self.is_over() && self.watched_until.is_none() && !self.members.iter().any(open)
    }

    /// Whether the device is silent and is brought back once it is heard of, if it runs the release then.
    pub(crate) fn awaits(&self, member: &Member) -> bool {
        let silent = member.unheard.is_some() && member.before.is_some() && member.back.is_none();
        silent && self.brings_back()
    }

    /// Whether devices are brought back to what they ran before.
    pub(crate) fn brings_back(&self) -> bool {
        self.withdraws() && self.request.regulation.on_abort == OnAbort::Rollback
    }

    /// From when on devices begin outside their slots as well.
    pub(crate) fn forced_at(&self) -> Option<UnixTime> {
        Some(self.started + Duration::from_secs(self.request.complete_by_secs?))
    }

    /// Whether orders in hand are withdrawn.
    pub(crate) fn withdraws(&self) -> bool {
        self.brake.as_ref().is_some_and(|brake| brake.by != Braking::Expiry)
    }

    /// After which time no further device begins.
    pub(crate) fn expires(&self) -> Option<UnixTime> {
        Some(self.started + Duration::from_secs(self.request.expires_secs?))
    }

    /// What is asked of its devices.
    pub(crate) fn asked<'a>(&'a self, query: Option<&'a Query>) -> Asked<'a> {
        Asked { release: &self.release, path: &self.path, query, downgrade: self.request.policy.downgrade }
    }

    /// Its query. One that was stored has been read before.
    pub(crate) fn query(&self) -> Option<Query> {
        self.request.query.as_ref()?.parse().ok()
    }

    /// Whether it may begin: nobody has to approve it, or somebody has.
    pub const fn is_approved(&self) -> bool {
        !self.request.approval || self.approved_by.is_some()
    }

    /// The release that a device is brought to now, and the digest of its manifest.
    pub(crate) fn target_of<'a>(&'a self, member: &'a Member) -> (&'a ReleaseId, &'a Sha256Digest) {
        if let (Some(_), Some(before)) = (&member.back, &member.before) {
            return (&before.release, &before.manifest);
        }
        let release = member.hop.and_then(|hop| self.path.get(hop)).unwrap_or(&self.release);
        (&release.id, &release.manifest)
    }

    /// Whether `device` belongs to it.
    pub fn has_device(&self, device: DeviceId) -> bool {
        self.members.iter().any(|member| member.device == device)
    }

    /// How many devices belong to it.
    pub const fn devices(&self) -> usize {
        self.members.len()
    }

    /// How many of them have ended.
    pub fn done(&self) -> usize {
        self.members.iter().filter(|member| matches!(member.step, DeviceStep::Done { .. })).count()
    }

    /// As the API shows it.
    pub fn view(&self) -> CampaignView {
        let device = |member: &Member| CampaignDevice {
            device: member.device,
            name: member.name.clone(),
            element: member.element,
            step: member.step.clone(),
            slot: member.slot.clone(),
            warnings: member.warnings.clone(),
            fault: member.fault.clone(),
            back: member.back.as_ref().map(|_| self.target_of(member).0.clone()),
        };
        CampaignView {
            request: self.request.clone(),
            state: self.state,
            reason: self.reason.clone(),
            started: self.started,
            ended: self.ended,
            stage: self.stage(),
            elements: self.pace.elements.clone(),
            plan: self.plan.as_ref().map(|plan| plan.view.clone()),
            total: self.devices(),
            done: self.done(),
            devices: self.members.iter().map(device).collect(),
            excluded: self.excluded.clone(),
            path: self.path.iter().map(|release| release.id.clone()).collect(),
            upgraded_answer: None,
            pending_answer: None,
            events: self.events.clone(),
        }
    }

    /// With something that people should know of it in its timeline.
    #[must_use]
    pub fn with_remark(mut self, text: String, now: UnixTime) -> Self {
        self.note(now, None, text);
        self
    }

    /// What its timeline has got since it was `before`.
    pub fn events_since(&self, before: &Self) -> &[CampaignEvent] {
        let known = (before.events_gone + before.events.len()).saturating_sub(self.events_gone);
        self.events.get(known..).unwrap_or_default()
    }

    /// Adds a decision to the timeline.
    pub(crate) fn note(&mut self, at: UnixTime, device: Option<&Name>, text: String) {
        self.events.push(CampaignEvent { at, device: device.cloned(), text });
        if self.events.len() > EVENTS_MAX {
            self.events.drain(..EVENTS);
            self.events_gone += EVENTS;
        }
    }

    /// Stops further devices from beginning; the first cause stays the reason.
    pub(crate) fn brake(&mut self, at: UnixTime, by: Braking, reason: String) {
        if self.brake.is_none() {
            self.note(at, None, format!("no further device begins: {reason}"));
            self.brake = Some(Brake { reason, by });
        }
    }
}
