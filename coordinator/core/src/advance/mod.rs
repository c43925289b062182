//! One round of a campaign (paper 1, algorithm; paper 2, enforcement and tracking): look at every device of it, brake when failures are
//! more than is tolerated, follow what has ended, decide upon the next element, begin what may begin.

mod again;
mod away;
mod back;
mod begin;
mod cut_off;
pub(crate) mod finding;
mod follow;
mod join;
pub(crate) mod scene;

use std::collections::BTreeSet;
use std::time::Duration;

use takt_common::DeviceId;
use takt_common::api::{CampaignState, DeviceStep};
use takt_common::order::{Action, AtDeadline, Mode, Policy, Position};
use takt_common::release::ReleaseId;

use crate::campaign::{Braking, Campaign, Member};
use crate::fleet::OrderRequest;
use crate::others::Others;
use crate::pace::{has_ended, has_failed};
use again::again_at;
pub use cut_off::after_outage;
use finding::{Finding, look};
pub use scene::Look;
use scene::{Scene, is_in_work, is_verified};

/// What follows from a round. Store both in one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The campaign as it is now; equal to the one before when nothing is new.
    pub campaign: Campaign,
    /// Orders to sign, at most one a device.
    pub orders: Vec<OrderRequest>,
    /// The last fencing token that has been given; to be stored in the same batch.
    pub lease: u64,
}

/// Advances a campaign by one round.
///
/// The result depends on the arguments only. Once its orders are recorded in the fleet view, the same round again
/// asks for nothing. Before another campaign is advanced in the same round, record them:
/// [`crate::FleetView::record_order`]. A campaign is advanced until it [`Campaign::is_settled`].
pub fn advance(campaign: &Campaign, look: &Look<'_>) -> Step {
    let scene = Scene::new(look, Some(campaign));
    let mut round = Round {
        scene,
        campaign: campaign.clone(),
        others: look.others,
        orders: Vec::new(),
        orders_max: look.orders_max,
        ordered: BTreeSet::new(),
        begun: 0,
        lease: look.lease,
    };
    round.settle_owed();
    round.hear_late();
    round.watch();
    if !round.campaign.is_over() && (round.campaign.is_approved() || round.campaign.brake.is_some()) {
        round.open();
        round.expire();
        round.campaign.end_turns(look.now);
        // Those who have lost their turns wait as others do: whether they fit still is looked at in the same round.
        if look.identify {
            round.identify();
        }
        round.heed_outages();
        let findings = round.look();
        round.follow(findings);
        round.campaign.regulate(look.response, look.now);
        round.begin();
        round.heed_outages();
        round.conclude();
    }
    Step { campaign: round.campaign, orders: round.orders, lease: round.lease }
}

/// A round under way.
struct Round<'a> {
    scene: Scene<'a>,
    campaign: Campaign,
    others: &'a Others,
    orders: Vec<OrderRequest>,
    orders_max: usize,
    /// For whom.
    ordered: BTreeSet<DeviceId>,
    /// How many devices have begun in this round.
    begun: usize,
    /// The last fencing token that has been given.
    lease: u64,
}

