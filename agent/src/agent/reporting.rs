//! What the agent says of itself: reports and health samples.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use takt_agent_core::{ContainerName, Phase, Record, WaitingOn, Workload};
use takt_common::Envelope;
use takt_common::envelope::PayloadType;
use takt_common::health::{HEALTH_FORMAT, HealthSample};
use takt_common::report::{Outcome, Report};

use super::{Agent, AgentError};
use crate::peers::{OnBridge, Peers};
use crate::perform::Performer;

/// A changed reason to wait is reported at most so often; health samples carry it too.
const WAITING_EVERY: Duration = Duration::from_secs(10);

/// Which reason to wait was reported last, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    kind: Option<std::mem::Discriminant<WaitingOn>>,
    reason: String,
    at: Duration,
}

impl Agent {
    /// A report of `record` as it will be once committed.
    pub(super) fn report_of(&self, record: &Record, outcome: Option<Outcome>) -> Report {
        let (device, boot_id) = (self.membership.device, self.boot_time().boot_id);
        let mut report = record.report(device, boot_id, self.now(), outcome);
        self.boot.told_in(&mut report);
        report
    }

    /// A report of where the agent is, when nothing has changed.
    pub(super) async fn say_where_we_are(&mut self) -> Result<(), AgentError> {
        let record = self.journal.record().clone();
        let report = self.report_of(&record, None);
        self.commit(record, vec![report]).await
    }

    /// Reports a reason to wait when it is a new one.
    pub(super) async fn tell_waiting(&mut self, waiting: &WaitingOn) -> Result<(), AgentError> {
        let kind = Some(std::mem::discriminant(waiting));
        let worth = !matches!(
            waiting,
            WaitingOn::Orders
                | WaitingOn::FirstGoodRound { .. }
                | WaitingOn::Probation { .. }
                | WaitingOn::Baseline { .. }
                | WaitingOn::Draining { .. }
        );
        let text = waiting.to_string();
        // At rest something may fail for months: the reason is reported, health samples say when it is tried again.
        let reason = match waiting {
            WaitingOn::Retry { why, .. } if matches!(self.journal.record().phase, Phase::Idle) => why.clone(),
            _ => text.clone(),
        };
        let uptime = self.uptime();
        let due = uptime.saturating_sub(self.told_waiting.at) >= WAITING_EVERY;
        let new = self.told_waiting.kind != kind || (due && self.told_waiting.reason != reason);
        if !new {
            return Ok(());
        }
        self.told_waiting = Told { kind, reason, at: uptime };
        if !worth {
            return Ok(());
        }
        tracing::info!(waiting_on = %text, "agent waits");
        let record = self.journal.record().clone();
        let mut report = self.report_of(&record, None);
        report.waiting_on = Some(text);
        self.commit(record, vec![report]).await
    }

    /// Begins a health sample when none is being taken. The engine may think about what a workload uses for a second or
    /// more, and a switch in hand must not wait for that, so it is asked beside the loop.
    pub(super) fn begin_health(&mut self) {
        if self.sampling.is_some() || !self.flow.is_up() {
            return;
        }
        let performer = Arc::clone(&self.performer);
        let installed = self.journal.record().installed.clone();
        self.sampling = Some(tokio::spawn(async move {
            let mut workloads = Vec::with_capacity(installed.len());
            for (component, workload) in &installed {
                for (name, _) in workload.containers() {
                    workloads.push(performer.engine.workload_facts(component, &name).await);
                }
            }
            workloads
        }));
    }

    /// Begins to count with whom the device talks, when that is due. It is done beside the loop too.
    pub(super) fn look_at_peers(&mut self) {
        let uptime = self.uptime();
        let is_looking = self.peer_look.as_ref().is_some_and(|look| !look.is_finished());
        if is_looking || !lock(&self.peers).is_due(uptime) {
            return;
        }
        let (peers, performer) = (Arc::clone(&self.peers), Arc::clone(&self.performer));
        let record = self.journal.record();
        let standing_in = record.stand_in.iter().map(|stand_in| &stand_in.workload);
        let workloads = record.installed.values().chain(standing_in);
        let containers = workloads.flat_map(Workload::containers).map(|(name, _)| name).collect();
        self.peer_look = Some(tokio::spawn(look_at_peers(peers, performer, containers, uptime)));
    }

    /// Sends the health sample that has been begun, once the engine has answered; a sample that cannot be sent is not
    /// worth keeping.
    pub(super) async fn end_health(&mut self) {
        let Some(sampling) = self.sampling.take_if(|sampling| sampling.is_finished()) else { return };
        // It has ended, so this does not wait; one that panicked has no sample.
        let Ok(workloads) = sampling.await else { return };
        if !self.flow.is_up() {
            return;
        }
        let host = match self.host.facts() {
            Ok(host) => host,
            Err(error) => {
                tracing::warn!(error = %crate::sentence(&error), "health sample left out");
                return;
            }
        };
        let pending = self.pending.as_ref().and_then(|pending| pending.why.as_ref());
        let waiting = self.waiting.as_ref().filter(|waiting| **waiting != WaitingOn::Orders);
        let waiting_on = match (waiting, pending) {
            (Some(waiting), _) => Some(waiting.to_string()),
            (None, why) => why.cloned(),
        };
        let sample = HealthSample {
            format: HEALTH_FORMAT,
            device: self.membership.device,
            made: self.now(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.journal.record().phase.name(),
            waiting_on,
            host,
            workloads,
            checkpoint: self.looking.checkpoint_ability(),
            peers: lock(&self.peers).account(self.uptime()),
            response_millis: self.responses.millis().clone(),
            unwell: self.responses.unwell(),
            features: self.settings.kinds.os_image.identity.features.clone(),
        };
        let payload = serde_json::to_vec(&sample).expect("a health sample has only text keys");
        let envelope = Envelope::seal(PayloadType::Health, &payload, &[&self.key]);
        if !self.link.send_health(envelope.to_bytes())
            && let Some(seen) = sample.peers
        {
            lock(&self.peers).not_told(seen);
        }
    }
}

fn lock(peers: &Mutex<Peers>) -> MutexGuard<'_, Peers> {
    // Counts that were half added are still counts, so a panic elsewhere does no harm.
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what this device and these containers have to do with others.
async fn look_at_peers(
    peers: Arc<Mutex<Peers>>,
    performer: Arc<Performer>,
    containers: Vec<ContainerName>,
    uptime: Duration,
) {
    let mut on_bridges = Vec::new();
    for name in containers {
        // One without an address of its own uses the device's sockets.
        if let Ok(Some(facts)) = performer.engine.port_facts(&name).await
            && let (Some(pid), Some(address)) = (facts.pid, facts.address)
        {
            on_bridges.push(OnBridge { pid, address: address.into() });
        }
    }
    let looked = tokio::task::spawn_blocking(move || lock(&peers).look(&on_bridges, uptime)).await;
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %crate::sentence(&error), "peers counted in part"),
        Err(error) => tracing::warn!(%error, "peers not counted"),
    }
}
