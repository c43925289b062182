//! What an operator can do to a campaign: hold it, let it go on, stop it.

use takt_common::api::{CampaignState, DeviceStep};
use takt_common::{Name, UnixTime};

use crate::campaign::{Braking, Campaign};

/// The campaign is not in a state for that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It has ended, or is about to: it is braked.
    #[error("campaign {0} has ended or is ending")]
    Over(Name),
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
    for member in resumed.members.iter_mut().filter(|member| member.step == DeviceStep::Pending) {
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

fn going(campaign: &Campaign) -> Result<Campaign, ControlError> {
    if campaign.is_over() || campaign.brake.is_some() {
        return Err(ControlError::Over(campaign.request.name.clone()));
    }
    Ok(campaign.clone())
}
