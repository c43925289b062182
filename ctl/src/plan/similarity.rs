//! `takt plan similarity`: which devices are alike.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use takt_planner::{DECAY, Direction, Likeness, Network, TOLERANCE_OF_PAIRS};

use super::{MeasureArg, PlanError, inputs, likeness};
use crate::failure::Failure;
use crate::output::{Output, OutputError};

/// `takt plan similarity`
#[derive(Debug, Args)]
pub struct SimilarityArgs {
    /// Who calls whom: source,target,requests,bytes,requires[,weight]
    #[arg(long, value_name = "FILE")]
    edges: PathBuf,
    /// One device and all others
    #[arg(long, value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    device: Option<String>,
    /// All pairs, each once
    #[arg(long)]
    all: bool,
    /// By those that call devices, or by those that they call
    #[arg(long, value_enum, default_value = "in")]
    direction: DirectionArg,
    /// What makes devices alike
    #[arg(long, value_enum, default_value = "simrank")]
    measure: MeasureArg,
    /// The decay C of paper 1
    #[arg(long, value_name = "C", default_value_t = DECAY)]
    c: f64,
    /// What a similarity may be wrong by, from 1e-9 to 0.1
    #[arg(long, value_name = "ERROR", default_value_t = TOLERANCE_OF_PAIRS, value_parser = tolerance)]
    tolerance: f64,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let tolerance: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    let fits = (TOLERANCE_OF_PAIRS..=0.1).contains(&tolerance);
    if fits { Ok(tolerance) } else { Err("a number from 1e-9 to 0.1 is expected".to_owned()) }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DirectionArg {
    /// Those that call them (paper 1, eq. 1)
    In,
    /// Those that they call (eq. 2)
    Out,
}

impl DirectionArg {
    const fn direction(self) -> Direction {
        match self {
            Self::In => Direction::Incoming,
            Self::Out => Direction::Outgoing,
        }
    }
}

pub(super) fn run(args: &SimilarityArgs, _output: Output) -> Result<(), Failure> {
    let likeness = Likeness { tolerance: args.tolerance, ..likeness(args.measure, args.c)? };
    let network = inputs::edges(&args.edges)?;
    let file = args.edges.display().to_string();
    let mut rows = Rows::begin(&network);
    if let Some(name) = &args.device {
        let device =
            network.find(name).ok_or_else(|| PlanError::UnknownDevice { name: name.clone(), file })?;
        let (row, _) = network.alike(device, args.direction.direction(), likeness);
        for (other, similarity) in (0..).zip(row) {
            rows.row(device, other, similarity)?;
        }
    } else {
        let devices = inputs::paired(&network, file)?;
        let pairs = network.pairs(args.direction.direction(), likeness);
        for one in (0..).take(devices) {
            for other in (one + 1..).take(devices - one as usize - 1) {
                rows.row(one, other, pairs.of(one, other))?;
            }
        }
    }
    Ok(rows.end()?)
}

/// A JSON array, row by row: two hundred million of them do not fit into memory.
struct Rows<'n> {
    network: &'n Network,
    out: BufWriter<io::StdoutLock<'static>>,
    first: bool,
}

impl<'n> Rows<'n> {
    fn begin(network: &'n Network) -> Self {
        Self { network, out: BufWriter::new(io::stdout().lock()), first: true }
    }

    /// A row, but for a device with itself or nothing in common.
    fn row(&mut self, one: u32, other: u32, similarity: f64) -> Result<(), OutputError> {
        if one == other || similarity <= 0.0 {
            return Ok(());
        }
        let name = |device: u32| serde_json::Value::from(self.network.devices()[device as usize].as_str());
        let begin = if self.first { "[" } else { ",\n " };
        self.first = false;
        Ok(write!(self.out, r#"{begin}{{"a":{},"b":{},"similarity":{similarity}}}"#, name(one), name(other))?)
    }

    fn end(mut self) -> Result<(), OutputError> {
        writeln!(self.out, "{}", if self.first { "[]" } else { "]" })?;
        Ok(self.out.flush()?)
    }
}