impl Round<'_> {
    fn open(&mut self) {
        if self.campaign.state == CampaignState::Pending {
            self.campaign.state = CampaignState::Ongoing;
            let text =
                format!("begun: {} on {} devices", self.campaign.release.id, self.campaign.members.len());
            self.campaign.note(self.scene.now, None, text);
        }
    }

    /// A campaign that has finished watches its devices on: what fails an hour later counts as what failed at once.
    fn watch(&mut self) {
        let Some(until) = self.campaign.watched_until else { return };
        let findings = self.look();
        self.follow(findings);
        if self.campaign.brake.is_some() {
            (self.campaign.watched_until, self.campaign.ended) = (None, None);
            self.campaign.state = CampaignState::Ongoing;
        } else if until <= self.scene.now {
            self.campaign.watched_until = None;
        }
    }

    /// Looks at every member before anything is done, so that failures brake whatever comes before them as well.
    fn look(&mut self) -> Vec<Finding> {
        let findings = self.find();
        let mut tally = self.campaign.tally();
        let mut first = None;
        for (finding, member) in findings.iter().zip(&self.campaign.members) {
            let failure = finding.failure().filter(|_| !self.is_tried_again(finding, member));
            let counted = has_failed(member) || has_ended(member);
            // Failures show sooner than successes: devices in work have not failed so far, and without them the rate would be too high.
            tally.devices += u32::from(!counted && (failure.is_some() || is_in_work(member)));
            tally.errors += u32::from(failure.is_some() && !has_failed(member));
            let Some(cause) = failure else { continue };
            first = first.or_else(|| Some(format!("{}: {cause}", member.name)));
        }
        let verdict = first.zip(self.campaign.course().must_abort(tally));
        let Some((first, verdict)) = verdict.filter(|_| self.campaign.brake.is_none()) else {
            return findings;
        };
        self.campaign.brake(self.scene.now, Braking::Failure, format!("{first}; {verdict}"));
        // Under the brake orders in hand are withdrawn.
        self.find()
    }

    /// Whether a failure does not count yet, because the device is tried again.
    fn is_tried_again(&self, finding: &Finding, member: &Member) -> bool {
        let (Finding::Ended(outcome) | Finding::TakeoverFailed { outcome, .. }) = finding else {
            return false;
        };
        again_at(&self.campaign, member, outcome, self.scene.now).is_some()
    }

    /// Which more urgent campaign goes first, in words.
    fn is_overtaken(&self) -> Option<String> {
        let (name, severity) = self.others.first.as_ref()?;
        Some(format!("campaign {name}, which is {severity}, goes first"))
    }

    fn find(&self) -> Vec<Finding> {
        let campaign = &self.campaign;
        campaign.members.iter().map(|member| look(&self.scene, campaign, member)).collect()
    }

    /// Whether the campaign has ended, and in which words.
    fn conclude(&mut self) {
        let at_rest = !self.campaign.members.iter().any(is_in_work);
        let back = self.campaign.brake.as_ref().is_some_and(|brake| brake.by != Braking::Expiry);
        if back && at_rest && self.turn_back() {
            return;
        }
        let in_work: Vec<_> = self.campaign.members.iter().filter(|member| is_in_work(member)).collect();
        let names = names(&in_work);
        let total = self.campaign.members.len();
        let verified = self.campaign.members.iter().filter(|member| is_verified(member));
        let warned = verified.clone().filter(|member| !member.warnings.is_empty()).count();
        let verified = verified.count();
        let warned = if warned > 0 { format!(", {warned} of them with warnings") } else { String::new() };
        if let Some(brake) = &self.campaign.brake {
            if self.campaign.state == CampaignState::RollingBack {
                let (over, state) = self.back_state();
                let reason = format!("{}{}; {state}{}", brake.reason, self.still_serving(), self.awaited());
                if over {
                    self.end(CampaignState::Aborted, reason);
                } else {
                    self.campaign.reason = reason;
                }
            } else if in_work.is_empty() {
                let serving = self.still_serving();
                let reason = format!(
                    "{}{serving}; {verified} of {total} devices are verified{warned}{}",
                    brake.reason,
                    self.awaited()
                );
                self.end(CampaignState::Aborted, reason);
            } else {
                let reason = format!("ending, because {}; still in work: {names}", brake.reason);
                self.campaign.state = CampaignState::Ongoing;
                self.campaign.reason = reason;
            }
        } else if self.campaign.request.stays_open && self.campaign.members.iter().all(is_done) {
            self.campaign.reason = format!(
                "{verified} of {total} devices are verified{warned}; it stays open for devices that join"
            );
        } else if self.campaign.excluded.iter().any(|excluded| excluded.joins) && in_work.is_empty() {
            let waits = self.campaign.excluded.iter().filter(|excluded| excluded.joins).count();
            self.campaign.reason = format!(
                "{verified} of {total} devices are verified{warned}; it waits for {waits} that other campaigns have in work"
            );
        } else if verified == total {
            self.end(CampaignState::Finished, format!("all {total} devices are verified{warned}"));
        } else if self.campaign.members.iter().all(is_done) {
            let failed = total - verified;
            let reason = format!(
                "{verified} of {total} devices are verified{warned}; {failed} failed, which is tolerated"
            );
            self.end(CampaignState::Finished, reason);
        } else if self.campaign.state == CampaignState::Ongoing {
            let at = match self.campaign.next_slot(self.scene.now) {
                _ if !names.is_empty() => format!("in work: {names}"),
                _ if self.is_overtaken().is_some() => self.is_overtaken().unwrap_or_default(),
                Some((name, start)) => format!("the next slot is that of {name} and begins {start}"),
                None => self.campaign.observation().unwrap_or_else(|| "a device waits to begin".to_owned()),
            };
            self.campaign.reason = format!("{verified} of {total} devices are verified{warned}; {at}");
        }
    }

    fn end(&mut self, state: CampaignState, reason: String) {
        self.campaign.note(self.scene.now, None, reason.clone());
        self.campaign.state = state;
        self.campaign.reason = reason;
        self.campaign.ended = Some(self.scene.now);
        let observed = self.campaign.request.regulation.observe_secs;
        let brought = self.campaign.members.iter().any(|member| member.element.is_some());
        if state == CampaignState::Finished && observed > 0 && brought {
            let secs = observed + self.campaign.release.settle_secs;
            self.campaign.watched_until = Some(self.scene.now + Duration::from_secs(secs));
        }
    }

    /// Asks for an order, unless the device is gone or has got one in this round.
    fn order(
        &mut self,
        device: DeviceId,
        action: Action,
        release: Option<ReleaseId>,
        mode: Mode,
    ) -> Option<Position> {
        let position = self.scene.fleet.devices.get(&device)?.next;
        if self.is_full() || !self.ordered.insert(device) {
            return None;
        }
        let asked = self.campaign.request.policy;
        let policy = match action {
            Action::Install => asked,
            // A takeover that cannot be is told, never forced.
            Action::TakeOver { .. } | Action::Checkpoint { .. } => {
                Policy { at_deadline: AtDeadline::GiveUp, ..asked }
            }
            // A standby must never keep serving because it was busy.
            Action::HandBack { .. } | Action::Withdraw => {
                Policy { at_deadline: AtDeadline::GoAhead, ..asked }
            }
        };
        let deadline = self.scene.now + Duration::from_secs(self.campaign.request.deadline_secs);
        self.orders.push(OrderRequest { device, position, action, release, mode, deadline, policy });
        Some(position)
    }

    /// Whether no other order may be asked for in this round.
    const fn is_full(&self) -> bool {
        self.orders.len() >= self.orders_max
    }

    fn note(&mut self, index: usize, text: String) {
        let name = self.campaign.members[index].name.clone();
        self.campaign.note(self.scene.now, Some(&name), text);
    }
}

const fn is_done(member: &Member) -> bool {
    matches!(member.step, DeviceStep::Done { .. })
}

/// So many names stand in a reason.
const NAMES_MAX: usize = 8;

/// `a, b, c and 4 more`.
fn names(members: &[&Member]) -> String {
    let named = members.iter().take(NAMES_MAX).map(|member| member.name.as_str());
    let named = named.collect::<Vec<_>>().join(", ");
    match members.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{named} and {more} more"),
        _ => named,
    }
}
