//! A plan, as it is written down.

use serde::{Deserialize, Serialize};

/// How a plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As paper 1 has it.
    Paper,
    /// Least predicted disruption, then soonest done.
    Optimal,
}

/// How a device is upgraded (paper 1, algorithm, step 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A standby serves meanwhile.
    Rolling,
    /// Nobody does.
    InPlace,
}

/// Which device is upgraded when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How it was made.
    pub method: Method,
    /// The predicted loads of all devices in their slots together, in percent points.
    pub objective: f64,
    /// No plan has less.
    pub lower_bound: f64,
    /// How much better a plan could be at the most, as a part of `objective`.
    pub gap: f64,
    /// How many slots pass until all is done.
    pub makespan_slots: usize,
    /// In the order of their sequence.
    pub assignments: Vec<Assignment>,
}

/// A device with its slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Its name.
    pub device: String,
    /// From 0.
    pub slot: usize,
    /// When that begins (RFC 3339).
    pub slot_start: String,
    /// Its place among all, from 1: what it requires comes first, and of those that are free the least dependent.
    pub sequence: usize,
    /// Whether somebody serves meanwhile,
    pub mode: Mode,
    /// and who.
    pub standby: Option<String>,
    /// How busy it will be, in percent.
    pub predicted_load: f64,
    /// Why this slot, in words.
    pub reason: String,
}
