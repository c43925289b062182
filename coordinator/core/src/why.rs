//! Why is this device waiting? There is always an answer.

use takt_common::UnixTime;
use takt_common::api::{CampaignState, DeviceStep, HeldBy, Hold, OpenOrder, WhyView};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::advance::finding::{deadlines, not_relieved};
use crate::advance::scene::{Look, Scene, Start, is_in_element, is_verified, offline};
use crate::campaign::{Campaign, Member};
use crate::fleet::{DeviceState, FleetView};
use crate::others::Others;
use crate::timetable::is_slot_open;

/// Says what holds `device`, the nearest cause first. `campaigns` are all that are stored, `graph` and `drm` those of
/// its domain.
pub fn why(
    device: &DeviceState,
    campaigns: &[&Campaign],
    fleet: &FleetView,
    graph: &DomainGraph,
    drm: &RedundancyMatrix,
    now: UnixTime,
) -> WhyView {
    let alone = Others::default();
    let look = Look {
        fleet,
        graph,
        drm,
        response: None,
        others: &alone,
        identify: false,
        lease: 0,
        orders_max: usize::MAX,
        now,
    };
    let others = |campaign: &Campaign| Others::of(campaign, campaigns, usize::MAX);
    let mut answer = Answer::default();
    if let Some(revocation) = &device.revoked {
        answer.waits(
            HeldBy::Revocation,
            Some(revocation.since),
            if revocation.for_ever {
                "nothing: enrolled anew, it is another device".to_owned()
            } else {
                format!("`takt device reinstate {}`", device.name)
            },
            format!("it {revocation}"),
        );
    }
    if let Some(since) = device.unapproved {
        answer.waits(
            HeldBy::Enrolment,
            Some(since),
            format!("`takt device approve {}`", device.name),
            format!("it waits since {since} for an operator to approve its enrolment"),
        );
    }
    if let Some(quarantine) = &device.quarantine {
        answer.waits(
            HeldBy::Quarantine,
            Some(quarantine.since),
            format!("`takt device release {}`", device.name),
            format!("it is in quarantine since {}: {}", quarantine.since, quarantine.why),
        );
    }
    answer.of_agent(device);
    if let Some(order) = &device.order {
        answer.of_order(device, order);
    }
    let own = campaigns.iter().filter_map(|&campaign| {
        let member = campaign.members.iter().find(|member| member.device == device.id)?;
        Some((campaign, member))
    });
    let (over, going): (Vec<_>, Vec<_>) = own.partition(|(campaign, _)| campaign.is_over());
    for (campaign, member) in going {
        let (others, first_hold) = (others(campaign), answer.holds.len());
        answer.of_campaign(&Scene::new(&Look { others: &others, ..look }, Some(campaign)), campaign, member);
        if let (Some((first, severity)), DeviceStep::Pending) = (&others.first, &member.step) {
            answer.waits(
                HeldBy::Severity,
                None,
                format!("the end of campaign {first}"),
                format!("campaign {}: campaign {first}, which is {severity}, goes first", campaign.name()),
            );
        }
        answer.of_this_campaign(first_hold, campaign);
    }
    for campaign in campaigns.iter().filter(|campaign| !campaign.is_over()) {
        if let Some(excluded) = campaign.excluded.iter().find(|excluded| excluded.device == device.id) {
            answer.waits(
                HeldBy::Target,
                None,
                "a device that says otherwise",
                format!("campaign {}: it is left out, because it {}", campaign.name(), excluded.reason),
            );
        }
    }
    // Of those that have ended, the last one says where the device stands.
    if let Some((campaign, member)) = over.into_iter().max_by_key(|(campaign, _)| campaign.ended) {
        answer.of_ended(&Scene::new(&look, Some(campaign)), campaign, member);
    }
    if let Some(other) = device.standing_in_for {
        answer.reasons.push(format!("it stands in for {}{}", fleet.label(other), by_lease(fleet, device.id)));
    }
    if answer.reasons.is_empty() {
        answer.reasons.push("it is not waiting: it is in no campaign and has no order".to_owned());
    }
    let Answer { reasons, holds } = answer;
    WhyView { device: device.name.clone(), waiting: !holds.is_empty(), reasons, holds }
}

#[derive(Default)]
struct Answer {
    reasons: Vec<String>,
    holds: Vec<Hold>,
}

impl Answer {
    fn waits(&mut self, by: HeldBy, since: Option<UnixTime>, released_by: impl Into<String>, reason: String) {
        self.reasons.push(reason);
        self.holds.push(Hold { by, campaign: None, since, released_by: released_by.into() });
    }

    /// Says of the holds from `first` on that it is the campaign that holds it.
    fn of_this_campaign(&mut self, first: usize, campaign: &Campaign) {
        for hold in &mut self.holds[first..] {
            hold.campaign = Some(campaign.name().clone());
        }
    }

