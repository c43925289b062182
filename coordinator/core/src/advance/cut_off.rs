//! Silence that is not a device's own: its gateway is away, its whole site, or everybody. Then its clocks stand still, so that an outage of
//! one site is not as many failures as it has devices.

use std::time::Duration;

use takt_common::api::DeviceStep;
use takt_common::{DeviceId, UnixTime};

use crate::advance::Round;
use crate::advance::scene::{Scene, is_in_element, offline, standby_of};
use crate::campaign::{Campaign, Member};

/// Fewer devices that are all away are no site that is.
const SITE_MIN: usize = 3;
/// Of so many parts of a site, at most one is here while the site counts as away.
const SITE_PARTS: usize = 5;
/// So many devices of a domain that are all away mean that the way to the coordinator is.
const DOMAIN_MIN: usize = 5;

impl Scene<'_> {
    /// Why `device` cannot be heard of, where that is not its own silence.
    fn cut_off(&self, device: DeviceId, all_away: bool) -> Option<String> {
        let state = self.fleet.devices.get(&device).filter(|state| !state.online)?;
        if all_away {
            return Some(format!("all devices of {} are offline", state.domain));
        }
        // A gateway belongs to its site as well.
        self.drm.gateways_of(device).iter().find_map(|number| {
            let gateway = &self.drm.gateways()[*number];
            let away = |device: &DeviceId| self.fleet.devices.get(device).is_some_and(|state| !state.online);
            let label = self.fleet.label(gateway.device);
            if gateway.device != device && away(&gateway.device) {
                let since = self.fleet.devices.get(&gateway.device).map(offline).unwrap_or_default();
                return Some(format!("its gateway {label} {since}"));
            }
            let (count, gone) =
                (gateway.members.len(), gateway.members.iter().filter(|member| away(member)).count());
            let site = count >= SITE_MIN && (count - gone) * SITE_PARTS <= count;
            site.then(|| format!("{gone} of {count} devices behind {label} are offline"))
        })
    }

    /// Whether nobody of the campaign's domain is here.
    fn all_away(&self, campaign: &Campaign) -> bool {
        let mut here = self.fleet.devices.values().filter(|state| state.domain == *campaign.domain());
        // Nearly always the first one is here.
        here.clone().nth(DOMAIN_MIN - 1).is_some() && here.all(|state| !state.online)
    }
}

impl Round<'_> {
    /// Stops the clocks of devices that are cut off, and lets those go on that are back.
    pub(super) fn heed_outages(&mut self) {
        let (now, all_away) = (self.scene.now, self.scene.all_away(&self.campaign));
        for index in 0..self.campaign.members.len() {
            let member = &self.campaign.members[index];
            if !is_in_element(member) {
                continue;
            }
            let device = self.scene.cut_off(member.device, all_away);
            let why = device.or_else(|| self.scene.cut_off(standby_of(member)?, all_away));
            match (member.suspended, why) {
                (None, Some(why)) => {
                    self.note(index, format!("its silence does not count: {why}"));
                    self.campaign.members[index].suspended = Some(now);
                }
                (Some(since), None) => {
                    let away = now.since(since);
                    self.campaign.members[index].delay(away);
                    self.note(
                        index,
                        format!("its silence counts again; it was cut off for {} s", away.as_secs()),
                    );
                }
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }
}

/// The campaign after an outage of the coordinator itself, from when it was last there until it is again: nobody could be heard of, so
/// nobody was silent. The same outage counts once, however often the coordinator fails in the middle of noting it.
#[must_use]
pub fn after_outage(campaign: &Campaign, from: UnixTime, until: UnixTime) -> Campaign {
    let from = campaign.outage_until.map_or(from, |noted| noted.max(from)).max(campaign.started);
    let mut after = campaign.clone();
    let away = until.since(from);
    if campaign.is_settled() || away.is_zero() {
        return after;
    }
    after.outage_until = Some(until);
    // The clock of one that is cut off stands still anyway.
    for member in after.members.change(|member| is_in_element(member) && member.suspended.is_none()) {
        member.delay(away);
    }
    after.pace.delay(away);
    after.watched_until = after.watched_until.map(|until| until + away);
    after.note(
        until,
        None,
        format!("the coordinator was away for {} s: no silence counts for that time", away.as_secs()),
    );
    after
}

impl Member {
    /// The time by which its deadlines are judged: it stands still while the device is cut off.
    pub(crate) fn clock(&self, now: UnixTime) -> UnixTime {
        self.suspended.map_or(now, |since| since.min(now))
    }

    /// Lets its clock go on after it has stood still for so long.
    fn delay(&mut self, by: Duration) {
        self.suspended = None;
        self.turn = self.turn.map(|turn| turn + by);
        if let DeviceStep::TakingOver { since, .. }
        | DeviceStep::Upgrading { since, .. }
        | DeviceStep::HandingBack { since, .. } = &mut self.step
        {
            *since = *since + by;
        }
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.at = withdrawal.at + by;
        }
    }
}
