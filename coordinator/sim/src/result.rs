//! What came of a scenario.

use serde::{Deserialize, Serialize};
use takt_common::regulation::{Speed, Stage};

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimState {
    /// All devices got the release, as far as this strategy looks.
    Finished,
    /// It was stopped.
    Aborted,
}

/// An element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElementRow {
    /// Its number, from 0.
    pub index: u32,
    /// The stage; nothing for strategies that have none.
    pub stage: Option<Stage>,
    /// Its devices.
    pub size: u32,
    /// Failures that were known when it was decided upon.
    pub errors: u32,
    /// Warnings.
    pub warnings: u32,
    /// The coordinator's response time beside the usual one.
    pub response: f64,
    /// What was decided for the next one.
    pub decision: Speed,
    /// Why.
    pub reason: String,
    /// The share of the fleet that had ended.
    pub progress: f64,
}

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimResult {
    /// How it ended.
    pub state: SimState,
    /// Why.
    pub reason: String,
    /// Its elements.
    pub elements: Vec<ElementRow>,
    /// Devices on which the bad release failed, also after the end.
    pub harmed: u32,
    /// Devices that were brought back from the release to what they ran before, by order.
    pub rolled_back: u32,
    /// Seconds from the start to the end.
    pub elapsed_s: u64,
    /// Devices that run the release when all is over and have not failed.
    pub devices_done: u32,
}
