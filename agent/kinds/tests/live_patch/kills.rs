//! `kill -9` of the agent before and after each of its durable effects, and power cuts there: the patch is in force, or it
//! is gone.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use takt_agent_core::StepState;
use takt_common::release::Step;
use takt_matrix::{KILLED, POWER_CUT, Row};

use super::device::{Device, KERNEL};
use super::kernel::Nature;
use super::module::Says;

/// No way is longer, kills included.
const TURNS_MAX: u32 = 12;

struct Lane {
    device: Device,
    step: Step,
    point: String,
    power_cut: bool,
}

impl Lane {
    fn start(point: &str, power_cut: bool) -> Self {
        let device = Device::start(Nature::default());
        let step = device.step(&Says::default());
        fs::write(device.path().join("step.json"), serde_json::to_vec(&step).unwrap()).unwrap();
        fs::create_dir(device.path().join("points")).unwrap();
        Self { device, step, point: point.to_owned(), power_cut }
    }

    /// A process of its own, while the played kernel lives in this one.
    fn act(&self, call: &str) {
        let points = self.device.path().join("points");
        let was_dead = points.join("died").exists();
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples/one_step");
        let ended = Command::new(&program)
            .args(["live-patch".as_ref(), self.device.path().as_os_str(), call.as_ref()])
            .env("TAKT_FAILPOINT_DIR", &points)
            .env("TAKT_FAILPOINT", &self.point)
            .output()
            .unwrap_or_else(|error| {
                panic!("{}: {error}: `cargo build -p takt-kinds --examples`", program.display())
            });
        let died = !was_dead && points.join("died").exists();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() || died, "{}: {call} failed: {said}", self.point);
        if died && self.power_cut {
            self.device.reboots_into(KERNEL);
        }
    }

    async fn forward(&self) -> StepState {
        for _ in 0..TURNS_MAX {
            match self.device.look(&self.step).await {
                StepState::Untouched => self.act("prepare"),
                StepState::Prepared | StepState::Half(_) => self.act("apply"),
                StepState::Applied => self.act("confirm"),
                stands => return stands,
            }
        }
        panic!("{}: the way never ends", self.point);
    }

    async fn backward(&self) -> StepState {
        for _ in 0..TURNS_MAX {
            match self.device.look(&self.step).await {
                StepState::Half(_) | StepState::Applied | StepState::Confirmed => self.act("revert"),
                stands => return stands,
            }
        }
        panic!("{}: the way back never ends", self.point);
    }

    fn reached(&self) -> BTreeSet<String> {
        let reached = fs::read_to_string(self.device.path().join("points/reached")).unwrap();
        reached.lines().map(str::to_owned).collect()
    }
}

async fn there_and_back(point: &str, power_cut: bool) -> BTreeSet<String> {
    let lane = Lane::start(point, power_cut);
    assert_eq!(lane.forward().await, StepState::Confirmed, "{point}");
    let stands = lane.backward().await;
    assert!(matches!(stands, StepState::Prepared), "{point}: {stands:?}");
    lane.device.assert_nothing_loaded();
    assert!(point.is_empty() || lane.device.path().join("points/died").exists(), "{point} was not reached");
    lane.reached()
}

#[tokio::test]
async fn wherever_the_agent_or_the_machine_dies_the_patch_is_in_force_or_gone() {
    let points = there_and_back("", false).await;
    for effect in ["prepare", "load", "confirm", "disable", "unload", "reverted"] {
        for side in ["before", "after"] {
            let point = format!("at:live-patch.{effect}:{side}#1");
            assert!(points.contains(&point), "{point} is not among {points:?}");
        }
    }
    let release = "live-patch, the kind alone on a played kernel: in force and taken back";
    let mut kills = Row::new(release, KILLED);
    for point in &points {
        there_and_back(point, false).await;
        kills.tried += 1;
    }
    kills.write().unwrap();
    // The machine does not remember what the agent was about to do: `:before` an effect is `:after` the one before it.
    let mut cuts = Row::new(release, POWER_CUT);
    for point in points.iter().filter(|point| point.contains(":after")) {
        there_and_back(point, true).await;
        cuts.tried += 1;
    }
    cuts.write().unwrap();
}
