//! The promises of a whole fleet, over the pure cores together: the coordinator's `advance` orders devices whose agents
//! are the real `decide`, over a network that loses, repeats and delays, while agents are killed, machines lose power
//! and the coordinator dies. Each is held against what really runs, at every step and at the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod coordinator;
mod device;
mod look;
mod machine;
mod network;
mod plan;
mod promises;
mod releases;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use takt_common::api::CampaignState;
use takt_common::order::{Action, Mode};
use takt_common::report::{Memory, Outcome};

use coordinator::Death;
use device::Cut;
use plan::Sabotage;
use releases::Nature;
use world::World;

/// With fewer cases than this it says nothing that something was not met.
const CASES_THAT_MEET_ALL: u32 = 200;

#[derive(Debug, Default)]
struct Met(BTreeMap<String, usize>);

impl Met {
    fn add(&mut self, what: impl Into<String>, times: usize) {
        *self.0.entry(what.into()).or_default() += times;
    }

    /// What happened in a run; every line begins at zero, so that what never happened is seen.
    fn count(&mut self, world: &World) {
        let view = world.coordinator.view();
        self.add("finished", usize::from(view.state == CampaignState::Finished));
        self.add("aborted", usize::from(view.state == CampaignState::Aborted));
        for nature in
            [Nature::WillNotStart, Nature::Sick, Nature::DiesInProbation, Nature::WillNotFetch, Nature::Mute]
        {
            let shown = |device: &&device::Device| device.temper.nature == nature && device.machine.shown > 0;
            self.add(format!("{nature:?}"), world.devices.iter().filter(shown).count());
        }
        for cut in [Cut::PowerBefore, Cut::PowerAfter, Cut::KillBefore, Cut::KillAfter] {
            let times = world.devices.iter().flat_map(|device| &device.cuts).filter(|one| **one == cut);
            self.add(format!("{cut:?}"), times.count());
        }
        for death in [Death::BeforeCommit, Death::AfterCommit] {
            let times = world.coordinator.deaths.iter().filter(|one| **one == death).count();
            self.add(format!("{death:?}"), times);
        }
        let ended = || world.devices.iter().flat_map(|device| &device.ended).map(|(_, outcome)| outcome);
        let of = |is: fn(&Outcome) -> bool| ended().filter(|outcome| is(outcome)).count();
        self.add("verified", of(|outcome| matches!(outcome, Outcome::Verified { .. })));
        let kept = |outcome: &Outcome| matches!(outcome, Outcome::RolledBack { memory: Memory::Kept, .. });
        self.add("rolled back with its memory", of(kept));
        let lost = |outcome: &Outcome| matches!(outcome, Outcome::RolledBack { memory: Memory::Lost, .. });
        self.add("rolled back without", of(lost));
        self.add("failed", of(|outcome| matches!(outcome, Outcome::Failed { .. })));
        self.add("withdrawn", of(|outcome| *outcome == Outcome::Withdrawn));
        self.add("serving", of(|outcome| *outcome == Outcome::Serving));
        self.add("memory handed over", of(|outcome| *outcome == Outcome::Checkpointed));
        self.add("handed back", of(|outcome| *outcome == Outcome::HandedBack));
        self.add("stranded", of(|outcome| matches!(outcome, Outcome::Stranded { .. })));
        let installs = world.coordinator.issued.iter().filter(|order| order.action == Action::Install);
        let (in_place, rolling): (Vec<_>, Vec<_>) = installs.partition(|order| order.mode == Mode::InPlace);
        self.add("ordered in place", in_place.len());
        self.add("ordered rolling", rolling.len());
        let never_older = |device: &device::Device| device.refusals.contains(&"never-older");
        self.add("old order refused", world.devices.iter().filter(|one| never_older(one)).count());
        self.add("old report passed over", world.coordinator.old_reports);
        self.add("requirement held", world.met.requirements);
        self.add("stopped while a standby serves", world.met.relieved);
        self.add("silent at work", world.met.silent_at_work);
        let losses = world.network.losses;
        self.add("report lost", losses.reports_lost);
        self.add("report repeated", losses.reports_repeated);
        self.add("report overtaken", losses.reports_overtaken);
        self.add("order lost", losses.orders_lost);
        self.add("order repeated", losses.orders_repeated);
        self.add("order late", losses.orders_late);
        self.add("acknowledgement lost", losses.acks_lost);
        self.add("connection broken", losses.breaks);
    }
}

#[test]
fn promises_hold_in_any_fleet() {
    let config = Config {
        max_shrink_iters: 500,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    };
    let cases = config.cases;
    let met = RefCell::new(Met::default());
    let run = TestRunner::new(config).run(&plan::plan(), |plan| {
        let mut world = World::new(plan);
        if world.run() {
            met.borrow_mut().count(&world);
        }
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
    let met = met.into_inner();
    println!("{cases} fleets met: {:#?}", met.0);
    let rare: Vec<_> = met.0.iter().filter(|(_, times)| **times == 0).collect();
    assert!(cases < CASES_THAT_MEET_ALL || rare.is_empty(), "never met: {rare:?} of {met:?}");
}

/// The checks are worth what they catch: a part that breaks a promise fails with the words of that promise.
#[test]
fn every_broken_promise_is_noticed() {
    const FLEETS: usize = 250;
    for (sabotage, words) in [
        (Sabotage::NoStandbys, "standby-first"),
        (Sabotage::NoRequirements, "requires"),
        (Sabotage::BlindToFailure, "brake"),
        (Sabotage::ForgetsReports, "report"),
        (Sabotage::Lies, "with: verified"),
        (Sabotage::SecondRuns, "one-running"),
        (Sabotage::PreviousGoes, "way-back"),
    ] {
        let mut runner = TestRunner::deterministic();
        let mut others = vec![];
        let noticed = (0..FLEETS).any(|_| {
            let mut plan = plan::plan().new_tree(&mut runner).unwrap().current();
            plan.sabotage = Some(sabotage);
            let mut world = World::new(plan);
            let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
            let text = ended.err().and_then(|panic| panic.downcast::<String>().ok());
            let noticed = text.as_ref().is_some_and(|text| text.contains(words));
            others.extend(text.filter(|_| !noticed));
            noticed
        });
        assert!(noticed, "{sabotage:?} breaks a promise, and nothing speaks of '{words}': {others:#?}");
    }
}
