//! Opening a campaign: who its targets are (paper 2, target identification), and in which order.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::api::{CampaignRequest, CampaignState, DeviceStep, ExcludedDevice, RetryPolicy, StepLimits};
use takt_common::regulation::Regulation;
use takt_common::release::ReleaseId;
use takt_common::report::Outcome;
use takt_common::{DeviceId, Name, UnixTime};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::campaign::{CAMPAIGN_FORMAT, Campaign, Member, ReleaseFacts};
use crate::fleet::{DeviceState, FleetView};
use crate::members::Members;
use crate::others::may_overtake;
use crate::pace::Pace;
use crate::query::{Query, QueryError};
use crate::skew::impossible;
use crate::targets::Fit;

/// The most devices of one element; more would not be a batch any more.
pub const ELEMENT_SIZE_MAX: u32 = 1_000;

/// The longest deadline of an order, in seconds: 90 days, the life of a snapshot.
pub const DEADLINE_SECS_MAX: u64 = 90 * 86_400;

/// The most attempts for a device.
const ATTEMPTS_MAX: u32 = 16;

/// The longest wait before a second attempt, in seconds.
const BACKOFF_SECS_MAX: u64 = 86_400;

/// The longest life of a campaign, in seconds: five years.
const EXPIRES_SECS_MAX: u64 = 5 * 365 * 86_400;

/// The largest weight.
const WEIGHT_MAX: u32 = 1_000;

/// A campaign cannot be opened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The name is not new.
    #[error("there is a campaign '{0}' already")]
    NameTaken(Name),
    /// The release is not the one that was asked for.
    #[error("field 'release': {asked} was asked for, the repository has {found}")]
    OtherRelease {
        /// What was asked for.
        asked: ReleaseId,
        /// What the facts speak of.
        found: ReleaseId,
    },
    /// An element size that no campaign can have.
    #[error("field 'element_size': {0} is not between 1 and {ELEMENT_SIZE_MAX}")]
    ElementSize(u32),
    /// A deadline that no order can have.
    #[error("field 'deadline_secs': {0} is not between 1 and {DEADLINE_SECS_MAX}")]
    Deadline(u64),
    /// A limit that no step can have.
    #[error("field 'steps.{field}': {secs} is not between 1 and {DEADLINE_SECS_MAX}")]
    StepLimit {
        /// Which.
        field: &'static str,
        /// Its seconds.
        secs: u64,
    },
    /// A tolerance that no release could pass, or that every one would.
    #[error(
        "field 'regulation.tolerance': {0} is not above 0 and at most {max}: with 0 no number of good devices would suffice",
        max = Regulation::TOLERANCE_MAX
    )]
    Tolerance(f64),
    /// The same of warnings.
    #[error("field 'regulation.warning_tolerance': {0} is not above 0 and at most 1")]
    WarningTolerance(f64),
    /// An observation without end.
    #[error("field 'regulation.observe_secs': {0} is more than {max}", max = Regulation::OBSERVE_SECS_MAX)]
    Observe(u64),
    /// More attempts than help.
    #[error("field 'retry.attempts': {0} is not between 1 and {ATTEMPTS_MAX}")]
    Attempts(u32),
    /// A wait that nobody waits for.
    #[error("field 'retry.backoff_secs': {0} is more than {BACKOFF_SECS_MAX}")]
    Backoff(u64),
    /// It would end before it begins, or never.
    #[error("field 'expires_secs': {0} is not between 1 and {EXPIRES_SECS_MAX}")]
    Expires(u64),
    /// Never.
    #[error("field 'complete_by_secs': {0} is more than {EXPIRES_SECS_MAX}")]
    CompleteBy(u64),
    /// No weight.
    #[error("field 'weight': {0} is not between 1 and {WEIGHT_MAX}")]
    Weight(u32),
    /// A query that is not understood.
    #[error("field 'where': {0}")]
    Query(#[from] QueryError),
    /// Which of both counts is not clear.
    #[error(
        "field 'where': a campaign is for the devices that are named or for those that a query means, not for both"
    )]
    QueryAndDevices,
    /// A device that the domain does not have.
    #[error("field 'devices': the domain {domain} has no device '{device}'")]
    UnknownDevice {
        /// The domain.
        domain: Name,
        /// The name.
        device: Name,
    },
    /// A device is named twice.
    #[error("field 'devices': {0} is named twice")]
    DuplicateDevice(Name),
    /// The domain has no devices.
    #[error("the domain {0} has no devices")]
    EmptyDomain(Name),
    /// No device of those asked for can take the release.
    #[error("no device can take {release}: {reasons}")]
    NoTarget {
        /// The release.
        release: ReleaseId,
        /// The devices with their reasons.
        reasons: String,
    },
    /// Neighbours would be too far apart.
    #[error(
        "device {device} with {release} (release counter {counter}) would be too far apart from {neighbour}, which runs counter {runs}: at most {most} are allowed between them"
    )]
    Skew {
        /// Which device.
        device: Name,
        /// The release.
        release: ReleaseId,
        /// Its counter.
        counter: u64,
        /// The neighbour, which is not upgraded before.
        neighbour: String,
        /// What it runs.
        runs: u64,
        /// How far they may be apart.
        most: u64,
    },
    /// A device is in another campaign that has not ended.
    #[error("device {device} is in campaign {campaign}, which has not ended")]
    Busy {
        /// Which device.
        device: Name,
        /// Which campaign.
        campaign: Name,
    },
}

