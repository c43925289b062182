//! `kill -9` of the real agent before and after every commit that changes its phase and every action it takes, in
//! real container swaps. Restarted, it must end on the right release, tell it truthfully once, and leave nothing.
//!
//! The points are not listed here: a first round without a kill writes down those that are passed, and each of them
//! then has a round of its own. So a new phase or action is covered from its first day.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod evidence;
mod lane;
mod stage;

use takt_common::api::CampaignState;
use takt_common::report::{Memory, Outcome};
use takt_workload::Nature;

use lane::Lane;
use stage::{BASE, Stage, Tried, try_all};

#[test]
fn kill_9_of_the_agent_between_every_two_phases_ends_on_the_right_release() {
    let stage = Stage::start(Nature::Good);
    let rounds = try_all(lanes(&stage, 3, false), |lane, round| {
        assert_eq!(round.campaign.state, CampaignState::Finished, "{}", round.campaign.reason);
        let outcomes = lane.outcomes(1);
        assert!(matches!(outcomes[..], [Outcome::Verified { strategy: Some(_) }]), "{outcomes:?}");
        assert_eq!(lane.told().last_outcome.as_ref(), Some(&outcomes[0]));
        lane.assert_runs(&round.version);
        outcomes[0].to_string()
    });
    assert_tried(
        &rounds,
        "install",
        &["accepted", "fetching", "staged", "checkpointing", "switching", "probation", "ended", "idle"],
        &["fetch", "load-image", "create", "checkpoint", "start", "keep-running", "remove", "prune"],
    );
}

#[test]
fn kill_9_of_the_agent_in_a_roll_back_brings_the_old_release_back_and_tells_what_became_of_its_memory() {
    let stage = Stage::start(Nature::Sick);
    let rounds = try_all(lanes(&stage, 3, false), |lane, round| {
        assert_eq!(round.campaign.state, CampaignState::Aborted, "{}", round.campaign.reason);
        let outcomes = lane.outcomes(1);
        let [Outcome::RolledBack { memory, .. }] = outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(lane.told().last_outcome.as_ref(), Some(&outcomes[0]));
        let counter = lane.assert_runs(BASE);
        if memory == Memory::Lost {
            assert!(
                counter < round.counter_before,
                "the memory is there, but was told to be lost: {counter}"
            );
        } else {
            assert!(
                counter >= round.counter_before,
                "the memory was told to be there: {counter}, {memory:?}"
            );
        }
        outcomes[0].to_string()
    });
    let kept = rounds.iter().filter(|(_, told)| told.contains("with its memory")).count();
    assert!(2 * kept > rounds.len(), "only {kept} of {} came back with their memory", rounds.len());
    assert_tried(
        &rounds,
        "install",
        &[
            "checkpointing",
            "switching",
            "probation",
            "rolling-back-as-is",
            "rolling-back-restore",
            "ended",
            "idle",
        ],
        &["checkpoint", "start", "stop", "restore", "remove", "delete-checkpoint", "keep-running", "prune"],
    );
}

#[test]
fn kill_9_of_a_standby_in_takeover_and_hand_back_leaves_both_devices_with_their_own_release() {
    let stage = Stage::start(Nature::Good);
    let rounds = try_all(lanes(&stage, 2, true), |lane, round| {
        assert_eq!(round.campaign.state, CampaignState::Finished, "{}", round.campaign.reason);
        let outcomes = lane.outcomes(2);
        assert_eq!(outcomes, [Outcome::Serving, Outcome::HandedBack]);
        let told = lane.told();
        assert_eq!((told.last_outcome, told.standing_in_for), (Some(Outcome::HandedBack), None));
        lane.assert_runs(BASE);
        lane.assert_upgraded(&round.version);
        "serving, handed back".to_owned()
    });
    assert_tried(
        &rounds,
        "take-over",
        &["accepted", "fetching", "staged", "switching", "probation", "ended", "idle"],
        &["fetch", "create", "start", "keep-running", "prune"],
    );
    assert_tried(
        &rounds,
        "hand-back",
        &["accepted", "handing-back", "ended", "idle"],
        &["stop", "remove", "prune"],
    );
}

fn lanes(stage: &Stage, count: usize, standby: bool) -> Vec<Lane<'_>> {
    let lanes = (1..=count).map(|number| Lane::new(stage, number, standby)).collect();
    if standby {
        let rows: Vec<String> =
            (1..=count).map(|number| format!("device-{number}:standby-{number}")).collect();
        stage.fleet.set_drm(&rows.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    stage.install_base();
    lanes
}

/// The first round found every point that is known to be there.
fn assert_tried(rounds: &[Tried], order: &str, phases: &[&str], actions: &[&str]) {
    let commits = phases.iter().map(|phase| format!("commit:{phase}"));
    for deed in commits.chain(actions.iter().map(|action| format!("act:{action}"))) {
        for side in ["before", "after"] {
            let point = format!("{order}/{deed}:{side}");
            assert!(rounds.iter().any(|(tried, _)| *tried == point), "{point} was not tried");
        }
    }
}

#[test]
fn a_build_for_devices_has_no_failpoints() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let features = |selection: &[&str]| {
        let output = std::process::Command::new(&cargo)
            .args(["tree", "--locked", "--offline", "--edges", "features,no-dev", "--invert", "takt-agent"])
            .args(selection)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for selection in [&["--package", "takt-agent"][..], &["--workspace"]] {
        let tree = features(selection);
        assert!(tree.contains("takt-agent v") && !tree.contains("failpoints"), "{selection:?}: {tree}");
    }
    let with = features(&["--package", "takt-agent", "--features", "failpoints"]);
    assert!(with.contains("failpoints"), "the check cannot see the feature: {with}");
}
