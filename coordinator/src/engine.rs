//! The loop: look at the fleet, ask the core what follows, commit it with the signed orders in one batch, dispatch.
//!
//! Killed between any two of these it does the same again: nothing is sent that is not on disk, and what is on disk
//! is sent until the device shows it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use takt_common::audit::{IssuedOrders, StepInputs};
use takt_common::order::{AtDeadline, Member};
use takt_common::release::ReleaseId;
use takt_common::{Name, UnixTime};
use takt_coordinator_core::{Campaign, FleetView, Look, OrderRequest, Others, Step, advance};
use takt_store::{Batch, Store as _};
use tokio_util::sync::CancellationToken;

use crate::audit::{self, OrderTally};
use crate::clock;
use crate::coordinator::Coordinator;
use crate::dispatch::Outgoing;
use crate::fleet_book::FleetBook;
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

/// So many orders are issued in one step, as far as one batch of the store takes them; a large element begins over several steps.
const ORDERS_MAX: usize = 512;
/// The first time, when nobody knows how large they are.
const ORDERS_FIRST: usize = 32;

/// After a round the engine rests for as long as the round has taken, and no longer than this: what devices report meanwhile is looked at
/// together, and the processor is there for their reports as well.
const REST_MAX: Duration = Duration::from_millis(250);

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
    let kept = Arc::new(Mutex::new(Kept { book: FleetBook::default(), orders_max: ORDERS_FIRST }));
    loop {
        let (round, kept) = (coordinator.clone(), kept.clone());
        let instant = clock::instant();
        let note = noted.is_none_or(|noted| instant.saturating_duration_since(noted) >= outage::NOTE_EVERY);
        if note {
            noted = Some(instant);
        }
        // One round at a time holds it; after one that panicked a new one begins.
        blocking(move || {
            bring_on_all(&round, &mut kept.lock().unwrap_or_else(PoisonError::into_inner), note);
        })
        .await;
        if coordinator.registry.has_failed() {
            // Only a new start, which opens the store again, can tell what is on disk.
            return;
        }
        service::alive();
        let rest = clock::instant().saturating_duration_since(instant).min(REST_MAX);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async {
                clock::pause(rest).await;
                coordinator.wake.notified().await;
            } => {}
            () = clock::pause(TICK) => {}
        }
    }
}

/// What the engine keeps from one round to the next.
struct Kept {
    book: FleetBook,
    /// So many orders have fitted into one batch.
    orders_max: usize,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Nothing follows from what is known.
    Nothing,
    /// All that follows from what was known.
    All,
    /// Something; more follows at once.
    Part,
}

fn bring_on_all(coordinator: &Coordinator, kept: &mut Kept, note: bool) {
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
    if note {
        coordinator.drop_unwanted_memory();
    }
    if note && let Err(error) = follow::look(coordinator, now) {
        tracing::error!(error = sentence(&error), "it is not known which components are followed");
    }
    for name in coordinator.open_campaigns() {
        let trouble = bring_on(coordinator, kept, &name).err().map(|error| sentence(&error));
        // Choosing slots may take some seconds for each.
        service::alive();
        if let (true, Some(trouble)) = (coordinator.set_trouble(&name, trouble.as_deref()), trouble) {
            tracing::warn!(campaign = %name, %trouble, "campaign held");
        }
    }
}

