//! What the fleet shows about a member's step: the looking half of a round.

use std::time::Duration;

use takt_common::api::DeviceStep;
use takt_common::order::{Action, Position, Takeover};
use takt_common::report::{Outcome, PhaseName};
use takt_common::{DeviceId, UnixTime};

use crate::advance::scene::{Scene, Start, offline};
use crate::campaign::{Campaign, Member, WithdrawalCause};
use crate::fleet::FleetView;

/// What is new about a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing: it waits its turn, is at work, or has ended.
    Nothing,
    /// Its turn came and went: it could not begin before its deadline.
    NeverBegan { cause: String },
    /// Its standby is ready to go on with its memory, which has not been asked for.
    MemoryWanted { lease: u64 },
    /// Its standby serves, and the device can take its order.
    Served,
    /// Its standby does not serve; `clear` when it must be told to stop, because it may serve or begin to.
    TakeoverFailed { outcome: Outcome, clear: bool },
    /// Its own order has ended.
    Ended(Outcome),
    /// Its own order is to be withdrawn.
    ToWithdraw(WithdrawalCause),
    /// Nobody knows how its own order ended; `withdraw` when that is still to be asked for.
    Unknown { cause: String, withdraw: bool },
    /// Its standby has handed back.
    HandedBack,
    /// Its standby has not.
    NotHandedBack { cause: String },
    /// It was verified, and does not run the release any more.
    Lost { cause: String },
}

impl Finding {
    /// The failure in it, for the brake.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Self::Nothing
            | Self::MemoryWanted { .. }
            | Self::Served
            | Self::HandedBack
            | Self::Ended(Outcome::Verified { .. })
            | Self::ToWithdraw(WithdrawalCause::Abort) => None,
            Self::Ended(outcome) | Self::TakeoverFailed { outcome, .. } => Some(outcome.to_string()),
            Self::ToWithdraw(WithdrawalCause::Deadline(cause) | WithdrawalCause::Refused(cause))
            | Self::NeverBegan { cause }
            | Self::Unknown { cause, .. }
            | Self::NotHandedBack { cause }
            | Self::Lost { cause } => Some(cause.clone()),
        }
    }
}

/// What became of an order.
enum Fate<'a> {
    /// In hand.
    Open { accepted: bool },
    /// Ended.
    Ended(&'a Outcome),
    /// In hand, and its envelope was refused.
    Refused(String),
    /// A later order took its place, and no report has told its end.
    Superseded(Position),
    /// The device is not enrolled any more.
    Gone,
}

fn fate(fleet: &FleetView, device: DeviceId, position: Position) -> Fate<'_> {
    let Some(state) = fleet.devices.get(&device) else {
        return Fate::Gone;
    };
    if let Some(ended) = state.ended.iter().find(|ended| ended.position == position) {
        return Fate::Ended(&ended.outcome);
    }
    if let Some(refused) = state.refused.as_ref().filter(|refused| refused.position == position) {
        return Fate::Refused(format!("refused ({}): {}", refused.refused.rule, refused.refused.why));
    }
    let open = state.order.as_ref().map(|order| order.position);
    let newest = state.ended.iter().map(|ended| ended.position).chain(open).max();
    match newest {
        Some(later) if later > position => Fate::Superseded(later),
        _ => Fate::Open { accepted: state.order.as_ref().is_some_and(|order| order.accepted) },
    }
}

/// The two ends of patience for an order: until when it must be accepted, and until when it must have ended.
pub(crate) fn deadlines(campaign: &Campaign, since: UnixTime) -> (UnixTime, UnixTime) {
    let accepted = since + Duration::from_secs(campaign.request.deadline_secs);
    (accepted, accepted + Duration::from_secs(campaign.release.settle_secs))
}

/// The same for a step with a limit of its own.
fn limited(campaign: &Campaign, since: UnixTime, limit: Option<u64>) -> (UnixTime, UnixTime) {
    let (accepted, ended) = deadlines(campaign, since);
    let limit = limit.map_or(ended, |secs| since + Duration::from_secs(secs));
    (accepted.min(limit), ended.min(limit))
}

/// Until when a device must have fetched the release that was ordered at `since`, where that has a limit of its own.
pub(crate) fn fetched_by(campaign: &Campaign, since: UnixTime) -> Option<UnixTime> {
    Some(since + Duration::from_secs(campaign.request.steps.fetch_secs?))
}

