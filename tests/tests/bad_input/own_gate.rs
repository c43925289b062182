//! A gate of the test's own with the fleet's real CA and order key: it can say what no coordinator would.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use takt_common::envelope::{PayloadType, Signers};
use takt_common::health::HealthSample;
use takt_common::report::{Ack, Report};
use takt_common::topic::{Down, Topic};
use takt_common::{Envelope, PublicKey, SigningKey};
use takt_coordinator::gate::{
    Closed, GateHandle, GateLimits, Peer, PublishError, Refusal, Sink, SinkError, serve_devices,
};
use takt_coordinator::identity::Identity;
use takt_coordinator::tls::{ClientCertificate, ServerIdentity, server_config};
use takt_tests::fleet::now;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A gate with what devices have said.
pub(crate) struct OwnGate {
    gate: GateHandle,
    pub(crate) order_key: SigningKey,
    heard: Arc<Heard>,
    _shutdown: DropGuard,
}

#[derive(Default)]
struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    /// By their numbers: a report may come twice.
    reports: BTreeMap<u64, Report>,
    /// The same as they came.
    envelopes: BTreeMap<u64, Bytes>,
    /// Something has come, for the first time or again, since the last acknowledgement.
    come: bool,
    /// What the device waits on, by its last health sample.
    waiting_on: Option<String>,
    peers: Vec<Peer>,
    listening: bool,
}

impl OwnGate {
    /// With the identity in the coordinator's folder.
    pub(crate) async fn open(coordinator: &Path) -> Self {
        let Identity { ca, order_key, .. } = Identity::load(coordinator).unwrap();
        let server = ServerIdentity::new(&ca, &["127.0.0.1".to_owned()], now()).unwrap();
        let tls = server_config(&server, ca.certificate(), ClientCertificate::Required).unwrap();
        let heard = Arc::new(Heard::default());
        let shutdown = CancellationToken::new();
        let listen = ([127, 0, 0, 1], 0).into();
        let gate =
            serve_devices(listen, GateLimits::default(), tls, heard.clone(), shutdown.clone()).await.unwrap();
        Self { gate, order_key, heard, _shutdown: shutdown.drop_guard() }
    }

    pub(crate) fn broker(&self) -> String {
        self.gate.local_addr().to_string()
    }

    /// True once the device can hear orders.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.0.lock().unwrap().listening
    }

    pub(crate) fn say(&self, what: Down, bytes: &[u8]) {
        self.try_say(what, bytes).unwrap();
    }

    /// The same where the device may be away just now.
    pub(crate) fn try_say(&self, what: Down, bytes: &[u8]) -> Result<(), PublishError> {
        let peer = self.heard.0.lock().unwrap().peers.last().unwrap().clone();
        self.gate.publish(&Topic::down(&peer.domain, peer.device, what), Bytes::copy_from_slice(bytes))
    }

    /// What the device has reported, and acknowledges all of it.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let reports: Vec<Report> = self.heard.0.lock().unwrap().reports.values().cloned().collect();
        self.acknowledge(reports.last());
        reports
    }

    fn acknowledge(&self, last: Option<&Report>) {
        if let Some(last) = last {
            let ack =
                Ack { device: last.device, sequence: last.sequence, nonce: last.nonce.clone(), time: now() };
            let payload = serde_json::to_vec(&ack).unwrap();
            let ack = Envelope::seal(PayloadType::Ack, &payload, &[&self.order_key]).to_bytes();
            // Where the device is away just now it says all of it again.
            let _sent = self.try_say(Down::Ack, &ack);
        }
    }
}

/// For those who ask of each report who has signed it.
#[allow(dead_code, reason = "each test binary uses its part")]
impl OwnGate {
    /// The reports after number `after`, all signed by this key; they are acknowledged.
    pub(crate) fn signed(&self, by: PublicKey, after: u64) -> Vec<Report> {
        let signers = Signers { role: "the device".to_owned(), keys: vec![by], threshold: 1 };
        let (reports, last) = {
            let mut state = self.heard.0.lock().unwrap();
            let new = state.envelopes.range(after + 1..);
            let reports: Vec<Report> = new
                .map(|(_, envelope)| {
                    let payload =
                        Envelope::from_bytes(envelope).unwrap().open(PayloadType::Report, &signers).unwrap();
                    serde_json::from_slice(&payload).unwrap()
                })
                .collect();
            // An acknowledgement may have been lost on its way: what comes again is acknowledged again.
            let last = std::mem::take(&mut state.come).then(|| state.reports.values().last().cloned());
            (reports, last.flatten())
        };
        self.acknowledge(last.as_ref());
        reports
    }

    /// What the device waits on, by its last health sample since it was asked last.
    pub(crate) fn waiting_on(&self) -> Option<String> {
        self.heard.0.lock().unwrap().waiting_on.take()
    }

    /// All that has come up, as it came.
    pub(crate) fn heard(&self) -> Vec<Bytes> {
        self.heard.0.lock().unwrap().envelopes.values().cloned().collect()
    }

    /// How many times devices have come in.
    pub(crate) fn connections(&self) -> usize {
        self.heard.0.lock().unwrap().peers.len()
    }
}

impl Sink for Heard {
    async fn admit(&self, _: &Peer) -> Result<(), Refusal> {
        Ok(())
    }

    async fn report(&self, _: &Peer, payload: Bytes) -> Result<(), SinkError> {
        let opened = Envelope::from_bytes(&payload).unwrap().unverified_payload().unwrap();
        let report: Report = serde_json::from_slice(&opened).unwrap();
        let mut state = self.0.lock().unwrap();
        state.come = true;
        state.envelopes.insert(report.sequence, payload);
        state.reports.insert(report.sequence, report);
        Ok(())
    }

    async fn health(&self, _: &Peer, payload: Bytes) -> Result<(), SinkError> {
        let payload = Envelope::from_bytes(&payload).unwrap().unverified_payload().unwrap();
        let sample: HealthSample = serde_json::from_slice(&payload).unwrap();
        self.0.lock().unwrap().waiting_on = sample.waiting_on;
        Ok(())
    }

    fn connected(&self, peer: &Peer) {
        self.0.lock().unwrap().peers.push(peer.clone());
    }

    fn subscribed(&self, _: &Peer, what: Down) {
        self.0.lock().unwrap().listening |= what == Down::Ack;
    }

    fn disconnected(&self, _: &Peer, _: Closed) {
        self.0.lock().unwrap().listening = false;
    }

    fn cloned(&self, _: &Peer) {}
}
