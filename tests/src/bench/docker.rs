//! The peer: the same workload, switched by hand with `docker rm -f && docker run -d`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use takt_workload::Nature;

use super::client::Client;
use super::error::BenchError;
use crate::engine::Engine;
use crate::fleet::{Port, Stopwatch};
use crate::image::{Recipe, workload_binary};

/// What the peer does, for tables.
pub(super) const SWAP: &str = "docker rm -f && docker run -d";
/// The versions between which the peer is switched to and fro.
const VERSIONS: [&str; 2] = ["1.0.0", "2.0.0"];
/// How long a container may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(20);
/// The checkpoint that is taken to be measured.
const CHECKPOINT: &str = "measured";

/// One container, switched by hand, and its client. The container is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Peer {
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
    pub(super) fn start(
        engine: Arc<Engine>,
        folder: &Path,
        stopwatch: Stopwatch,
    ) -> Result<Self, BenchError> {
        let port = Port::lease()?;
        let container = format!("takt-bench-peer-{}", std::process::id());
        let images = [load(&engine, folder, VERSIONS[0])?, load(&engine, folder, VERSIONS[1])?];
        let client = Client::start(port.number(), stopwatch);
        let peer = Self { engine, port, container, images, now: 0, client, stopwatch };
        peer.shell(&peer.run(0))?;
        peer.client.wait_for(VERSIONS[0], SEEN_LIMIT)?;
        Ok(peer)
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

    fn run(&self, index: usize) -> String {
        let Self { container, images, .. } = self;
        format!(
            "docker run -d --name {container} --network host --env PORT={} --env DEVICE=peer {}",
            self.port.number(),
            images[index]
        )
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
fn load(engine: &Engine, folder: &Path, version: &str) -> Result<String, BenchError> {
    let archive = folder.join(format!("peer-{version}.tar"));
    let mut recipe = Recipe::counter(version, Nature::Good, workload_binary()?);
    recipe.name = None;
    // So that no other user of the engine removes it.
    recipe.env.push(("FLEET".into(), format!("peer {}", folder.display())));
    let image = recipe.build(&archive)?;
    let output = engine.docker().args(["load", "--quiet", "--input"]).arg(&archive).output();
    let line = format!("docker load --input {}", archive.display());
    let output = output.map_err(|source| BenchError::Shell { line: line.clone(), source })?;
    if output.status.success() {
        return Ok(image.id);
    }
    Err(BenchError::Peer { line, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