/// What is new about `member`.
pub(crate) fn look(scene: &Scene, campaign: &Campaign, member: &Member) -> Finding {
    match &member.step {
        DeviceStep::Pending => look_at_turn(scene, campaign, member),
        DeviceStep::TakingOver { standby, order, since } => {
            look_at_takeover(scene, campaign, member, *standby, *order, *since)
        }
        DeviceStep::Upgrading { order, since, .. } => {
            look_at_upgrade(scene, campaign, member, *order, *since)
        }
        DeviceStep::HandingBack { standby, order, since, .. } => {
            look_at_hand_back(scene, campaign, member, *standby, *order, *since)
        }
        DeviceStep::Done { outcome: Outcome::Verified { .. }, at }
            if member.element.is_some() && member.back.is_none() =>
        {
            look_at_verified(scene, campaign, member, *at)
        }
        DeviceStep::Done { .. } => Finding::Nothing,
    }
}

/// Whether the device still runs what was verified; what a later order does to it is that order's.
fn look_at_verified(scene: &Scene, campaign: &Campaign, member: &Member, at: UnixTime) -> Finding {
    let Some(state) = scene.fleet.devices.get(&member.device) else { return Finding::Nothing };
    let later = state.order.is_some() || state.ended.last().is_some_and(|ended| ended.at > at);
    if member.fault.is_some() || later {
        return Finding::Nothing;
    }
    match runs_another(scene, campaign, member).or_else(|| is_unwell(scene, campaign, member)) {
        Some(what) => Finding::Lost { cause: format!("it was verified at {at}, and now {what}") },
        None => Finding::Nothing,
    }
}

/// What fails of the release, if the device says that it is not well.
fn is_unwell(scene: &Scene, campaign: &Campaign, member: &Member) -> Option<String> {
    let state = scene.fleet.devices.get(&member.device)?;
    let unwell = state.facts.unwell.iter().find(|unwell| unwell.release == campaign.release.id)?;
    Some(format!("its health checks fail: {}", unwell.why))
}

/// What the device says it runs in place of the release, if it does.
fn runs_another(scene: &Scene, campaign: &Campaign, member: &Member) -> Option<String> {
    let state = scene.fleet.devices.get(&member.device)?;
    match state.installed_release(&campaign.release.id.name) {
        Some(runs) if runs.manifest == *campaign.target_of(member).1 => None,
        Some(runs) => Some(format!("reports that it runs {}", runs.release)),
        None => Some(format!("reports that it runs no {}", campaign.release.id.name)),
    }
}

fn look_at_turn(scene: &Scene, campaign: &Campaign, member: &Member) -> Finding {
    let Some(turn) = member.turn else {
        return Finding::Nothing;
    };
    // A braked or paused campaign lets nobody begin, so nobody can be late; but on the way back.
    if (campaign.brake.is_some() && member.back.is_none())
        || campaign.state == takt_common::api::CampaignState::Paused
    {
        return Finding::Nothing;
    }
    let (until, _) = deadlines(campaign, turn);
    if member.clock(scene.now) < until {
        return Finding::Nothing;
    }
    match scene.start_of(campaign, member) {
        Start::Wait(why) => Finding::NeverBegan { cause: format!("not begun by {until}: {why}") },
        _ => Finding::Nothing,
    }
}

