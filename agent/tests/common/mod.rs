//! What the tests against a real engine share: an engine, images of the real workload, one device on it.

// Each test binary uses its part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use takt_agent::engine::{Engine, EngineSettings, LatchSettings};
use takt_agent::probe::Asked;
use takt_agent::variables::{RoleVariables, Variables};
use takt_agent_core::phase::Role;
use takt_agent_core::{ContainerName, ContainerState, Workload, WorkloadName};
use takt_common::release::{
    Artifact, Container, ContainerSet, Health, MANIFEST_FORMAT, Manifest, Network, Probe, ReleaseId,
    Requirements, Severity, Step, Strategy,
};
use takt_common::{DeviceId, Sha256Digest};
use takt_tests::engine::SOCKET_VARIABLE;
use takt_tests::image::{Image, Recipe, workload_binary};
use takt_workload::Nature;
use tempfile::TempDir;

/// How long anything that should become true may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The engine's socket. These tests cannot run without one.
pub(crate) fn socket() -> PathBuf {
    let socket = std::env::var_os(SOCKET_VARIABLE);
    socket
        .expect("this test needs a container engine: run it as 'tests/env/with-engine.sh cargo test -p takt-agent'")
        .into()
}

/// The static latch, built once.
pub(crate) fn latch_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("latch/build.sh");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    };
    BUILT.get_or_init(build).clone()
}

/// The static workload, built once.
fn workload() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| workload_binary().unwrap()).clone()
}

