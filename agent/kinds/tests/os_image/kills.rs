//! Whatever dies at whatever moment, the device ends on the right system and says the truth: the agent by `kill -9` before
//! and after each of its durable effects, RAUC's service within an installation, and the machine by a power cut.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use takt_agent_core::StepState;
use takt_common::release::Step;
use takt_matrix::{KILLED, POWER_CUT, Row};

use super::agent::{Call, Next, backward, forward};
use super::boot::BootLoader::{Grub, Uboot};
use super::bundle::Spec;
use super::device::Device;

/// No way is longer, reboots and kills included.
const TURNS_MAX: u32 = 20;

/// The agent's part of a way, in processes of their own; they die at `point`, once.
struct Lane {
    device: Device,
    step: Step,
    point: String,
    /// What follows the agent's death: its restart, or a power cut.
    power_cut: bool,
}

impl Lane {
    async fn start() -> Self {
        let device = Device::start(Grub).await;
        let step = device.step(&Spec::version("2.0"));
        fs::write(device.path().join("step.json"), serde_json::to_vec(&step).unwrap()).unwrap();
        Self { device, step, point: String::new(), power_cut: false }
    }

    /// The next round, with a death at `point`; none when that is empty.
    async fn begin(&mut self, point: &str, power_cut: bool) {
        let points = self.device.path().join("points");
        let _first_round = fs::remove_dir_all(&points);
        fs::create_dir(points).unwrap();
        point.clone_into(&mut self.point);
        self.power_cut = power_cut;
        self.device.comes_from_the_factory().await;
    }

    /// One call; a process that dies is followed by nothing, as an agent that is started anew first looks.
    async fn act(&mut self, call: &str) {
        let points = self.device.path().join("points");
        let was_dead = points.join("died").exists();
        let ended = Command::new(one_step())
            .args(["os-image".as_ref(), self.device.path().as_os_str(), call.as_ref()])
            .env("TAKT_FAILPOINT_DIR", &points)
            .env("TAKT_FAILPOINT", &self.point)
            .output()
            .unwrap();
        let died = !was_dead && points.join("died").exists();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() || died, "{}: {call} failed: {said}", self.point);
        if died && self.power_cut {
            self.device.reboot().await;
        }
    }

    async fn go(&mut self, next: fn(&StepState) -> Option<Next>) -> StepState {
        for _ in 0..TURNS_MAX {
            let stands = self.device.look(&self.step).await;
            match next(&stands) {
                None => return stands,
                Some(Next::Reboot) => self.device.reboot().await,
                Some(Next::Act(call)) => self.act(&format!("{call:?}").to_lowercase()).await,
            }
        }
        panic!("{}: the way never ends: {:?}", self.point, self.device.look(&self.step).await);
    }

    async fn confirm(&mut self) -> StepState {
        for _ in 0..TURNS_MAX {
            match self.go(forward).await {
                StepState::Applied => self.act("confirm").await,
                stands => return stands,
            }
        }
        panic!("{}: it is never confirmed", self.point);
    }

    fn reached(&self) -> BTreeSet<String> {
        let reached = fs::read_to_string(self.device.path().join("points/reached")).unwrap();
        reached.lines().map(str::to_owned).collect()
    }

    fn assert_died(&self) {
        let died = self.device.path().join("points/died").exists();
        assert!(died || self.point.is_empty(), "{} was not reached", self.point);
    }

    async fn forward_and_confirmed(&mut self, point: &str, power_cut: bool) -> BTreeSet<String> {
        self.begin(point, power_cut).await;
        assert_eq!(self.confirm().await, StepState::Confirmed, "{point}");
        assert_eq!(self.device.runs, "B", "{point}");
        assert!(self.device.holds("B", "2.0"), "{point}");
        let variables = self.device.boot.variables();
        assert_eq!((&*variables["B_OK"], &*variables["B_TRY"]), ("1", "0"), "{point}: marked good");
        self.assert_died();
        self.reached()
    }

    /// The new system does not come up: the boot loader goes back, and the agent after it.
    async fn fallen_and_back(&mut self, point: &str, power_cut: bool) -> BTreeSet<String> {
        self.begin(point, power_cut).await;
        self.device.broken.insert("B");
        assert!(matches!(self.go(forward).await, StepState::FellBack(_)), "{point}");
        assert_eq!(self.go(backward).await, StepState::Prepared, "{point}");
        assert_eq!(self.device.runs, "A", "{point}");
        assert_eq!(self.device.boot.variables()["B_OK"], "0", "{point}: the new slot never boots again");
        self.assert_died();
        self.reached()
    }

    async fn forward_and_back(&mut self, point: &str, power_cut: bool) -> BTreeSet<String> {
        self.begin(point, power_cut).await;
        assert_eq!(self.go(forward).await, StepState::Applied, "{point}");
        assert_eq!(self.go(backward).await, StepState::Prepared, "{point}");
        assert_eq!(self.device.runs, "A", "{point}");
        assert_eq!(self.device.boot.variables()["B_OK"], "0", "{point}: the new slot never boots again");
        self.assert_died();
        self.reached()
    }
}