/// What a campaign is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// What is asked.
    pub request: &'a CampaignRequest,
    /// Its release.
    pub release: &'a ReleaseFacts,
    /// Earlier releases of the component that are published, by their counters; devices may have to go over some of them.
    pub earlier: &'a [ReleaseFacts],
    /// All devices.
    pub fleet: &'a FleetView,
    /// Who depends on whom.
    pub graph: &'a DomainGraph,
    /// Who can stand in for whom.
    pub drm: &'a RedundancyMatrix,
    /// The campaigns that have not settled.
    pub others: &'a [&'a Campaign],
    /// Who asks.
    pub operator: &'a str,
    /// The time.
    pub now: UnixTime,
}

/// Opens a campaign over the devices asked for.
///
/// A device that does not fit is left out, and the campaign says why; once it fits it joins. A device that reports the very manifest
/// counts as verified already. A device that another campaign has, and has not begun there, is taken from it if that one is less
/// urgent.
pub fn open(opening: &Opening<'_>) -> Result<Campaign, OpenError> {
    let Opening { request, release, fleet, graph, drm, now, .. } = *opening;
    let query = check(opening)?;
    let asked = asked_for(request, fleet)?;
    let mut campaign = empty(opening);
    let mut targets: BTreeMap<DeviceId, Option<usize>> = BTreeMap::new();
    let mut has_it = BTreeSet::new();
    for device in asked {
        let busy = opening.others.iter().find(|other| !other.is_over() && has_still(other, device.id));
        let busy = busy.filter(|other| !may_overtake(release.severity, other, device.id));
        match campaign.asked(query.as_ref()).fit(device) {
            Fit::NotMeant => {}
            Fit::Unfit(reason) => {
                let (device, name) = (device.id, device.name.clone());
                campaign.excluded.push(ExcludedDevice { device, name, reason, joins: false });
            }
            // It joins when the other one is done with it.
            Fit::Runs | Fit::Target { .. }
                if busy.is_some_and(|other| release.severity > other.release.severity) =>
            {
                let reason =
                    busy.map_or_else(String::new, |other| format!("is in work in campaign {}", other.name()));
                let (device, name) = (device.id, device.name.clone());
                campaign.excluded.push(ExcludedDevice { device, name, reason, joins: true });
            }
            Fit::Runs | Fit::Target { .. } if busy.is_some() => {
                let other = busy.map_or_else(|| request.name.clone(), |other| other.name().clone());
                return Err(OpenError::Busy { device: device.name.clone(), campaign: other });
            }
            Fit::Runs => {
                has_it.insert(device.id);
            }
            Fit::Target { hop } => {
                targets.insert(device.id, hop);
            }
        }
    }
    let all: BTreeSet<DeviceId> = targets.keys().chain(&has_it).copied().collect();
    if all.is_empty() && !request.stays_open && campaign.excluded.iter().all(|excluded| !excluded.joins) {
        let excluded = campaign.excluded.iter().take(REASONS_MAX);
        let mut reasons: Vec<String> =
            excluded.map(|excluded| format!("{} {}", excluded.name, excluded.reason)).collect();
        match campaign.excluded.len().checked_sub(REASONS_MAX) {
            _ if reasons.is_empty() => reasons.push("the query means none".to_owned()),
            Some(more) if more > 0 => reasons.push(format!("and {more} more")),
            _ => {}
        }
        return Err(OpenError::NoTarget { release: release.id.clone(), reasons: reasons.join("; ") });
    }
    if let Some((device, far)) = impossible(&all, release, fleet, graph) {
        return Err(OpenError::Skew {
            device: fleet.devices[&device].name.clone(),
            release: release.id.clone(),
            counter: release.counter,
            neighbour: fleet.label(far.neighbour),
            runs: far.counter,
            most: far.most,
        });
    }
    for excluded in campaign.excluded.clone() {
        campaign.note(now, Some(&excluded.name), format!("left out: it {}", excluded.reason));
    }
    // A device that was enrolled after the graph was made is not in it: it depends on nobody.
    let mut order = graph.upgrade_order(&all);
    let ordered: BTreeSet<DeviceId> = order.iter().copied().collect();
    order.extend(all.difference(&ordered));
    for device in order.iter().filter_map(|device| fleet.devices.get(device)) {
        let hop = targets.get(&device.id).copied();
        let text = match hop {
            None => format!("runs {} already", release.id),
            Some(hop) => target_text(&campaign, device, hop, fleet, drm),
        };
        campaign.note(now, Some(&device.name), text);
        let mut member = Member::pending(device.id, device.name.clone(), hop.flatten());
        if hop.is_none() {
            member.step = DeviceStep::Done { outcome: Outcome::Verified { strategy: None }, at: now };
        }
        campaign.members.push(member);
    }
    Ok(campaign)
}

