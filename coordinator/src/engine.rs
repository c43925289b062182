//! The loop: look at the fleet, ask the core what follows, commit it with the signed orders in one batch, dispatch.
//!
//! Killed between any two of these it does the same again: nothing is sent that is not on disk, and what is on disk
//! is sent until the device shows it.

use std::sync::Arc;
use std::time::Duration;

use takt_common::{Name, UnixTime};
use takt_coordinator_core::{Campaign, FleetView, Look, OrderRequest, Others, Step, advance};
use takt_store::Batch;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::coordinator::Coordinator;
use crate::dispatch::Outgoing;
use crate::follow;
use crate::orders::OrderError;
use crate::outage;
use crate::planning::{Planned, Unplanned, plan};
use crate::registry::{
    CONFLICT_RETRIES_MAX, CommitTogether, DeviceRecord, DomainError, DomainRules, RegistryError,
    StoredCampaign, blocking,
};
use crate::sentence::sentence;
use crate::service;

/// Deadlines are looked at this often when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// So many orders are issued in one step, if they are of a usual size; a large element begins over several steps.
const ORDERS_MAX: usize = 32;

/// Steps of one campaign in a row, before another one has its turn.
const STEPS_MAX: usize = 16;

/// A campaign cannot be brought on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Graph or DRM.
    #[error("plan the domain {domain}")]
    Domain {
        /// Of the campaign.
        domain: Name,
        /// Why.
        #[source]
        source: Box<DomainError>,
    },
    /// Slots.
    #[error(transparent)]
    Unplanned(#[from] Unplanned),
    /// An order.
    #[error("sign the order for {device}")]
    Order {
        /// For whom.
        device: String,
        /// Why.
        #[source]
        source: Box<OrderError>,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Brings all campaigns on until `shutdown`, or until the store has failed.
pub async fn run(coordinator: Arc<Coordinator>, shutdown: CancellationToken) {
    let mut noted = None;
    loop {
        let round = coordinator.clone();
        let instant = clock::instant();
        let note = noted.is_none_or(|noted| instant.saturating_duration_since(noted) >= outage::NOTE_EVERY);
        if note {
            noted = Some(instant);
        }
        blocking(move || bring_on_all(&round, note)).await;
        if coordinator.registry.has_failed() {
            // Only a new start, which opens the store again, can tell what is on disk.
            return;
        }
        service::alive();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = coordinator.wake.notified() => {}
            () = clock::pause(TICK) => {}
        }
    }
}

fn bring_on_all(coordinator: &Coordinator, note: bool) {
    let now = clock::now();
    // Without that no campaign goes on: its devices would be late for what nobody could hear.
    if note && let Err(error) = outage::end(coordinator, now) {
        tracing::error!(error = sentence(&error), "it is not noted that the coordinator is there");
        return;
    }
    if let Err(error) = coordinator.registry.keep_loads(&coordinator.loads.take_ended(now), now) {
        tracing::error!(error = sentence(&error), "loads of devices not kept");
    }
    if let Err(error) = coordinator.peers.roll_up(&coordinator.registry, now) {
        tracing::error!(error = sentence(&error), "peers of devices not kept");
    }
    if note && let Err(error) = follow::look(coordinator, now) {
        tracing::error!(error = sentence(&error), "it is not known which components are followed");
    }
    for name in coordinator.open_campaigns() {
        let trouble = bring_on(coordinator, &name).err().map(|error| sentence(&error));
        // Choosing slots may take some seconds for each.
        service::alive();
        if let (true, Some(trouble)) = (coordinator.set_trouble(&name, trouble.as_deref()), trouble) {
            tracing::warn!(campaign = %name, %trouble, "campaign held");
        }
    }
}

/// Brings one campaign on as far as it goes now.
fn bring_on(coordinator: &Coordinator, name: &Name) -> Result<(), StepError> {
    let mut conflicts = 0;
    for _ in 0..STEPS_MAX {
        let Some(stored) = coordinator.registry.campaign(name)? else {
            coordinator.campaign_settled(name);
            return Ok(());
        };
        match step(coordinator, &stored, clock::now()) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(StepError::Registry(error)) if error.is_conflict() && conflicts < CONFLICT_RETRIES_MAX => {
                conflicts += 1;
            }
            Err(error) => return Err(error),
        }
    }
    // More follows at once.
    coordinator.wake.notify_one();
    Ok(())
}

