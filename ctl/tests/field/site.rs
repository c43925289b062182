//! A real coordinator and real agents in this process: the agents have no container engine, so they take orders and carry none out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use takt_agent::agent::Agent;
use takt_agent::journal::Journal;
use takt_agent_core::Record;
use takt_common::{SigningKey, UnixTime};
use takt_coordinator::settings::{ApiSettings, GateSettings, OrderSettings};
use takt_coordinator::{Running, Settings, serve};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, Run};

/// Longer than anything here takes on a busy machine; a pause of an agent between two looks is 30 s.
const PATIENCE: Duration = Duration::from_mins(2);

/// A coordinator with its data folder, and a bench beside it.
pub(crate) struct Field {
    pub(crate) bench: Bench,
    runtime: Runtime,
    running: Option<(Running, CancellationToken)>,
    api: SocketAddr,
    gate: SocketAddr,
}

/// A device with an agent that runs or not.
pub(crate) struct Device {
    name: String,
    settings: takt_agent::settings::Settings,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Field {
    pub(crate) fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let mut field = Self { bench: Bench::new(), runtime, running: None, api: any, gate: any };
        field.start();
        field
    }

    /// Starts the coordinator, where devices know it to be.
    pub(crate) fn start(&mut self) {
        let settings = Settings {
            data_dir: self.bench.path("coordinator"),
            api: ApiSettings { listen: self.api, ..ApiSettings::default() },
            gate: GateSettings { listen: self.gate, ..GateSettings::default() },
            orders: OrderSettings { resend_secs: 1, ..OrderSettings::default() },
            ..Settings::default()
        };
        let shutdown = CancellationToken::new();
        let running = self.runtime.block_on(serve(settings, shutdown.clone())).unwrap();
        (self.api, self.gate) = (running.api_addr, running.gate_addr);
        self.running = Some((running, shutdown));
    }

    pub(crate) fn stop(&mut self) {
        let (running, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        self.runtime.block_on(running.stopped()).unwrap();
    }

    /// Runs `takt` as the coordinator's operator.
    pub(crate) fn takt(&self, line: &str) -> Run {
        self.bench.takt(&format!("--profile coordinator/operator.toml {line}"))
    }

    /// A coordinator whose trust has been set up by a ceremony.
    pub(crate) fn with_trust() -> Self {
        let field = Self::new();
        field.bench.key("root");
        field.bench.key("publisher");
        field.takt("trust init --dir trust --root-key root.key --publisher-key publisher.key").ok();
        field
    }

    /// A release of the component `counter`, published from the folder `trust`.
    pub(crate) fn publish(&self, version: &str) {
        self.sign(version);
        self.takt(&format!("release publish --dir r{version} --trust trust")).ok();
    }

    /// The same, signed only.
    pub(crate) fn sign(&self, version: &str) {
        self.bench.image(&format!("{version}.tar"), version);
        let line = format!(
            "release new --name counter --version {version} --image {version}.tar --probe tcp=127.0.0.1:80 --trust trust --out r{version}"
        );
        self.takt(&line).ok();
        self.takt(&format!(
            "release sign --dir r{version} --trust trust --publisher-key publisher.key --offline"
        ))
        .ok();
    }

    /// Replaces the coordinator's two online keys while it is down, and has the next roots name the new ones.
    pub(crate) fn new_coordinator_keys(&mut self) {
        self.stop();
        for key in ["order", "timestamp"] {
            let path = self.bench.path("coordinator").join(format!("{key}.key"));
            let made = SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap();
            std::fs::write(path, made.to_pem()).unwrap();
        }
        self.start();
        let keys = ["order", "timestamp"].map(|key| {
            let pem = self.bench.read(&format!("coordinator/{key}.key"));
            (key.to_owned(), SigningKey::from_pem(&String::from_utf8(pem).unwrap()).unwrap().public())
        });
        let keys: std::collections::BTreeMap<_, _> = keys.into();
        self.bench.write("new.json", serde_json::to_vec(&keys).unwrap());
        self.takt("trust rotate --dir trust --coordinator-keys new.json --key root.key").ok();
        self.takt("trust publish --dir trust").ok();
    }

    /// A device that has enrolled and not started yet.
    pub(crate) fn device(&self, name: &str) -> Device {
        let token = self.takt("enrol token --domain line-7 --json").json();
        let folder = self.bench.path(name);
        let text = format!(
            "name = '{name}'\ncoordinator = 'https://localhost:{}'\nstate_dir = '{}'\ndocker_socket = '{}'\n\
             locks_dir = '{}'\nhealth_interval_secs = 1\n",
            self.api.port(),
            folder.display(),
            folder.join("no-docker.sock").display(),
            folder.join("locks").display(),
        );
        let settings =
            takt_agent::settings::Settings::from_toml(&text, std::path::Path::new("agent.toml")).unwrap();
        let enrolled =
            self.runtime.block_on(takt_agent::enrol::enrol(&settings, token["token"].as_str().unwrap()));
        enrolled.unwrap();
        Device { name: name.to_owned(), settings, running: None }
    }

    /// Waits until `takt device show` says what `is_so` wants.
    pub(crate) fn until(&self, device: &Device, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let shown = self.takt(&format!("device show {} --json", device.name)).json();
            if is_so(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}: {shown}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
        }
    }
}

impl Device {
    pub(crate) fn identity(&self, file: &str) -> PathBuf {
        self.settings.state_dir.join("identity").join(file)
    }

    /// Starts its agent, on a machine with this wall clock.
    pub(crate) fn start(&mut self, wall: fn() -> UnixTime) {
        let (settings, stop) = (self.settings.clone(), CancellationToken::new());
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                Box::pin(Agent::open_by(settings, wall, &stopping).unwrap().run(stopping)).await.unwrap();
            });
        });
        self.running = Some((thread, stop));
    }

    pub(crate) fn stop(&mut self) {
        let (thread, stop) = self.running.take().unwrap();
        stop.cancel();
        thread.join().unwrap();
    }

    /// What its journal holds, while its agent does not run.
    pub(crate) fn record(&self) -> Record {
        assert!(self.running.is_none());
        Journal::open(&self.settings.state_dir.join("journal")).unwrap().0.record().clone()
    }

    /// Makes its journal hold something else, while its agent does not run.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Record)) {
        assert!(self.running.is_none());
        let pem = std::fs::read_to_string(self.identity("device.key")).unwrap();
        let (mut journal, _) = Journal::open(&self.settings.state_dir.join("journal")).unwrap();
        let mut record = journal.record().clone();
        change(&mut record);
        let runtime = Builder::new_current_thread().build().unwrap();
        let key = SigningKey::from_pem(&pem).unwrap();
        runtime.block_on(journal.commit(record, Vec::new(), &key)).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some((thread, stop)) = self.running.take() {
            stop.cancel();
            // The folder is removed next. How it has ended matters to `stop` only.
            drop(thread.join());
        }
    }
}
