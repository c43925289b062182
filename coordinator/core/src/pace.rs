//! How fast a campaign goes: its elements, what they have shown, and what is decided upon the next one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::UnixTime;
use takt_common::api::DeviceStep;
use takt_common::regulation::{ElementView, Speed, Stage};
use takt_common::report::Outcome;

use crate::advance::finding::deadlines;
use crate::advance::scene::is_in_element;
use crate::campaign::{Braking, Campaign, Member, Withdrawal, WithdrawalCause, is_none};
use crate::regulation::{Course, Response, Seen, Tally, stage};

/// So many elements are told of; the oldest go first.
const ELEMENTS_KEPT: usize = 128;

/// In stage `generalization` devices are watched for this part of the time.
const GENERAL_PART: u64 = 4;

/// The elements of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// How many devices the present or next element is to have; absent before the first one.
    size: Option<u32>,
    /// When the present element began; absent while the next one may begin.
    began: Option<UnixTime>,
    /// Until when its devices are watched, once all of them have ended.
    observed_until: Option<UnixTime>,
    /// How many elements of the way back have begun.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) back: u32,
    /// Those that have ended.
    pub(crate) elements: Vec<ElementView>,
}

impl Pace {
    /// Lets the next element begin, and be as small as the first.
    pub(crate) const fn start_anew(&mut self) {
        (self.size, self.began, self.observed_until) = (None, None, None);
    }

    /// Nothing could be observed for so long.
    pub(crate) fn delay(&mut self, by: Duration) {
        self.observed_until = self.observed_until.map(|until| until + by);
    }

    /// The same but for the elements that have ended.
    pub(crate) const fn without_elements(&self) -> Self {
        Self { elements: Vec::new(), ..*self }
    }

    /// Whether the next element may begin.
    pub(crate) const fn is_open(&self) -> bool {
        self.began.is_none()
    }
}

