//! What the coordinator knows about a domain beside its devices, and the order that follows from it (paper 1).
//!
//! Pure and synchronous: the same input gives the same plan on every run.

mod chain;
mod files;
mod forecast;
mod graph;
mod network;
mod order;
mod redundancy;
mod schedule;
mod simrank;
mod standby;

pub use chain::{
    Chain, DECAY, DEVICES_PAIRED_MAX, DEVICES_SCORED_MAX, Likeness, Pairs, Score, Scores, TOLERANCE_OF_PAIRS,
};
pub use files::{InputError, LoadWeights, SchedulePolicy, read_drm, read_edges, read_policy, read_workload};
pub use forecast::{
    Backtest, LeastSquares, ModelName, Outlook, Sample, Series, SlotLoad, common_step, outlook,
};
pub use graph::{DomainGraph, GraphError};
pub use network::{Call, Edge, Metrics, Network, NetworkBuilder};
pub use petgraph::Direction;
pub use redundancy::{RedundancyError, RedundancyMatrix};
pub use schedule::{
    Assignment, Conflict, Forecasts, Gateway, Method, Mode, Plan, Problem, Slots, check_plan, make_plan,
};
pub use simrank::Measure;
pub use standby::{Drm, ServeSet, Standby, Takeover};