fn look_at_takeover(
    scene: &Scene,
    campaign: &Campaign,
    member: &Member,
    standby: DeviceId,
    order: Position,
    since: UnixTime,
) -> Finding {
    let label = scene.fleet.label(standby);
    let (accepted_by, ended_by) = limited(campaign, since, campaign.request.steps.take_over_secs);
    let failed = |cause: String, clear| Finding::TakeoverFailed { outcome: Outcome::Failed { cause }, clear };
    let late = |cause: String| Finding::TakeoverFailed { outcome: Outcome::GivenUp { cause }, clear: true };
    match fate(scene.fleet, standby, order) {
        Fate::Ended(Outcome::Serving) => match not_relieved(scene, member.device, standby) {
            None => Finding::Served,
            Some(why) if member.clock(scene.now) >= ended_by => {
                late(format!("{label} said that it serves, but {why}"))
            }
            Some(_) => Finding::Nothing,
        },
        Fate::Ended(outcome) => {
            let serves = |state: &crate::DeviceState| state.standing_in_for == Some(member.device);
            let clear = scene.fleet.devices.get(&standby).is_some_and(serves);
            failed(format!("the takeover by {label} ended: {outcome}"), clear)
        }
        Fate::Refused(why) => failed(format!("the takeover by {label} was {why}"), true),
        Fate::Superseded(by) => failed(format!("the takeover by {label} was superseded by order {by}"), true),
        Fate::Gone => failed(format!("the standby {label} is not enrolled any more"), false),
        Fate::Open { accepted: false } if member.clock(scene.now) >= accepted_by => {
            late(format!("the standby {label} did not accept the takeover by {accepted_by}"))
        }
        Fate::Open { .. } if member.clock(scene.now) >= ended_by => {
            late(format!("the standby {label} did not serve by {ended_by}"))
        }
        Fate::Open { .. } => memory_wanted(scene, member, standby, order).unwrap_or(Finding::Nothing),
    }
}

/// Memory is asked for when the standby has all else: what the device does from then until its own order is not in it.
fn memory_wanted(scene: &Scene, member: &Member, standby: DeviceId, order: Position) -> Option<Finding> {
    let serving = scene.fleet.devices.get(&standby)?;
    let open = serving.order.as_ref().filter(|open| open.position == order && open.accepted)?;
    let Action::TakeOver { how: Takeover::Restore, lease, .. } = open.action else { return None };
    let ready = serving.phase == Some(PhaseName::Switching) && member.memory.is_none();
    let free = scene.fleet.devices.get(&member.device).is_some_and(|state| state.in_hand().is_none());
    (ready && free).then_some(Finding::MemoryWanted { lease })
}

/// Why the device cannot take its order although its standby said that it serves.
pub(crate) fn not_relieved(scene: &Scene, device: DeviceId, standby: DeviceId) -> Option<String> {
    match (scene.fleet.devices.get(&device), scene.fleet.devices.get(&standby)) {
        (None, _) => Some("the device is not enrolled any more".to_owned()),
        (_, None) => Some("the standby is not enrolled any more".to_owned()),
        (_, Some(serving)) if !serving.online => Some(format!("it {}", offline(serving))),
        (Some(state), _) => scene.not_free(state),
    }
}

fn look_at_upgrade(
    scene: &Scene,
    campaign: &Campaign,
    member: &Member,
    order: Position,
    since: UnixTime,
) -> Finding {
    let (accepted_by, ended_by) = deadlines(campaign, since);
    let unknown = |cause: String, withdraw| Finding::Unknown { cause, withdraw };
    let own = fate(scene.fleet, member.device, order);
    if let Fate::Ended(outcome) = own {
        return Finding::Ended(ended_as(scene, campaign, member, outcome));
    }
    if let Some(withdrawal) = &member.withdrawal {
        let silent_by = withdrawal.at + Duration::from_secs(campaign.release.settle_secs);
        return match fate(scene.fleet, member.device, withdrawal.order) {
            Fate::Ended(outcome) => Finding::Ended(ended_as(scene, campaign, member, outcome)),
            Fate::Gone => unknown("the device is not enrolled any more".to_owned(), false),
            Fate::Superseded(by) => unknown(format!("order {order} was superseded by order {by}"), false),
            Fate::Open { .. } | Fate::Refused(_) if member.clock(scene.now) >= silent_by => {
                let why = withdrawal_text(&withdrawal.why);
                unknown(format!("{why}; no end was reported by {silent_by} after its withdrawal"), false)
            }
            Fate::Open { .. } | Fate::Refused(_) => Finding::Nothing,
        };
    }
    match own {
        Fate::Gone => unknown("the device is not enrolled any more".to_owned(), false),
        Fate::Superseded(by) => unknown(format!("order {order} was superseded by order {by}"), false),
        Fate::Refused(why) => {
            Finding::ToWithdraw(WithdrawalCause::Refused(format!("order {order} was {why}")))
        }
        Fate::Open { accepted: false } if member.clock(scene.now) >= accepted_by => {
            let state = scene.fleet.devices.get(&member.device);
            let how = match state {
                Some(state) if !state.online => format!("the device {}", offline(state)),
                _ => "the device is online and did not answer".to_owned(),
            };
            let cause = format!("order {order} was not accepted by {accepted_by}: {how}");
            Finding::ToWithdraw(WithdrawalCause::Deadline(cause))
        }
        Fate::Open { .. } if member.clock(scene.now) >= ended_by => {
            unknown(format!("the end of order {order} was not reported by {ended_by}"), true)
        }
        Fate::Open { accepted: true } if is_late_to_fetch(scene, campaign, member, since) => {
            let by = fetched_by(campaign, since).unwrap_or(since);
            let cause = format!("{} was not fetched by {by}", campaign.target_of(member).0);
            Finding::ToWithdraw(WithdrawalCause::Deadline(cause))
        }
        Fate::Open { .. } | Fate::Ended(_) if campaign.withdraws() && member.back.is_none() => {
            Finding::ToWithdraw(WithdrawalCause::Abort)
        }
        Fate::Open { .. } | Fate::Ended(_) => Finding::Nothing,
    }
}

