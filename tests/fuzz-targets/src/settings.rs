//! The settings files of agent and coordinator.

use std::path::Path;

use takt_agent::settings::Settings as Agent;
use takt_coordinator::Settings as Coordinator;

use crate::memory::bounded;

/// Errors name it.
const FILE: &str = "/etc/takt/x.toml";

/// A sentence of an error is for one line of a log: it may quote some of the file, and not all of it.
const SENTENCE_MAX: usize = 4_096;

/// Reads the input as each of them.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(input, 1_024, || {
        match Agent::from_toml(text, Path::new(FILE)) {
            Ok(settings) => agent(&settings),
            Err(error) => refused(&error.to_string()),
        }
        match Coordinator::parse(text, Path::new(FILE)) {
            Ok(settings) => coordinator(&settings),
            Err(error) => refused(&error.to_string()),
        }
    });
}

fn refused(sentence: &str) {
    assert!(sentence.contains(FILE), "the file is not named: {sentence}");
    let length = sentence.len();
    assert!(length <= SENTENCE_MAX && !sentence.contains('\n'), "no sentence ({length} bytes): {sentence}");
}

/// What the agent relies on.
fn agent(settings: &Agent) {
    assert!(settings.coordinator.starts_with("https://"));
    assert!((1..=86_400).contains(&settings.health_interval.as_secs()));
    assert!(settings.policy.load_per_cpu_max.is_finite() && settings.policy.battery_percent_min <= 100);
    assert!(!settings.link.period.is_zero());
    assert!(settings.reboot.first().is_some_and(|program| !program.is_empty()));
}

/// What the coordinator relies on.
fn coordinator(settings: &Coordinator) {
    assert!(settings.data_dir.starts_with("/"), "{}", settings.data_dir.display());
    assert!(settings.api.connections_max > 0 && settings.gate.connections_max > 0);
    assert!(!settings.handshake_max().is_zero() && settings.orders.resend_secs > 0);
    assert!(86_400_u64.is_multiple_of(settings.load.step_secs()));
}
