//! What an operator can do to a campaign: hold it, let it go on, stop it.

use takt_common::api::{CampaignState, DeviceStep};
use takt_common::{Name, UnixTime};

use crate::campaign::{Braking, Campaign, Member};

/// The campaign is not in a state for that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It has ended, or is about to: it is braked.
    #[error("campaign {0} has ended or is ending")]
    Over(Name),
    /// It is being brought to its end.
    #[error("campaign {0} is ending; when it has ended its devices can be tried again")]
    Ending(Name),
    /// Another campaign has a device that failed.
    #[error("device {device} is in campaign {campaign}, which has not ended")]
    Busy {
        /// Which device.
        device: Name,
        /// Which campaign.
        campaign: Name,
    },
    /// No device of it has failed.
    #[error("campaign {0} has no device that failed and could be tried again")]
    NothingToRetry(Name),
    /// Nobody has to approve it, or somebody has.
    #[error("campaign {0} does not wait for an approval")]
    NotAsked(Name),
    /// One person must not do both.
    #[error("campaign {campaign} was asked for by {operator}; another operator has to approve it")]
    OwnApproval {
        /// Which.
        campaign: Name,
        /// Who.
        operator: String,
    },
    /// It takes in no other device anyway.
    #[error("campaign {0} does not stay open")]
    NotOpen(Name),
    /// Only a paused campaign can be resumed.
    #[error("campaign {0} is not paused")]
    NotPaused(Name),
}

/// Holds the campaign: devices in work go on to their end, no other begins.
pub fn pause(campaign: &Campaign, now: UnixTime) -> Result<Campaign, ControlError> {
    let mut paused = going(campaign)?;
    if paused.state != CampaignState::Paused {
        paused.state = CampaignState::Paused;
        paused.reason = format!("paused by an operator at {now}");
        paused.note(now, None, "paused by an operator".to_owned());
    }
    Ok(paused)
}

/// Lets a paused campaign go on. The waits of devices whose turn had come are counted anew.
pub fn resume(campaign: &Campaign, now: UnixTime) -> Result<Campaign, ControlError> {
    let mut resumed = going(campaign)?;
    if resumed.state != CampaignState::Paused {
        return Err(ControlError::NotPaused(resumed.request.name));
    }
    resumed.state = CampaignState::Ongoing;
    resumed.reason = format!("resumed by an operator at {now}");
    resumed.note(now, None, "resumed by an operator".to_owned());
    for member in resumed.members.change(|member| member.step == DeviceStep::Pending) {
        member.turn = member.turn.map(|_| now);
        member.waited_secs = 0;
    }
    Ok(resumed)
}

/// Stops the campaign for good: no device begins, orders in hand are withdrawn where nothing has been switched,
/// standbys hand back; when all of that has ended the campaign is aborted.
pub fn abort(campaign: &Campaign, now: UnixTime) -> Result<Campaign, ControlError> {
    if campaign.is_over() {
        return Err(ControlError::Over(campaign.request.name.clone()));
    }
    let mut aborted = campaign.clone();
    aborted.brake(now, Braking::Operator, "aborted by an operator".to_owned());
    // A failure may have braked first; its reason stays, and the operator's wish to withdraw is added.
    if let Some(brake) = &mut aborted.brake {
        brake.by = Braking::Operator;
    }
    Ok(aborted)
}

/// Lets a campaign begin that has to be approved by another operator than the one who asked for it.
pub fn approve(campaign: &Campaign, operator: &str, now: UnixTime) -> Result<Campaign, ControlError> {
    let name = || campaign.request.name.clone();
    if campaign.is_over() || campaign.brake.is_some() {
        return Err(ControlError::Over(name()));
    }
    if campaign.is_approved() {
        return Err(ControlError::NotAsked(name()));
    }
    if campaign.asked_by.as_deref() == Some(operator) {
        return Err(ControlError::OwnApproval { campaign: name(), operator: operator.to_owned() });
    }
    let mut approved = campaign.clone();
    approved.approved_by = Some(operator.to_owned());
    approved.reason = format!("approved by {operator} at {now}");
    approved.note(now, None, format!("approved by {operator}"));
    Ok(approved)
}

/// Takes in no other device: a campaign that stays open ends once those have ended that it has.
pub fn close(campaign: &Campaign, now: UnixTime) -> Result<Campaign, ControlError> {
    let mut closed = going(campaign)?;
    if !closed.request.stays_open {
        return Err(ControlError::NotOpen(closed.request.name));
    }
    closed.request.stays_open = false;
    closed.note(now, None, "closed by an operator: no other device joins".to_owned());
    Ok(closed)
}

/// Tries the devices again that have failed, and goes on with those that have not begun. Their orders carry the permission to try a
/// release that failed there before.
pub fn retry(campaign: &Campaign, others: &[&Campaign], now: UnixTime) -> Result<Campaign, ControlError> {
    let name = campaign.request.name.clone();
    let goes_on = !campaign.is_over() && campaign.brake.is_some();
    if goes_on || campaign.state == CampaignState::RollingBack {
        return Err(ControlError::Ending(name));
    }
    let busy = campaign.members.iter().filter(|member| may_try_again(member)).find_map(|member| {
        let has = |other: &&&Campaign| {
            other.request.name != name && !other.is_over() && other.has_device(member.device)
        };
        others.iter().find(has).map(|other| (member.name.clone(), other.request.name.clone()))
    });
    if let Some((device, campaign)) = busy {
        return Err(ControlError::Busy { device, campaign });
    }
    let mut again = campaign.clone();
    let mut count = 0_usize;
    for member in again.members.change(may_try_again) {
        *member = Member {
            before: member.before.take(),
            ..Member::pending(member.device, member.name.clone(), member.hop)
        };
        count += 1;
    }
    let waiting = again.members.iter().any(|member| member.step == DeviceStep::Pending);
    if count == 0 && !(campaign.is_over() && waiting) {
        return Err(ControlError::NothingToRetry(name));
    }
    again.request.policy.retry = true;
    (again.brake, again.ended, again.watched_until) = (None, None, None);
    again.pace.start_anew();
    again.state = CampaignState::Ongoing;
    again.reason = format!("{count} devices that failed are tried again, by an operator at {now}");
    again.note(now, None, again.reason.clone());
    Ok(again)
}

/// Whether the device failed and is neither owed a hand-back nor left behind by a way back that failed.
const fn may_try_again(member: &Member) -> bool {
    let failed = match &member.step {
        DeviceStep::Done { outcome, .. } => {
            !outcome.is_success() || member.fault.is_some() || member.back.is_some()
        }
        _ => false,
    };
    failed && member.owed.is_none()
}

fn going(campaign: &Campaign) -> Result<Campaign, ControlError> {
    if campaign.is_over() || campaign.brake.is_some() {
        return Err(ControlError::Over(campaign.request.name.clone()));
    }
    Ok(campaign.clone())
}
