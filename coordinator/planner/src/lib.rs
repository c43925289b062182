//! What the coordinator knows about a domain beside its devices, and the order that follows from it (paper 1).
//!
//! Pure and synchronous: the same input gives the same plan on every run.

mod advice;
mod chain;
mod domain_schedule;
mod files;
mod forecast;
mod graph;
mod live_scores;
mod network;
mod observed;
mod order;
mod redundancy;
mod schedule;
mod simrank;
mod standby;

pub use advice::{Doubt, LikelyEdge, LikelyStandby};
pub use chain::{
    Chain, DECAY, DEVICES_PAIRED_MAX, DEVICES_SCORED_MAX, Likeness, Pairs, Score, Scores, TOLERANCE_OF_PAIRS,
};
pub use domain_schedule::{DomainGateway, DomainSchedule, ScheduleError};
pub use files::{InputError, LoadWeights, SchedulePolicy, read_drm, read_edges, read_policy, read_workload};
pub use forecast::{
    Backtest, LeastSquares, ModelName, Outlook, Sample, Series, SlotLoad, common_step, outlook,
};
pub use graph::{DomainGraph, GraphError};
pub use live_scores::LiveScores;
pub use network::{Call, Edge, Metrics, Network, NetworkBuilder};
pub use observed::{Observed, ObservedEdge, Owners, Span};
pub use petgraph::Direction;
pub use redundancy::{DeviceSet, RedundancyError, RedundancyMatrix};
pub use schedule::{
    Assignment, Conflict, Forecasts, Gateway, Kept, Method, Mode, Plan, Problem, Slots, TimeZoneError,
    Window, WindowError, Windows, check_plan, make_plan, time_zone,
};
pub use simrank::Measure;
pub use standby::{Drm, ServeSet, Standby, Takeover};
