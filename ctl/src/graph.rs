//! `takt graph`: who depends on whom, from a file or from arguments.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Deserialize;
use takt_common::Name;
use takt_common::api::{EdgeSpec, GraphSpec};
use takt_common::id::IdError;

use crate::cli::{DomainArgs, Online};
use crate::failure::Failure;
use crate::file::{self, FileError, SyntaxError};
use crate::output::Output;
use crate::table::{Table, cell};

const SET_EXAMPLE: &str = "Example:\n  takt graph set --domain line-7 --edge camera-1:gateway:requires \
--edge camera-2:gateway:0.4\n  takt graph set --domain line-7 --file graph.csv";

/// `takt graph …`
#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Replaces the dependency graph of a domain
    #[command(after_help = SET_EXAMPLE)]
    Set(SetArgs),
    /// Shows the dependency graph of a domain
    #[command(after_help = "Example:\n  takt graph show --domain line-7")]
    Show(DomainArgs),
}

/// `takt graph set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Whose graph
    #[arg(long)]
    domain: Name,
    /// Edges as .json, .toml or .csv; CSV columns: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// SOURCE:TARGET[:requires][:WEIGHT][:skew=N]: SOURCE calls TARGET; with `requires`, TARGET is upgraded first; with `skew`, their
    /// releases of one component are never more than N release counters apart
    #[arg(long = "edge", value_name = "EDGE", required_unless_present = "file")]
    edges: Vec<EdgeArg>,
}

/// An edge from the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeArg(EdgeSpec);

/// An edge is not understood.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Not two names and options.
    #[error("SOURCE:TARGET[:requires][:WEIGHT][:skew=N] is expected, such as camera-1:gateway:requires")]
    Form,
    /// A device's name is none.
    #[error(transparent)]
    Device(#[from] IdError),
}

impl FromStr for EdgeArg {
    type Err = EdgeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else { return Err(EdgeError::Form) };
        let mut edge = EdgeSpec {
            source: source.parse()?,
            target: target.parse()?,
            requires: false,
            weight: None,
            skew_max: None,
        };
        for part in parts {
            match part {
                "requires" if !edge.requires => edge.requires = true,
                skew if skew.starts_with("skew=") && edge.skew_max.is_none() => {
                    let most = skew.trim_start_matches("skew=").parse();
                    edge.skew_max = Some(most.map_err(|_| EdgeError::Form)?);
                }
                number if edge.weight.is_none() => {
                    edge.weight = Some(number.parse().map_err(|_| EdgeError::Form)?);
                }
                _ => return Err(EdgeError::Form),
            }
        }
        Ok(Self(edge))
    }
}

/// A graph file or the edges in it are not usable.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Out of reach.
    #[error("read the graph")]
    File(#[from] FileError),
    /// Its name does not end with a form that is known.
    #[error("the graph {}: a name ending in .json, .toml or .csv is expected", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON as expected.
    #[error("read the graph {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Not TOML or CSV as expected.
    #[error("read the graph {}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
    /// A device that depends on itself.
    #[error("edge {device}:{device}: a device cannot depend on itself")]
    Loop {
        /// The device.
        device: Name,
    },
    /// The same two devices twice.
    #[error("edge {edge_source}:{target} is there twice")]
    Twice {
        /// The device that depends.
        edge_source: Name,
        /// The device it depends on.
        target: Name,
    },
    /// No share.
    #[error("edge {edge_source}:{target}: the weight {weight} is not between 0 and 1")]
    Weight {
        /// The device that depends.
        edge_source: Name,
        /// The device it depends on.
        target: Name,
        /// The weight.
        weight: f64,
    },
    /// No count.
    #[error("edge {edge_source}:{target}: {metric} is {value}; a number of at least 0 is expected")]
    Metric {
        /// The device that depends.
        edge_source: Name,
        /// The device it depends on.
        target: Name,
        /// `requests` or `bytes`.
        metric: &'static str,
        /// The value.
        value: f64,
    },
}

/// An edge in a file: as in the API, or with what was measured on it instead of a weight.
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

/// Does what a `takt graph` command asks for.
pub async fn run(command: GraphCommand, online: &Online, output: Output) -> Result<(), Failure> {
    match command {
        GraphCommand::Set(args) => {
            let graph = graph_of(args.file.as_deref(), args.edges)?;
            online.api()?.put(&path(&args.domain), &graph).await?;
            let (count, requires) =
                (graph.edges.len(), graph.edges.iter().filter(|edge| edge.requires).count());
            Ok(output.give(&graph, || {
                vec![format!("domain {} has {count} edges now, {requires} of them `requires`", args.domain)]
            })?)
        }
        GraphCommand::Show(args) => {
            let graph: GraphSpec = online.api()?.get(&path(&args.domain)).await?;
            Ok(output.give(&graph, || lines(&graph))?)
        }
    }
}

fn path(domain: &Name) -> String {
    format!("/api/v1/domains/{domain}/graph")
}

fn lines(graph: &GraphSpec) -> Vec<String> {
    let mut table = Table::new(&["SOURCE", "TARGET", "REQUIRES", "WEIGHT", "SKEW"]);
    for edge in &graph.edges {
        let requires = if edge.requires { "yes" } else { "no" };
        let weight = cell(edge.weight.map(|weight| format!("{weight:.3}")));
        table.row(vec![
            edge.source.to_string(),
            edge.target.to_string(),
            requires.to_owned(),
            weight,
            cell(edge.skew_max),
        ]);
    }
    table.lines()
}

