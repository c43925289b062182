//! Campaigns: what is asked, where they stand, what they would do.

use serde::{Deserialize, Serialize};

use super::domain::ScheduleMethod;
use crate::id::{DeviceId, Name};
use crate::order::{Mode, Policy, Position};
use crate::regulation::{ElementView, Regulation, Stage};
use crate::release::ReleaseId;
use crate::report::Outcome;
use crate::time::UnixTime;

/// `POST /api/v1/campaigns` (operator).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignRequest {
    /// The campaign's name; must be new.
    pub name: Name,
    /// Which release.
    pub release: ReleaseId,
    /// Whose devices.
    pub domain: Name,
    /// Only these devices; all of the domain if empty.
    #[serde(default)]
    pub devices: Vec<Name>,
    /// How many devices an element has at the most, whatever regulation would allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_size: Option<u32>,
    /// Seconds that a device may take for its order, waiting included.
    pub deadline_secs: u64,
    /// Limits of single steps within that.
    #[serde(default, skip_serializing_if = "StepLimits::is_none")]
    pub steps: StepLimits,
    /// What orders allow.
    #[serde(default)]
    pub policy: Policy,
    /// How fast it goes, and when it stops.
    #[serde(default)]
    pub regulation: Regulation,
    /// Only devices that this query means (docs/campaigns.md).
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How often a device is tried again that failed before anything was switched.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Seconds after which no further device begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_secs: Option<u64>,
    /// Seconds after which its devices begin outside their slots as well: it is to be done by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_by_secs: Option<u64>,
    /// Its share of what the coordinator can do at a time, beside that of other campaigns.
    #[serde(default = "CampaignRequest::weight_usual")]
    pub weight: u32,
    /// It goes on for devices that become targets later, until it expires or is closed.
    #[serde(default)]
    pub stays_open: bool,
    /// It begins once a second operator has approved it.
    #[serde(default)]
    pub approval: bool,
    /// It may be to a release that a published later one has taken the place of; an allowed downgrade allows that too.
    #[serde(default)]
    pub superseded: bool,
    /// The envelope of a permission for what a coordinator may not order by itself (docs/trust.md); it travels in the orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

impl CampaignRequest {
    /// A campaign with everything as usual.
    pub fn new(name: Name, release: ReleaseId, domain: Name) -> Self {
        Self {
            name,
            release,
            domain,
            devices: Vec::new(),
            element_size: None,
            deadline_secs: Self::DEADLINE_SECS_USUAL,
            steps: StepLimits::default(),
            policy: Policy::default(),
            regulation: Regulation::default(),
            query: None,
            retry: RetryPolicy::default(),
            expires_secs: None,
            complete_by_secs: None,
            weight: Self::weight_usual(),
            stays_open: false,
            approval: false,
            superseded: false,
            permission: None,
        }
    }

    /// How long a device may take for its order where nothing else is asked for.
    pub const DEADLINE_SECS_USUAL: u64 = 600;

    const fn weight_usual() -> u32 {
        1
    }
}

/// How long single steps of a device may take, in seconds from their order on, where that is to be less than the whole deadline and what
/// the release may take to settle (paper 2, "Operation Enforcement": deadlines of tasks).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepLimits {
    /// Until its standby serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take_over_secs: Option<u64>,
    /// Until it has fetched the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_secs: Option<u64>,
    /// Until its standby has handed back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_back_secs: Option<u64>,
}

impl StepLimits {
    /// Whether no step has a limit of its own.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How often a device is tried again that failed before anything was switched there (paper 2, "Operation Decomposition").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Orders for one device, the first one included.
    pub attempts: u32,
    /// Seconds before the second attempt, twice as many before each other one, half of them more or less by chance.
    pub backoff_secs: u64,
    /// Bytes that a device may be sent at the most, all attempts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 1, backoff_secs: 60, bytes: None }
    }
}

