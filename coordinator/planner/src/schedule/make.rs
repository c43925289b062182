//! A plan from a problem, by either method.

use super::book::assign_standbys;
use super::conflict::{Conflict, circle, conflict};
use super::optimal::{Outcome, lower_bound, optimum};
use super::paper::paper;
use super::plan::{Assignment, Method, Mode, Plan};
use super::problem::{Model, Problem};
use super::reason::reason;
use super::slots::Slots;
use super::spans::Spans;
use crate::forecast::{Outlook, Series, SlotLoad, common_step, outlook};
use crate::network::Network;

/// How busy devices will be in the slots of a plan: device by device, with the interval that holds nine of ten truths. Nothing
/// is known of a device without samples: for it all loads are 0, and the ends of intervals are no numbers.
#[derive(Debug, Clone, Default)]
pub struct Forecasts {
    /// Expected, in percent.
    pub loads: Vec<f64>,
    /// From where to where.
    pub intervals: Vec<(f64, f64)>,
}

impl Forecasts {
    /// Of all devices of `network`. `series` are in the order of their devices' names.
    pub fn of(network: &Network, series: &[Series], slots: &Slots) -> Self {
        let step = common_step(series);
        let end = slots.at(slots.open.len());
        let mut forecasts = Self::default();
        for device in network.devices() {
            let known =
                series.binary_search_by(|series| series.device.cmp(device)).ok().map(|found| &series[found]);
            let outlook = known.and_then(|series| {
                let last = series.samples.last()?.at;
                let horizon = usize::try_from((end - last).max(0) / step + 1).unwrap_or(1);
                outlook(series, step, horizon)
            });
            let known = known.zip(outlook.as_ref());
            forecasts.add(known, step, slots.start, slots.seconds, slots.open.len());
        }
        forecasts
    }

    /// Adds a device: the mean of all that was measured or is forecast in each slot, weighted by how much of the slot it covers.
    /// `slots` of `seconds` each begin at `start`; `step` is the length of a forecast's slot, in seconds too.
    pub fn add(
        &mut self,
        known: Option<(&Series, &Outlook)>,
        step: i64,
        start: i64,
        seconds: i64,
        slots: usize,
    ) {
        let measured = |sample: &crate::forecast::Sample| SlotLoad {
            at: sample.at,
            load: sample.load,
            low: sample.load,
            high: sample.load,
        };
        let mut all: Vec<SlotLoad> = Vec::new();
        if let Some((series, outlook)) = known {
            let first = outlook.slots.first().map_or(i64::MAX, |slot| slot.at);
            all.extend(series.samples.iter().filter(|sample| sample.at < first).map(measured));
            all.extend(&outlook.slots);
        }
        let end = all.last().copied();
        for slot in 0..slots {
            let from = start + seconds * i64::try_from(slot).unwrap_or(0);
            let until = from + seconds;
            let (mut weight, mut sums) = (0.0, [0.0; 3]);
            let begin = all.partition_point(|known| known.at + step <= from);
            for known in all[begin..].iter().take_while(|known| known.at < until) {
                let covered = ((known.at + step).min(until) - known.at.max(from)) as f64;
                weight += covered;
                for (sum, value) in sums.iter_mut().zip([known.load, known.low, known.high]) {
                    *sum += covered * value;
                }
            }
            let [load, low, high] = match end {
                _ if weight > 0.0 => sums.map(|sum| sum / weight),
                // A gap in what was measured.
                Some(end) => [end.load, end.low, end.high],
                None => [0.0, f64::NAN, f64::NAN],
            };
            self.loads.push(load);
            self.intervals.push((low, high));
        }
    }
}

/// Plans all devices of `problem` by `method`. `scores` are those of the dependency chain, by the devices' numbers. `enough` tells when
/// time is up: then the best plan so far is given. Its bound and gap are those of the disruption alone, whatever is kept.
pub fn make_plan(
    problem: &Problem<'_>,
    intervals: &[(f64, f64)],
    scores: &[f64],
    method: Method,
    enough: &dyn Fn() -> bool,
) -> Result<Plan, Conflict> {
    let model = problem.model();
    if model.sorted.len() < model.devices {
        return Err(circle(problem, &model));
    }
    let mut spans = Spans::all(&model);
    if spans.tighten(&model).is_err() {
        return Err(conflict(problem, &model, enough));
    }
    let priced = problem.kept.map(|kept| model.clone().keeping(kept));
    let priced = priced.as_ref();
    let (slots, bound) = match method {
        Method::Optimal => match optimum(priced.unwrap_or(&model), &spans, enough) {
            Outcome::Found { slots, bound } => (slots, priced.is_none().then_some(bound)),
            Outcome::Impossible => return Err(conflict(problem, &model, enough)),
            Outcome::TimeUp => return Err(Conflict::time_up()),
        },
        Method::Paper => {
            let Some(slots) = paper(priced.unwrap_or(&model), &spans, scores) else {
                // Whether there is any plan is more than the paper's algorithm can tell.
                return Err(match optimum(&model, &spans, enough) {
                    Outcome::Impossible => conflict(problem, &model, enough),
                    Outcome::Found { .. } => Conflict::paper_fails(),
                    Outcome::TimeUp => Conflict::time_up(),
                });
            };
            (slots, None)
        }
    };
    let bound = bound.unwrap_or_else(|| lower_bound(&model, &spans, model.total(&slots), enough));
    Ok(write(problem, &model, intervals, scores, method, &slots, bound))
}

fn write(
    problem: &Problem<'_>,
    model: &Model,
    intervals: &[(f64, f64)],
    scores: &[f64],
    method: Method,
    slots: &[u32],
    bound: f64,
) -> Plan {
    let mut order: Vec<u32> = (0..).take(model.devices).collect();
    order.sort_by(|a, b| {
        let (a, b) = (*a as usize, *b as usize);
        slots[a].cmp(&slots[b]).then_with(|| scores[a].total_cmp(&scores[b])).then(a.cmp(&b))
    });
    let objective: f64 = model.total(slots);
    let lower_bound = bound.clamp(0.0, objective);
    let mut assignments = Vec::with_capacity(order.len());
    for together in order.chunk_by(|a, b| slots[*a as usize] == slots[*b as usize]) {
        let standbys = assign_standbys(model, together).expect("a plan has a standby for all that need one");
        for (device, standby) in together.iter().zip(standbys) {
            let slot = slots[*device as usize] as usize;
            let name = |device: u32| problem.network.devices()[device as usize].clone();
            assignments.push(Assignment {
                device: name(*device),
                slot,
                slot_start: problem.slots.rfc3339(slot),
                sequence: assignments.len() + 1,
                mode: if standby.is_some() { Mode::Rolling } else { Mode::InPlace },
                standby: standby.map(name),
                predicted_load: problem.load(*device, slot),
                reason: reason(problem, model, intervals, slots, *device, standby),
            });
        }
    }
    let gap = if objective > 0.0 { (objective - lower_bound) / objective } else { 0.0 };
    let makespan_slots = slots.iter().max().map_or(0, |last| *last as usize + 1);
    Plan { method, objective, lower_bound, gap, makespan_slots, assignments }
}