/// Brings one campaign on as far as it goes now.
fn bring_on(coordinator: &Coordinator, kept: &mut Kept, name: &Name) -> Result<(), StepError> {
    let mut conflicts = 0;
    for _ in 0..STEPS_MAX {
        let Some(stored) = coordinator.registry.campaign(name)? else {
            coordinator.campaign_settled(name);
            return Ok(());
        };
        match step(coordinator, kept, &stored, clock::now()) {
            Ok(Done::Part) => {}
            Ok(Done::All | Done::Nothing) => return Ok(()),
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

/// One look and what follows from it.
fn step(
    coordinator: &Coordinator,
    kept: &mut Kept,
    stored: &StoredCampaign,
    now: UnixTime,
) -> Result<Done, StepError> {
    let Kept { book, orders_max } = kept;
    let campaign = &stored.campaign;
    let domain = campaign.domain();
    let rules = coordinator
        .registry
        .rules_declared(domain)
        .map_err(|source| StepError::Domain { domain: domain.clone(), source: Box::new(source) })?;
    // What is decided on this look is committed against this look: a device that changes meanwhile is a conflict.
    let (looked_at, fleet) = book.look(coordinator);
    let inputs = Inputs {
        rules: &rules,
        known: fleet.devices.len(),
        room: coordinator.room(fleet),
        response: coordinator.response.median_ms(clock::instant()),
        lease: coordinator.registry.lease(),
    };
    let alone = |planned: &Campaign| {
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(stored), planned);
        let told = audit::stepped(campaign, planned, None, Some(inputs.told()), now);
        told.into_iter().fold(together, CommitTogether::with_entry)
    };
    let mut unplanned = None;
    match plan(coordinator, campaign, fleet, &rules, now)? {
        Planned::Same => {}
        Planned::Changed(planned) => {
            coordinator.registry.commit(alone(&planned))?;
            return Ok(Done::Part);
        }
        Planned::Failed(why) => unplanned = Some(why),
    }
    // Devices in work are followed all the same; without any slots, no other one begins.
    if let Some(why) = &unplanned {
        let held = campaign.with_no_timetable(&why.to_string(), now);
        if held != *campaign {
            coordinator.registry.commit(alone(&held))?;
            return Ok(Done::Part);
        }
    }
    let Some(Decided { step: Step { campaign: next, orders, .. }, together, envelopes, full }) =
        decide(coordinator, stored, &inputs, looked_at, fleet, orders_max, now)?
    else {
        if campaign.is_settled() {
            coordinator.campaign_settled(campaign.name());
        }
        return unplanned.map_or(Ok(Done::Nothing), |unplanned| Err(unplanned.into()));
    };
    coordinator.registry.commit(together)?;
    if next.state() != campaign.state() {
        tracing::info!(campaign = %next.name(), state = ?next.state(), reason = %next.reason(), "campaign moved");
    }
    for request in &orders {
        let (device, position) = (request.device, request.position);
        tracing::info!(campaign = %next.name(), %device, %position, action = %request.action, "order issued");
    }
    for envelope in envelopes {
        coordinator.send(envelope);
    }
    // In another state it may do what it did not in this one.
    let part = full || next.state() != campaign.state();
    Ok(if part { Done::Part } else { Done::All })
}

/// What a step is decided on, beside the fleet and the campaign themselves.
struct Inputs<'a> {
    rules: &'a DomainRules,
    /// How many devices there are.
    known: usize,
    /// For how many further orders there is room.
    room: usize,
    /// How long reports take, in milliseconds.
    response: Option<f64>,
    /// The last fencing token.
    lease: u64,
}

impl Inputs<'_> {
    /// As the audit log tells of them.
    fn told(&self) -> StepInputs {
        StepInputs {
            rules: self.rules.digest,
            known: self.known as u64,
            room: self.room as u64,
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a positive time"
            )]
            response_millis: self.response.map(|millis| millis.round() as u64),
            lease: self.lease,
        }
    }
}

/// What follows from a look.
struct Decided {
    step: Step,
    /// To be committed.
    together: CommitTogether,
    /// To be sent after that.
    envelopes: Vec<Outgoing>,
    /// As many orders were asked for as might be.
    full: bool,
}

