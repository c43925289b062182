//! Slots for the devices of campaigns, where their domain has a schedule: what is needed for that is looked up here; `core` chooses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use takt_common::api::{BacktestView, ForecastView, SlotForecast};
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_coordinator_core::{Campaign, DeviceState, FleetView, Ground, TimetableError, due, make_timetable};
use takt_planner::{Outlook, Series, outlook};

use crate::clock;
use crate::coordinator::Coordinator;
use crate::load;
use crate::registry::{DomainRules, RegistryError};
use crate::sentence::sentence;

/// How long it takes until slots that were not found are looked for again, where nothing else has changed.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Devices have no slots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unplanned(String);

/// What failed, by campaign: it is not tried again at once.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<Name, Failure>>);

#[derive(Debug, Clone)]
struct Failure {
    on: Sha256Digest,
    at: UnixTime,
    why: Unplanned,
}

impl Failures {
    /// The campaign has ended, or its devices have slots.
    pub fn forget(&self, campaign: &Name) {
        self.lock().remove(campaign);
    }

    fn last(&self, campaign: &Name, on: &Sha256Digest, now: UnixTime) -> Option<Unplanned> {
        let failures = self.lock();
        let last = failures.get(campaign)?;
        let lately = last.at <= now && now.since(last.at) < AGAIN_AFTER;
        (last.on == *on && lately).then(|| last.why.clone())
    }

    /// Its devices get no slots by what has this digest.
    pub fn note(&self, campaign: &Name, on: Sha256Digest, at: UnixTime, why: String) -> Unplanned {
        let why = Unplanned(why);
        self.lock().insert(campaign.clone(), Failure { on, at, why: why.clone() });
        why
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Failure>> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of looking at a campaign's slots.
pub enum Planned {
    /// They are to stay as they are.
    Same,
    /// Devices have other slots.
    Changed(Box<Campaign>),
    /// They should have other slots, and there are none.
    Failed(Unplanned),
}

/// The campaign with the slots that its devices should have now.
pub fn plan(
    coordinator: &Coordinator,
    campaign: &Campaign,
    fleet: &FleetView,
    rules: &DomainRules,
    now: UnixTime,
) -> Result<Planned, RegistryError> {
    let Some(schedule) = &rules.schedule else {
        let changed = campaign.is_scheduled().then(|| Box::new(campaign.without_timetable(now)));
        return Ok(changed.map_or(Planned::Same, Planned::Changed));
    };
    let known_until = coordinator.loads.step_of(now);
    let Some(due) = due(campaign, &rules.digest, known_until, now) else { return Ok(Planned::Same) };
    if let Some(failed) = coordinator.unplanned.last(campaign.name(), &rules.digest, now) {
        return Ok(Planned::Failed(failed));
    }
    let mut series = Vec::new();
    for device in fleet.devices.values().filter(|device| campaign.has_device(device.id)) {
        series.extend(series_of(coordinator, device, now)?);
    }
    series.sort_by(|a, b| a.device.cmp(&b.device));
    let ground = Ground {
        graph: &rules.graph,
        drm: &rules.drm,
        schedule,
        digest: rules.digest,
        series: &series,
        known_until,
    };
    let limit = |times| -> Box<dyn Fn() -> bool> { Box::new(clock::timer(schedule.time_limit * times)) };
    match make_timetable(campaign, fleet, &ground, due, now, &limit) {
        Ok(timetable) => {
            coordinator.unplanned.forget(campaign.name());
            Ok(Planned::Changed(Box::new(campaign.with_timetable(&timetable, now))))
        }
        Err(error) => {
            if let TimetableError::Broken(_) = &error {
                tracing::error!(campaign = %campaign.name(), error = sentence(&error), "plan not used");
            }
            let why = coordinator.unplanned.note(campaign.name(), rules.digest, now, sentence(&error));
            Ok(Planned::Failed(why))
        }
    }
}

/// How busy a device will be on the next day; nothing while nothing is known of it.
pub fn forecast(
    coordinator: &Coordinator,
    device: &DeviceState,
    now: UnixTime,
) -> Result<Option<ForecastView>, RegistryError> {
    let Some(series) = series_of(coordinator, device, now)? else { return Ok(None) };
    let step = coordinator.loads.step();
    let horizon = usize::try_from(DAY_SECS / step).unwrap_or(1);
    let forecast = outlook(&series, i64::try_from(step).unwrap_or(i64::MAX), horizon);
    Ok(forecast.map(|outlook| view(device, &series, &outlook, step)))
}

const DAY_SECS: u64 = 86_400;

fn view(device: &DeviceState, series: &Series, outlook: &Outlook, step: u64) -> ForecastView {
    let time = |at: i64| UnixTime::from_secs(u64::try_from(at).unwrap_or(0));
    let slot = |slot: &takt_planner::SlotLoad| SlotForecast {
        start: time(slot.at),
        load: slot.load,
        low: slot.low,
        high: slot.high,
    };
    ForecastView {
        device: device.name.clone(),
        samples: u32::try_from(series.samples.len()).unwrap_or(u32::MAX),
        slot_secs: u32::try_from(step).unwrap_or(u32::MAX),
        model: outlook.model.key().to_owned(),
        backtest: outlook.backtest.map(|backtest| BacktestView {
            mae: backtest.mae,
            persistence_mae: backtest.persistence_mae,
            profile_mae: backtest.profile_mae,
        }),
        slots: outlook.slots.iter().map(slot).collect(),
        best: time(outlook.slots[outlook.best].at),
    }
}

/// What is known of a device's load: the steps that are kept, and what has passed of the present one.
fn series_of(
    coordinator: &Coordinator,
    device: &DeviceState,
    now: UnixTime,
) -> Result<Option<Series>, RegistryError> {
    let mut samples = coordinator.registry.loads(device.id)?;
    samples.extend(coordinator.loads.present(device.id, now));
    // A clock that was ahead may have left some.
    samples.retain(|sample| sample.at <= now);
    Ok((!samples.is_empty()).then(|| load::series(device.name.as_str(), &samples)))
}
