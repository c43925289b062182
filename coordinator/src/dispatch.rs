//! Sends to devices what is on disk: orders until a signed report shows them, and acknowledgements of reports.
//!
//! The broker keeps nothing: a device that is away gets its order when it comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use takt_common::DeviceId;
use takt_common::order::Position;
use takt_common::topic::{Down, Topic};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::coordinator::Coordinator;
use crate::gate::GateHandle;
use crate::registry::{DeviceRecord, blocking};
use crate::sentence::sentence;

/// Messages that wait to be sent; as many as devices that may report within a moment.
pub const OUTBOX_MAX: usize = 4_096;

/// So many messages are sent in one go, and so many orders read.
const AT_ONCE: usize = 64;

/// Orders that are due again are looked for this often.
const TICK: Duration = Duration::from_secs(1);

/// An order that was refused may be accepted later (a clock, a newer snapshot); it is sent this many times more rarely.
const REFUSED_FACTOR: u32 = 12;

/// What is to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// The order of a device, if it waits for one.
    Order(DeviceId),
    /// An order that has just been issued.
    NewOrder {
        /// Whose.
        device: DeviceId,
        /// Its place among the device's orders.
        position: Position,
        /// The envelope.
        envelope: Bytes,
    },
    /// A signed acknowledgement.
    Ack {
        /// Where to.
        topic: Topic,
        /// The envelope.
        envelope: Bytes,
    },
}

/// Sends until `shutdown`.
pub async fn run(
    coordinator: Arc<Coordinator>,
    gate: GateHandle,
    mut outbox: mpsc::Receiver<Outgoing>,
    resend: Duration,
    shutdown: CancellationToken,
) {
    let mut dispatcher = Dispatcher { coordinator, gate, resend, sent: HashMap::new() };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut outgoing = Vec::with_capacity(AT_ONCE);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            count = outbox.recv_many(&mut outgoing, AT_ONCE) => match count {
                0 => return,
                _ => dispatcher.send(outgoing.drain(..)).await,
            },
            _ = tick.tick() => dispatcher.send_due(&mut outbox).await,
        }
    }
}

struct Dispatcher {
    coordinator: Arc<Coordinator>,
    gate: GateHandle,
    resend: Duration,
    /// The orders that are with their devices, by all we know; no larger than the registry.
    sent: HashMap<DeviceId, (Position, Instant)>,
}

impl Dispatcher {
    /// What is at hand first; orders of devices that come back are read.
    async fn send(&mut self, outgoing: impl Iterator<Item = Outgoing>) {
        let mut devices = Vec::new();
        for outgoing in outgoing {
            match outgoing {
                Outgoing::Order(device) => devices.push(device),
                Outgoing::NewOrder { device, position, envelope } => {
                    let record = self.coordinator.registry.devices().get(device);
                    if let Some(record) = record.filter(|record| waiting_for(record) == Some(position)) {
                        self.send_order(&record, position, envelope);
                    }
                }
                Outgoing::Ack { topic, envelope } => {
                    if let Err(error) = self.gate.publish(&topic, envelope) {
                        // The device sends the report again, and gets the acknowledgement then.
                        tracing::debug!(%topic, %error, "acknowledgement not sent");
                    }
                }
            }
        }
        let registry = &self.coordinator.registry;
        let records: Vec<_> = devices.iter().filter_map(|device| registry.devices().get(*device)).collect();
        for device in devices {
            self.sent.remove(&device);
        }
        self.send_orders(&records).await;
    }

    /// Orders that are due again; what is new does not wait for all of them.
    async fn send_due(&mut self, outbox: &mut mpsc::Receiver<Outgoing>) {
        let all = self.coordinator.registry.devices().all();
        let due: Vec<_> = all.into_iter().filter(|record| self.is_due(record)).collect();
        for some in due.chunks(AT_ONCE) {
            self.send_orders(some).await;
            let new: Vec<Outgoing> = std::iter::from_fn(|| outbox.try_recv().ok()).take(AT_ONCE).collect();
            self.send(new.into_iter()).await;
        }
    }

    /// Whether a device that is here waits for its order.
    fn is_due(&self, record: &DeviceRecord) -> bool {
        let Some(position) = waiting_for(record) else { return false };
        if !self.coordinator.live.is_online(record.state.id) {
            return false;
        }
        let every = if record.state.refused.is_some() { self.resend * REFUSED_FACTOR } else { self.resend };
        match self.sent.get(&record.state.id) {
            Some((sent, at)) => *sent != position || at.elapsed() >= every,
            None => true,
        }
    }

    async fn send_orders(&mut self, records: &[Arc<DeviceRecord>]) {
        let waiting: Vec<(Arc<DeviceRecord>, Position)> =
            records.iter().filter_map(|record| Some((record.clone(), waiting_for(record)?))).collect();
        if waiting.is_empty() {
            return;
        }
        let coordinator = self.coordinator.clone();
        let read = blocking(move || {
            let read = |(record, position): (Arc<DeviceRecord>, Position)| {
                let envelope = coordinator.registry.order_envelope(record.state.id);
                (record, position, envelope)
            };
            waiting.into_iter().map(read).collect::<Vec<_>>()
        });
        for (record, position, envelope) in read.await {
            match envelope {
                Ok(Some(envelope)) => self.send_order(&record, position, envelope.into()),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(device = %record.state.id, error = sentence(&error), "order not read");
                }
            }
        }
    }

    fn send_order(&mut self, record: &DeviceRecord, position: Position, envelope: Bytes) {
        let device = record.state.id;
        let topic = Topic::down(&record.state.domain, device, Down::Order);
        match self.gate.publish(&topic, envelope) {
            Ok(()) => {
                self.sent.insert(device, (position, clock::instant()));
            }
            // Not connected, or not subscribed yet: the next tick tries again.
            Err(error) => {
                self.sent.remove(&device);
                tracing::debug!(%topic, %error, "order not sent");
            }
        }
    }
}

/// The order that the device has not shown in a report yet, if it is to be told of it.
fn waiting_for(record: &DeviceRecord) -> Option<Position> {
    let state = &record.state;
    let order = state.order.as_ref().filter(|order| !order.accepted && state.may_be_told(&order.action));
    order.map(|order| order.position)
}