fn one_step() -> &'static Path {
    static PROGRAM: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples/one_step");
        assert!(
            program.is_file(),
            "{}: build it with `cargo build -p takt-kinds --examples`",
            program.display()
        );
        program
    })
}

fn assert_points(reached: &BTreeSet<String>, effects: &[&str]) {
    for effect in effects {
        for side in ["before", "after"] {
            let point = format!("at:os-image.{effect}:{side}#1");
            assert!(reached.contains(&point), "{point} is not among {reached:?}");
        }
    }
}

const FORWARD: [&str; 7] = ["keep-old", "prepare", "identity", "begin", "install", "confirm", "confirmed"];
const BACK: [&str; 3] = ["mark-bad", "mark-active", "reverted"];

/// The machine does not remember what the agent was about to do: `:before` an effect is `:after` the one before it.
fn power_cuts(points: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    points.iter().filter(|point| point.contains(":after"))
}

/// One of the ways above, with a death at each of these points: a row of the crash matrix.
macro_rules! each {
    ($lane:ident.$way:ident, $points:expr, $fault:expr, $ends:literal) => {
        let mut row = Row::new(concat!("os-image, the kind alone with RAUC's service: ", $ends), $fault);
        for point in $points {
            $lane.$way(point, $fault == POWER_CUT).await;
            row.tried += 1;
        }
        row.write().unwrap();
    };
}

fn of_the_way_back(points: BTreeSet<String>) -> BTreeSet<String> {
    points.into_iter().filter(|point| BACK.iter().any(|effect| point.contains(effect))).collect()
}

#[tokio::test]
async fn kill_9_of_the_agent_at_each_effect_ends_on_the_new_system() {
    let mut lane = Lane::start().await;
    let points = lane.forward_and_confirmed("", false).await;
    assert_points(&points, &FORWARD);
    each!(lane.forward_and_confirmed, &points, KILLED, "verified");
}

#[tokio::test]
async fn a_power_cut_at_each_effect_ends_on_the_new_system() {
    let mut lane = Lane::start().await;
    let points = lane.forward_and_confirmed("", false).await;
    assert_points(&points, &FORWARD);
    each!(lane.forward_and_confirmed, power_cuts(&points), POWER_CUT, "verified");
}

#[tokio::test]
async fn kill_9_of_the_agent_and_a_power_cut_at_each_effect_of_the_way_back_end_on_the_old_system() {
    let mut lane = Lane::start().await;
    let points = lane.forward_and_back("", false).await;
    assert_points(&points, &BACK);
    let points = of_the_way_back(points);
    each!(lane.forward_and_back, &points, KILLED, "rolled back");
    each!(lane.forward_and_back, power_cuts(&points), POWER_CUT, "rolled back");
}

