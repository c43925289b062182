//! One part of an order's way with one step, in a process of its own, so that tests can kill it: `takt-kinds-step
//! WORLD.json stage|switch|back|confirm|settle|alive|look`. It goes that part as `takt_agent_core::decide` does, ends with 0 when
//! the part has come to its end, and prints where the step stands or why the part failed.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use takt_agent_core::{ActionFailure, StepKey, StepState};
use takt_common::Sha256Digest;
use takt_common::release::Step;
use takt_kinds::file::FileSettings;
use takt_kinds::live_patch::LivePatchSettings;
use takt_kinds::os_image::OsImageSettings;
use takt_kinds::package::PackageSettings;
use takt_kinds::{ArtifactFiles, KindSettings, Kinds};

/// More actions than any part takes: what needs more goes in circles.
const ACTIONS_MAX: usize = 12;

/// What a test sets up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    way_back: PathBuf,
    artifacts: PathBuf,
    key: StepKey,
    step: Step,
    #[serde(default)]
    roots: Vec<PathBuf>,
    package_root: Option<PathBuf>,
    running: Option<PathBuf>,
    launcher: Option<PathBuf>,
    agent: Option<PathBuf>,
    #[serde(default)]
    wrapper: Vec<String>,
    lock_wait_millis: Option<u64>,
    run_millis_max: Option<u64>,
}

struct Artifacts(PathBuf);

impl ArtifactFiles for Artifacts {
    fn file(&self, sha256: &Sha256Digest) -> PathBuf {
        self.0.join(sha256.to_string())
    }
}

struct Way {
    kinds: Kinds,
    artifacts: Artifacts,
    key: StepKey,
    step: Step,
}

impl Way {
    async fn look(&self) -> StepState {
        self.kinds.look(&self.key, &self.step).await
    }

    async fn prepare(&self) -> Result<(), ActionFailure> {
        self.kinds.prepare(&self.key, &self.step, &self.artifacts).await
    }

    async fn apply(&self) -> Result<(), ActionFailure> {
        self.kinds.apply(&self.key, &self.step, &self.artifacts).await
    }

    /// Goes on as long as `next` says what to do; the state at the end.
    async fn go(&self, next: fn(&StepState) -> Option<Deed>) -> Result<StepState, String> {
        for _ in 0..ACTIONS_MAX {
            let state = self.look().await;
            let Some(deed) = next(&state) else { return Ok(state) };
            match deed {
                Deed::Prepare => self.prepare().await,
                Deed::Apply => self.apply().await,
                Deed::Revert => self.kinds.revert(&self.key, &self.step).await,
                Deed::Confirm => self.kinds.confirm(&self.key, &self.step).await,
            }
            .map_err(|failure| format!("{deed:?} failed ({:?}): {}", failure.nature, failure.text))?;
        }
        Err(format!("{ACTIONS_MAX} actions, and still it is {:?}", self.look().await))
    }
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Prepare,
    Apply,
    Revert,
    Confirm,
}

fn stage(state: &StepState) -> Option<Deed> {
    matches!(state, StepState::Untouched | StepState::Half(_)).then_some(Deed::Prepare)
}

fn switch(state: &StepState) -> Option<Deed> {
    match state {
        StepState::Untouched => Some(Deed::Prepare),
        StepState::Prepared | StepState::Half(_) => Some(Deed::Apply),
        _ => None,
    }
}

fn back(state: &StepState) -> Option<Deed> {
    let forth = matches!(
        state,
        StepState::Half(_)
            | StepState::Applied
            | StepState::Confirmed
            | StepState::NewAfterReboot
            | StepState::FellBack(_)
    );
    forth.then_some(Deed::Revert)
}

fn confirm(state: &StepState) -> Option<Deed> {
    (*state == StepState::Applied).then_some(Deed::Confirm)
}

fn settings(world: &World) -> KindSettings {
    let usual = PackageSettings::default();
    let millis = |given: Option<u64>, usual| given.map_or(usual, Duration::from_millis);
    KindSettings {
        way_back: world.way_back.clone(),
        file: FileSettings { roots: world.roots.clone(), never: Vec::new() },
        package: PackageSettings {
            root: world.package_root.clone(),
            running: world.running.clone().unwrap_or(usual.running),
            launcher: world.launcher.clone().unwrap_or(usual.launcher),
            agent: world.agent.clone().unwrap_or(usual.agent),
            wrapper: world.wrapper.clone(),
            lock_wait: millis(world.lock_wait_millis, usual.lock_wait),
            run_max: millis(world.run_millis_max, usual.run_max),
        },
        os_image: OsImageSettings::default(),
        live_patch: LivePatchSettings::default(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, world, part] = &arguments[..] else {
        eprintln!("usage: takt-kinds-step WORLD.json stage|switch|back|confirm|settle|alive|look");
        return ExitCode::from(2);
    };
    let text = fs::read_to_string(world).expect("the test wrote its world");
    let world: World = serde_json::from_str(&text).expect("the test wrote its world right");
    let kinds = Kinds::new(settings(&world));
    let way = Way { kinds, artifacts: Artifacts(world.artifacts), key: world.key, step: world.step };
    let ended = match part.as_str() {
        "stage" => way.go(stage).await,
        "switch" => way.go(switch).await,
        "back" => way.go(back).await,
        "confirm" => way.go(confirm).await,
        "look" => Ok(way.look().await),
        "settle" => match way.kinds.settle(&way.key) {
            Ok(()) => Ok(way.look().await),
            Err(failure) => Err(failure.text),
        },
        "alive" => match way.kinds.agent_is_alive().await {
            Ok(()) => Ok(way.look().await),
            Err(failure) => Err(failure.text),
        },
        other => Err(format!("no part is called {other}")),
    };
    match ended {
        Ok(state) => {
            println!("{state:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}
