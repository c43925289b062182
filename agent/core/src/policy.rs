//! The device's own settings that decisions depend on.

use std::time::Duration;

use takt_common::release::AGENT_HEAR;

/// Limits of the device. No order can loosen them.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Storage that stays free for the way back and the workload itself, in bytes.
    pub reserve_disk_bytes: u64,
    /// Memory that stays free, in bytes.
    pub reserve_memory_bytes: u64,
    /// The highest load average per processor at which the agent switches.
    pub load_per_cpu_max: f64,
    /// The lowest charge of a battery, in percent, at which the agent switches.
    pub battery_percent_min: u8,
    /// How long a new agent may take to hear from the coordinator before the old one is brought back.
    pub hear_max: Duration,
    /// How often a fetch over a failing link is tried before the order fails (its deadline may come first).
    pub fetch_tries_max: u32,
    /// How often an artifact that came corrupt is fetched anew.
    pub corrupt_tries_max: u32,
    /// How often an engine call is tried.
    pub engine_tries_max: u32,
    /// How often the previous release is started before the device counts as stranded.
    pub rollback_tries_max: u32,
    /// The first pause between tries; it doubles.
    pub pause_first: Duration,
    /// The longest pause between tries.
    pub pause_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            reserve_disk_bytes: 256 << 20,
            reserve_memory_bytes: 32 << 20,
            load_per_cpu_max: 8.0,
            battery_percent_min: 30,
            hear_max: AGENT_HEAR,
            fetch_tries_max: 100,
            corrupt_tries_max: 3,
            engine_tries_max: 3,
            rollback_tries_max: 6,
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_mins(1),
        }
    }
}

impl Policy {
    /// The pause after `count` failed tries: doubling from the first, up to the longest.
    pub fn pause(&self, count: u32) -> Duration {
        let doublings = count.saturating_sub(1).min(20);
        self.pause_first.saturating_mul(1 << doublings).min(self.pause_max)
    }
}