    fn of_agent(&mut self, device: &DeviceState) {
        if let Some(waiting) = &device.waiting_on {
            self.waits(
                HeldBy::Agent,
                Some(waiting.since),
                "the end of what its agent names",
                format!("its agent waits since {}: {}", waiting.since, waiting.on),
            );
        }
    }

    fn of_order(&mut self, device: &DeviceState, order: &OpenOrder) {
        let release = order.release.as_ref().map_or_else(String::new, |release| format!(" {release}"));
        let what = format!("order {} ({}{release})", order.position, order.action);
        if let Some(refused) = device.refused.as_ref().filter(|refused| refused.position == order.position) {
            self.waits(
                HeldBy::Order,
                Some(order.issued),
                "the withdrawal of the order, which follows, and another order",
                format!("{what} was refused by rule {}: {}", refused.refused.rule, refused.refused.why),
            );
        } else if !order.accepted {
            let how = if device.online {
                "the device is online and has not answered yet".to_owned()
            } else {
                format!("the device {}; it gets the order when it comes back", offline(device))
            };
            self.waits(
                HeldBy::Order,
                Some(order.issued),
                "a report of the device that shows the order",
                format!("{what} was issued at {} and is not accepted: {how}", order.issued),
            );
        } else if !device.online {
            self.waits(
                HeldBy::Order,
                device.last_seen,
                "the return of the device",
                format!("{what} is accepted and has not ended; the device {}", offline(device)),
            );
        } else {
            let phase = device.phase.map_or_else(|| "in work".to_owned(), |phase| phase.to_string());
            self.reasons.push(format!("{what} is accepted, issued at {}; phase {phase}", order.issued));
        }
    }

    fn of_campaign(&mut self, scene: &Scene, campaign: &Campaign, member: &Member) {
        let name = campaign.name();
        if let Some(since) = member.suspended.filter(|_| is_in_element(member)) {
            self.waits(HeldBy::Outage, Some(since), "the return of its gateway or site", format!("campaign {name}: it is cut off since {since}, and its silence does not count until it is back"));
        }
        match &member.step {
            DeviceStep::Pending => self.of_pending(scene, campaign, member),
            DeviceStep::TakingOver { standby, order, since } => {
                let label = scene.fleet.label(*standby);
                let (_, until) = deadlines(campaign, *since);
                self.waits(HeldBy::Standby, Some(*since), format!("a report of {label} that it serves, or {until}"), format!(
                    "campaign {name}: it waits since {since} for the standby {label} to serve (order {order}), \
                     until {until}{}{}",
                    by_lease(scene.fleet, *standby),
                    standby_state(scene, member, *standby)
                ));
            }
            DeviceStep::Upgrading { order, mode, since } => {
                let mode = match mode {
                    takt_common::order::Mode::InPlace => "in place".to_owned(),
                    takt_common::order::Mode::Rolling { standby } => {
                        let lease = by_lease(scene.fleet, *standby);
                        format!("rolling, {} serves{lease}", scene.fleet.label(*standby))
                    }
                };
                self.reasons
                    .push(format!("campaign {name}: in upgrade since {since} ({mode}, order {order})"));
            }
            DeviceStep::HandingBack { standby, order, outcome, since } => {
                let label = scene.fleet.label(*standby);
                self.waits(HeldBy::Standby, Some(*since), format!("a report of {label} that it has handed back"), format!(
                    "campaign {name}: it has ended ({outcome}) and waits since {since} for {label} to hand back \
                     (order {order}){}",
                    standby_state(scene, member, *standby)
                ));
            }
            DeviceStep::Done { outcome, at } => {
                self.reasons.push(format!("campaign {name}: it is done since {at}: {outcome}"));
            }
        }
    }

