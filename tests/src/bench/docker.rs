//! The peer: the same workload, switched by hand with `docker rm -f && docker run -d`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use takt_workload::{HOLD_VARIABLE, Nature};

use super::client::{Client, ask};
use super::error::BenchError;
use crate::engine::Engine;
use crate::fleet::{Fleet, Port, Stopwatch};
use crate::image::{Recipe, workload_binary};

/// What the peer does, for tables.
pub(super) const SWAP: &str = "docker rm -f && docker run -d";
/// The same, where the engine publishes the port.
pub(super) const SWAP_PUBLISHED: &str = "docker rm -f && docker run -d -p, under the same load";
/// What the peer does to keep the memory.
pub(super) const CHECKPOINT_AND_BACK: &str = "docker checkpoint create && docker start --checkpoint";
/// The versions between which the peer is switched to and fro.
const VERSIONS: [&str; 2] = ["1.0.0", "2.0.0"];
/// Where the peer listens on the engine's bridge.
const INSIDE: u16 = 8080;
/// A restore that fails with "content sha256… already exists" (moby#42900) is tried again with a new checkpoint.
const RESTORE_TRIES_MAX: u32 = 3;
/// How long a container may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(20);
/// The checkpoint that is taken to be measured.
const CHECKPOINT: &str = "measured";

/// What the peer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeerSpec {
    /// On the engine's bridge, with its port published by the engine (`-p`), instead of on the host's network.
    pub(super) published: bool,
    /// Memory that the workload holds.
    pub(super) hold_mib: u32,
}

/// One container, switched by hand, and its client. The container is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Peer {
    spec: PeerSpec,
    engine: Arc<Engine>,
    port: Port,
    container: String,
    images: [String; 2],
    now: usize,
    client: Client,
    stopwatch: Stopwatch,
}

impl Peer {
    /// Loads both images and starts the first.
    pub(super) fn start(engine: Arc<Engine>, fleet: &Fleet, spec: PeerSpec) -> Result<Self, BenchError> {
        let port = Port::lease()?;
        let container = format!("takt-bench-peer-{}", std::process::id());
        let image = |version| load(&engine, fleet, version, spec.hold_mib);
        let images = [image(VERSIONS[0])?, image(VERSIONS[1])?];
        let client = Client::start(port.number(), fleet.stopwatch);
        let peer = Self { spec, engine, port, container, images, now: 0, client, stopwatch: fleet.stopwatch };
        peer.shell(&peer.run(0))?;
        peer.client.wait_for(VERSIONS[0], SEEN_LIMIT)?;
        Ok(peer)
    }

    /// Its port.
    pub(super) const fn port(&self) -> u16 {
        self.port.number()
    }

    /// Switches to the other image, and gives the downtime in milliseconds.
    pub(super) fn swap(&mut self) -> Result<f64, BenchError> {
        let other = 1 - self.now;
        let (before, after) = (VERSIONS[self.now], VERSIONS[other]);
        let line = format!("docker rm -f {} && {}", self.container, self.run(other));
        self.shell(&line)?;
        self.client.wait_for(after, SEEN_LIMIT)?;
        self.now = other;
        let gap = self.client.gap(before, after);
        let never =
            || BenchError::OtherWay { what: line, went: format!("{before} was not seen before {after}") };
        Ok(gap.ok_or_else(never)?.millis())
    }

    /// How long one checkpoint takes, which leaves the container stopped, in milliseconds; it is started again.
    pub(super) fn checkpoint(&self) -> Result<f64, BenchError> {
        let container = &self.container;
        let began = self.stopwatch.elapsed();
        self.shell(&format!("docker checkpoint create {container} {CHECKPOINT}"))?;
        let took = self.stopwatch.elapsed().saturating_sub(began);
        self.shell(&format!("docker checkpoint rm {container} {CHECKPOINT} && docker start {container}"))?;
        self.client.wait_for(VERSIONS[self.now], SEEN_LIMIT)?;
        Ok(took.as_secs_f64() * 1_000.0)
    }

