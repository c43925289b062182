//! A small world: a fleet CA, devices with certificates, a ledger that takes their messages, a gate.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use takt_common::topic::{Down, Topic, Up};
use takt_common::{DeviceId, Name};
use takt_coordinator::gate::{
    Closed, GateHandle, GateLimits, Peer, Refusal, Sink, SinkError, serve_devices, tls,
};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = interval(Duration::from_millis(5));
    let waiting = async {
        while !condition() {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// A certificate authority and the server certificate it issued.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "fleet CA");
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let server_params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server_params.signed_by(&server_key, &issuer).unwrap().der().clone();
        let server = (server, PrivateKeyDer::try_from(server_key.serialize_der()).unwrap());
        Self { issuer, certificate, server }
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let (certificate, key) = &self.server;
        tls::server_config(vec![certificate.clone()], key.clone_key(), [self.certificate.clone()]).unwrap()
    }

    /// A device with a certificate for `id`, in the domain `north`.
    pub(crate) fn device(&self, number: u32) -> Device {
        let id = format!("{number:032x}");
        Device {
            id: id.parse().unwrap(),
            domain: "north".parse().unwrap(),
            tls: self.client_config(Some(&id)),
        }
    }

    /// What a client needs to trust the server, with a certificate for `common_name` if there is one.
    pub(crate) fn client_config(&self, common_name: Option<&str>) -> Arc<ClientConfig> {
        self.client_config_with(common_name, &rustls::version::TLS13)
    }

    pub(crate) fn client_config_with(
        &self,
        common_name: Option<&str>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let Some(common_name) = common_name else {
            return Arc::new(builder.with_no_client_auth());
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, "north");
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(builder.with_client_auth_cert(vec![certificate], key).unwrap())
    }
}

/// A device as the fleet knows it.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) domain: Name,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Device {
    pub(crate) fn down(&self, what: Down) -> Topic {
        Topic::down(&self.domain, self.id, what)
    }

    pub(crate) fn up(&self, what: Up) -> String {
        Topic::up(&self.domain, self.id, what).to_string()
    }
}

/// The coordinator's side: what became durable, who is enrolled, who came and went.
pub(crate) struct Ledger {
    state: Mutex<State>,
    held: watch::Sender<bool>,
    admission_held: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    enrolled: HashSet<DeviceId>,
    broken: bool,
    asked: Vec<DeviceId>,
    reports: Vec<(DeviceId, Bytes)>,
    health: Vec<(DeviceId, Bytes)>,
    present: Vec<u64>,
    subscribed: Vec<(DeviceId, Down)>,
    cloned: Vec<DeviceId>,
    gone: Vec<(u64, Closed)>,
}

impl Ledger {
    fn new() -> Self {
        let state = Mutex::default();
        Self { state, held: watch::Sender::new(false), admission_held: watch::Sender::new(false) }
    }

    pub(crate) fn enrol(&self, device: DeviceId) {
        self.state.lock().unwrap().enrolled.insert(device);
    }

    pub(crate) fn revoke(&self, device: DeviceId) {
        self.state.lock().unwrap().enrolled.remove(&device);
    }

    /// From now on messages wait before they become durable, until `release`.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// From now on admissions wait, for ever.
    pub(crate) fn hold_admissions(&self) {
        self.admission_held.send_replace(true);
    }

    /// From now on nothing can be made durable (or again).
    pub(crate) fn set_broken(&self, broken: bool) {
        self.state.lock().unwrap().broken = broken;
    }

    pub(crate) fn reports(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().reports.iter().map(|(_, payload)| payload.clone()).collect()
    }

    pub(crate) fn reports_of(&self, device: DeviceId) -> usize {
        self.state.lock().unwrap().reports.iter().filter(|(of, _)| *of == device).count()
    }

    pub(crate) fn health(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().health.iter().map(|(_, payload)| payload.clone()).collect()
    }

    /// How often a device asked to come in.
    pub(crate) fn asked(&self, device: DeviceId) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| **asked == device).count()
    }

    pub(crate) fn present(&self) -> usize {
        self.state.lock().unwrap().present.len()
    }

    pub(crate) fn cloned(&self, device: DeviceId) -> bool {
        self.state.lock().unwrap().cloned.contains(&device)
    }

    pub(crate) fn subscribed(&self, device: DeviceId, what: Down) -> bool {
        self.state.lock().unwrap().subscribed.contains(&(device, what))
    }

    pub(crate) fn gone_for(&self, why: Closed) -> usize {
        self.state.lock().unwrap().gone.iter().filter(|(_, reason)| *reason == why).count()
    }

    async fn make_durable(&self) -> Result<(), SinkError> {
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if self.state.lock().unwrap().broken { Err(SinkError::new("the disk is full")) } else { Ok(()) }
    }
}

impl Sink for Ledger {
    async fn admit(&self, peer: &Peer) -> Result<(), Refusal> {
        self.state.lock().unwrap().asked.push(peer.device);
        self.admission_held.subscribe().wait_for(|held| !held).await.unwrap();
        let enrolled = self.state.lock().unwrap().enrolled.contains(&peer.device);
        if enrolled { Ok(()) } else { Err(Refusal::Unknown) }
    }

    async fn report(&self, peer: &Peer, payload: Bytes) -> Result<(), SinkError> {
        self.make_durable().await?;
        self.state.lock().unwrap().reports.push((peer.device, payload));
        Ok(())
    }

    async fn health(&self, peer: &Peer, payload: Bytes) -> Result<(), SinkError> {
        self.make_durable().await?;
        self.state.lock().unwrap().health.push((peer.device, payload));
        Ok(())
    }

    fn connected(&self, peer: &Peer) {
        self.state.lock().unwrap().present.push(peer.connection);
    }

    fn subscribed(&self, peer: &Peer, what: Down) {
        self.state.lock().unwrap().subscribed.push((peer.device, what));
    }

    fn disconnected(&self, peer: &Peer, why: Closed) {
        let mut state = self.state.lock().unwrap();
        assert!(state.present.contains(&peer.connection), "only who came can go");
        state.present.retain(|connection| *connection != peer.connection);
        state.gone.push((peer.connection, why));
    }

    fn cloned(&self, peer: &Peer) {
        self.state.lock().unwrap().cloned.push(peer.device);
    }
}

/// A gate with its CA and its ledger. It shuts down when dropped.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gate: GateHandle,
    pub(crate) shutdown: CancellationToken,
}

impl World {
    pub(crate) async fn new(limits: GateLimits) -> Self {
        let authority = Authority::new();
        let ledger = Arc::new(Ledger::new());
        let shutdown = CancellationToken::new();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let tls = authority.server_config();
        let gate = serve_devices(listen, limits, tls, Arc::clone(&ledger), shutdown.clone()).await.unwrap();
        Self { authority, ledger, gate, shutdown }
    }

    /// An enrolled device.
    pub(crate) fn device(&self, number: u32) -> Device {
        let device = self.authority.device(number);
        self.ledger.enrol(device.id);
        device
    }

    pub(crate) fn port(&self) -> u16 {
        self.gate.local_addr().port()
    }

    /// Waits until the gate has ended one more connection for this reason than `before`.
    pub(crate) async fn until_closed_for(&self, why: Closed, at_least: u64) {
        until(&format!("{at_least} connections ended for '{why}'"), || {
            self.gate.figures().closed_for(why) >= at_least
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
