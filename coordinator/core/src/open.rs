//! Opening a campaign: who its targets are (paper 2, target identification), and in which order.

use std::collections::BTreeSet;

use takt_common::api::{CampaignRequest, CampaignState, DeviceStep};
use takt_common::regulation::Regulation;
use takt_common::release::ReleaseId;
use takt_common::report::Outcome;
use takt_common::{DeviceId, Name, UnixTime};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::campaign::{CAMPAIGN_FORMAT, Campaign, Member, ReleaseFacts};
use crate::fleet::{DeviceState, FleetView};
use crate::pace::Pace;
use crate::skew::impossible;

/// The most devices of one element; more would not be a batch any more.
pub const ELEMENT_SIZE_MAX: u32 = 1_000;

/// The longest deadline of an order, in seconds: 90 days, the life of a snapshot.
pub const DEADLINE_SECS_MAX: u64 = 90 * 86_400;

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

/// Opens a campaign of `release` over the devices asked for. `others` are all campaigns that are stored.
///
/// A device whose hardware does not fit, or that runs a later release, is left out, and the timeline says why. A
/// device that reports the very manifest counts as verified already.
pub fn open(
    request: &CampaignRequest,
    release: &ReleaseFacts,
    fleet: &FleetView,
    graph: &DomainGraph,
    drm: &RedundancyMatrix,
    others: &[&Campaign],
    now: UnixTime,
) -> Result<Campaign, OpenError> {
    check(request, release, others)?;
    let asked = asked_for(request, fleet)?;
    for device in &asked {
        let busy = others.iter().find(|other| !other.is_over() && other.has_device(device.id));
        if let Some(other) = busy {
            return Err(OpenError::Busy { device: device.name.clone(), campaign: other.name().clone() });
        }
    }
    let excluded: Vec<(&DeviceState, String)> = asked
        .iter()
        .filter_map(|device| unfit(device, release, request.policy.downgrade).map(|why| (*device, why)))
        .collect();
    let targets: BTreeSet<DeviceId> = asked
        .iter()
        .map(|device| device.id)
        .filter(|device| excluded.iter().all(|(unfit, _)| unfit.id != *device))
        .collect();
    if targets.is_empty() {
        let reasons =
            excluded.iter().map(|(device, why)| format!("{} {why}", device.name)).collect::<Vec<_>>();
        return Err(OpenError::NoTarget { release: release.id.clone(), reasons: reasons.join("; ") });
    }
    if let Some((device, far)) = impossible(&targets, release, fleet, graph) {
        return Err(OpenError::Skew {
            device: fleet.devices[&device].name.clone(),
            release: release.id.clone(),
            counter: release.counter,
            neighbour: fleet.label(far.neighbour),
            runs: far.counter,
            most: far.most,
        });
    }
    let mut campaign = Campaign {
        format: CAMPAIGN_FORMAT,
        request: request.clone(),
        release: release.clone(),
        state: CampaignState::Pending,
        reason: "not begun".to_owned(),
        started: now,
        ended: None,
        brake: None,
        elements: 0,
        pace: Pace::default(),
        plan: None,
        unplanned: None,
        members: Vec::with_capacity(targets.len()),
        events: Vec::new(),
        events_gone: 0,
    };
    for (device, why) in excluded {
        campaign.note(now, Some(&device.name), format!("left out: it {why}"));
    }
    // A device that was enrolled after the graph was made is not in it: it depends on nobody.
    let mut order = graph.upgrade_order(&targets);
    let ordered: BTreeSet<DeviceId> = order.iter().copied().collect();
    order.extend(targets.difference(&ordered));
    for device in order.iter().filter_map(|device| fleet.devices.get(device)) {
        let member = join(device, release, now);
        if member.step == DeviceStep::Pending {
            let standbys: Vec<_> = drm.standbys_for(device.id).iter().map(|id| fleet.label(*id)).collect();
            let how = if standbys.is_empty() {
                "in place".to_owned()
            } else {
                format!("with {}", standbys.join(", "))
            };
            campaign.note(now, Some(&device.name), format!("target: {how}"));
        } else {
            campaign.note(now, Some(&device.name), format!("runs {} already", release.id));
        }
        campaign.members.push(member);
    }
    Ok(campaign)
}

fn check(request: &CampaignRequest, release: &ReleaseFacts, others: &[&Campaign]) -> Result<(), OpenError> {
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
    Ok(())
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

/// Why the device cannot take the release at all.
fn unfit(device: &DeviceState, release: &ReleaseFacts, downgrade: bool) -> Option<String> {
    if !release.hardware.is_empty() && !release.hardware.contains(&device.hardware) {
        let fits = release.hardware.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        return Some(format!("has hardware {}, the release fits {fits}", device.hardware));
    }
    let installed = device.installed_release(&release.id.name)?;
    (installed.counter > release.counter && !downgrade)
        .then(|| format!("runs {} with the higher release counter {}", installed.release, installed.counter))
}

fn join(device: &DeviceState, release: &ReleaseFacts, now: UnixTime) -> Member {
    let runs_it =
        device.installed_release(&release.id.name).is_some_and(|runs| runs.manifest == release.manifest);
    let step = if runs_it {
        DeviceStep::Done { outcome: Outcome::Verified { strategy: None }, at: now }
    } else {
        DeviceStep::Pending
    };
    let (device, name) = (device.id, device.name.clone());
    Member {
        device,
        name,
        element: None,
        turn: None,
        waited_secs: 0,
        step,
        slot: None,
        suspended: None,
        withdrawal: None,
        owed: None,
        warnings: Vec::new(),
        fault: None,
        before: None,
        back: None,
    }
}
