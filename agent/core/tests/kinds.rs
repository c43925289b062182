//! Releases with steps of every kind in the small world: each nature on its own, and interrupted at every step and again
//! after the restart.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::cast_possible_truncation)] // In tests.

mod world;

use std::rc::Rc;

use takt_common::release::{Kind, Strategy};
use world::{Criu, Cut, Nature, OF_CONTAINERS, Part, Releases, World, of_restarting_step, of_step};

/// Steps of an upgrade that are cut: more only repeat the same over a link or a hook that does not come round.
const STEPS_MAX: usize = 60;

fn run(releases: &Rc<Releases>, nature: Nature, cut: impl FnMut(usize) -> Option<Cut>) -> World {
    let mut world = World::running(releases, nature, Criu::Works);
    world.install_new();
    world.run(cut);
    world
}

/// Every nature is cut once at every step; the two that go all the way, forward and back, are cut again after that.
fn cut_everywhere(parts: &[Part], natures: &[Nature]) {
    let releases = Releases::of(parts);
    let mut tried = 0;
    for nature in natures {
        let whole = run(&releases, *nature, |_| None);
        whole.check_end(&format!("{parts:?}, {nature:?}"));
        let twice = matches!(nature, Nature::Good | Nature::StartsSick);
        for first in 1..=whole.steps.min(STEPS_MAX) {
            let divisible = whole.divisible.contains(&first);
            let kinds: &[Cut] = if divisible { &Cut::ALL } else { &Cut::WHOLE };
            for kind in kinds {
                let what = format!("{parts:?}, {nature:?}, {kind:?} at {first}");
                run(&releases, *nature, |step| (step == first).then_some(*kind)).check_end(&what);
                tried += 1;
                if !twice {
                    continue;
                }
                for again in [Cut::PowerDuring, Cut::PowerAfter, Cut::KillAfter] {
                    for gap in 1..=3 {
                        let cut = |step| match step {
                            _ if step == first => Some(*kind),
                            _ if step == first + gap => Some(again),
                            _ => None,
                        };
                        run(&releases, *nature, cut).check_end(&format!("{what}, {again:?} {gap} later"));
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 500, "{tried} cuts tried");
}

#[test]
fn containers_that_are_replaced_end_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::Containers(Strategy::Replace)], &OF_CONTAINERS);
}

#[test]
fn containers_that_hand_over_end_right_when_cut_at_every_step() {
    let natures = [&OF_CONTAINERS[..], &[Nature::ClientsStay]].concat();
    cut_everywhere(&[Part::Containers(Strategy::Handover)], &natures);
}

#[test]
fn containers_that_are_preserved_end_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::Containers(Strategy::Preserve)], &OF_CONTAINERS);
}

#[test]
fn files_end_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::File, Part::File], &of_step(Kind::File));
}

#[test]
fn packages_end_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::Package], &of_step(Kind::Package));
}

#[test]
fn the_agents_own_package_ends_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::Agent], &of_restarting_step(Kind::Package));
}

#[test]
fn an_os_image_ends_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::OsImage], &of_restarting_step(Kind::OsImage));
}

#[test]
fn a_live_patch_ends_right_when_cut_at_every_step() {
    cut_everywhere(&[Part::LivePatch], &of_step(Kind::LivePatch));
}

#[test]
fn a_release_of_file_package_containers_and_os_image_ends_right_when_cut_at_every_step() {
    let parts = [Part::File, Part::Package, Part::Containers(Strategy::Replace), Part::OsImage];
    let natures = [
        Nature::Good,
        Nature::StartsSick,
        Nature::FallsIllInProbation,
        Nature::WillNotStart,
        Nature::ApplyFails(Kind::OsImage),
        Nature::StopsHalfWay(Kind::Package),
        Nature::DoesNotBoot(Kind::OsImage),
        Nature::ConfirmFails(Kind::OsImage),
        Nature::RevertFails(Kind::File),
        Nature::WillNotRestartBack,
    ];
    cut_everywhere(&parts, &natures);
}

#[test]
fn a_release_whose_containers_hand_over_between_other_steps_ends_right_when_cut_at_every_step() {
    let parts = [Part::OsImage, Part::Containers(Strategy::Handover), Part::File];
    let natures = [
        Nature::Good,
        Nature::StartsSick,
        Nature::DiesAtOnce,
        Nature::ApplyFails(Kind::File),
        Nature::NeverHeard,
    ];
    cut_everywhere(&parts, &natures);
}

#[test]
fn a_release_whose_containers_are_preserved_between_other_steps_ends_right_when_cut_at_every_step() {
    let parts = [Part::Agent, Part::Containers(Strategy::Preserve), Part::LivePatch];
    let natures = [
        Nature::Good,
        Nature::StartsSick,
        Nature::StopsHalfWay(Kind::LivePatch),
        Nature::DoesNotBoot(Kind::Package),
        Nature::RevertFails(Kind::LivePatch),
    ];
    cut_everywhere(&parts, &natures);
}
