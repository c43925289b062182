//! Puts a coordinator together, runs it, and ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use takt_store::{CACHE_BYTES_MAX, Options, SledStore, StoreError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::artifacts::ArtifactStore;
use crate::ca::authority;
use crate::checkpoints::CheckpointStore;
use crate::clock;
use crate::coordinator::{Coordinator, Parts};
use crate::files::FileError;
use crate::first_start::{self, FirstStartError};
use crate::gate::{self, GateError, GateHandle, GateLimits};
use crate::https::{self, HttpsLimits};
use crate::identity::{Identity, IdentityError};
use crate::registry::{Registry, RegistryError, blocking};
use crate::renew::Challenges;
use crate::repository::{Repository, RepositoryError};
use crate::sentence::sentence;
use crate::settings::Settings;
use crate::sink::GateSink;
use crate::tls::{ClientCertificate, ServerIdentity, TlsError, server_config};
use crate::token::NoRandom;
use crate::{api, audit, dispatch, engine};

/// Timestamp and server certificate are renewed this often.
const RENEW_EVERY: Duration = Duration::from_hours(24);

/// The store is asked this often whether an export is due.
const HOUSEKEEPING_EVERY: Duration = Duration::from_mins(1);

/// The coordinator cannot start, or has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data directory.
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
    /// The address of the API.
    #[error("listen for HTTPS on {address} (api.listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The gate.
    #[error("start the MQTT gate (gate.listen)")]
    Gate(#[from] GateError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The folder of documents.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The folder of artifacts.
    #[error(transparent)]
    Artifacts(#[from] FileError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What challenges are made with.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// A part ended although nobody asked for it.
    #[error("the coordinator's {0} ended by itself")]
    Ended(&'static str),
    /// A part panicked.
    #[error("a part of the coordinator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// A coordinator that runs.
pub struct Running {
    /// Where the HTTPS API listens.
    pub api_addr: SocketAddr,
    /// Where the MQTT gate listens.
    pub gate_addr: SocketAddr,
    gate: GateHandle,
    tasks: JoinSet<&'static str>,
    shutdown: CancellationToken,
}

/// Starts a coordinator; it runs until `shutdown` is cancelled. What a first start makes is made if it is missing.
pub async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<Running, ServeError> {
    let now = clock::now();
    let prepared = settings.clone();
    let identity = blocking(move || -> Result<Identity, ServeError> {
        first_start::prepare(&prepared, now)?;
        Ok(Identity::load(&prepared.data_dir)?)
    });
    let Identity { ca, order_key, timestamp_key, operator } = identity.await?;
    let ca = ca.with_device_valid(settings.certificates.valid());
    let listen = |source| ServeError::Listen { address: settings.api.listen, source };
    let listener = TcpListener::bind(settings.api.listen).await.map_err(listen)?;
    let api_addr = listener.local_addr().map_err(listen)?;
    let hosts = settings.hosts();
    let own = hosts.first().cloned().unwrap_or_default();
    if settings.api.listen.port() == 0 {
        let url = format!("https://{}", authority(&own, api_addr.port()));
        first_start::point_profile_at(&settings.data_dir, &url)?;
    }
    let server = ServerIdentity::new(&ca, &hosts, now)?;
    let optional = server_config(&server, ca.certificate(), ClientCertificate::Optional)?;
    let required = server_config(&server, ca.certificate(), ClientCertificate::Required)?;

    let folder = settings.data_dir.clone();
    let order_public = order_key.public();
    let bytes_max = settings.artifacts.bytes_max;
    let opened = blocking(move || -> Result<_, ServeError> {
        let opened = SledStore::open(folder.join("store"), &store_options())?;
        if let takt_store::Origin::Restored { .. } = &opened.origin {
            tracing::error!(origin = %opened.origin, "store restored");
        }
        let store = Arc::new(opened.store);
        let registry = Registry::open(store.clone())?;
        let repository = open_repository(folder.join("repository"), timestamp_key, order_public)?;
        let artifacts = ArtifactStore::open(folder.join("artifacts"), bytes_max)?;
        let checkpoints = CheckpointStore::open(folder.join("checkpoints"), bytes_max)?;
        Ok((store, registry, repository, artifacts, checkpoints))
    });
    let (store, registry, repository, artifacts, checkpoints) = opened.await?;

    let (outbox, outgoing) = mpsc::channel(dispatch::OUTBOX_MAX);
    let load_step = settings.load.step_secs();
    let in_hand_max = settings.orders.in_hand_max;
    let parts = Parts {
        ca,
        order_key,
        operator,
        challenges: Challenges::new()?,
        registry,
        repository,
        artifacts,
        checkpoints,
        outbox,
        load_step,
        in_hand_max,
    };
    let coordinator = Arc::new(blocking(move || Coordinator::new(parts)).await?);
    let stop = shutdown.child_token();
    let sink = Arc::new(GateSink(coordinator.clone()));
    let gate =
        gate::serve_devices(settings.gate.listen, gate_limits(&settings), required, sink, stop.clone())
            .await?;
    let gate_addr = gate.local_addr();
    coordinator.gate.get_or_init(|| gate.clone());
    // Nobody enrols before this: the HTTPS server starts below.
    coordinator.broker.get_or_init(|| authority(&own, gate_addr.port()));

    let mut tasks = JoinSet::new();
    let limits = HttpsLimits {
        connections_max: settings.api.connections_max,
        connections_per_source_max: settings.api.connections_per_source_max,
        handshake_max: settings.handshake_max(),
    };
    let serving = https::serve(listener, optional, limits, api::router(coordinator.clone()), stop.clone());
    let resend = Duration::from_secs(settings.orders.resend_secs);
    let heads = audit::publish_heads(coordinator.clone(), gate.clone(), stop.clone());
    let dispatching = dispatch::run(coordinator.clone(), gate.clone(), outgoing, resend, stop.clone());
    let engine = engine::run(coordinator.clone(), stop.clone());
    let housekeeping = Housekeeping { coordinator, server, hosts, store }.run(stop.clone());
    tasks.spawn(named("HTTPS server", serving));
    tasks.spawn(named("dispatcher", dispatching));
    tasks.spawn(named("publisher of audit heads", heads));
    tasks.spawn(named("engine (the store has failed, see the log)", engine));
    tasks.spawn(named("housekeeping", housekeeping));
    tracing::info!(api = %api_addr, gate = %gate_addr, "coordinator started");
    Ok(Running { api_addr, gate_addr, gate, tasks, shutdown: stop })
}

impl Running {
    /// Waits until the coordinator has ended: asked to, or because a part of it failed.
    pub async fn stopped(mut self) -> Result<(), ServeError> {
        let mut ended = Ok(());
        while let Some(task) = self.tasks.join_next().await {
            if !self.shutdown.is_cancelled() {
                ended = Err(task.map_or_else(ServeError::Panicked, ServeError::Ended));
                self.shutdown.cancel();
            }
        }
        self.gate.stopped().await;
        ended
    }
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

fn open_repository(
    folder: PathBuf,
    timestamp_key: takt_common::SigningKey,
    order_key: takt_common::PublicKey,
) -> Result<Repository, RepositoryError> {
    let (repository, checked) = Repository::open(folder, timestamp_key, order_key, clock::now())?;
    if let Err(error) = checked {
        tracing::warn!(error = sentence(&error), "repository not up to date; no new release can be ordered");
    }
    Ok(repository)
}

/// An order with what it changes takes some 3 KiB, and the orders of one step are committed together.
const BATCH_BYTES: usize = 1024 * 1024;

/// A coordinator's store holds thousands of devices, not one.
fn store_options() -> Options {
    Options { cache_bytes: CACHE_BYTES_MAX, batch_bytes_max: BATCH_BYTES, ..Options::default() }
}

fn gate_limits(settings: &Settings) -> GateLimits {
    GateLimits {
        connections_max: settings.gate.connections_max,
        connections_per_source_max: settings.gate.connections_per_source_max,
        ..GateLimits::default()
    }
}

/// What does not wait for anybody.
struct Housekeeping {
    coordinator: Arc<Coordinator>,
    server: Arc<ServerIdentity>,
    hosts: Vec<String>,
    store: Arc<SledStore>,
}

impl Housekeeping {
    async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let mut renewed = clock::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = clock::pause(HOUSEKEEPING_EVERY) => {}
            }
            let now = clock::now();
            let renew = now.since(renewed) >= RENEW_EVERY;
            if renew {
                renewed = now;
            }
            let work = this.clone();
            blocking(move || work.once(renew)).await;
        }
    }

    fn once(&self, renew: bool) {
        let now = clock::now();
        if let Err(error) = self.store.export_if_due(Duration::from_secs(now.as_secs())) {
            tracing::error!(error = sentence(&error), "store not exported");
        }
        if !renew {
            return;
        }
        if let Err(error) = self.coordinator.repository.refresh_timestamp(now) {
            tracing::error!(error = sentence(&error), "timestamp not renewed");
        }
        if let Err(error) = self.server.renew(&self.coordinator.ca, &self.hosts, now) {
            tracing::error!(error = sentence(&error), "server certificate not renewed");
        }
    }
}