    fn of_pending(&mut self, scene: &Scene, campaign: &Campaign, member: &Member) {
        let name = campaign.name();
        if let (Some(brake), None) = (&campaign.brake, &member.back) {
            return self.waits(
                HeldBy::Brake,
                None,
                "`takt campaign retry` once it has ended, or another campaign",
                format!("campaign {name} stops and begins no further device: {}", brake.reason),
            );
        }
        if let Some(unplanned) = &campaign.unplanned {
            self.waits(
                HeldBy::Slot,
                None,
                "a schedule, graph and DRM that leave slots for its devices",
                format!("campaign {name}: it has no slot: {unplanned}"),
            );
        }
        if !campaign.is_approved() {
            return self.waits(
                HeldBy::Approval,
                Some(campaign.started),
                format!("`takt campaign approve {name}` by another operator"),
                format!("campaign {name} waits until a second operator approves it"),
            );
        }
        let unverified = scene.unverified_requirements(member);
        if !unverified.is_empty() {
            self.waits(
                HeldBy::Requires,
                None,
                format!("{} verified", unverified.join(", ")),
                format!("campaign {name}: it waits for {} to be verified (requires)", unverified.join(", ")),
            );
        }
        if campaign.state == CampaignState::Paused {
            return self.waits(
                HeldBy::Pause,
                None,
                format!("`takt campaign resume {name}`"),
                format!("campaign {name} is {}", campaign.reason),
            );
        }
        if member.back.is_some() {
            self.waits(
                HeldBy::Rollback,
                None,
                "the end of the devices before it on the way back",
                format!(
                    "campaign {name}: it is to be brought back to what it ran before: {}",
                    campaign.reason
                ),
            );
        } else if !is_slot_open(campaign, member, scene.now) {
            let why = match &member.slot {
                Some(slot) if scene.now < slot.start => {
                    format!("its slot begins at {}: {}", slot.start, slot.reason)
                }
                Some(slot) => format!(
                    "its slot, in which it could begin until {}, has passed; it waits for another one",
                    slot.end
                ),
                None => "it has no slot yet: those ahead are full, or none is open".to_owned(),
            };
            let released_by = match (&member.slot, campaign.forced_at()) {
                (Some(slot), _) if scene.now < slot.start => format!("its slot at {}", slot.start),
                (_, Some(forced)) => format!("a slot, or {forced}, when the time of the campaign is up"),
                (_, None) => "a slot".to_owned(),
            };
            return self.waits(HeldBy::Slot, None, released_by, format!("campaign {name}: {why}"));
        }
        if let (Start::Wait(why), Some(turn)) = (scene.start_of(campaign, member), member.turn) {
            let (until, _) = deadlines(campaign, turn);
            return self.waits(
                HeldBy::Lease,
                Some(turn),
                format!("the end of that, or {until}, when it is given up"),
                format!("campaign {name}: its turn came at {turn}, until {until} it waits: {why}"),
            );
        }
        let others = campaign.members.iter().filter(|other| other.device != member.device);
        let in_work: Vec<_> =
            others.filter(|other| is_in_element(other)).map(|other| other.name.as_str()).collect();
        let before = campaign.members.iter().take_while(|other| other.device != member.device);
        let before =
            before.filter(|other| other.step == DeviceStep::Pending && !is_in_element(other)).count();
        if let (true, Some(observed)) = (in_work.is_empty(), campaign.observation()) {
            self.waits(
                HeldBy::Element,
                None,
                "the end of the observation, if it shows nothing bad",
                format!(
                    "campaign {name}: it waits for its element, {before} devices are before it; {observed}"
                ),
            );
        } else if in_work.is_empty() {
            self.waits(
                HeldBy::Element,
                None,
                "the next element that has room for it",
                format!("campaign {name}: it waits for its element, {before} devices are before it"),
            );
        } else {
            self.waits(
                HeldBy::Element,
                None,
                "the end of the present element",
                format!(
                    "campaign {name}: it waits for its element: {} in work, {before} devices are before it",
                    in_work.join(", ")
                ),
            );
        }
        if let Start::Wait(why) = scene.start_of(campaign, member) {
            self.waits(
                HeldBy::Lease,
                None,
                "the end of that",
                format!("campaign {name}: it could not begin now either: {why}"),
            );
        }
    }

    fn of_ended(&mut self, scene: &Scene, campaign: &Campaign, member: &Member) {
        let name = campaign.name();
        match &member.step {
            DeviceStep::Done { at, .. } if is_verified(member) => {
                self.reasons.push(format!(
                    "campaign {name}: up to date, {} is verified since {at}",
                    campaign.release.id
                ));
            }
            DeviceStep::Done { outcome, at } => {
                self.reasons.push(format!("campaign {name}: it is done since {at}: {outcome}"));
                if let Some(owed) = &member.owed {
                    let label = scene.fleet.label(owed.standby);
                    self.waits(
                        HeldBy::Standby,
                        None,
                        "a report of the device",
                        format!("{label} keeps serving for it until it is heard of"),
                    );
                }
            }
            _ => self.waits(
                HeldBy::Brake,
                campaign.ended,
                format!("`takt campaign retry {name}`, or another campaign"),
                format!(
                    "campaign {name} was aborted before its turn: {}; a new campaign would bring it to {}",
                    campaign.reason, campaign.release.id
                ),
            ),
        }
    }
}

/// What holds the standby, if anything does.
/// `, by lease 12 since …`.
fn by_lease(fleet: &FleetView, standby: takt_common::DeviceId) -> String {
    let lease = fleet.devices.get(&standby).and_then(|state| state.lease);
    lease.map(|lease| format!(", by lease {} since {}", lease.token, lease.since)).unwrap_or_default()
}

fn standby_state(scene: &Scene, member: &Member, standby: takt_common::DeviceId) -> String {
    let Some(state) = scene.fleet.devices.get(&standby) else {
        return "; it is not enrolled any more".to_owned();
    };
    if !state.online {
        return format!("; it {}", offline(state));
    }
    if let Some(waiting) = &state.waiting_on {
        return format!("; its agent waits since {}: {}", waiting.since, waiting.on);
    }
    match &state.order {
        Some(order) if !order.accepted => "; it has not accepted the order yet".to_owned(),
        Some(_) => String::new(),
        None => {
            not_relieved(scene, member.device, standby).map_or_else(String::new, |why| format!("; {why}"))
        }
    }
}
