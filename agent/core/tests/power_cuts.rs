//! `decide` in a small world, interrupted at every step and again after the restart, over every nature of release.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod world;

use takt_agent_core::Phase;
use takt_common::order::{Action, Takeover};
use takt_common::report::{Memory, Outcome};
use world::{Criu, Cut, MEMORY, Nature, OF_CONTAINERS, Part, Releases, World};

#[test]
fn an_uninterrupted_upgrade_ends_as_its_release_deserves() {
    let releases = Releases::of(&[Part::Container]);
    for nature in OF_CONTAINERS {
        for criu in [Criu::Works, Criu::Missing, Criu::RefusesToDump, Criu::RefusesToRestore] {
            let mut world = World::running(&releases, nature, criu);
            world.install_new();
            world.run(|_| None);
            world.check_end(&format!("{nature:?}, criu {criu:?}"));
            if let [(_, Outcome::RolledBack { memory, .. })] = world.outcomes.as_slice() {
                let expected = if criu == Criu::Works { Memory::Kept } else { Memory::Lost };
                assert_eq!(*memory, expected, "{nature:?}, criu {criu:?}");
                assert_eq!(world.at_rest().1, if criu == Criu::Works { MEMORY } else { 0 });
            }
        }
    }
}

#[test]
fn intent_first_one_running_way_back_told_hold_when_cut_at_every_step_and_again_after_restart() {
    let releases = Releases::of(&[Part::Container]);
    let mut cuts_tried = 0;
    for nature in OF_CONTAINERS {
        let mut whole = World::running(&releases, nature, Criu::Works);
        whole.install_new();
        whole.run(|_| None);
        // Fetch tries over a dead link repeat the same step; twenty of them show all there is.
        let steps = whole.steps.min(40);
        for kind in Cut::WHOLE {
            for first in 1..=steps {
                for again in Cut::WHOLE {
                    for gap in 1..=6 {
                        let mut world = World::running(&releases, nature, Criu::Works);
                        world.install_new();
                        world.run(|step| match step {
                            _ if step == first => Some(kind),
                            _ if step == first + gap => Some(again),
                            _ => None,
                        });
                        world.check_end(&format!("{nature:?}, {kind:?} at {first}, {again:?} {gap} later"));
                        cuts_tried += 1;
                    }
                }
            }
        }
    }
    assert!(cuts_tried > 5_000, "{cuts_tried} cuts tried");
}

#[test]
fn a_first_install_that_fails_leaves_nothing_behind() {
    let releases = Releases::of(&[Part::Container]);
    for nature in [Nature::WillNotStart, Nature::StartsSick, Nature::DiesInProbation, Nature::NeverReports] {
        let mut world = World::empty(&releases, nature, Criu::Works);
        world.install_new();
        world.run(|_| None);
        assert!(world.nothing_runs(), "{nature:?}");
        assert_eq!((world.containers(), world.images()), (0, 0), "{nature:?}");
        assert!(matches!(world.outcomes.as_slice(), [(_, Outcome::Failed { .. })]), "{:?}", world.outcomes);
    }
}

#[test]
fn a_release_that_failed_here_is_not_tried_again_without_a_signed_retry() {
    let mut world = World::running(&Releases::of(&[Part::Container]), Nature::StartsSick, Criu::Works);
    world.install_new();
    world.run(|_| None);
    world.install_new();
    world.run(|_| None);
    let [_, (_, Outcome::Failed { cause })] = world.outcomes.as_slice() else {
        panic!("{:?}", world.outcomes)
    };
    assert!(cause.contains("failed here before"), "{cause}");
    assert_eq!(world.at_rest().0, "1.0");
}

#[test]
fn an_order_for_what_runs_already_is_verified_without_a_switch() {
    let releases = Releases::of(&[Part::Container]);
    let mut world = World::running(&releases, Nature::Good, Criu::Works);
    world.accept(Action::Install, Some(&releases.old.manifest));
    world.run(|_| None);
    assert_eq!(world.outcomes, [(2, Outcome::Verified { strategy: None })]);
    assert_eq!(world.at_rest(), ("1.0", MEMORY));
    assert_eq!(world.containers(), 1);
}

#[test]
fn a_takeover_serves_until_it_is_handed_back() {
    let releases = Releases::of(&[Part::Container]);
    let mut world = World::empty(&releases, Nature::Good, Criu::Works);
    let (peer, name) = (world::device(), "camera-2".parse().unwrap());
    world.accept(
        Action::TakeOver { device: peer, name, how: Takeover::Launch, lease: 1 },
        Some(&releases.old.manifest),
    );
    world.run(|_| None);
    assert_eq!(world.at_rest().0, "1.0");
    assert_eq!(world.outcomes, [(2, Outcome::Serving)]);
    assert!(world.record.stand_in.is_some() && world.record.installed.is_empty());
    world.accept(Action::HandBack { device: peer, name: "camera-2".parse().unwrap() }, None);
    world.run(|_| None);
    assert!(world.nothing_runs());
    assert_eq!(world.outcomes[1], (3, Outcome::HandedBack));
    assert_eq!((world.containers(), world.images()), (0, 0));
}

#[test]
fn a_withdrawn_order_changes_nothing_while_nothing_is_switched() {
    let mut world = World::running(&Releases::of(&[Part::Container]), Nature::WillNotFetch, Criu::Works);
    world.install_new();
    // The withdrawal comes in while the agent still tries to fetch.
    let job = takt_agent_core::Job {
        accepted: world.record.next.clone().unwrap(),
        old: world.record.installed.values().next().cloned(),
    };
    let (job, tries) = (Box::new(job), takt_agent_core::Tries::default());
    world.record.enter(Phase::Fetching { job, hook: None, tries });
    world.record.accept(world::order(9, Action::Withdraw, None));
    world.run(|_| None);
    assert_eq!(world.outcomes, [(2, Outcome::Withdrawn), (9, Outcome::Withdrawn)]);
    assert_eq!(world.at_rest(), ("1.0", MEMORY));
}