/// So many devices that are left out stand in a refusal.
const REASONS_MAX: usize = 5;

fn empty(opening: &Opening<'_>) -> Campaign {
    let Opening { request, release, earlier, operator, now, .. } = *opening;
    let mut release = release.clone();
    // A device may stop at any of them.
    let settle = earlier.iter().map(|stone| stone.settle_secs).chain([release.settle_secs]);
    release.settle_secs = settle.max().unwrap_or(release.settle_secs);
    let mut path: Vec<ReleaseFacts> = match release.requires.counter_min {
        Some(_) => earlier.iter().filter(|stone| stone.counter < release.counter).cloned().collect(),
        None => Vec::new(),
    };
    path.sort_by_key(|stone| stone.counter);
    Campaign {
        format: CAMPAIGN_FORMAT,
        request: request.clone(),
        release,
        path,
        state: CampaignState::Pending,
        reason: if request.approval {
            "it waits until a second operator approves it".to_owned()
        } else {
            "not begun".to_owned()
        },
        started: now,
        ended: None,
        brake: None,
        elements: 0,
        pace: Pace::default(),
        plan: None,
        unplanned: None,
        approved_by: None,
        asked_by: Some(operator.to_owned()),
        outage_until: None,
        watched_until: None,
        members: Members::default(),
        excluded: Vec::new(),
        events: Vec::new(),
        events_gone: 0,
    }
}

/// Whether the campaign has the device and is not done with it.
fn has_still(campaign: &Campaign, device: DeviceId) -> bool {
    let unfinished =
        |member: &Member| !matches!(member.step, DeviceStep::Done { .. }) || member.owed.is_some();
    campaign.members.iter().any(|member| member.device == device && unfinished(member))
}

