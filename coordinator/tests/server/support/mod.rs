//! A real coordinator on free ports, with a publisher and an operator.

pub mod agent;
pub mod device;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode};
use ring::rand::SystemRandom;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use takt_common::api::{CoordinatorKeys, Problem, RepositoryUpload};
use takt_common::release::{
    Artifact, Container, ContainerSet, Health, MANIFEST_FORMAT, Manifest, Network, Probe, ReleaseId,
    Requirements, Severity, Step, Strategy,
};
use takt_common::{Sha256Digest, SigningKey, UnixTime};
use takt_coordinator::settings::Settings;
use takt_coordinator::{Running, clock, serve};
use takt_trust::{
    DirectorSpec, Document, PackageRoles, Release, RoleSpec, RootSpec, TargetsDocument, snapshot_for,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const YEAR: Duration = Duration::from_hours(365 * 24);

pub struct World {
    pub folder: TempDir,
    pub url: String,
    pub gate: std::net::SocketAddr,
    pub token: String,
    pub publisher: Publisher,
    settings: String,
    running: Option<Runs>,
}

/// How the coordinator runs.
enum Runs {
    Here(Running, CancellationToken),
    Process(Process),
}

/// The people who sign what may run and who may order.
pub struct Publisher {
    pub key: SigningKey,
    pub targets: TargetsDocument,
    pub snapshot: u64,
}

pub fn key() -> SigningKey {
    SigningKey::generate(&SystemRandom::new()).unwrap()
}

pub fn role(keys: &[&SigningKey]) -> RoleSpec {
    RoleSpec { keys: keys.iter().map(|key| key.public()).collect(), threshold: 1 }
}

pub fn signed(mut document: Document, key: &SigningKey) -> String {
    document.add_signature(key);
    String::from_utf8(document.to_bytes()).unwrap()
}

pub fn settings_text(extra: &str) -> String {
    let hosts = "public_hosts = [\"localhost\", \"127.0.0.1\"]";
    let listen = "listen = \"127.0.0.1:0\"";
    format!("{hosts}\n[gate]\n{listen}\n{extra}\n[api]\n{listen}\n")
}

/// A TLS connection without a certificate, for what no HTTP client does.
pub async fn tls_stream(world: &World) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let ca = CertificateDer::from_pem_file(world.data().join("ca.pem")).unwrap();
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(ca).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(anchors)
        .with_no_client_auth();
    let port: u16 = world.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// A client that trusts only the fleet CA in `ca.pem`, with a certificate if one is given.
pub fn client(folder: &Path, certificate: Option<&str>) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = std::fs::read(folder.join("ca.pem")).unwrap();
    let mut builder = Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&ca).unwrap())
        .no_proxy()
        .timeout(PATIENCE);
    if let Some(pem) = certificate {
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

impl World {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more settings of the API.
    pub async fn start_with_api(fields: &str) -> Self {
        Self::start_as(&format!("{}{fields}", settings_text(""))).await
    }

    /// With more tables of settings.
    pub async fn start_with(tables: &str) -> Self {
        Self::start_as(&settings_text(tables)).await
    }

    /// On ports that stay the same when it goes on, so that agents find it again.
    pub async fn start_with_fixed_ports(tables: &str) -> Self {
        let mut settings = settings_text(tables);
        // Both are held until both are known: else they could be one.
        let free = [(), ()].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
        for listener in &free {
            let port = listener.local_addr().unwrap().port();
            settings = settings.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
        }
        drop(free);
        Self::start_as(&settings).await
    }

    /// As a process of its own, which can be killed.
    pub fn start_process(tables: &str) -> Self {
        let mut world = Self::new(&settings_text(tables));
        std::fs::write(world.data().join("coordinator.toml"), &world.settings).unwrap();
        world.spawn();
        world
    }

    /// SIGKILL, and a new start.
    pub fn kill_and_go_on(&mut self) {
        let Some(Runs::Process(child)) = self.running.take() else { panic!("it is not a process") };
        drop(child);
        self.spawn();
    }

    fn spawn(&mut self) {
        let (child, lines) = spawn_and_listen(&self.data().join("coordinator.toml"));
        let line = lines.last().unwrap();
        self.gate = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        self.read_profile();
        self.running = Some(Runs::Process(child));
    }

    fn read_profile(&mut self) {
        let profile = std::fs::read_to_string(self.data().join("operator.toml")).unwrap();
        let profile: toml::Table = toml::from_str(&profile).unwrap();
        profile["url"].as_str().unwrap().clone_into(&mut self.url);
        profile["token"].as_str().unwrap().clone_into(&mut self.token);
    }

    async fn start_as(settings: &str) -> Self {
        let mut world = Self::new(settings);
        world.go_on().await;
        world
    }

    fn new(settings: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            url: String::new(),
            gate: ([127, 0, 0, 1], 0).into(),
            token: String::new(),
            publisher: Publisher { key: key(), targets: TargetsDocument::new(clock::now()), snapshot: 0 },
            settings: settings.to_owned(),
            running: None,
        }
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    pub async fn go_on(&mut self) {
        let file = self.data().join("coordinator.toml");
        let settings = Settings::parse(&self.settings, &file).unwrap();
        let shutdown = CancellationToken::new();
        let running = serve(settings, shutdown.clone()).await.unwrap();
        self.gate = running.gate_addr;
        self.read_profile();
        assert_eq!(self.url, format!("https://localhost:{}", running.api_addr.port()));
        self.running = Some(Runs::Here(running, shutdown));
    }

    pub async fn stop(&mut self) {
        match self.running.take().unwrap() {
            Runs::Here(running, shutdown) => {
                shutdown.cancel();
                let stopped = tokio::time::timeout(PATIENCE, running.stopped()).await;
                stopped.expect("the coordinator ends in time").unwrap();
            }
            Runs::Process(child) => assert_eq!(terminate(child), 0),
        }
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// As the operator.
    pub fn operator(&self, method: &str, path: &str) -> RequestBuilder {
        self.stranger(method, path).bearer_auth(&self.token)
    }

    /// As anybody.
    pub fn stranger(&self, method: &str, path: &str) -> RequestBuilder {
        client(self.data(), None).request(method.parse().unwrap(), self.path(path))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let response = self.operator("GET", path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    /// Publishes the two roots and an empty set of targets.
    pub async fn init_trust(&mut self) {
        let documents = self.roots().await;
        self.publish(documents).await.unwrap();
        self.publish_targets().await.unwrap();
    }

    pub async fn roots(&self) -> BTreeMap<String, String> {
        let keys: CoordinatorKeys = self.get("/api/v1/keys").await;
        let publisher = &self.publisher.key;
        let expires = clock::now() + YEAR;
        let own = role(&[publisher]);
        let timestamp = RoleSpec { keys: vec![keys.timestamp], threshold: 1 };
        let roles =
            PackageRoles { root: own.clone(), targets: own.clone(), snapshot: own.clone(), timestamp };
        let root = RootSpec { version: 1, expires, roles }.document().unwrap();
        let order = RoleSpec { keys: vec![keys.order], threshold: 1 };
        let director =
            DirectorSpec { epoch: 1, expires, root: own, order, counter: None }.document().unwrap();
        BTreeMap::from([
            ("1.root.json".to_owned(), signed(root, publisher)),
            ("1.director.root.json".to_owned(), signed(director, publisher)),
        ])
    }

    /// Signs and publishes the publisher's targets as they are now.
    pub async fn publish_targets(&mut self) -> Result<(), Problem> {
        let documents = self.publisher.sign(clock::now());
        self.publish(documents).await
    }

    pub async fn publish(&self, documents: BTreeMap<String, String>) -> Result<(), Problem> {
        let request = self.operator("PUT", "/api/v1/repository").json(&RepositoryUpload { documents });
        let response = request.send().await.unwrap();
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(problem(response).await)
    }

    pub async fn upload(&self, bytes: &[u8]) -> Artifact {
        let sha256 = Sha256Digest::of(bytes);
        let request = self.operator("PUT", &format!("/api/v1/artifacts/{sha256}")).body(bytes.to_vec());
        let status = request.send().await.unwrap().status();
        assert!(status.is_success(), "{status}");
        Artifact { sha256, length: bytes.len() as u64 }
    }

    /// Publishes a release of one image, whole.
    pub async fn publish_release(&mut self, version: &str, counter: u64) -> ReleaseId {
        let archive = self.upload(format!("image of {version}").as_bytes()).await;
        let manifest = manifest(version, counter, archive);
        let bytes = manifest.to_bytes();
        self.upload(&bytes).await;
        let release = Release::of_manifest(&bytes, 0, Vec::new()).unwrap();
        self.publisher.targets.begin_next(clock::now());
        self.publisher.targets.add_release(&release).unwrap();
        self.publish_targets().await.unwrap();
        manifest.release
    }
}

impl Publisher {
    pub fn sign(&mut self, now: UnixTime) -> BTreeMap<String, String> {
        self.snapshot += 1;
        let targets = signed(self.targets.document(), &self.key);
        let snapshot = snapshot_for(targets.as_bytes(), [], None, self.snapshot, now).unwrap();
        BTreeMap::from([
            (format!("{}.targets.json", self.targets.version), targets),
            (format!("{}.snapshot.json", self.snapshot), signed(snapshot, &self.key)),
        ])
    }
}

pub fn manifest(version: &str, counter: u64, archive: Artifact) -> Manifest {
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
        release: ReleaseId { name: "counter".parse().unwrap(), version: version.parse().unwrap() },
        counter,
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

pub async fn problem(response: reqwest::Response) -> Problem {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status);
    assert!(problem.kind.starts_with("urn:takt:problem:"), "{}", problem.kind);
    assert!(!problem.detail.contains('\n'), "{}", problem.detail);
    problem
}

/// Waits until `found` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn files_in(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_takt-coordinator"));
    command.arg("serve").arg("--config").arg(config).env("TAKT_LOG", "warn");
    command
}

/// Starts the binary and reads what it says until it says where it listens.
pub fn spawn_and_listen(config: &Path) -> (Process, Vec<String>) {
    listen(&mut command(config))
}

/// A process that does not outlive a failed test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn listen(command: &mut Command) -> (Process, Vec<String>) {
    let mut child = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = Vec::new();
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().starts_with("HTTPS API on ") {
            return (child, lines);
        }
    }
    panic!("it ended early: {:?}", child.0.wait());
}

/// SIGTERM; gives the exit code.
pub fn terminate(mut child: Process) -> i32 {
    let kill = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let begin = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status.code().unwrap();
        }
        assert!(begin.elapsed() < PATIENCE, "it did not end in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}
