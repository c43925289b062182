//! Speed Regulation (paper 2, section III-E): how many devices the next element has, from what the elements before it showed.
//!
//! Numbers in, a decision with its reason out. The campaign and the simulator use the same functions.

mod evidence;
mod growth;

use takt_common::regulation::{Regulation, Speed, Stage};

use evidence::{FALSE_ALARM, is_bad, let_through, upper_bound};
use growth::grown;

/// The first element, where the fleet is not smaller than ten times that.
const FIRST_MAX: u32 = 5;
/// An element is at most this part of the fleet, so that there is always a next one to be held.
const ELEMENT_PARTS: u32 = 4;
/// While the release may still be bad, a campaign is to harm at most this many devices: those that failed already, and those that the next
/// element would harm, were the release as bad as it may still be.
const HARM_MAX: f64 = 5.0;
/// While failures are more than the stage tolerates, elements shrink to this part.
const FEWER: f64 = 0.5;
/// Other anomalies shrink them less, the more of them the more.
const LITTLE_FEWER: f64 = 0.9;
/// Response times that differ by less are the same.
const RESPONSE_SLOWER: f64 = 1.25;
const RESPONSE_FASTER: f64 = 0.8;
/// Steps of growth: in the stages test and cautious, in generalization, and the more for a coordinator that answers faster.
const STEP: f64 = 1.0;
const STEP_GENERAL: f64 = 1.585;
const STEP_MORE: f64 = 0.5;

/// Devices that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub devices: u32,
    /// Those on which the release failed, or that fell silent.
    pub errors: u32,
    /// Those that were verified with a warning.
    pub warnings: u32,
}

/// How long the coordinator took for reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Response {
    /// During the element, in milliseconds.
    pub now: f64,
    /// In elements before it.
    pub usual: f64,
}

/// What an element has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// All elements together.
    pub total: Tally,
    /// The last one.
    pub element: Tally,
    /// How many devices it was to have.
    pub size: u32,
    /// The coordinator meanwhile.
    pub response: Option<Response>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Up, down, the same, or the end.
    pub speed: Speed,
    /// How many devices the next element is to have; 0 when there is to be none.
    pub size: u32,
    /// Why, with numbers.
    pub reason: String,
}

/// A campaign as regulation sees it.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// What is tolerated.
    pub regulation: &'a Regulation,
    /// How many devices the campaign has.
    pub fleet: u32,
    /// How many devices an operator wants to have in an element: then they begin with as many, and regulation only takes away.
    pub asked: Option<u32>,
}

/// In which stage a campaign is when `ended` of its devices have ended (paper 2: "Phases are determined by processed device
/// percentage"): test below 2 %, cautious below 10 %.
pub fn stage(ended: u32, fleet: u32) -> Stage {
    let share = |percent: u64| u64::from(ended) * 100 < u64::from(fleet) * percent;
    if share(2) {
        Stage::Test
    } else if share(10) {
        Stage::Cautious
    } else {
        Stage::Generalization
    }
}

/// The part of the tolerances that holds in a stage: the earlier, the less.
const fn part_tolerated(stage: Stage) -> f64 {
    match stage {
        Stage::Test => 0.5,
        Stage::Cautious => 0.75,
        Stage::Generalization => 1.0,
    }
}

