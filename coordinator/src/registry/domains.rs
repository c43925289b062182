//! Graph and DRM of a domain, as the operator gave them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_common::Name;
use takt_common::api::{DrmSpec, GraphSpec};
use takt_planner::{DomainGraph, GraphError, RedundancyError, RedundancyMatrix};
use takt_store::{Batch, StoreJson as _};

use super::{Registry, RegistryError, keys};

/// A graph or DRM is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The graph is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The DRM is wrong.
    #[error(transparent)]
    Drm(#[from] RedundancyError),
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

    /// Checks and replaces the graph of a domain.
    pub fn set_graph(&self, domain: &Name, graph: &GraphSpec) -> Result<(), DomainError> {
        DomainGraph::new(graph, &self.devices().names(domain))?;
        Ok(self.set_document(keys::graph(domain), graph)?)
    }

    /// Checks and replaces the DRM of a domain.
    pub fn set_drm(&self, domain: &Name, drm: &DrmSpec) -> Result<(), DomainError> {
        RedundancyMatrix::new(drm, &self.devices().names(domain))?;
        Ok(self.set_document(keys::drm(domain), drm)?)
    }

    /// Graph and DRM of a domain, ready for decisions.
    pub fn planning(&self, domain: &Name) -> Result<(DomainGraph, RedundancyMatrix), DomainError> {
        let names = self.devices().names(domain);
        let graph = DomainGraph::new(&self.graph(domain)?, &names)?;
        let drm = RedundancyMatrix::new(&self.drm(domain)?, &names)?;
        Ok((graph, drm))
    }

    fn document<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, RegistryError> {
        Ok(self.store().get_json(key.as_bytes())?.unwrap_or_default())
    }

    fn set_document<T: Serialize>(&self, key: String, document: &T) -> Result<(), RegistryError> {
        Ok(self.commit_batch(Batch::new().put_json(key, document)?)?)
    }
}