    /// A checkpoint, which ends the container, and the start from it: how long nobody was served, in milliseconds.
    pub(super) fn checkpoint_and_back(&self) -> Result<f64, BenchError> {
        let container = &self.container;
        for number in 1..=RESTORE_TRIES_MAX {
            let checkpoint = format!("{CHECKPOINT}-{number}");
            let before = ask(self.port(), "/").map_err(|_| self.strange("it did not answer"))?.counter;
            // It sees one version only, so the longest time between two answers is the downtime.
            let client = Client::start(self.port(), self.stopwatch);
            client.wait_for(VERSIONS[self.now], SEEN_LIMIT)?;
            self.shell(&format!("docker checkpoint create {container} {checkpoint}"))?;
            let restored = self.shell(&format!("docker start --checkpoint {checkpoint} {container}"));
            if restored.is_ok() {
                client.wait_for_answer_after(self.stopwatch.elapsed(), SEEN_LIMIT)?;
            }
            let spell = client.last();
            drop(client);
            self.shell(&format!(
                "docker start {container} && docker checkpoint rm {container} {checkpoint}"
            ))?;
            self.client.wait_for_answer_after(self.stopwatch.elapsed(), SEEN_LIMIT)?;
            match (restored, spell) {
                (Ok(()), Some(spell)) if (spell.counter_first, spell.counter_last) == (before, before) => {
                    return Ok(spell.longest_wait.as_secs_f64() * 1_000.0);
                }
                (Ok(()), _) => return Err(self.strange("its counter was lost")),
                (Err(error), _) if number == RESTORE_TRIES_MAX => return Err(error),
                (Err(_), _) => {}
            }
        }
        Err(self.strange("it was not tried"))
    }

    fn strange(&self, went: &str) -> BenchError {
        let what = format!("a checkpoint of {} and the start from it", self.container);
        BenchError::OtherWay { what, went: went.to_owned() }
    }

    fn run(&self, index: usize) -> String {
        let Self { container, images, .. } = self;
        let port = self.port();
        let network = if self.spec.published {
            format!("--publish 127.0.0.1:{port}:{INSIDE} --env BIND=0.0.0.0 --env PORT={INSIDE}")
        } else {
            format!("--network host --env PORT={port}")
        };
        format!("docker run -d --name {container} {network} --env DEVICE=peer {}", images[index])
    }

    fn shell(&self, line: &str) -> Result<(), BenchError> {
        let output = Command::new("sh")
            .args(["-c", line])
            .env("DOCKER_HOST", format!("unix://{}", self.engine.socket().display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| BenchError::Shell { line: line.to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Peer { line: line.to_owned(), said })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // What cannot be removed goes with the engine.
        let _removed =
            self.shell(&format!("docker rm -f {}; docker rmi {}", self.container, self.images.join(" ")));
    }
}

/// Loads the workload's image in one version, and gives its id.
fn load(engine: &Engine, fleet: &Fleet, version: &str, hold_mib: u32) -> Result<String, BenchError> {
    let folder = fleet.folder();
    let archive = folder.join(format!("peer-{version}.tar"));
    let mut recipe = Recipe::counter(version, Nature::Good, workload_binary()?);
    recipe.name = None;
    // So that no other user of the engine removes it.
    recipe.env.push(("FLEET".into(), format!("peer {}", folder.display())));
    recipe.env.push((HOLD_VARIABLE.into(), hold_mib.to_string()));
    let image = recipe.build(&archive)?;
    let output = engine.docker().args(["load", "--quiet", "--input"]).arg(&archive).output();
    let line = format!("docker load --input {}", archive.display());
    let output = output.map_err(|source| BenchError::Shell { line: line.clone(), source })?;
    if output.status.success() {
        return Ok(image.id);
    }
    Err(BenchError::Peer { line, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
