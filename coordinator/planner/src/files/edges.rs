//! `edges.csv`: `source,target,requests,bytes,requires[,weight]`.

use super::InputError;
use super::table::{Column, Table};
use crate::network::{Call, Metrics, Network};

const COLUMNS: &[Column] = &[&["source"], &["target"], &["requests"], &["bytes"], &["requires"], &["weight"]];
const SOURCE: usize = 0;
const TARGET: usize = 1;
const REQUESTS: usize = 2;
const BYTES: usize = 3;
const REQUIRES: usize = 4;
const WEIGHT: usize = 5;

/// Reads who calls whom. `source` calls `target`; with `requires` true, `target` is upgraded and verified before `source`;
/// `weight` in [0, 1] is taken instead of one from requests and bytes (0 or more each, empty for none seen). A line without
/// target names a device that calls nobody. Several lines between two devices add up.
pub fn read_edges(file: &str, text: &[u8]) -> Result<Network, InputError> {
    let mut table = Table::open(file, text, COLUMNS, 1)?;
    let mut network = Network::builder();
    let mut required = Vec::new();
    while let Some(line) = table.next()? {
        let source = network.device(line.name(SOURCE)?);
        let requires = match line.text(REQUIRES)? {
            "true" => true,
            "false" | "" => false,
            other => return Err(line.error(REQUIRES, format!("'{other}' is neither true nor false"))),
        };
        let requests = line.number_in(REQUESTS, 0.0..=f64::INFINITY)?.unwrap_or(0.0);
        let bytes = line.number_in(BYTES, 0.0..=f64::INFINITY)?.unwrap_or(0.0);
        let weight = line.number_in(WEIGHT, 0.0..=1.0)?;
        let target = line.text(TARGET)?;
        if target.is_empty() {
            if requires || weight.is_some() || requests > 0.0 || bytes > 0.0 {
                return Err(line.error(TARGET, "is empty, but something is said of the edge"));
            }
            continue;
        }
        let target = network.device(target);
        if requires && source == target {
            return Err(line.error(TARGET, "a device cannot require itself"));
        }
        required.push((requires, line.number()));
        network.call(Call { source, target, requires, weight, metrics: Metrics { requests, bytes } });
    }
    let network = network.build();
    if network.devices().is_empty() {
        let what = "no edge stands there, so there is nothing to plan";
        return Err(InputError::new(file, 1, "source", what));
    }
    network.check_requirements().map_err(|circle| {
        let edge = network.requirement_between(&circle);
        let what = format!("these devices require each other in a circle: {}", network.circle(&circle));
        InputError::new(file, required[edge].1, "requires", &what)
    })?;
    Ok(network)
}
