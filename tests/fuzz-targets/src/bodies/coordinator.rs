//! A coordinator with a fleet of two and a release, behind its router.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request as AxumRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use takt_common::api::{EnrolRequest, RepositoryUpload, TokenRequest, TokenResponse};
use takt_common::release::{
    Artifact, Container, ContainerSet, Health, MANIFEST_FORMAT, Manifest, Network, Probe, ReleaseId,
    Requirements, Severity, Step, Strategy,
};
use takt_common::{DeviceId, Name, Sha256Digest, SigningKey, UnixTime};
use takt_coordinator::artifacts::ArtifactStore;
use takt_coordinator::ca::FleetCa;
use takt_coordinator::checkpoints::CheckpointStore;
use takt_coordinator::coordinator::{Coordinator, Parts};
use takt_coordinator::registry::Registry;
use takt_coordinator::repository::Repository;
use takt_coordinator::{api, clock};
use takt_store::{Options, SledStore};
use takt_trust::{
    DirectorSpec, Document, PackageRoles, Release, RoleSpec, RootSpec, TargetsDocument, snapshot_for,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::envelopes::key;

/// The operator's token.
pub(super) const TOKEN: &str = "operator-of-the-fuzzer";

/// What there is to download.
pub(super) const ARTIFACT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Where one device is put into quarantine.
pub(super) const DEVICE: &str = "/api/v1/devices/1f5fe64ec2f8c901be3aad94a41d70c1/quarantine";

/// More than any answer of a fleet of two.
const ANSWER_MAX: usize = 4 << 20;
const YEAR: Duration = Duration::from_hours(365 * 24);

pub(super) struct Served {
    runtime: Runtime,
    router: TowerToHyperService<axum::Router>,
    artifact: String,
    _outgoing: mpsc::Receiver<takt_coordinator::dispatch::Outgoing>,
    _folder: TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) is_head: bool,
}

impl Served {
    pub(super) fn new() -> Self {
        // In memory where there is such a folder: what the disk does is no matter here.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let folder = folder.expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let now = clock::now();
        let (order_key, timestamp_key) = (key(21), key(22));
        let pem = FleetCa::create("fleet", now).expect("a CA");
        let store = Arc::new(SledStore::open(at("store"), &Options::default()).expect("a store").store);
        let (repository, _) =
            Repository::open(at("repository"), key(22), order_key.public(), now).expect("a repository");
        let (outbox, outgoing) = mpsc::channel(64);
        let online = (order_key.public(), timestamp_key.public());
        let parts = Parts {
            ca: FleetCa::from_pem(&pem.certificate, &pem.key).expect("a CA"),
            order_key,
            operator: Sha256Digest::of(TOKEN.as_bytes()),
            registry: Registry::open(store).expect("a registry"),
            repository,
            artifacts: ArtifactStore::open(at("artifacts"), 1 << 20).expect("artifacts"),
            checkpoints: CheckpointStore::open(at("checkpoints"), 1 << 20).expect("checkpoints"),
            outbox,
            load_step: 3_600,
            in_hand_max: 100,
        };
        let coordinator = Arc::new(Coordinator::new(parts).expect("a coordinator"));
        coordinator.broker.get_or_init(|| "localhost:8883".to_owned());
        let router = TowerToHyperService::new(api::router(coordinator));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let artifact = format!("/api/v1/artifacts/{}", Sha256Digest::of(ARTIFACT));
        let served = Self { runtime, router, artifact, _outgoing: outgoing, _folder: folder };
        served.publish(online, now);
        served.enrol();
        served
    }

    pub(super) fn ask(&self, request: AxumRequest<Body>) -> Answer {
        let is_head = request.method() == Method::HEAD;
        self.runtime.block_on(async {
            let Ok(response) = self.router.call(request).await;
            let status = response.status();
            let body =
                to_bytes(response.into_body(), ANSWER_MAX).await.expect("an answer within bounds").to_vec();
            Answer { status, body, is_head }
        })
    }

    pub(super) fn artifact_path(&self) -> String {
        self.artifact.clone()
    }

