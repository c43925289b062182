//! How others roll out. They see each failure at the moment it happens, also one that comes after the installation was reported, which
//! is more than they see in truth; what has begun goes on, and nothing is brought back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use takt_common::regulation::Speed;

use crate::fleet::{ACCEPT_SECS, VirtualFleet};
use crate::result::{ElementRow, SimResult, SimState};
use crate::scenario::Scenario;

/// The share of a group that is installed when the next one begins.
const GROUP_INSTALLED: f64 = 0.8;
/// Successes after which the rate grows.
const SUCCESSES_PER_STEP: u32 = 1_000;
/// AWS IoT Jobs starts no more devices a minute.
const RATE_MAX: f64 = 1_000.0;
/// Executions before which nothing is cancelled.
const EXECUTED_MIN: u32 = 100;

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// It says that it is installed.
    Installed,
    /// The release has failed on it.
    Failed,
}

/// A roll-out under way.
struct RollOut<'a> {
    scenario: &'a Scenario,
    fleet: &'a VirtualFleet,
    /// Time, device, what.
    events: BinaryHeap<Reverse<(u64, u32, What)>>,
    begun: u32,
    installed: u32,
    failed: u32,
    elements: Vec<ElementRow>,
}

impl<'a> RollOut<'a> {
    fn new(scenario: &'a Scenario, fleet: &'a VirtualFleet) -> Self {
        Self {
            scenario,
            fleet,
            events: BinaryHeap::new(),
            begun: 0,
            installed: 0,
            failed: 0,
            elements: Vec::new(),
        }
    }

    fn left(&self) -> u32 {
        self.scenario.devices - self.begun
    }

    /// The next `count` devices begin.
    fn begin(&mut self, count: u32, now: u64) {
        for device in self.begun..self.begun + count {
            let nature = self.fleet.natures[device as usize];
            let begins = self.fleet.back_at(nature.site, now).unwrap_or(now);
            let switched = begins + ACCEPT_SECS + nature.install_secs;
            if nature.silent {
                continue;
            }
            if !(nature.bad && self.scenario.failure_delay_s == 0) {
                self.tell(device, switched, What::Installed);
            }
            if nature.bad {
                self.tell(device, switched + self.scenario.failure_delay_s, What::Failed);
            }
        }
        self.begun += count;
    }

    fn tell(&mut self, device: u32, at: u64, what: What) {
        let site = self.fleet.natures[device as usize].site;
        let told = self.fleet.back_at(site, at).unwrap_or(at);
        self.events.push(Reverse((told, device, what)));
    }

    /// The next event, if it is not after `until`.
    fn next(&mut self, until: u64) -> Option<(u64, u32, What)> {
        let Reverse((at, device, what)) = *self.events.peek()?;
        if at > until {
            return None;
        }
        self.events.pop();
        match what {
            What::Installed => self.installed += 1,
            What::Failed => self.failed += 1,
        }
        Some((at, device, what))
    }

    fn row(&mut self, size: u32, errors: u32, decision: Speed, reason: String) {
        let index = u32::try_from(self.elements.len()).unwrap_or(u32::MAX);
        let progress = f64::from(self.begun) / f64::from(self.scenario.devices);
        let (stage, warnings, response) = (None, 0, 1.0);
        self.elements.push(ElementRow {
            index,
            stage,
            size,
            errors,
            warnings,
            response,
            decision,
            reason,
            progress,
        });
    }

    fn result(self, state: SimState, reason: String, elapsed_s: u64) -> SimResult {
        let begun = &self.fleet.natures[..self.begun as usize];
        let count = |what: fn(&crate::fleet::Nature) -> bool| {
            u32::try_from(begun.iter().filter(|nature| what(nature)).count()).unwrap_or(u32::MAX)
        };
        SimResult {
            state,
            reason,
            elements: self.elements,
            harmed: count(|nature| nature.bad && !nature.silent),
            rolled_back: 0,
            elapsed_s,
            devices_done: count(|nature| !nature.bad && !nature.silent),
        }
    }
}

