//! `takt graph observed`: who calls whom, as the agents have seen.

use std::collections::BTreeMap;

use clap::Args;
use takt_common::Name;
use takt_common::api::{GraphSpec, ObservedEdgeView, ObservedGraphView};

use super::path;
use crate::cli::Online;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

/// `takt graph observed`
#[derive(Debug, Args)]
pub struct ObservedArgs {
    /// Whose graph
    #[arg(long)]
    domain: Name,
    /// As `edges.csv`, with the declared edges but without their skews, for `takt plan`
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(super) async fn run(args: &ObservedArgs, online: &Online, output: Output) -> Result<(), Failure> {
    let api = online.api()?;
    let seen: ObservedGraphView = api.get(&format!("{}/observed", path(&args.domain))).await?;
    if args.csv {
        let declared: GraphSpec = api.get(&path(&args.domain)).await?;
        for line in csv(&declared, &seen) {
            output.line(&line)?;
        }
        return Ok(());
    }
    Ok(output.give(&seen, || lines(&seen))?)
}

fn lines(seen: &ObservedGraphView) -> Vec<String> {
    let mut table = Table::new(&["SOURCE", "TARGET", "CONNECTIONS", "BYTES", "DECLARED"]);
    for edge in &seen.edges {
        let declared = match edge.requires {
            None => "no",
            Some(false) => "yes",
            Some(true) => "requires",
        };
        table.row(vec![
            edge.source.to_string(),
            edge.target.to_string(),
            edge.connections.to_string(),
            edge.bytes.to_string(),
            declared.to_owned(),
        ]);
    }
    let mut lines = table.lines();
    lines.push(format!(
        "seen in {} days by {} devices: {} edges, and {} addresses of peers that are no device of the domain",
        seen.days,
        seen.devices,
        seen.edges.len(),
        seen.strangers
    ));
    for (address, devices) in &seen.ambiguous {
        let devices: Vec<&str> = devices.iter().map(Name::as_str).collect();
        lines.push(format!("several devices are at {address}, so it says nothing: {}", devices.join(", ")));
    }
    if seen.left_out > 0 {
        lines
            .push(format!("{} connections were not counted: devices tell only so many apart", seen.left_out));
    }
    lines
}

/// Declared edges with what was seen on them, and those that were only seen.
fn csv(declared: &GraphSpec, seen: &ObservedGraphView) -> Vec<String> {
    let mut measured: BTreeMap<(&Name, &Name), &ObservedEdgeView> =
        seen.edges.iter().map(|edge| ((&edge.source, &edge.target), edge)).collect();
    let mut lines = vec!["source,target,requests,bytes,requires,weight".to_owned()];
    for edge in &declared.edges {
        let measured = measured.remove(&(&edge.source, &edge.target));
        let (requests, bytes) = measured.map_or((0, 0), |edge| (edge.connections, edge.bytes));
        // One of which nothing is known counts as most active.
        let weight = edge.weight.or_else(|| measured.is_none().then_some(1.0));
        let weight = weight.map(|weight| weight.to_string()).unwrap_or_default();
        lines.push(format!("{},{},{requests},{bytes},{},{weight}", edge.source, edge.target, edge.requires));
    }
    for edge in measured.values() {
        lines.push(format!("{},{},{},{},false,", edge.source, edge.target, edge.connections, edge.bytes));
    }
    lines
}

#[cfg(test)]
mod tests {
    use takt_common::api::EdgeSpec;
    use takt_planner::read_edges;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_declared_and_what_was_seen_stand_in_one_file_that_the_planner_reads() {
        let edge = |source, target, requires, weight| EdgeSpec {
            source: name(source),
            target: name(target),
            requires,
            weight,
            skew_max: None,
        };
        let declared = GraphSpec {
            edges: vec![
                edge("a", "b", true, None),
                edge("b", "c", false, Some(0.25)),
                edge("c", "d", true, None),
            ],
        };
        let seen = |source, target, connections| ObservedEdgeView {
            source: name(source),
            target: name(target),
            connections,
            bytes: 0,
            requires: None,
        };
        let seen = ObservedGraphView {
            days: 7,
            edges: vec![seen("a", "b", 9), seen("d", "a", 99)],
            devices: 2,
            strangers: 0,
            ambiguous: BTreeMap::new(),
            left_out: 0,
        };
        let lines = csv(&declared, &seen);
        let expected = [
            "source,target,requests,bytes,requires,weight",
            "a,b,9,0,true,",
            "b,c,0,0,false,0.25",
            "c,d,0,0,true,1",
            "d,a,99,0,false,",
        ];
        assert_eq!(lines, expected);
        let network = read_edges("edges.csv", lines.join("\n").as_bytes()).unwrap();
        let weights: Vec<f64> = network.edges().iter().map(|edge| edge.weight).collect();
        assert!(weights.iter().zip([0.5, 0.25, 1.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-12), "{weights:?}");
    }
}