    fn good(&self, request: Request<Body>) -> Vec<u8> {
        let path = request.uri().path().to_owned();
        let answer = self.ask(request);
        assert!(answer.status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    fn json(&self, method: &Method, path: &str, body: &impl serde::Serialize) -> Vec<u8> {
        self.good(super::request(method, path, serde_json::to_vec(body).expect("a body")))
    }

    /// Two devices, of the keys 31 and 32.
    fn enrol(&self) {
        let request = TokenRequest { domain: name("north"), uses: 2, valid_secs: 3_600 };
        let token: TokenResponse =
            serde_json::from_slice(&self.json(&Method::POST, "/api/v1/tokens", &request)).expect("a token");
        let secret = token.token.split('.').nth(1).expect("takt1.<secret>.<fingerprint>");
        for (seed, called) in [(31, "camera-1"), (32, "camera-2")] {
            let (key, called, hardware) = (key(seed), name(called), name("cam-x"));
            let message = EnrolRequest::proof_message(secret, &called, &hardware, &key.public());
            let request = EnrolRequest {
                secret: secret.to_owned(),
                name: called,
                hardware,
                public_key: key.public(),
                proof: STANDARD.encode(key.sign(&message)),
            };
            self.json(&Method::POST, "/api/v1/enrol", &request);
        }
        let quarantined = format!("/{}/", DeviceId::of_key(&key(31).public()));
        assert!(DEVICE.contains(&quarantined), "the first device is {quarantined}");
    }

    /// Roots, and a release of the component `counter`.
    fn publish(&self, (order, timestamp): (takt_common::PublicKey, takt_common::PublicKey), now: UnixTime) {
        let people = key(23);
        let role = |key| RoleSpec { keys: vec![key], threshold: 1 };
        let person = role(people.public());
        let roles = PackageRoles {
            root: person.clone(),
            targets: person.clone(),
            snapshot: person.clone(),
            timestamp: role(timestamp),
        };
        let root = RootSpec { version: 1, expires: now + YEAR, roles }.document().expect("a root");
        let director = DirectorSpec { epoch: 1, expires: now + YEAR, root: person, order: role(order) };
        let director = director.document().expect("a director root");
        let manifest = manifest().to_bytes();
        let mut targets = TargetsDocument::new(now);
        targets
            .add_release(&Release::of_manifest(&manifest, 0, Vec::new()).expect("a manifest"))
            .expect("a release");
        let targets = signed(targets.document(), &people);
        let snapshot = snapshot_for(targets.as_bytes(), [], None, 1, now).expect("a snapshot");
        let documents = BTreeMap::from([
            ("1.root.json".to_owned(), signed(root, &people)),
            ("1.director.root.json".to_owned(), signed(director, &people)),
            ("1.targets.json".to_owned(), targets),
            ("1.snapshot.json".to_owned(), signed(snapshot, &people)),
        ]);
        for artifact in [ARTIFACT, &manifest] {
            let path = format!("/api/v1/artifacts/{}", Sha256Digest::of(artifact));
            self.good(super::request(&Method::PUT, &path, artifact.to_vec()));
        }
        self.json(&Method::PUT, "/api/v1/repository", &RepositoryUpload { documents });
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn signed(mut document: Document, key: &SigningKey) -> String {
    document.add_signature(key);
    String::from_utf8(document.to_bytes()).expect("JSON")
}

fn manifest() -> Manifest {
    let archive = Artifact { sha256: Sha256Digest::of(ARTIFACT), length: ARTIFACT.len() as u64 };
    let container = Container {
        name: None,
        archive: archive.sha256,
        image_id: Sha256Digest::of(b"config"),
        env: BTreeMap::new(),
        command: Vec::new(),
        volumes: Vec::new(),
        memory_mib: None,
        network: Network::Host,
        ports: Vec::new(),
        stop_grace_secs: 1,
    };
    Manifest {
        format: MANIFEST_FORMAT,
        release: ReleaseId { name: name("counter"), version: name("1.0") },
        counter: 1,
        severity: Severity::Minor,
        hardware: Vec::new(),
        steps: vec![Step::Container(ContainerSet::of_one(container, vec![Strategy::Replace]))],
        hooks: BTreeMap::new(),
        artifacts: vec![archive],
        health: Health { probes: vec![Probe::Tcp("127.0.0.1:1".into())], ..Health::default() },
        unpacked_bytes: 0,
        requires: Requirements::default(),
    }
}
