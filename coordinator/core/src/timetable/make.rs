//! Slots for the devices of a campaign that have not begun.

use std::collections::BTreeMap;

use takt_common::api::{PlanView, PlannedSlot, ScheduleMethod};
use takt_common::{DeviceId, Sha256Digest, UnixTime};
use takt_planner::{
    Conflict, DomainGraph, DomainSchedule, Forecasts, Kept, Method, Plan, RedundancyMatrix, Series,
    check_plan, make_plan,
};

use super::Due;
use super::order::in_order;
use super::problem::Ask;
use crate::campaign::Campaign;
use crate::fleet::FleetView;

/// When forecasts are newer, a device moves if that saves so many percent points of predicted load.
const MOVE_WORTH: f64 = 10.0;

/// All attempts together take no more than so many times the time of one, and that of the last one.
const ATTEMPTS_TIME: u32 = 4;

/// Longer reasons are cut: names may be long.
const REASON_CHARS_MAX: usize = 300;

/// What slots are chosen on.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Who depends on whom.
    pub graph: &'a DomainGraph,
    /// Who stands in for whom.
    pub drm: &'a RedundancyMatrix,
    /// When the domain's devices may be upgraded.
    pub schedule: &'a DomainSchedule,
    /// Of these three.
    pub digest: Sha256Digest,
    /// How busy devices were, in the order of their names; those of which nothing is known are missing.
    pub series: &'a [Series],
    /// Until when that is known.
    pub known_until: UnixTime,
}

/// Slots for all devices that have not begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Timetable {
    pub(super) view: PlanView,
    pub(super) ground: Sha256Digest,
    pub(super) known_until: UnixTime,
    pub(super) slots: BTreeMap<DeviceId, PlannedSlot>,
}

/// There are no slots for all devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// Windows are closed as far as is planned.
    #[error("none of the {slots} slots until {until} is open")]
    Closed {
        /// How many slots are planned.
        slots: usize,
        /// When the last one ends.
        until: UnixTime,
    },
    /// They do not fit.
    #[error("its devices have no slots")]
    Conflict(#[from] Conflict),
    /// The planner has made a plan that breaks its own rules: it is not used.
    #[error("the plan breaks its rules: {}", .0.join("; "))]
    Broken(
        /// Which and how.
        Vec<String>,
    ),
}

/// Chooses slots for the devices of `campaign` that have not begun: for all of them or, where they do not all have room in the slots
/// ahead, for as many of the first ones as are found to have. `limit` begins to take so many times the time that is given, and gives
/// the question whether it is up: then the best slots so far are taken. A device keeps the slot that it has, unless it must move or,
/// when `due` to newer loads, moving is worth it.
pub fn make_timetable(
    campaign: &Campaign,
    fleet: &FleetView,
    ground: &Ground<'_>,
    due: Due,
    now: UnixTime,
    limit: &dyn Fn(u32) -> Box<dyn Fn() -> bool>,
) -> Result<Timetable, TimetableError> {
    let order = in_order(campaign, fleet, ground);
    let whole = Ask::new(campaign, fleet, ground, &order, now);
    if whole.room() == 0 {
        let slots = whole.slots.open.len();
        return Err(TimetableError::Closed { slots, until: whole.span(slots).0 });
    }
    let forecasts = Forecasts::of(&whole.network, ground.series, &whole.slots);
    let too_long = limit(ATTEMPTS_TIME);
    let mut count = order.len().min(whole.room());
    loop {
        let ask = Ask::new(campaign, fleet, ground, &order[..count], now);
        let own = part(&forecasts, &whole, &ask);
        match attempt(&ask, own, ground, due, now, &*limit(1)) {
            Err(TimetableError::Conflict(_)) if count > 1 && !too_long() => count -= count.div_ceil(3),
            other => return other,
        }
    }
}

/// Of all forecasts those of some devices.
fn part(forecasts: &Forecasts, whole: &Ask<'_>, ask: &Ask<'_>) -> Forecasts {
    let slots = whole.slots.open.len();
    let mut own = Forecasts::default();
    for name in ask.network.devices() {
        let number = whole.network.find(name).expect("the whole has all devices") as usize;
        own.loads.extend(&forecasts.loads[number * slots..][..slots]);
        own.intervals.extend(&forecasts.intervals[number * slots..][..slots]);
    }
    own
}

fn attempt(
    ask: &Ask<'_>,
    mut forecasts: Forecasts,
    ground: &Ground<'_>,
    due: Due,
    now: UnixTime,
    enough: &dyn Fn() -> bool,
) -> Result<Timetable, TimetableError> {
    ask.close_present(&mut forecasts.loads);
    let before = ask.slots_before();
    let mut kept = Kept::fewest_moves(&before);
    if due == Due::Loads {
        kept.move_cost = MOVE_WORTH;
    }
    let mut problem = ask.problem(&forecasts.loads);
    problem.kept = before.iter().any(Option::is_some).then_some(kept);
    let method = ground.schedule.method;
    let plan = make_plan(&problem, &forecasts.intervals, &ask.ranks(), method, enough)?;
    let broken = check_plan(&problem, &plan);
    if !broken.is_empty() {
        return Err(TimetableError::Broken(broken));
    }
    Ok(Timetable {
        view: view(&plan, now),
        ground: ground.digest,
        known_until: ground.known_until,
        slots: slots(ask, &plan, &forecasts),
    })
}

fn view(plan: &Plan, now: UnixTime) -> PlanView {
    PlanView {
        made: now,
        method: match plan.method {
            Method::Paper => ScheduleMethod::Paper,
            Method::Optimal => ScheduleMethod::Optimal,
        },
        objective: rounded(plan.objective),
        lower_bound: rounded(plan.lower_bound),
        gap: plan.gap,
        makespan_slots: u32::try_from(plan.makespan_slots).unwrap_or(u32::MAX),
    }
}

fn slots(ask: &Ask<'_>, plan: &Plan, forecasts: &Forecasts) -> BTreeMap<DeviceId, PlannedSlot> {
    let planned = plan.assignments.iter().filter_map(|assignment| {
        let member = ask.member(&assignment.device)?;
        let number = ask.network.find(&assignment.device)?;
        let (from, _) = forecasts.intervals[number as usize * ask.slots.open.len() + assignment.slot];
        let (start, end) = ask.span(assignment.slot);
        let foreseen = assignment.standby.as_ref().and_then(|standby| Some(ask.member(standby)?.device));
        let outside = ask.outside.get(&member.device).copied();
        let mut reason = vec![assignment.reason.clone()];
        reason.extend(ask.not_yet.get(&number).map(|names| format!("after {}, in work", names.join(", "))));
        if let (None, Some(standby)) = (foreseen, outside) {
            reason.push(format!("{} stands in", ask.fleet.label(standby)));
        }
        let slot = PlannedSlot {
            start,
            end,
            sequence: u32::try_from(assignment.sequence).unwrap_or(u32::MAX),
            standby: foreseen.or(outside),
            predicted_load: (!from.is_nan()).then(|| rounded(assignment.predicted_load)),
            reason: cut(reason.join("; ")),
        };
        Some((member.device, slot))
    });
    planned.collect()
}

fn cut(reason: String) -> String {
    match reason.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    }
}

/// In tenths of percent points.
fn rounded(load: f64) -> f64 {
    (load * 10.0).round() / 10.0
}