/// Ports of one test binary: free when asked, never given twice.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// A device on the test's engine. Its containers and images go with it.
pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) id: DeviceId,
    latch: bool,
    socket: PathBuf,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self::with(true, socket())
    }

    pub(crate) fn without_latch() -> Self {
        Self::with(false, socket())
    }

    /// On an engine of the test's own.
    pub(crate) fn on(engine: &takt_tests::engine::Engine) -> Self {
        Self::with(true, engine.socket().to_owned())
    }

    fn with(latch: bool, socket: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let random = Sha256Digest::of(folder.path().as_os_str().as_encoded_bytes()).to_string();
        let id: DeviceId = random[..32].parse().unwrap();
        let engine = Self::engine(folder.path(), id, port, latch, &socket);
        Self { engine, folder, port, id, latch, socket }
    }

    fn engine(folder: &Path, device: DeviceId, port: u16, latch: bool, socket: &Path) -> Engine {
        let variables = |port: u16| Variables([("port".to_owned(), port.to_string())].into());
        Engine::new(EngineSettings {
            socket: socket.to_owned(),
            device,
            name: format!("d{}", &device.to_string()[..8]).parse().unwrap(),
            variables: RoleVariables { own: variables(port), stand_in: Variables::default() },
            latch: latch.then(|| LatchSettings { program: latch_program(), folder: folder.join("latch") }),
        })
    }

    /// As after a restart of the agent.
    pub(crate) fn restarted(&self) -> Engine {
        Self::engine(self.folder.path(), self.id, self.port, self.latch, &self.socket)
    }

    pub(crate) fn name(&self, what: &str) -> ContainerName {
        ContainerName(format!("takt-{}-{what}", self.id))
    }

    /// An image archive of the workload.
    pub(crate) fn image(&self, version: &str, nature: Nature) -> (Image, Container) {
        self.named_image(version, nature, None)
    }

    /// The same with a name in the archive.
    pub(crate) fn named_image(
        &self,
        version: &str,
        nature: Nature,
        name: Option<String>,
    ) -> (Image, Container) {
        let mut recipe = Recipe::counter(version, nature, workload());
        recipe.name = name;
        recipe.env.push(("FOR".to_owned(), self.id.to_string()));
        let image = recipe.build(&self.folder.path().join(format!("{version}.tar"))).unwrap();
        let container = Container {
            archive: image.sha256.parse().unwrap(),
            image_id: image.id.strip_prefix("sha256:").unwrap().parse().unwrap(),
            env: [("PORT".to_owned(), "${port}".to_owned())].into(),
            command: Vec::new(),
            volumes: Vec::new(),
            memory_mib: Some(64),
            name: None,
            network: Network::Host,
            ports: Vec::new(),
            stop_grace_secs: 5,
        };
        (image, container)
    }

    /// The workload whose container is called `name`, with these health checks.
    pub(crate) fn workload(name: &ContainerName, container: &Container, probes: Vec<Probe>) -> Workload {
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            release: ReleaseId { name: "counter".parse().unwrap(), version: "1.0.0".parse().unwrap() },
            counter: 1,
            severity: Severity::Minor,
            hardware: Vec::new(),
            artifacts: vec![Artifact { sha256: container.archive, length: 1 }],
            steps: vec![Step::Container(ContainerSet::of_one(container.clone(), vec![Strategy::Replace]))],
            hooks: [].into(),
            health: Health { probes, timeout_millis: 1_000, ..Health::default() },
            unpacked_bytes: 0,
            requires: Requirements::default(),
        };
        let manifest_sha256 = Sha256Digest::of(&manifest.to_bytes());
        Workload { manifest, manifest_sha256, name: WorkloadName(name.0.clone()) }
    }

    /// One round of health checks of the workload whose container is called `name`.
    pub(crate) async fn round(&self, name: &ContainerName, probes: Vec<Probe>) -> Result<(), String> {
        let (_, container) = self.image("1.0.0", Nature::Good);
        let workload = Self::workload(name, &container, probes);
        let variables = self.engine.variables().of(Role::Own);
        takt_agent::probe::round(&Asked { engine: &self.engine, workload: &workload, variables }).await
    }

    /// Loads an image of the workload.
    pub(crate) async fn loaded(&self, version: &str, nature: Nature) -> Container {
        let (image, container) = self.image(version, nature);
        self.engine.load_image(&image.archive, &container.archive, &container.image_id).await.unwrap();
        container
    }

    /// A created container of the workload.
    pub(crate) async fn created(&self, what: &str, version: &str, nature: Nature) -> ContainerName {
        let container = self.loaded(version, nature).await;
        let name = self.name(what);
        self.engine.create(&name, takt_agent_core::phase::Role::Own, &container).await.unwrap();
        name
    }

    /// A running container of the workload that answers.
    pub(crate) async fn running(&self, what: &str, version: &str) -> ContainerName {
        let name = self.created(what, version, Nature::Good).await;
        self.engine.start(&name).await.unwrap();
        self.until_serving().await;
        name
    }

    pub(crate) async fn until_serving(&self) {
        until("the workload answers", || self.get("/counter").is_some()).await;
    }

    pub(crate) async fn until_state(&self, name: &ContainerName, state: ContainerState) {
        let wait = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while self.engine.state(name).await != state {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        assert!(waited.is_ok(), "{name} never became {state:?}");
    }

    /// The body of an answer of the workload.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get(self.port, path)
    }

    pub(crate) fn counter(&self) -> u64 {
        let body = self.get("/counter").unwrap();
        body.split("\"counter\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
    }
}

/// What a `docker` command says; the test fails when it does.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let socket = format!("unix://{}", socket().display());
    let output = Command::new("docker").arg("--host").arg(socket).args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for Device {
    fn drop(&mut self) {
        // A clean-up that fails must not hide why the test did.
        let docker = |arguments: &[&str]| {
            let socket = format!("unix://{}", self.socket.display());
            let output = Command::new("docker").arg("--host").arg(socket).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        let label = format!("label=takt.device={}", self.id);
        for id in docker(&["ps", "-aq", "--filter", &label]).lines() {
            docker(&["rm", "-f", "-v", id]);
        }
        for image in docker(&["images", "-q", "--filter", &format!("reference=takt-{}", self.id)]).lines() {
            docker(&["rmi", "-f", image]);
        }
    }
}

/// One GET; `None` unless the status is 200.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())?;
    Some(answer.split("\r\n\r\n").nth(1)?.to_owned())
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while !done() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "not within {} s: {what}", LIMIT.as_secs());
}
