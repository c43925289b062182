//! What comes up from devices once its envelope is open: reports and health samples.

use takt_common::envelope::ENVELOPE_LENGTH_MAX;
use takt_common::health::HealthSample;
use takt_common::report::Report;
use takt_coordinator_core::Facts;

use crate::json;
use crate::memory::bounded;

/// Reads the input as each of them.
pub fn run(input: &[u8]) {
    bounded(input, 256, || {
        if let Some(report) = json::read::<Report>(input, ENVELOPE_LENGTH_MAX)
            && report.impossible().is_none()
        {
            assert!(report.outcome.is_none() || report.order.is_some(), "an end of no order: {report:?}");
        }
        if let Some(sample) = json::read::<HealthSample>(input, ENVELOPE_LENGTH_MAX) {
            let facts = Facts::of(&sample);
            assert_eq!(facts.battery_percent, sample.host.battery_percent);
            for peer in sample.peers.iter().flat_map(|seen| &seen.peers) {
                assert!(peer.amount().is_finite() && peer.amount() >= 0.0, "{peer:?}");
            }
        }
    });
}