/// `PUT|GET /api/v1/domains/{domain}/follow/{component}` (operator): campaigns that begin by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowSpec {
    /// Whether they begin or are proposed.
    pub mode: FollowMode,
    /// How they are to be. Its name is the beginning of theirs, which end in the version; its domain is that of the path, and of its
    /// release only the component counts, which is that of the path as well.
    pub campaign: CampaignRequest,
}

/// What happens when a release of a followed component is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowMode {
    /// A campaign begins.
    Start,
    /// A campaign waits until an operator approves it.
    Propose,
}

/// A device of the domain that is no target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedDevice {
    /// Its id.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// Why, as it goes on after its name.
    pub reason: String,
    /// A less urgent campaign has it in work: it joins when that is done with it, and until then the campaign does not end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
}

/// The state of a campaign (DESIGN: words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignState {
    /// Not begun.
    Pending,
    /// Running.
    Ongoing,
    /// Held by an operator.
    Paused,
    /// Stopped by failures or an operator; its devices are being brought back to what they ran before.
    RollingBack,
    /// Stopped by failures or an operator.
    Aborted,
    /// All devices have ended, and no more than are tolerated have failed.
    Finished,
}

/// Where a device is in a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum DeviceStep {
    /// Not its turn yet.
    Pending,
    /// Its standby has been ordered to take over.
    TakingOver {
        /// Who.
        standby: DeviceId,
        /// The standby's order.
        order: Position,
        /// Since when.
        since: UnixTime,
    },
    /// It has its order.
    Upgrading {
        /// Its order.
        order: Position,
        /// Rolling or in place.
        mode: Mode,
        /// Since when.
        since: UnixTime,
    },
    /// It has ended; its standby has been ordered to hand back.
    HandingBack {
        /// Who.
        standby: DeviceId,
        /// The standby's order.
        order: Position,
        /// How the device's own order ended.
        outcome: Outcome,
        /// Since when.
        since: UnixTime,
    },
    /// It has ended.
    Done {
        /// How.
        outcome: Outcome,
        /// When.
        at: UnixTime,
    },
}

/// When a device of a campaign is to begin, and why then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedSlot {
    /// It does not begin before.
    pub start: UnixTime,
    /// It does not begin from here on: without having begun, it gets another slot.
    pub end: UnixTime,
    /// Its place among all that have a slot, from 1.
    pub sequence: u32,
    /// Who is to serve meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<DeviceId>,
    /// How busy it will be, in percent; nothing where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_load: Option<f64>,
    /// Why this slot, in words.
    pub reason: String,
}

/// How good the slots of a campaign's devices are together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// When it was made.
    pub made: UnixTime,
    /// How.
    pub method: ScheduleMethod,
    /// The predicted loads of all planned devices in their slots together, in percent points.
    pub objective: f64,
    /// No plan has less.
    pub lower_bound: f64,
    /// How much better a plan could be at the most, as a part of `objective`.
    pub gap: f64,
    /// How many slots pass until all is done.
    pub makespan_slots: u32,
}

/// A device in a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignDevice {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// The element it belongs to, from 0, once its turn has come.
    pub element: Option<u32>,
    /// Where it is.
    pub step: DeviceStep,
    /// When it is or was to begin, where the domain has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<PlannedSlot>,
    /// What it warned of when its order ended: *verified with warning* is a good end that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What went wrong beside or after the end of its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The release that it is, or has been, brought back to after an abort; its step speaks of that then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<ReleaseId>,
}

/// A decision of a campaign with its reason, for the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignEvent {
    /// When.
    pub at: UnixTime,
    /// Of which device, if of one.
    pub device: Option<Name>,
    /// One sentence.
    pub text: String,
}

