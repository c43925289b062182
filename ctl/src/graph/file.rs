//! Graphs in files: `edges.csv` as the planner reads it, and the API's documents as JSON or TOML.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use takt_common::Name;
use takt_common::api::EdgeSpec;
use takt_planner::{Call, Metrics, Network, read_edges};

use super::GraphError;
use crate::document;
use crate::file::{TEXT_LENGTH_MAX, read_bytes};

/// An edge in a document: as in the API, or with what was measured on it instead of a weight.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEdge {
    source: Name,
    target: Name,
    #[serde(default)]
    requests: Option<f64>,
    #[serde(default)]
    bytes: Option<f64>,
    #[serde(default)]
    requires: bool,
    #[serde(default)]
    weight: Option<f64>,
    #[serde(default)]
    skew_max: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGraph {
    edges: Vec<FileEdge>,
}

/// The edges in a file, in the form that its name tells.
pub(super) fn read(path: &Path) -> Result<Vec<EdgeSpec>, GraphError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => from_csv(path),
        Some("json" | "toml") => {
            let FileGraph { edges } = document::read("graph", path)?;
            weighed(edges)
        }
        _ => Err(GraphError::Form { path: path.to_owned() }),
    }
}

fn from_csv(path: &Path) -> Result<Vec<EdgeSpec>, GraphError> {
    let file = path.display().to_string();
    let network = read_edges(&file, &read_bytes(path, TEXT_LENGTH_MAX)?)?;
    let name = |device: u32| {
        let name = network.devices()[device as usize].parse::<Name>();
        name.map_err(|source| GraphError::Device { path: PathBuf::from(&file), source })
    };
    let spec = |edge: &takt_planner::Edge| {
        Ok(EdgeSpec {
            source: name(edge.source)?,
            target: name(edge.target)?,
            requires: edge.requires,
            weight: edge.is_known.then_some(edge.weight),
            skew_max: None,
        })
    };
    network.edges().iter().map(spec).collect()
}

/// Gives edges without a weight one from what was measured on them, as in `edges.csv`; those on which nothing was measured stay without.
fn weighed(edges: Vec<FileEdge>) -> Result<Vec<EdgeSpec>, GraphError> {
    let mut network = Network::builder();
    for edge in &edges {
        for (metric, value) in [("requests", edge.requests), ("bytes", edge.bytes)] {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                let (edge_source, target) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::Metric { edge_source, target, metric, value });
            }
        }
        let (source, target) = (network.device(edge.source.as_str()), network.device(edge.target.as_str()));
        let metrics =
            Metrics { requests: edge.requests.unwrap_or_default(), bytes: edge.bytes.unwrap_or_default() };
        network.call(Call { source, target, requires: edge.requires, weight: edge.weight, metrics });
    }
    let network = network.build();
    let spec = |(edge, weighed): (FileEdge, &takt_planner::Edge)| EdgeSpec {
        source: edge.source,
        target: edge.target,
        requires: edge.requires,
        weight: weighed.is_known.then_some(weighed.weight),
        skew_max: edge.skew_max,
    };
    Ok(edges.into_iter().zip(network.edges()).map(spec).collect())
}