#[tokio::test]
async fn kill_9_of_the_agent_and_a_power_cut_at_each_effect_after_a_fall_back_end_on_the_old_system() {
    let mut lane = Lane::start().await;
    let points = lane.fallen_and_back("", false).await;
    assert_points(&points, &BACK);
    let points = of_the_way_back(points);
    each!(lane.fallen_and_back, &points, KILLED, "rolled back after a fall-back");
    each!(lane.fallen_and_back, power_cuts(&points), POWER_CUT, "rolled back after a fall-back");
}

#[tokio::test]
async fn an_agent_that_is_started_anew_waits_for_the_installation_that_it_finds() {
    let device = Device::start(Uboot).await;
    let step = device.step(&Spec::version("2.0").holds());
    device.act(Call::Prepare, &step).await.unwrap();
    device.hold("pre-install");
    let (kinds, store) = (device.kinds(), device.store());
    {
        // The agent dies while RAUC installs.
        let applied = super::agent::act(&kinds, &store, Call::Apply, &step);
        tokio::select! {
            done = applied => panic!("{done:?}"),
            () = device.came_to("pre-install") => {}
        }
    }
    let StepState::Half(text) = device.look(&step).await else { panic!() };
    assert!(text.starts_with("RAUC is at work: "), "{text}");
    let again = super::agent::act(&kinds, &store, Call::Apply, &step);
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        device.let_go("pre-install");
    };
    let (done, ()) = tokio::join!(again, let_go);
    done.unwrap();
    assert_eq!(device.look(&step).await, StepState::NewAfterReboot);
    assert_eq!(device.rauc_log().matches("input bundle: ").count(), 1, "it was installed once");
}

#[tokio::test]
async fn an_installation_that_rauc_did_not_survive_is_half_and_is_done_again() {
    for loader in [Grub, Uboot] {
        for hook in ["pre-install", "post-install"] {
            let mut device = Device::start(loader).await;
            let step = device.step(&Spec::version("2.0").holds());
            device.act(Call::Prepare, &step).await.unwrap();
            device.hold(hook);
            let (kinds, store) = (device.kinds(), device.store());
            let applied = super::agent::act(&kinds, &store, Call::Apply, &step);
            tokio::pin!(applied);
            tokio::select! {
                done = &mut applied => panic!("{done:?}"),
                () = device.came_to(hook) => {}
            }
            device.kill_rauc_meanwhile();
            let failed = applied.await.unwrap_err();
            assert!(failed.text.starts_with("RAUC is not there"), "{}", failed.text);
            device.let_go(hook);
            device.kill_rauc();
            device.start_rauc().await;
            let half = "the installation into slot rootfs.1 (B) has not come to its end";
            assert_eq!(device.look(&step).await, StepState::Half(half.to_owned()));
            assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
            assert!(device.runs == "B" && device.holds("B", "2.0"));
        }
    }
}

#[tokio::test]
async fn a_power_cut_in_the_middle_of_an_installation_leaves_the_old_system_and_half_a_step() {
    for loader in [Grub, Uboot] {
        let mut device = Device::start(loader).await;
        let step = device.step(&Spec::version("2.0").holds());
        device.act(Call::Prepare, &step).await.unwrap();
        device.hold("post-install");
        let (kinds, store) = (device.kinds(), device.store());
        tokio::select! {
            done = super::agent::act(&kinds, &store, Call::Apply, &step) => panic!("{done:?}"),
            () = device.came_to("post-install") => {}
        }
        device.reboot().await;
        device.let_go("post-install");
        assert_eq!(device.runs, "A");
        let half = "the installation into slot rootfs.1 (B) was cut off by a reboot";
        assert_eq!(device.look(&step).await, StepState::Half(half.to_owned()));
        assert_eq!(device.backward(&step).await.unwrap(), StepState::Prepared);
        assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
    }
}
