//! `takt graph`: who depends on whom, from a file or from arguments, and as it was seen.

mod file;
mod observed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use takt_common::Name;
use takt_common::api::{EdgeSpec, GraphSpec};
use takt_common::id::IdError;
use takt_planner::InputError;

use crate::cli::{DomainArgs, Online};
use crate::document::DocumentError;
use crate::failure::Failure;
use crate::file::FileError;
use crate::output::Output;
use crate::table::{Table, cell};
use observed::ObservedArgs;

const SET_EXAMPLE: &str = "Example:\n  takt graph set --domain line-7 --edge camera-1:gateway:requires \
--edge camera-2:gateway:0.4\n  takt graph set --domain line-7 --file graph.csv";

/// `takt graph …`
#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Replaces the dependency graph of a domain
    #[command(after_help = SET_EXAMPLE)]
    Set(SetArgs),
    /// Adds edges to the dependency graph of a domain; one that is there already is replaced
    #[command(after_help = "Example:\n  takt graph add --domain line-7 --edge camera-1:gateway:requires")]
    Add(AddArgs),
    /// Shows the dependency graph of a domain as it was declared
    #[command(after_help = "Example:\n  takt graph show --domain line-7")]
    Show(DomainArgs),
    /// Shows who calls whom in a domain, as its devices have seen
    #[command(
        after_help = "Example:\n  takt graph observed --domain line-7\n  takt graph observed --domain line-7 --csv"
    )]
    Observed(ObservedArgs),
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

/// `takt graph add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Whose graph
    #[arg(long)]
    domain: Name,
    /// SOURCE:TARGET[:requires][:WEIGHT][:skew=N], as for `takt graph set`
    #[arg(long = "edge", value_name = "EDGE", required = true)]
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
    /// Not JSON or TOML as expected.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Not CSV as expected.
    #[error(transparent)]
    Csv(#[from] InputError),
    /// A device's name in a CSV file is none.
    #[error("read the graph {}", path.display())]
    Device {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdError,
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

/// Does what a `takt graph` command asks for.
pub async fn run(command: GraphCommand, online: &Online, output: Output) -> Result<(), Failure> {
    match command {
        GraphCommand::Set(args) => {
            let graph = graph_of(args.file.as_deref(), args.edges)?;
            put(&args.domain, &graph, online, output).await
        }
        GraphCommand::Add(args) => {
            let more = graph_of(None, args.edges)?;
            let known: GraphSpec = online.api()?.get(&path(&args.domain)).await?;
            put(&args.domain, &with(known, more), online, output).await
        }
        GraphCommand::Show(args) => {
            let graph: GraphSpec = online.api()?.get(&path(&args.domain)).await?;
            Ok(output.give(&graph, || lines(&graph))?)
        }
        GraphCommand::Observed(args) => observed::run(&args, online, output).await,
    }
}

async fn put(domain: &Name, graph: &GraphSpec, online: &Online, output: Output) -> Result<(), Failure> {
    online.api()?.put(&path(domain), graph).await?;
    let (count, requires) = (graph.edges.len(), graph.edges.iter().filter(|edge| edge.requires).count());
    Ok(output.give(graph, || {
        vec![format!("domain {domain} has {count} edges now, {requires} of them `requires`")]
    })?)
}

/// An edge of `more` takes the place of the known one between the same devices.
fn with(known: GraphSpec, more: GraphSpec) -> GraphSpec {
    let is_new = |edge: &EdgeSpec| {
        more.edges.iter().all(|new| (&new.source, &new.target) != (&edge.source, &edge.target))
    };
    let mut edges: Vec<EdgeSpec> = known.edges.into_iter().filter(is_new).collect();
    edges.extend(more.edges);
    edges.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    GraphSpec { edges }
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
    let mut all = file.map(file::read).transpose()?.unwrap_or_default();
    all.extend(edges.into_iter().map(|edge| edge.0));
    let mut edges = all;
    check(&edges)?;
    edges.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    Ok(GraphSpec { edges })
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