/// A share of the fleet at a time; the next once all have ended their probation.
pub(crate) fn fixed(scenario: &Scenario, fleet: &VirtualFleet, share: f64) -> SimResult {
    let mut roll = RollOut::new(scenario, fleet);
    let size = parts(scenario.devices, share);
    let mut now = 0;
    while roll.left() > 0 {
        let (count, first, failed_before) = (size.min(roll.left()), roll.begun, roll.failed);
        roll.begin(count, now);
        let natures = &fleet.natures[first as usize..(first + count) as usize];
        let longest =
            natures.iter().map(|nature| ACCEPT_SECS + nature.install_secs + nature.verify_secs).max();
        now += longest.unwrap_or(0);
        while roll.next(now).is_some() {}
        // Devices that have failed after they were installed count once.
        let finished = finished(&roll);
        let rate = f64::from(roll.failed) / f64::from(finished.max(1));
        let errors = roll.failed - failed_before;
        let text = format!("{} of {finished} devices failed", roll.failed);
        if rate > scenario.tolerance {
            roll.row(count, errors, Speed::Abort, text.clone());
            return roll.result(SimState::Aborted, text, now);
        }
        roll.row(count, errors, Speed::Same, text);
    }
    roll.result(SimState::Finished, "all devices have ended".to_owned(), now)
}

fn finished(roll: &RollOut<'_>) -> u32 {
    if roll.scenario.failure_delay_s == 0 { roll.installed + roll.failed } else { roll.installed }
}

/// Equal groups; the next at 80 % installed.
pub(crate) fn groups(scenario: &Scenario, fleet: &VirtualFleet, groups: u32) -> SimResult {
    let mut roll = RollOut::new(scenario, fleet);
    let size = scenario.devices.div_ceil(groups);
    let groups = scenario.devices.div_ceil(size) as usize;
    let (mut installed, mut errors) = (vec![0_u32; groups], vec![0_u32; groups]);
    let mut now = 0;
    let members = |group: usize| size.min(scenario.devices - size * u32::try_from(group).unwrap_or(0));
    for group in 0..groups {
        let count = members(group);
        roll.begin(count, now);
        let enough = f64::from(count) * GROUP_INSTALLED;
        while f64::from(installed[group]) < enough {
            // A group whose devices stay silent never ends.
            let Some((at, device, what)) = roll.next(u64::MAX) else { break };
            now = at;
            let of = (device / size) as usize;
            match what {
                What::Installed => installed[of] += 1,
                What::Failed => errors[of] += 1,
            }
            if f64::from(errors[of]) > f64::from(members(of)) * scenario.tolerance {
                let text = format!("{} of {} devices of group {of} failed", errors[of], members(of));
                roll.row(count, errors[group], Speed::Abort, text.clone());
                return roll.result(SimState::Aborted, text, now);
            }
        }
        let text = format!("{} of {count} devices are installed", installed[group]);
        if f64::from(installed[group]) < enough {
            roll.row(count, errors[group], Speed::Abort, text.clone());
            return roll.result(SimState::Aborted, format!("{text}, and no other will be"), now);
        }
        roll.row(count, errors[group], Speed::Same, text);
    }
    // The last group goes on to its end.
    while let Some((at, ..)) = roll.next(u64::MAX) {
        now = at;
    }
    roll.result(SimState::Finished, "the last group has begun".to_owned(), now)
}

/// So many devices a minute, whatever has been verified.
pub(crate) fn exponential(scenario: &Scenario, fleet: &VirtualFleet, rate: u32, factor: f64) -> SimResult {
    let mut roll = RollOut::new(scenario, fleet);
    let mut now = 0;
    loop {
        while let Some((at, ..)) = roll.next(now) {
            let executed = finished(&roll);
            if executed >= EXECUTED_MIN && f64::from(roll.failed) > f64::from(executed) * scenario.tolerance {
                let text = format!("{} of {executed} executed devices failed", roll.failed);
                if let Some(last) = roll.elements.last_mut() {
                    (last.decision, last.reason) = (Speed::Abort, text.clone());
                }
                return roll.result(SimState::Aborted, text, at);
            }
        }
        if roll.left() == 0 && roll.events.is_empty() {
            return roll.result(SimState::Finished, "all devices have begun".to_owned(), now);
        }
        if roll.left() > 0 {
            let steps = i32::try_from(roll.installed / SUCCESSES_PER_STEP).unwrap_or(i32::MAX);
            let wanted = (f64::from(rate) * factor.powi(steps)).min(RATE_MAX.max(f64::from(rate)));
            let count = whole(wanted).clamp(1, roll.left());
            let failed = roll.failed;
            roll.begin(count, now);
            roll.row(count, failed, Speed::Same, format!("{} devices have succeeded", roll.installed));
        }
        now += 60;
    }
}

fn parts(devices: u32, share: f64) -> u32 {
    whole((f64::from(devices) * share).ceil()).clamp(1, devices)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "devices are at most a million")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, 1e9) as u32
}