/// One look and what follows from it; false when nothing does.
fn step(coordinator: &Coordinator, stored: &StoredCampaign, now: UnixTime) -> Result<bool, StepError> {
    let campaign = &stored.campaign;
    let domain = campaign.domain();
    let rules = coordinator
        .registry
        .rules(domain, &[])
        .map_err(|source| StepError::Domain { domain: domain.clone(), source: Box::new(source) })?;
    // What is decided on this look is committed against this look: a device that changes meanwhile is a conflict.
    let looked_at = coordinator.registry.devices().all();
    let fleet = coordinator.fleet_of(&looked_at);
    let alone = |planned: &Campaign| CommitTogether::new(Batch::new()).with_campaign(Some(stored), planned);
    let mut unplanned = None;
    match plan(coordinator, campaign, &fleet, &rules, now)? {
        Planned::Same => {}
        Planned::Changed(planned) => {
            coordinator.registry.commit(alone(&planned))?;
            return Ok(true);
        }
        Planned::Failed(why) => unplanned = Some(why),
    }
    // Devices in work are followed all the same; without any slots, no other one begins.
    if let Some(why) = &unplanned {
        let held = campaign.with_no_timetable(&why.to_string(), now);
        if held != *campaign {
            coordinator.registry.commit(alone(&held))?;
            return Ok(true);
        }
    }
    let Some((Step { campaign: next, orders, .. }, together)) =
        decide(coordinator, stored, &rules, &looked_at, &fleet, now)?
    else {
        if campaign.is_settled() {
            coordinator.campaign_settled(campaign.name());
        }
        return unplanned.map_or(Ok(false), |unplanned| Err(unplanned.into()));
    };
    coordinator.registry.commit(together)?;
    if next.state() != campaign.state() {
        tracing::info!(campaign = %next.name(), state = ?next.state(), reason = %next.reason(), "campaign moved");
    }
    for request in &orders {
        let (device, position) = (request.device, request.position);
        tracing::info!(campaign = %next.name(), %device, %position, action = %request.action, "order issued");
        coordinator.send(Outgoing::Order(device));
    }
    Ok(true)
}

/// What follows from a look, and what is to be committed for it; with as many orders as one batch of the store takes.
fn decide(
    coordinator: &Coordinator,
    stored: &StoredCampaign,
    rules: &DomainRules,
    looked_at: &[Arc<DeviceRecord>],
    fleet: &FleetView,
    now: UnixTime,
) -> Result<Option<(Step, CommitTogether)>, StepError> {
    let response = coordinator.response.median_ms(clock::instant());
    let unsettled = coordinator.unsettled_campaigns()?;
    let unsettled: Vec<&Campaign> = unsettled.iter().map(|stored| &stored.campaign).collect();
    let others = &Others::of(&stored.campaign, &unsettled, coordinator.room(fleet));
    let identify = coordinator.is_identification_due(stored.campaign.name(), now);
    let lease = coordinator.registry.lease()?;
    let mut orders_max = ORDERS_MAX;
    loop {
        let (graph, drm) = (&rules.graph, &rules.drm);
        let step = advance(
            &stored.campaign,
            &Look { fleet, graph, drm, response, others, identify, lease, orders_max, now },
        );
        if step.campaign == stored.campaign && step.orders.is_empty() {
            return Ok(None);
        }
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(stored), &step.campaign);
        let together = with_orders(coordinator, together, &step.orders, looked_at, now)?;
        let together = if step.lease == lease { together } else { together.with_lease(lease, step.lease)? };
        if together.fits() || orders_max == 1 {
            return Ok(Some((step, together)));
        }
        orders_max /= 2;
    }
}

/// Signs the orders and adds them, with the devices that they change.
fn with_orders(
    coordinator: &Coordinator,
    mut together: CommitTogether,
    orders: &[OrderRequest],
    looked_at: &[Arc<DeviceRecord>],
    now: UnixTime,
) -> Result<CommitTogether, StepError> {
    let published = coordinator.repository.published();
    let book = coordinator.order_book(&published);
    for request in orders {
        let Ok(found) = looked_at.binary_search_by_key(&request.device, |record| record.state.id) else {
            continue;
        };
        let record = &looked_at[found];
        let sealed = book.seal(request, record, now).map_err(|source| StepError::Order {
            device: record.state.name.to_string(),
            source: Box::new(source),
        })?;
        let mut changed = (**record).clone();
        changed.state.record_order(request, now);
        changed.issued = Some(sealed.issued);
        together = together.with_order(request.device, &sealed.envelope);
        together = coordinator.registry.stage(together, record, changed)?;
    }
    Ok(together)
}