/// `GET /api/v1/campaigns/{name}`, and each element of `GET /api/v1/campaigns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignView {
    /// What was asked for.
    pub request: CampaignRequest,
    /// Its state.
    pub state: CampaignState,
    /// Why it is in that state, in one sentence.
    pub reason: String,
    /// When it was started.
    pub started: UnixTime,
    /// When it ended.
    pub ended: Option<UnixTime>,
    /// How far it is.
    #[serde(default)]
    pub stage: Stage,
    /// Its elements that have ended and what was decided after each, oldest first; bounded.
    #[serde(default)]
    pub elements: Vec<ElementView>,
    /// How good the slots of its devices are, where the domain has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// How many devices it has.
    #[serde(default)]
    pub total: usize,
    /// How many of them have ended.
    #[serde(default)]
    pub done: usize,
    /// Its devices in upgrade order.
    pub devices: Vec<CampaignDevice>,
    /// Devices that were asked for and are no targets now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedDevice>,
    /// Releases that devices are brought to first, where the release needs a later one than they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<ReleaseId>,
    /// How long its devices that run the release answer, by their last samples; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded_answer: Option<ResponseTimes>,
    /// The same of those that have not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_answer: Option<ResponseTimes>,
    /// The last decisions, oldest first; bounded.
    pub events: Vec<CampaignEvent>,
}

/// How long a round of health checks of the campaign's component takes on several devices (paper 2, tracking of response times).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseTimes {
    /// How many of them have said so.
    pub devices: u32,
    /// Half of them take no longer, in milliseconds.
    pub median_millis: u64,
    /// 95 of 100 take no longer, in milliseconds.
    pub p95_millis: u64,
}

impl ResponseTimes {
    /// Of each device's time in milliseconds; nothing of no device.
    pub fn of(mut millis: Vec<u64>) -> Option<Self> {
        millis.sort_unstable();
        let below =
            |percent: usize| millis.get((millis.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self {
            devices: u32::try_from(millis.len()).unwrap_or(u32::MAX),
            median_millis: below(50)?,
            p95_millis: below(95)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_times_are_of_the_device_that_so_many_do_not_exceed() {
        assert_eq!(ResponseTimes::of(vec![]), None);
        let of =
            |millis| ResponseTimes::of(millis).map(|all| (all.devices, all.median_millis, all.p95_millis));
        assert_eq!(of(vec![7]), Some((1, 7, 7)));
        assert_eq!(of(vec![9, 1]), Some((2, 1, 9)));
        assert_eq!(of((1..=100).rev().collect()), Some((100, 50, 95)));
    }
}

/// `POST /api/v1/campaigns/plan` (operator): what a campaign would do if all went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignPreview {
    /// Its devices, in the order in which they would begin.
    pub devices: Vec<PreviewDevice>,
    /// Its elements.
    pub elements: Vec<ElementView>,
    /// When it would end; absent if it would not.
    pub ends: Option<UnixTime>,
    /// Why it would not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// So many devices nobody serves for while they switch.
    pub in_place: usize,
    /// For so many a standby serves.
    pub rolling: usize,
    /// Seconds for which devices are away that nobody serves for, all together and at the least.
    pub away_secs: u64,
    /// The load that is predicted for the slots of its devices, in percent points, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_load: Option<f64>,
    /// Devices that were asked for and are no targets now.
    pub excluded: Vec<ExcludedDevice>,
    /// Releases that devices are brought to first, where the release needs a later one than they run.
    pub path: Vec<ReleaseId>,
}

/// A device of a campaign that would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewDevice {
    /// Which.
    pub device: DeviceId,
    /// Its name.
    pub name: Name,
    /// In which element, from 0.
    pub element: Option<u32>,
    /// When it would begin; absent if it runs the release already, or would never begin.
    pub begins: Option<UnixTime>,
    /// When it would have ended.
    pub ends: Option<UnixTime>,
    /// Who would serve for it.
    pub standby: Option<DeviceId>,
    /// The load that is predicted for its slot, in percent.
    pub predicted_load: Option<f64>,
    /// It is offline now; the preview takes it to come back.
    pub offline: bool,
}