fn is_late_to_fetch(scene: &Scene, campaign: &Campaign, member: &Member, since: UnixTime) -> bool {
    let fetches = scene.fleet.devices.get(&member.device).and_then(|state| state.phase.as_ref());
    let late = fetched_by(campaign, since).is_some_and(|by| member.clock(scene.now) >= by);
    late && fetches == Some(&PhaseName::Fetching)
}

pub(crate) fn withdrawal_text(why: &WithdrawalCause) -> String {
    match why {
        WithdrawalCause::Deadline(text) | WithdrawalCause::Refused(text) => text.clone(),
        WithdrawalCause::Abort => "the campaign is aborted".to_owned(),
    }
}

/// The outcome of a member whose order, or its withdrawal, ended with `outcome`.
fn ended_as(scene: &Scene, campaign: &Campaign, member: &Member, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Withdrawn => {
            // The withdrawal came too late when the device runs the release.
            let component = &campaign.release.id.name;
            let state = scene.fleet.devices.get(&member.device);
            let runs = state.and_then(|state| state.installed_release(component));
            if runs.is_some_and(|runs| runs.manifest == *campaign.target_of(member).1) {
                return Outcome::Verified { strategy: None };
            }
            match member.withdrawal.as_ref().map(|withdrawal| &withdrawal.why) {
                Some(WithdrawalCause::Deadline(cause)) => Outcome::GivenUp { cause: cause.clone() },
                Some(WithdrawalCause::Refused(cause)) => Outcome::Failed { cause: cause.clone() },
                Some(WithdrawalCause::Abort) | None => Outcome::Withdrawn,
            }
        }
        Outcome::Verified { .. } => match runs_another(scene, campaign, member) {
            Some(runs) => Outcome::Failed { cause: format!("it said that it is verified, and {runs}") },
            None => outcome.clone(),
        },
        // These end takeovers; as the end of an install they say that the device did something else.
        Outcome::Serving | Outcome::Checkpointed | Outcome::HandedBack => {
            Outcome::Failed { cause: format!("the device reported: {outcome}") }
        }
        _ => outcome.clone(),
    }
}

fn look_at_hand_back(
    scene: &Scene,
    campaign: &Campaign,
    member: &Member,
    standby: DeviceId,
    order: Position,
    since: UnixTime,
) -> Finding {
    let label = scene.fleet.label(standby);
    let (_, ended_by) = limited(campaign, since, campaign.request.steps.hand_back_secs);
    let cause = match fate(scene.fleet, standby, order) {
        Fate::Ended(Outcome::HandedBack) => return Finding::HandedBack,
        Fate::Ended(outcome) => format!("the hand-back by {label} ended: {outcome}"),
        Fate::Refused(why) => format!("the hand-back by {label} was {why}"),
        Fate::Superseded(by) => format!("the hand-back by {label} was superseded by order {by}"),
        Fate::Gone => format!("the standby {label} is not enrolled any more"),
        Fate::Open { .. } if member.clock(scene.now) >= ended_by => {
            format!("{label} has not handed back by {ended_by}")
        }
        Fate::Open { .. } => return Finding::Nothing,
    };
    Finding::NotHandedBack { cause }
}
