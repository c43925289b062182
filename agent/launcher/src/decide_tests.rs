use super::*;
use crate::launch::STEPS_MAX;
use crate::trial::Versions;

const ENOEXEC: i32 = 8;
const ENOENT: i32 = 2;

fn versions() -> Versions {
    Versions { new: "1.1.0".parse().unwrap(), previous: "1.0.0".parse().unwrap() }
}

fn on(starts: u8) -> Trial {
    Trial::On(OnTrial { versions: versions(), starts, forgiven: 4 })
}

fn fell_back(why: Why) -> Trial {
    Trial::FellBack(FellBack { versions: versions(), why })
}

/// What the world answers.
#[derive(Debug, Clone, Copy)]
struct World {
    installed: Option<i32>,
    previous: Option<i32>,
    /// So many changes of the folder succeed, then none.
    writable: usize,
}

const GOOD: World = World { installed: None, previous: None, writable: usize::MAX };
const ALL_STEPS: [Program; 2] = [Program::Installed, Program::Previous];

/// Does what `decide` says until an agent runs or it gives up; returns each step.
fn follow(trial: Trial, world: World) -> Vec<Step> {
    let mut facts = Facts::of(trial);
    let mut steps = Vec::new();
    let mut writable = world.writable;
    loop {
        let step = decide(&facts);
        steps.push(step.clone());
        assert!(steps.len() <= STEPS_MAX, "{steps:?}");
        match step {
            Step::Remember(_) if writable == 0 => facts.unwritable = true,
            Step::Remember(next) => {
                writable -= 1;
                facts.remembered(next);
            }
            Step::Start(program) => {
                let refused = if program == Program::Installed { world.installed } else { world.previous };
                let Some(errno) = refused else { return steps };
                facts.refused(program, errno);
            }
            Step::GiveUp => return steps,
        }
    }
}

use Program::{Installed, Previous};
use Step::{GiveUp, Remember, Start};

#[test]
fn without_a_trial_the_installed_agent_starts_and_the_previous_one_where_it_cannot() {
    let broken = World { installed: Some(ENOENT), ..GOOD };
    let nothing = World { previous: Some(ENOENT), ..broken };
    for trial in [Trial::None, Trial::Damaged { what: "moths".to_owned() }] {
        assert_eq!(follow(trial.clone(), GOOD), [Start(Installed)]);
        assert_eq!(follow(trial.clone(), broken), [Start(Installed), Start(Previous)]);
        assert_eq!(follow(trial, nothing), [Start(Installed), Start(Previous), GiveUp]);
    }
}

#[test]
fn each_start_on_trial_is_counted_first_and_the_fourth_brings_the_previous_one_back() {
    for starts in 0..STARTS_MAX {
        assert_eq!(follow(on(starts), GOOD), [Remember(on(starts + 1)), Start(Installed)]);
    }
    for starts in [STARTS_MAX, STARTS_MAX + 1, u8::MAX] {
        assert_eq!(follow(on(starts), GOOD), [Remember(fell_back(Why::Starts)), Start(Previous)]);
    }
}

#[test]
fn an_agent_on_trial_that_cannot_be_run_falls_back_at_once() {
    let broken = World { installed: Some(ENOEXEC), ..GOOD };
    let why = Why::CannotRun { errno: ENOEXEC };
    assert_eq!(
        follow(on(0), broken),
        [Remember(on(1)), Start(Installed), Remember(fell_back(why)), Start(Previous)]
    );
    let full = World { writable: 1, ..broken };
    assert_eq!(
        follow(on(0), full),
        [Remember(on(1)), Start(Installed), Remember(fell_back(why)), Start(Previous)],
        "what cannot be remembered is done all the same"
    );
}

#[test]
fn after_a_fall_back_the_previous_one_starts_until_it_is_withdrawn() {
    for why in [Why::Starts, Why::CannotRun { errno: ENOENT }] {
        assert_eq!(follow(fell_back(why), GOOD), [Start(Previous)]);
        let no_copy = World { previous: Some(ENOENT), ..GOOD };
        assert_eq!(follow(fell_back(why), no_copy), [Start(Previous), Start(Installed)]);
    }
}

#[test]
fn a_start_that_cannot_be_counted_is_one_of_the_previous_agent() {
    let read_only = World { writable: 0, ..GOOD };
    for starts in 0..=STARTS_MAX {
        let next = if starts < STARTS_MAX { on(starts + 1) } else { fell_back(Why::Starts) };
        assert_eq!(follow(on(starts), read_only), [Remember(next.clone()), Start(Previous)]);
        let no_copy = World { previous: Some(ENOENT), ..read_only };
        assert_eq!(follow(on(starts), no_copy), [Remember(next), Start(Previous), Start(Installed)]);
    }
}

/// Every trial in every world.
fn all() -> impl Iterator<Item = (Trial, World)> {
    let mut trials = vec![Trial::None, Trial::Damaged { what: "moths".to_owned() }];
    trials.extend((0..=STARTS_MAX + 1).map(on));
    trials.extend([fell_back(Why::Starts), fell_back(Why::CannotRun { errno: ENOEXEC })]);
    let mut worlds = Vec::new();
    for installed in [None, Some(ENOEXEC)] {
        for previous in [None, Some(ENOENT)] {
            worlds.extend((0..3).map(|writable| World { installed, previous, writable }));
        }
    }
    trials
        .into_iter()
        .flat_map(move |trial| worlds.clone().into_iter().map(move |world| (trial.clone(), world)))
}

#[test]
fn in_every_case_some_agent_starts_unless_both_were_refused() {
    for (trial, world) in all() {
        let steps = follow(trial.clone(), world);
        let none = world.installed.is_some() && world.previous.is_some();
        assert_eq!(steps.last() == Some(&GiveUp), none, "{trial} in {world:?}: {steps:?}");
        for program in ALL_STEPS {
            let tried = steps.iter().filter(|step| **step == Start(program)).count();
            assert!(tried <= 1 && (!none || tried == 1), "{trial} in {world:?}: {steps:?}");
        }
    }
}

#[test]
fn in_every_case_the_new_agent_starts_on_trial_only_counted_or_as_the_last_resort() {
    for (trial, world) in all().filter(|(trial, _)| matches!(trial, Trial::On(_))) {
        let steps = follow(trial.clone(), world);
        let Some(start) = steps.iter().position(|step| *step == Start(Installed)) else { continue };
        let counted = world.writable > 0 && matches!(steps[start - 1], Remember(Trial::On(_)));
        let last_resort = steps[..start].contains(&Start(Previous)) && world.previous.is_some();
        assert!(counted || last_resort, "{trial} in {world:?}: {steps:?}");
    }
}
