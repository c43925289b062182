//! The fleet as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use takt_agent::fetch::Client;
use takt_common::Name;
use takt_common::release::ReleaseId;
use tokio::task::JoinSet;

use crate::device::Device;
use crate::enrolment::{self, Enrolled};
use crate::error::FleetError;
use crate::site::Site;
use crate::spec::FleetSpec;
use crate::tally::{Acceptance, Counts};

/// Virtual agents. They end when this is dropped.
pub struct VirtualFleet {
    site: Arc<Site>,
    waiting: Vec<Enrolled>,
    connect_per_sec: u32,
    running: JoinSet<()>,
}

impl VirtualFleet {
    /// Enrols all devices of `spec`. None of them connects yet.
    pub async fn enrol(spec: &FleetSpec) -> Result<Self, FleetError> {
        takt_trust::provider::install();
        let hardware: Name = spec.hardware.parse().map_err(|_| FleetError::Name(spec.hardware.clone()))?;
        let members = enrolment::enrol(spec, &hardware).await?;
        // Whoever was first fetches for all: the coordinator gives documents to any device.
        let first = members.devices.first().ok_or(FleetError::Empty)?;
        let client = Client::new(&spec.url, Arc::clone(&first.tls))?;
        let site = Site::new(client, members.roots, hardware, spec.health_interval, spec.fetch.clone());
        site.tally.devices.store(members.devices.len() as u64, Ordering::Relaxed);
        Ok(Self {
            site: Arc::new(site),
            waiting: members.devices,
            connect_per_sec: spec.connect_per_sec.max(1),
            running: JoinSet::new(),
        })
    }

    /// Starts all agents that have not been started, so many in a second as the fleet was made for. It must be called
    /// within a runtime.
    pub fn connect(&mut self) {
        let apart = Duration::from_secs(1) / self.connect_per_sec;
        let mut delay = Duration::ZERO;
        for enrolled in self.waiting.drain(..) {
            let site = Arc::clone(&self.site);
            self.running.spawn(async move { Device::begin(site, enrolled, delay).await.run().await });
            delay += apart;
        }
    }

    /// How the fleet stands.
    pub fn counts(&self) -> Counts {
        self.site.tally.counts()
    }

    /// Every order that was accepted, in the order of acceptance.
    pub fn accepted_times(&self) -> Vec<Acceptance> {
        self.site.tally.acceptances()
    }

    /// On how many devices each release is in force.
    pub fn in_force(&self) -> BTreeMap<ReleaseId, u64> {
        self.site.tally.in_force()
    }

    /// Lets every device report so often although it has nothing to tell, from its next health sample on; or not any more.
    pub fn let_beat(&self, every: Option<Duration>) {
        self.site.let_beat(every);
    }

    /// How long it took from a report to its signed acknowledgement, for those that came since this was last asked, while devices
    /// report without having anything to tell.
    pub fn take_answers(&self) -> Vec<Duration> {
        self.site.tally.take_answers()
    }

    /// Lets this share of devices, from 0 to 1, find every new release ill from now on.
    pub fn let_be_ill(&self, share: f64) {
        self.site.let_be_ill(share);
    }

    /// Ends all agents, and says how many had ended before, which none should.
    pub async fn stop(mut self) -> usize {
        let mut ended = 0;
        while self.running.try_join_next().is_some() {
            ended += 1;
        }
        self.running.shutdown().await;
        ended
    }
}