/// The graph that a file and arguments describe together.
fn graph_of(file: Option<&Path>, edges: Vec<EdgeArg>) -> Result<GraphSpec, GraphError> {
    let from_file = file.map(read).transpose()?.unwrap_or_default();
    let mut edges: Vec<EdgeSpec> =
        weighed(&from_file)?.into_iter().chain(edges.into_iter().map(|edge| edge.0)).collect();
    check(&edges)?;
    edges.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    Ok(GraphSpec { edges })
}

fn read(path: &Path) -> Result<Vec<FileEdge>, GraphError> {
    let owned = || path.to_owned();
    let text = file::read_text(path)?;
    let graph = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            serde_json::from_str(&text).map_err(|source| GraphError::Json { path: owned(), source })?
        }
        Some("toml") => {
            file::from_toml(&text).map_err(|source| GraphError::Syntax { path: owned(), source })?
        }
        Some("csv") => csv(&text).map_err(|source| GraphError::Syntax { path: owned(), source })?,
        _ => return Err(GraphError::Form { path: owned() }),
    };
    let FileGraph { edges } = graph;
    Ok(edges)
}

/// Comma-separated values with a header. Names hold neither commas nor quotes, so this is all of RFC 4180 we need.
fn csv(text: &str) -> Result<FileGraph, SyntaxError> {
    let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let error = |line, why: String| SyntaxError { line, why };
    let (line, header) =
        lines().next().ok_or_else(|| error(1, "a header with source and target is missing".into()))?;
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    for (at, column) in columns.iter().enumerate() {
        if !["source", "target", "requests", "bytes", "requires", "weight"].contains(column) {
            return Err(error(line, format!("the column '{column}' is not known")));
        }
        if columns[..at].contains(column) {
            return Err(error(line, format!("the column '{column}' is there twice")));
        }
    }
    let mut edges = Vec::new();
    for (line, text) in lines().skip(1) {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if cells.len() != columns.len() {
            return Err(error(line, format!("{} columns found, {} expected", cells.len(), columns.len())));
        }
        let value = |name| {
            columns.iter().position(|&column| column == name).map(|at| cells[at]).filter(|v| !v.is_empty())
        };
        let name = |column| {
            let text = value(column).ok_or_else(|| error(line, format!("{column} is missing")))?;
            text.parse::<Name>().map_err(|why| error(line, format!("{column}: {why}")))
        };
        let number = |column| {
            value(column)
                .map(|text| {
                    text.parse::<f64>()
                        .map_err(|_| error(line, format!("{column}: '{text}' is not a number")))
                })
                .transpose()
        };
        let requires = match value("requires") {
            None | Some("false" | "no" | "0") => false,
            Some("true" | "yes" | "1") => true,
            Some(other) => return Err(error(line, format!("requires: '{other}' is neither true nor false"))),
        };
        let (requests, bytes, weight) = (number("requests")?, number("bytes")?, number("weight")?);
        edges.push(FileEdge {
            source: name("source")?,
            target: name("target")?,
            requests,
            bytes,
            requires,
            weight,
            skew_max: None,
        });
    }
    Ok(FileGraph { edges })
}

/// Gives edges without a weight one from what was measured: for each metric `z = ln(1+x) / max over all edges`, and the
/// weight is the mean of the metrics that are there (DESIGN: graph; equal factors).
fn weighed(edges: &[FileEdge]) -> Result<Vec<EdgeSpec>, GraphError> {
    for edge in edges {
        for (metric, value) in [("requests", edge.requests), ("bytes", edge.bytes)] {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                let (edge_source, target) = (edge.source.clone(), edge.target.clone());
                return Err(GraphError::Metric { edge_source, target, metric, value });
            }
        }
    }
    let largest = |metric: fn(&FileEdge) -> Option<f64>| {
        edges.iter().filter_map(metric).map(f64::ln_1p).fold(0.0, f64::max)
    };
    let (requests_max, bytes_max) = (largest(|edge| edge.requests), largest(|edge| edge.bytes));
    let share =
        |value: Option<f64>, max: f64| value.map(|value| if max > 0.0 { value.ln_1p() / max } else { 0.0 });
    let weight = |edge: &FileEdge| match (share(edge.requests, requests_max), share(edge.bytes, bytes_max)) {
        (Some(requests), Some(bytes)) => Some(f64::midpoint(requests, bytes)),
        (one, other) => one.or(other),
    };
    let spec = |edge: &FileEdge| EdgeSpec {
        source: edge.source.clone(),
        target: edge.target.clone(),
        requires: edge.requires,
        weight: edge.weight.or_else(|| weight(edge)),
        skew_max: edge.skew_max,
    };
    Ok(edges.iter().map(spec).collect())
}

fn check(edges: &[EdgeSpec]) -> Result<(), GraphError> {
    let mut seen = BTreeSet::new();
    for edge in edges {
        let (edge_source, target) = (edge.source.clone(), edge.target.clone());
        if edge.source == edge.target {
            return Err(GraphError::Loop { device: target });
        }
        if !seen.insert((&edge.source, &edge.target)) {
            return Err(GraphError::Twice { edge_source, target });
        }
        if let Some(weight) = edge.weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
            return Err(GraphError::Weight { edge_source, target, weight });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
