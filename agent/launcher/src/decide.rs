//! Which agent to start: a pure function. What the launcher remembers, it remembers before it acts on it.
//!
//! | trial | first | and if that cannot be run |
//! |---|---|---|
//! | none, or damaged | the installed agent | the previous one, if a copy is there |
//! | on trial, starts left | count the start, then the installed agent | fall back, the previous one |
//! | on trial, no starts left | fall back, the previous one | the installed agent |
//! | on trial, and it cannot be counted | the previous one | the installed agent |
//! | fell back | the previous one | the installed agent |

use crate::STARTS_MAX;
use crate::trial::{FellBack, OnTrial, Trial, Why};

/// One of the two agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one that the package brought.
    Installed,
    /// The copy that was kept when the trial began.
    Previous,
}

/// All that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the folder says.
    pub trial: Trial,
    /// This start is counted, durably.
    pub counted: bool,
    /// The folder takes no changes.
    pub unwritable: bool,
    /// The kernel refused to run the installed agent, with this error.
    pub installed_refused: Option<i32>,
    /// The kernel refused to run the previous one, with this error.
    pub previous_refused: Option<i32>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make this the trial, durably, before anything else.
    Remember(Trial),
    /// Become this agent.
    Start(Program),
    /// Neither agent can be run.
    GiveUp,
}

impl Facts {
    /// At the beginning only the trial is known.
    pub fn of(trial: Trial) -> Self {
        Self { trial, counted: false, unwritable: false, installed_refused: None, previous_refused: None }
    }

    /// `trial` was remembered.
    pub fn remembered(&mut self, trial: Trial) {
        self.counted = matches!(trial, Trial::On(_));
        self.trial = trial;
    }

    /// The kernel refused to run `program`.
    pub fn refused(&mut self, program: Program, errno: i32) {
        match program {
            Program::Installed => self.installed_refused = Some(errno),
            Program::Previous => self.previous_refused = Some(errno),
        }
    }
}

/// What to do, as far as `facts` are known. Done over and over, with what came of it, it ends with a running agent or
/// with [`Step::GiveUp`] after both were tried.
pub fn decide(facts: &Facts) -> Step {
    match &facts.trial {
        Trial::On(on) if !facts.unwritable => on_trial(on, facts),
        // A start that cannot be counted would have no way back. The previous agent is known to run.
        Trial::On(_) | Trial::FellBack(_) => first_of([Program::Previous, Program::Installed], facts),
        Trial::None | Trial::Damaged { .. } => first_of([Program::Installed, Program::Previous], facts),
    }
}

fn on_trial(on: &OnTrial, facts: &Facts) -> Step {
    let fell_back = |why| Step::Remember(Trial::FellBack(FellBack { versions: on.versions.clone(), why }));
    match facts.installed_refused {
        Some(errno) => fell_back(Why::CannotRun { errno }),
        None if facts.counted => Step::Start(Program::Installed),
        None if on.starts >= STARTS_MAX => fell_back(Why::Starts),
        None => Step::Remember(Trial::On(OnTrial { starts: on.starts + 1, ..on.clone() })),
    }
}

fn first_of(order: [Program; 2], facts: &Facts) -> Step {
    let refused = |program: &Program| match program {
        Program::Installed => facts.installed_refused.is_some(),
        Program::Previous => facts.previous_refused.is_some(),
    };
    order.into_iter().find(|program| !refused(program)).map_or(Step::GiveUp, Step::Start)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
