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
use crate::registry::{DeviceRecord, RegistryError, blocking};
use crate::sentence::sentence;

/// Messages that wait to be sent; as many as devices that may report within a moment.
pub const OUTBOX_MAX: usize = 4_096;

/// Orders that are due again are looked for this often.
const TICK: Duration = Duration::from_secs(1);

/// An order that was refused may be accepted later (a clock, a newer snapshot); it is sent this many times more rarely.
const REFUSED_FACTOR: u32 = 12;

/// What is to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// The order of a device, if it waits for one.
    Order(DeviceId),
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
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            outgoing = outbox.recv() => match outgoing {
                Some(outgoing) => dispatcher.send(outgoing).await,
                None => return,
            },
            _ = tick.tick() => dispatcher.send_due().await,
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
    async fn send(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Order(device) => {
                self.sent.remove(&device);
                if let Some(record) = self.coordinator.registry.devices().get(device) {
                    self.send_order(&record).await;
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

    async fn send_due(&mut self) {
        for record in self.coordinator.registry.devices().all() {
            if self.is_due(&record) {
                self.send_order(&record).await;
            }
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

    async fn send_order(&mut self, record: &DeviceRecord) {
        let device = record.state.id;
        let Some(position) = waiting_for(record) else { return };
        match self.order_envelope(device).await {
            Ok(Some(envelope)) => {
                let topic = Topic::down(&record.state.domain, device, Down::Order);
                match self.gate.publish(&topic, Bytes::from(envelope)) {
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
            Ok(None) => {}
            Err(error) => tracing::warn!(%device, error = sentence(&error), "order not read"),
        }
    }

    async fn order_envelope(&self, device: DeviceId) -> Result<Option<Vec<u8>>, RegistryError> {
        let coordinator = self.coordinator.clone();
        blocking(move || coordinator.registry.order_envelope(device)).await
    }
}

/// The order that the device has not shown in a report yet.
fn waiting_for(record: &DeviceRecord) -> Option<Position> {
    record.state.order.as_ref().filter(|order| !order.accepted).map(|order| order.position)
}