impl Course<'_> {
    /// How many devices the first element has.
    pub fn first(&self) -> u32 {
        self.asked.unwrap_or_else(|| (self.fleet / 10).clamp(1, FIRST_MAX))
    }

    /// Why the campaign must end, if it must. `total` counts devices in work as well, as not failed: failures show sooner than successes.
    /// The release is shown to be bad, or has failed more often than is tolerated in the whole
    /// campaign.
    pub fn must_abort(&self, total: Tally) -> Option<String> {
        let Tally { devices, errors, .. } = total;
        let tolerance = self.regulation.tolerance;
        let allowed = (tolerance * f64::from(self.fleet)).floor();
        if f64::from(errors) > allowed {
            return Some(format!(
                "{errors} of {devices} devices failed, and of all {} at most {allowed} may (tolerance {})",
                self.fleet,
                percent(tolerance)
            ));
        }
        is_bad(errors, devices, tolerance).then(|| {
            format!(
                "{errors} of {devices} devices failed: a release that fails on {} shows this in less than {} of campaigns \
                 (tolerance {})",
                percent(let_through(tolerance)),
                percent(FALSE_ALARM),
                percent(tolerance)
            )
        })
    }

    /// The size of the element that follows what was seen.
    pub fn next(&self, seen: &Seen) -> Decision {
        if let Some(reason) = self.must_abort(seen.total) {
            return Decision { speed: Speed::Abort, size: 0, reason };
        }
        let stage = stage(seen.total.devices, self.fleet);
        let (factor, why) = self.slow(seen, stage);
        let (limit, limited_by) = self.limit(seen.total);
        let (wanted, mut reasons) =
            if factor < 1.0 { (f64::from(seen.size) * factor, why) } else { self.more(seen, stage) };
        let wanted = whole(wanted).max(if self.asked.is_some() { 1 } else { self.first() });
        if wanted > limit {
            reasons.push(limited_by);
        }
        let size = wanted.min(limit).max(1);
        let speed = match size.cmp(&seen.size) {
            std::cmp::Ordering::Greater => Speed::Faster,
            std::cmp::Ordering::Equal => Speed::Same,
            std::cmp::Ordering::Less => Speed::Slower,
        };
        Decision { speed, size, reason: format!("{} → {size} devices, {}", seen.size, reasons.join(", ")) }
    }

    /// The part of its size that an element keeps because of what went wrong in it, and what that was.
    fn slow(&self, seen: &Seen, stage: Stage) -> (f64, Vec<String>) {
        let part = part_tolerated(stage);
        let Tally { devices, errors, warnings } = seen.element;
        let (mut factor, mut why) = (1.0_f64, Vec::new());
        let tolerated = self.regulation.tolerance * part;
        if rate(errors, devices) > tolerated {
            factor = factor.min(FEWER);
            why.push(over("error", errors, devices, tolerated));
        }
        let tolerated = self.regulation.warning_tolerance * part;
        let warned = rate(warnings, devices);
        if warned > tolerated {
            factor = factor.min((tolerated / warned).clamp(FEWER, LITTLE_FEWER));
            why.push(over("warning", warnings, devices, tolerated));
        }
        if let Some(times) = times_slower(seen).filter(|times| *times > RESPONSE_SLOWER) {
            factor = factor.min((1.0 / times).clamp(FEWER, LITTLE_FEWER));
            why.push(format!("the coordinator answers {times:.1} times as slowly as before"));
        }
        (factor, why)
    }

    /// The size after growth, and what speaks for it.
    fn more(&self, seen: &Seen, stage: Stage) -> (f64, Vec<String>) {
        let Tally { devices, errors, warnings } = seen.element;
        let mut steps = if stage == Stage::Generalization { STEP_GENERAL } else { STEP };
        let mut why = vec![format!("{errors} errors and {warnings} warnings on {devices} devices")];
        if let Some(times) = times_slower(seen).filter(|times| *times < RESPONSE_FASTER) {
            steps += STEP_MORE;
            why.push(format!("the coordinator answers {:.1} times as fast as before", 1.0 / times));
        }
        let (first, fleet) = (f64::from(self.first()), f64::from(self.fleet));
        (grown(self.regulation.growth, f64::from(seen.size), steps, first, fleet), why)
    }

    /// The most devices of the next element, and because of what.
    fn limit(&self, total: Tally) -> (u32, String) {
        let most = self.most();
        if self.asked.is_some() {
            return (most, format!("no more than {most} were asked for"));
        }
        let bound = upper_bound(total.errors, total.devices);
        // A rate from few devices does not open the gate.
        let unharmed = whole((HARM_MAX - f64::from(total.errors)).max(1.0) / bound).max(self.first());
        if bound > self.regulation.tolerance && unharmed < most {
            let text = format!(
                "no more while up to {} may fail ({} of {} did)",
                percent(bound),
                total.errors,
                total.devices
            );
            return (unharmed, text);
        }
        (most, format!("no element has more than {most}"))
    }

    /// How many devices an element has at the most.
    pub fn most(&self) -> u32 {
        self.asked.unwrap_or_else(|| (self.fleet / ELEMENT_PARTS).max(1))
    }
}

fn times_slower(seen: &Seen) -> Option<f64> {
    let Response { now, usual } = seen.response?;
    (usual > 0.0 && now >= 0.0).then(|| now / usual)
}

fn rate(count: u32, devices: u32) -> f64 {
    f64::from(count) / f64::from(devices.max(1))
}

/// `warning rate 6.1 % (upper bound 9.0 %) over 5 %`.
fn over(what: &str, count: u32, devices: u32, tolerated: f64) -> String {
    let (rate, bound) = (rate(count, devices), upper_bound(count, devices));
    format!("{what} rate {} (upper bound {}) over {}", percent(rate), percent(bound), percent(tolerated))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent >= 0.1 { 1 } else { 4 };
    let text = format!("{percent:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped before")]
fn whole(devices: f64) -> u32 {
    // A hair below a whole number is that number.
    (devices + 1e-9).floor().clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
