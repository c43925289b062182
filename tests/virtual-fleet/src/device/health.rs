//! Health samples of a machine that has little to do.

use std::collections::BTreeMap;
use std::time::Duration;

use takt_agent_core::{Phase, WaitingOn};
use takt_common::envelope::PayloadType;
use takt_common::health::{HEALTH_FORMAT, HealthSample, HostFacts};
use takt_common::{Envelope, Name};

use super::Device;
use crate::tally::more;

/// How long a release takes to answer.
const RESPONSE_MILLIS: std::ops::Range<u64> = 2..20;
const GIB: u64 = 1 << 30;

impl Device {
    /// Sends a sample, and says when the next one is due: devices that came up together drift apart.
    pub(super) fn send_health(&mut self) {
        let interval = self.site.health_interval;
        self.health_at = self.uptime() + interval / 2 + interval.mul_f64(fastrand::f64());
        let waiting = self.waiting.as_ref().filter(|waiting| **waiting != WaitingOn::Orders);
        let pending = self.pending.as_ref().and_then(|pending| pending.why.clone());
        let sample = HealthSample {
            format: HEALTH_FORMAT,
            device: self.id,
            made: self.now(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.record.phase.name(),
            waiting_on: waiting.map(WaitingOn::to_string).or(pending),
            host: self.host_facts(),
            workloads: Vec::new(),
            checkpoint: Err("a virtual device has no container engine".to_owned()),
            peers: None,
            response_millis: self.response_millis(),
            unwell: Vec::new(),
            features: BTreeMap::new(),
        };
        let payload = serde_json::to_vec(&sample).expect("a health sample has only text keys");
        let envelope = Envelope::seal(PayloadType::Health, &payload, &[&self.key]);
        if self.link.send_health(envelope.to_bytes()) {
            more(&self.site.tally.samples);
        }
    }

    /// How long its releases would take to answer while it is at rest.
    fn response_millis(&self) -> BTreeMap<Name, u64> {
        let installed = self.record.installed.keys().filter(|_| matches!(self.record.phase, Phase::Idle));
        installed.map(|component| (component.clone(), fastrand::u64(RESPONSE_MILLIS))).collect()
    }

    fn host_facts(&self) -> HostFacts {
        HostFacts {
            cpu_busy: fastrand::f64() / 10.0,
            cpus: 4,
            load_1m: fastrand::f64() / 4.0,
            memory_total_bytes: GIB,
            memory_available_bytes: GIB / 2,
            storage_total_bytes: 16 * GIB,
            storage_free_bytes: 8 * GIB,
            uptime_secs: Duration::as_secs(&self.uptime()),
            boot_id: self.boot_id.clone(),
            kernel: "virtual".to_owned(),
            battery_percent: None,
            link: None,
        }
    }
}
