//! What the gate asks the coordinator: may this device come in, and here is what it says.

use std::sync::Arc;

use bytes::Bytes;
use takt_common::topic::{Down, Topic};

use crate::clock;
use crate::coordinator::Coordinator;
use crate::dispatch::Outgoing;
use crate::gate::{Closed, Peer, Refusal, Sink, SinkError};
use crate::registry::blocking;
use crate::reports::{self, Taken};

/// The coordinator behind the gate.
pub struct GateSink(pub Arc<Coordinator>);

impl Sink for GateSink {
    async fn admit(&self, peer: &Peer) -> Result<(), Refusal> {
        match self.0.registry.devices().get(peer.device) {
            None => Err(Refusal::Unknown),
            Some(record) if record.state.revoked.is_some() => Err(Refusal::Revoked),
            Some(record) if record.state.domain != peer.domain => Err(Refusal::WrongDomain),
            Some(_) => Ok(()),
        }
    }

    async fn report(&self, peer: &Peer, payload: Bytes) -> Result<(), SinkError> {
        let (coordinator, device, now) = (self.0.clone(), peer.device, clock::now());
        let began = clock::instant();
        // A task of its own: it runs to its end also when the connection is gone.
        let taken = blocking(move || {
            let registry = &coordinator.registry;
            reports::take_report(registry, &coordinator.order_key, device, &payload, now)
        });
        match taken.await.map_err(SinkError::new)? {
            Taken::Durable(envelope) => {
                let topic = Topic::down(&peer.domain, device, Down::Ack);
                self.0.response.note(began, clock::instant());
                self.0.heard(device, now);
                self.0.send(Outgoing::Ack { topic, envelope: envelope.into() });
                self.0.wake.notify_one();
            }
            Taken::Nonsense(nonsense) => self.0.nonsense.note(device, &nonsense),
        }
        Ok(())
    }

    async fn health(&self, peer: &Peer, payload: Bytes) -> Result<(), SinkError> {
        match reports::read_health(&self.0.registry, peer.device, &payload) {
            Ok(mut sample) => {
                let now = clock::now();
                self.0.loads.note(&sample, now);
                if let Some(seen) = sample.peers.take() {
                    self.0.peers.note(peer.device, &seen);
                }
                self.0.live.health(sample, now);
            }
            Err(nonsense) => self.0.nonsense.note(peer.device, &nonsense),
        }
        Ok(())
    }

    fn connected(&self, peer: &Peer) {
        let now = clock::now();
        self.0.loads.connected(peer.device, now);
        self.0.live.connected(peer.device, peer.connection, now);
        self.0.wake.notify_one();
    }

    fn subscribed(&self, peer: &Peer, what: Down) {
        if what == Down::Order {
            self.0.send(Outgoing::Order(peer.device));
        }
    }

    fn disconnected(&self, peer: &Peer, why: Closed) {
        tracing::debug!(device = %peer.device, ?why, "device left");
        if self.0.live.disconnected(peer.device, peer.connection) {
            self.0.loads.disconnected(peer.device, clock::now());
        }
    }

    fn cloned(&self, peer: &Peer) {
        let (coordinator, peer) = (self.0.clone(), peer.clone());
        let warning = format!(
            "two connections use this device's certificate; the one from {} was refused",
            peer.address
        );
        // Not waited for: the gate wants a short answer.
        drop(tokio::task::spawn_blocking(move || {
            let noted = coordinator.registry.change(peer.device, |record| {
                let mut changed = record.clone();
                changed.warn(&warning);
                let together = crate::registry::CommitTogether::new(takt_store::Batch::new());
                Ok(crate::registry::Change::To(Box::new(changed), together, ()))
            });
            if let Err(error) = noted {
                tracing::warn!(device = %peer.device, %error, "warning of a device not kept");
            }
        }));
    }
}
