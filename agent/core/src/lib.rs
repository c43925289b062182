//! The decisions of Takt's agent.
//!
//! The agent looks at the world ([`Facts`]), asks [`decide()`], and then either remembers a new [`Phase`] in its journal
//! or takes one [`Action`], never both. So an action is only ever taken from a phase that is on disk, and a restart
//! needs no code of its own: look again, decide again.
//!
//! Nothing here does I/O, reads a clock or makes random numbers.

pub mod action;
pub mod decide;
pub mod facts;
pub mod failure;
pub mod helpless;
pub mod phase;
pub mod policy;
pub mod record;
pub mod rules;
pub mod step;
pub mod waiting;
pub mod watch;

pub use action::{Action, ActionFailure, Attempt, ContainerName, Nature, WorkloadName};
pub use decide::{Decision, decide};
pub use facts::{BootTime, ContainerFacts, ContainerState, Facts, Presence, Vitals, Wellness};
pub use helpless::Helpless;
pub use phase::{Accepted, Job, Phase, Role, StandIn, Swap, Tries, Way, Workload};
pub use policy::Policy;
pub use record::Record;
pub use step::{StepKey, StepState};
pub use waiting::{Blocker, WaitingOn};
pub use watch::{OnWatch, Watching};