/// How a device is to be brought to the release, in words.
pub(crate) fn target_text(
    campaign: &Campaign,
    device: &DeviceState,
    hop: Option<usize>,
    fleet: &FleetView,
    drm: &RedundancyMatrix,
) -> String {
    let standbys: Vec<_> = drm.standbys_for(device.id).iter().map(|id| fleet.label(*id)).collect();
    let how =
        if standbys.is_empty() { "in place".to_owned() } else { format!("with {}", standbys.join(", ")) };
    match hop.and_then(|hop| campaign.path.get(hop)) {
        Some(first) => format!("target: {how}, over {}", first.id),
        None => format!("target: {how}"),
    }
}

fn check(opening: &Opening<'_>) -> Result<Option<Query>, OpenError> {
    let Opening { request, release, others, .. } = *opening;
    if others.iter().any(|other| *other.name() == request.name) {
        return Err(OpenError::NameTaken(request.name.clone()));
    }
    if request.release != release.id {
        return Err(OpenError::OtherRelease { asked: request.release.clone(), found: release.id.clone() });
    }
    if let Some(size) = request.element_size.filter(|size| !(1..=ELEMENT_SIZE_MAX).contains(size)) {
        return Err(OpenError::ElementSize(size));
    }
    if !(1..=DEADLINE_SECS_MAX).contains(&request.deadline_secs) {
        return Err(OpenError::Deadline(request.deadline_secs));
    }
    let StepLimits { take_over_secs, fetch_secs, hand_back_secs } = request.steps;
    for (field, secs) in
        [("take_over_secs", take_over_secs), ("fetch_secs", fetch_secs), ("hand_back_secs", hand_back_secs)]
    {
        if let Some(secs) = secs.filter(|secs| !(1..=DEADLINE_SECS_MAX).contains(secs)) {
            return Err(OpenError::StepLimit { field, secs });
        }
    }
    let Regulation { tolerance, warning_tolerance, observe_secs, .. } = request.regulation;
    if !(tolerance > 0.0 && tolerance <= Regulation::TOLERANCE_MAX) {
        return Err(OpenError::Tolerance(tolerance));
    }
    if !(warning_tolerance > 0.0 && warning_tolerance <= 1.0) {
        return Err(OpenError::WarningTolerance(warning_tolerance));
    }
    if observe_secs > Regulation::OBSERVE_SECS_MAX {
        return Err(OpenError::Observe(observe_secs));
    }
    let RetryPolicy { attempts, backoff_secs, .. } = request.retry;
    if !(1..=ATTEMPTS_MAX).contains(&attempts) {
        return Err(OpenError::Attempts(attempts));
    }
    if backoff_secs > BACKOFF_SECS_MAX {
        return Err(OpenError::Backoff(backoff_secs));
    }
    if let Some(secs) = request.expires_secs.filter(|secs| *secs == 0 || *secs > EXPIRES_SECS_MAX) {
        return Err(OpenError::Expires(secs));
    }
    if let Some(secs) = request.complete_by_secs.filter(|secs| *secs > EXPIRES_SECS_MAX) {
        return Err(OpenError::CompleteBy(secs));
    }
    if !(1..=WEIGHT_MAX).contains(&request.weight) {
        return Err(OpenError::Weight(request.weight));
    }
    if request.query.is_some() && !request.devices.is_empty() {
        return Err(OpenError::QueryAndDevices);
    }
    Ok(request.query.as_ref().map(|query| query.parse()).transpose()?)
}

/// The devices asked for: those named, or all of the domain.
fn asked_for<'a>(request: &CampaignRequest, fleet: &'a FleetView) -> Result<Vec<&'a DeviceState>, OpenError> {
    let domain: Vec<_> = fleet.devices.values().filter(|device| device.domain == request.domain).collect();
    if domain.is_empty() {
        return Err(OpenError::EmptyDomain(request.domain.clone()));
    }
    if request.devices.is_empty() {
        return Ok(domain);
    }
    let mut asked: Vec<&DeviceState> = Vec::with_capacity(request.devices.len());
    for name in &request.devices {
        let device = domain.iter().find(|device| device.name == *name).ok_or_else(|| {
            OpenError::UnknownDevice { domain: request.domain.clone(), device: name.clone() }
        })?;
        if asked.iter().any(|before| before.id == device.id) {
            return Err(OpenError::DuplicateDevice(name.clone()));
        }
        asked.push(device);
    }
    Ok(asked)
}