/// Finds what follows from a look, and what is to be committed for it; with as many orders as one batch of the store takes.
fn decide(
    coordinator: &Coordinator,
    stored: &StoredCampaign,
    inputs: &Inputs<'_>,
    looked_at: &[Arc<DeviceRecord>],
    fleet: &FleetView,
    orders_max: &mut usize,
    now: UnixTime,
) -> Result<Option<Decided>, StepError> {
    let &Inputs { rules, room, response, lease, .. } = inputs;
    let unsettled = coordinator.unsettled_campaigns()?;
    let unsettled: Vec<&Campaign> = unsettled.iter().map(|stored| &stored.campaign).collect();
    let others = &Others::of(&stored.campaign, &unsettled, room);
    let identify = coordinator.is_identification_due(stored.campaign.name(), now);
    loop {
        let (graph, drm) = (&rules.graph, &rules.drm);
        let step = advance(
            &stored.campaign,
            &Look { fleet, graph, drm, response, others, identify, lease, orders_max: *orders_max, now },
        );
        if step.campaign == stored.campaign && step.orders.is_empty() {
            return Ok(None);
        }
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(stored), &step.campaign);
        let (together, envelopes, issued) = with_orders(coordinator, together, &step, looked_at, now)?;
        let told = audit::stepped(&stored.campaign, &step.campaign, issued, Some(inputs.told()), now);
        let together = told.into_iter().fold(together, CommitTogether::with_entry);
        let together = if step.lease == lease { together } else { together.with_lease(lease, step.lease)? };
        let (bytes, tried) = (together.bytes().max(1), *orders_max);
        let bytes_max = coordinator.registry.store().batch_bytes_max();
        let full = step.orders.len() >= tried;
        if bytes > bytes_max && tried > 1 {
            *orders_max = (tried * bytes_max / bytes).clamp(1, tried - 1);
            continue;
        }
        if full && 2 * bytes <= bytes_max {
            *orders_max = (2 * tried).min(ORDERS_MAX);
        }
        return Ok(Some(Decided { step, together, envelopes, full }));
    }
}

/// What people have counter-signed is the goal of a campaign, not the releases on the way to it: with those nobody goes ahead, as devices
/// would refuse it. The way back needs no permission.
fn as_permitted(request: &OrderRequest, goal: &ReleaseId, counter_signed: bool) -> OrderRequest {
    let mut request = request.clone();
    let on_the_way = request.release.as_ref().is_some_and(|release| release != goal);
    if counter_signed && on_the_way && !request.policy.downgrade {
        request.policy.at_deadline = AtDeadline::GiveUp;
    }
    request
}

/// Signs the orders and adds them, with the devices that they change; gives what is to be sent, and what the audit log tells of them.
fn with_orders(
    coordinator: &Coordinator,
    mut together: CommitTogether,
    step: &Step,
    looked_at: &[Arc<DeviceRecord>],
    now: UnixTime,
) -> Result<(CommitTogether, Vec<Outgoing>, Option<IssuedOrders>), StepError> {
    let published = coordinator.repository.published();
    let book = coordinator.order_book(&published);
    let counter_signed = published.director.as_ref().is_some_and(|root| root.counter_signers().is_some());
    let goal = &step.campaign.release().id;
    // Hardly ever of more than one release; what is signed of it is read once for all of them.
    let mut members: BTreeMap<&ReleaseId, Vec<Member>> = BTreeMap::new();
    let (mut envelopes, mut tally) = (Vec::with_capacity(step.orders.len()), OrderTally::default());
    for request in &step.orders {
        let Ok(found) = looked_at.binary_search_by_key(&request.device, |record| record.state.id) else {
            continue;
        };
        let record = &looked_at[found];
        let failed =
            |source| StepError::Order { device: record.state.name.to_string(), source: Box::new(source) };
        let members: &[Member] = match &request.release {
            None => &[],
            Some(release) => match members.entry(release) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(new) => new.insert(book.release(release, now).map_err(failed)?.members),
            },
        };
        let request = &as_permitted(request, goal, counter_signed);
        let permission = step.campaign.permission().filter(|_| request.release.as_ref() == Some(goal));
        let sealed = book.seal(request, members, permission, record, now).map_err(failed)?;
        tally.note(request.device, &sealed.issued);
        let mut changed = (**record).clone();
        changed.state.record_order(request, now);
        changed.issued = Some(sealed.issued);
        together = together.with_order(request.device, &sealed.envelope);
        together = coordinator.registry.stage(together, record, changed)?;
        let (device, position) = (request.device, request.position);
        envelopes.push(Outgoing::NewOrder { device, position, envelope: sealed.envelope.into() });
    }
    Ok((together, envelopes, tally.finish()))
}