impl Campaign {
    /// What regulation must know of it.
    pub(crate) fn course(&self) -> Course<'_> {
        let had_it = self.members.iter().filter(|member| !took_part(member) && has_ended(member));
        let fleet = self.members.len() - had_it.count();
        Course {
            regulation: &self.request.regulation,
            fleet: u32::try_from(fleet).unwrap_or(u32::MAX),
            asked: self.request.element_size,
        }
    }

    /// What its devices have shown so far.
    pub(crate) fn tally(&self) -> Tally {
        tally(self.members.iter().filter(|member| took_part(member)))
    }

    /// How far it is.
    pub(crate) fn stage(&self) -> Stage {
        stage(self.tally().devices, self.course().fleet)
    }

    /// How many devices the next element is to have.
    pub(crate) fn next_size(&self) -> u32 {
        self.pace.size.unwrap_or_else(|| self.course().first())
    }

    /// Notes that an element has begun.
    pub(crate) fn begin_element(&mut self, size: u32, now: UnixTime) {
        self.elements += 1;
        self.pace.size = Some(size);
        self.pace.began = Some(now);
    }

    /// The elements that have ended, the last ones of them.
    pub fn elements(&self) -> &[ElementView] {
        &self.pace.elements
    }

    /// When something may follow although nothing is heard: an observation ends, a deadline passes.
    pub fn wakes_at(&self, now: UnixTime) -> Option<UnixTime> {
        let waits = self.members.iter().filter(|member| member.suspended.is_none()).flat_map(|member| {
            let since = match &member.step {
                DeviceStep::Pending => member.turn,
                DeviceStep::TakingOver { since, .. }
                | DeviceStep::Upgrading { since, .. }
                | DeviceStep::HandingBack { since, .. } => Some(*since),
                DeviceStep::Done { .. } => None,
            };
            let (accepted, ended) = since.map(|since| deadlines(self, since)).unzip();
            let limit = since.zip(self.limit_of(&member.step));
            let limit = limit.map(|(since, secs)| since + Duration::from_secs(secs));
            let settle = Duration::from_secs(self.release.settle_secs);
            let again = member.again_at;
            let withdrawn = member.withdrawal.as_ref().filter(|_| is_in_element(member));
            [accepted, ended, limit, again, withdrawn.map(|withdrawal| withdrawal.at + settle)]
        });
        let slot = self.next_slot(now).map(|(_, start)| start);
        let expires = self.expires().filter(|_| self.brake.is_none());
        let forced = self.forced_at().filter(|_| self.is_scheduled());
        waits
            .chain([self.pace.observed_until, slot, expires, forced, self.watched_until])
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// The limit of its own that a step has.
    const fn limit_of(&self, step: &DeviceStep) -> Option<u64> {
        let limits = &self.request.steps;
        match step {
            DeviceStep::TakingOver { .. } => limits.take_over_secs,
            DeviceStep::Upgrading { .. } => limits.fetch_secs,
            DeviceStep::HandingBack { .. } => limits.hand_back_secs,
            DeviceStep::Pending | DeviceStep::Done { .. } => None,
        }
    }

    /// Until when the devices of the last element are watched, in words.
    pub(crate) fn observation(&self) -> Option<String> {
        let until = self.pace.observed_until?;
        Some(format!("element {} is observed until {until}", self.elements))
    }

    /// When all devices of an element have ended and were watched for long enough: what follows for the next one. `response` is how
    /// long the coordinator takes for a report, in milliseconds.
    pub(crate) fn regulate(&mut self, response: Option<f64>, now: UnixTime) {
        let Some(began) = self.pace.began else { return };
        if self.brake.is_some() || self.members.iter().any(is_in_element) {
            self.pace.observed_until = None;
            return;
        }
        if self.members.iter().any(|member| member.step == DeviceStep::Pending) {
            let secs = self.request.regulation.observe_secs;
            let secs = if self.stage() == Stage::Generalization { secs / GENERAL_PART } else { secs };
            let until = *self.pace.observed_until.get_or_insert(now + Duration::from_secs(secs));
            if now < until {
                return;
            }
        }
        (self.pace.began, self.pace.observed_until) = (None, None);
        self.decide(began, response, now);
    }

    fn decide(&mut self, began: UnixTime, response: Option<f64>, now: UnixTime) {
        let index = self.elements.saturating_sub(1);
        let element = tally(self.members.iter().filter(|member| member.element == Some(index)));
        // Its devices have lost their turns with their slots.
        if element.devices == 0 {
            return;
        }
        let (total, size) = (self.tally(), self.next_size());
        let course = self.course();
        let beside = response.and_then(|response| self.beside_usual(response));
        let decision = course.next(&Seen { total, element, size, response: beside });
        let element = ElementView {
            index,
            stage: stage(total.devices, course.fleet),
            size: element.devices,
            errors: element.errors,
            warnings: element.warnings,
            response,
            decision: decision.speed,
            reason: decision.reason,
            began,
            ended: now,
        };
        // People count from 1, as everywhere that elements are shown.
        self.note(now, None, format!("element {}: {}", index + 1, element.reason));
        // Rounds have looked at failures before; what shows only now ends the campaign as well.
        if element.decision == Speed::Abort {
            self.brake(now, Braking::Failure, element.reason.clone());
        }
        self.pace.size = Some(decision.size.max(1));
        self.pace.elements.push(element);
        if self.pace.elements.len() > ELEMENTS_KEPT {
            self.pace.elements.remove(0);
        }
    }

    /// A response time beside the median of those during earlier elements.
    fn beside_usual(&self, now: f64) -> Option<Response> {
        let mut usual: Vec<f64> = self.pace.elements.iter().filter_map(|element| element.response).collect();
        usual.sort_by(f64::total_cmp);
        Some(Response { now, usual: *usual.get(usual.len() / 2)? })
    }
}

/// Whether its turn has come in this campaign.
const fn took_part(member: &Member) -> bool {
    member.element.is_some() || member.back.is_some()
}

fn tally<'a>(members: impl Iterator<Item = &'a Member>) -> Tally {
    let mut tally = Tally::default();
    for member in members {
        let failed = has_failed(member);
        tally.devices += u32::from(failed || has_ended(member));
        tally.errors += u32::from(failed);
        tally.warnings += u32::from(!failed && !member.warnings.is_empty());
    }
    tally
}

/// Whether it is known how the device ended. One that was let alone again, or is tried again, shows nothing.
pub(crate) const fn has_ended(member: &Member) -> bool {
    member.again_at.is_none()
        && matches!(outcome(member), Some(outcome) if !matches!(outcome, Outcome::Withdrawn))
}

/// Whether it counts as a failure of the campaign.
pub(crate) fn has_failed(member: &Member) -> bool {
    let gave_up = |withdrawal: &Withdrawal| !matches!(withdrawal.why, WithdrawalCause::Abort);
    match outcome(member) {
        _ if member.fault.is_some() => true,
        // It is tried again.
        _ if member.again_at.is_some() => false,
        Some(outcome) => !outcome.is_success() && !matches!(outcome, Outcome::Withdrawn),
        None => member.withdrawal.as_ref().is_some_and(gave_up),
    }
}

const fn outcome(member: &Member) -> Option<&Outcome> {
    if let Some(back) = &member.back {
        return Some(&back.outcome);
    }
    match &member.step {
        DeviceStep::HandingBack { outcome, .. } | DeviceStep::Done { outcome, .. } => Some(outcome),
        DeviceStep::Pending | DeviceStep::TakingOver { .. } | DeviceStep::Upgrading { .. } => None,
    }
}
