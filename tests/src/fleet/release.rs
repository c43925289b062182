//! Releases of the demo's workload: built, signed and published as a publisher would do it.

use std::path::Path;

use takt_common::Sha256Digest;
use takt_common::release::{Artifact, ContainerSet, Manifest, Port, Step, Strategy};
use takt_workload::{HOLD_VARIABLE, Nature};

use super::command::Takt;
use super::error::FleetError;
use super::trust::Ceremony;
use crate::image::{Recipe, workload_binary};

/// The component that all releases are of.
pub const COMPONENT: &str = "counter";

/// A release to be made.
#[derive(Debug, Clone)]
pub struct ReleaseSpec {
    /// Its version.
    pub version: String,
    /// How the workload behaves.
    pub nature: Nature,
    /// Allowed swap strategies, best first.
    pub strategies: String,
    /// Seconds within which it must have been well once.
    pub start_secs: u32,
    /// Seconds during which it must stay well.
    pub probation_secs: u32,
    /// Milliseconds from one round of probes to the next.
    pub interval_millis: u32,
    /// Bytes that make its image larger.
    pub ballast_bytes: usize,
    /// Memory that the workload holds.
    pub hold_mib: u32,
    /// What it has beside its container.
    pub more: Option<More>,
}

/// What a release has beside one container: a change of the manifest before it is signed, and further artifacts.
#[derive(Debug, Clone)]
pub struct More {
    /// Their contents.
    pub artifacts: Vec<Vec<u8>>,
    /// Changes the manifest, in which they stand already.
    pub edit: fn(&mut Manifest),
}

impl More {
    /// Puts the artifacts into the release folder and changes its manifest.
    fn apply(&self, folder: &Path) -> Result<(), FleetError> {
        let path = folder.join("manifest.json");
        let bytes = std::fs::read(&path).map_err(FleetError::file("read", &path))?;
        let mut manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| FleetError::file("understand", &path)(std::io::Error::other(error)))?;
        for content in &self.artifacts {
            let sha256 = Sha256Digest::of(content);
            let file = folder.join("artifacts").join(sha256.to_string());
            std::fs::write(&file, content).map_err(FleetError::file("write", &file))?;
            manifest.artifacts.push(Artifact { sha256, length: content.len() as u64 });
        }
        (self.edit)(&mut manifest);
        std::fs::write(&path, manifest.to_bytes()).map_err(FleetError::file("write", &path))
    }
}

/// The containers of a release.
///
/// # Panics
/// When it brings none.
pub fn containers(manifest: &mut Manifest) -> &mut ContainerSet {
    let set = manifest.steps.iter_mut().find_map(|step| match step {
        Step::Container(set) => Some(set),
        _ => None,
    });
    set.expect("the release brings containers")
}

/// The agent publishes the port of the first container, and these strategies are allowed.
///
/// # Panics
/// When the release brings no container.
pub fn publish_port(manifest: &mut Manifest, strategies: &[Strategy], drain_secs: u32) {
    let set = containers(manifest);
    set.strategies = strategies.to_vec();
    set.drain_secs = drain_secs;
    let variable = "port".parse().expect("it is a name");
    set.containers[0].ports = vec![Port { variable, container_port: None }];
}

impl ReleaseSpec {
    /// A release that is checked every 200 ms, for three seconds, and keeps its memory when it is rolled back.
    pub fn new(version: &str, nature: Nature) -> Self {
        Self {
            version: version.to_owned(),
            nature,
            strategies: "preserve,replace".to_owned(),
            start_secs: 3,
            probation_secs: 3,
            interval_millis: 200,
            ballast_bytes: 0,
            hold_mib: 0,
            more: None,
        }
    }

    /// The name that campaigns know it by.
    pub fn name(&self) -> String {
        format!("{COMPONENT}@{}", self.version)
    }

    /// Builds the image in `folder`, then makes the release, and gives its folder. `mark` goes into the image, so that
    /// fleets which share a container engine do not share images.
    pub(super) fn make(
        &self,
        takt: &Takt,
        trust: &Ceremony,
        folder: &Path,
        mark: &str,
    ) -> Result<String, FleetError> {
        std::fs::create_dir_all(folder).map_err(FleetError::file("make the folder", folder))?;
        let archive = folder.join(format!("{}.tar", self.version));
        let mut recipe = Recipe::counter(&self.version, self.nature, workload_binary()?);
        recipe.name = None;
        recipe.env.push(("FLEET".into(), mark.into()));
        if self.hold_mib > 0 {
            recipe.env.push((HOLD_VARIABLE.into(), self.hold_mib.to_string()));
        }
        recipe.ballast_bytes = self.ballast_bytes;
        recipe.build(&archive)?;
        let (archive, out) =
            (archive.display().to_string(), folder.join(&self.version).display().to_string());
        let (start, probation) = (self.start_secs.to_string(), self.probation_secs.to_string());
        let (interval, documents) = (self.interval_millis.to_string(), trust.documents());
        let options = [
            ["--name", COMPONENT],
            ["--version", &self.version],
            ["--trust", &documents],
            ["--image", &archive],
            ["--strategy", &self.strategies],
            ["--env", "PORT=${port}"],
            ["--env", "DEVICE=${device}"],
            ["--probe", "http=http://127.0.0.1:${port}/health"],
            ["--start-secs", &start],
            ["--probation-secs", &probation],
            ["--interval-millis", &interval],
            ["--timeout-millis", "1000"],
            ["--stop-grace-secs", "2"],
            ["--out", &out],
        ];
        takt.text(&[&["release", "new"], options.as_flattened()].concat())?;
        if let Some(more) = &self.more {
            more.apply(Path::new(&out))?;
        }
        Ok(out)
    }
}
