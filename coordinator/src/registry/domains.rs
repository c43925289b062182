//! Graph, DRM and schedule of a domain, as the operator gave them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_common::api::{DrmSpec, GraphSpec, ScheduleSpec};
use takt_common::audit::{What, Who};
use takt_common::{Name, Sha256Digest, UnixTime};
use takt_planner::{
    DomainGraph, DomainSchedule, GraphError, ObservedEdge, RedundancyError, RedundancyMatrix, ScheduleError,
};
use takt_store::{Batch, StoreJson as _};

use super::{CommitTogether, Happened, Registry, RegistryError, keys};

/// What holds in a domain, ready for decisions.
#[derive(Debug, Clone)]
pub struct DomainRules {
    /// Who depends on whom, as declared and as seen.
    pub graph: DomainGraph,
    /// Who stands in for whom.
    pub drm: RedundancyMatrix,
    /// When devices may be upgraded; without one, whenever they can.
    pub schedule: Option<DomainSchedule>,
    /// Of these three, as the operator gave them.
    pub digest: Sha256Digest,
}

/// What rules were made from: which names there were, and how many documents had been set.
type Ground = (u64, u64);

/// The rules that were made last, by domain.
#[derive(Debug, Default)]
pub(super) struct KnownRules {
    made: Mutex<HashMap<Name, (Ground, Arc<DomainRules>)>>,
    /// Grows with each document that is set, of whatever domain.
    documents: AtomicU64,
}

impl KnownRules {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, (Ground, Arc<DomainRules>)>> {
        // Every change is one insertion of a whole value, so a panic elsewhere leaves nothing half done.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A graph, DRM or schedule is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The graph is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The DRM is wrong.
    #[error(transparent)]
    Drm(#[from] RedundancyError),
    /// The schedule is wrong.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registry {
    /// The graph of a domain; empty when none was set.
    pub fn graph(&self, domain: &Name) -> Result<GraphSpec, RegistryError> {
        self.document(&keys::graph(domain))
    }

    /// The DRM of a domain; empty when none was set.
    pub fn drm(&self, domain: &Name) -> Result<DrmSpec, RegistryError> {
        self.document(&keys::drm(domain))
    }

    /// The schedule of a domain, if it has one.
    pub fn schedule(&self, domain: &Name) -> Result<Option<ScheduleSpec>, RegistryError> {
        self.document(&keys::schedule(domain))
    }

    /// Checks and replaces the schedule of a domain; `None` takes it away.
    pub fn set_schedule(
        &self,
        domain: &Name,
        schedule: Option<&ScheduleSpec>,
        by: Who,
        now: UnixTime,
    ) -> Result<(), DomainError> {
        if let Some(schedule) = schedule {
            DomainSchedule::new(schedule, &self.devices().names(domain))?;
        }
        let told = |sha256| {
            let domain = domain.clone();
            let what = match schedule {
                Some(_) => What::ScheduleSet { domain, sha256 },
                None => What::ScheduleCleared { domain },
            };
            Happened::new(now, by, what)
        };
        Ok(self.set_document(keys::schedule(domain), &schedule, told)?)
    }

    /// Checks and replaces the graph of a domain.
    pub fn set_graph(
        &self,
        domain: &Name,
        graph: &GraphSpec,
        by: Who,
        now: UnixTime,
    ) -> Result<(), DomainError> {
        DomainGraph::new(graph, &self.devices().names(domain))?;
        let told = |sha256| Happened::new(now, by, What::GraphSet { domain: domain.clone(), sha256 });
        Ok(self.set_document(keys::graph(domain), graph, told)?)
    }

    /// Checks and replaces the DRM of a domain.
    pub fn set_drm(&self, domain: &Name, drm: &DrmSpec, by: Who, now: UnixTime) -> Result<(), DomainError> {
        RedundancyMatrix::new(drm, &self.devices().names(domain))?;
        let told = |sha256| Happened::new(now, by, What::DrmSet { domain: domain.clone(), sha256 });
        Ok(self.set_document(keys::drm(domain), drm, told)?)
    }

    /// What holds in a domain, where this was `observed` between its devices.
    pub fn rules(&self, domain: &Name, observed: &[ObservedEdge]) -> Result<DomainRules, DomainError> {
        let names = self.devices().names(domain);
        let (graph, drm, schedule) = (self.graph(domain)?, self.drm(domain)?, self.schedule(domain)?);
        let all = serde_json::to_vec(&(&graph, &drm, &schedule)).expect("they have only text keys");
        let schedule = schedule.map(|schedule| DomainSchedule::new(&schedule, &names)).transpose()?;
        let drm = RedundancyMatrix::new(&drm, &names)?;
        Ok(DomainRules {
            graph: DomainGraph::with_observed(&graph, &names, observed)?,
            drm: match &schedule {
                Some(schedule) => drm.with_limits(schedule),
                None => drm,
            },
            schedule,
            digest: Sha256Digest::of(&all),
        })
    }

    /// What holds in a domain, as declared. It is made anew only when something of it has changed.
    pub fn rules_declared(&self, domain: &Name) -> Result<Arc<DomainRules>, DomainError> {
        // Before anything is read: what changes meanwhile is looked at the next time.
        let ground = (self.devices().names_revision(), self.rules.documents.load(Ordering::Acquire));
        if let Some((known, rules)) = self.rules.lock().get(domain)
            && *known == ground
        {
            return Ok(rules.clone());
        }
        let rules = Arc::new(self.rules(domain, &[])?);
        self.rules.lock().insert(domain.clone(), (ground, rules.clone()));
        Ok(rules)
    }

    fn document<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, RegistryError> {
        Ok(self.store().get_json(key.as_bytes())?.unwrap_or_default())
    }

    /// Sets a document; `told` makes the entry that tells of it out of its digest.
    fn set_document<T: Serialize>(
        &self,
        key: String,
        document: &T,
        told: impl FnOnce(Sha256Digest) -> Happened,
    ) -> Result<(), RegistryError> {
        let bytes = serde_json::to_vec(document).expect("documents have only text keys");
        let told = told(Sha256Digest::of(&bytes));
        self.commit(CommitTogether::new(Batch::new().put(key, bytes)).with_entry(told))?;
        self.rules.documents.fetch_add(1, Ordering::Release);
        Ok(())
    }
}
