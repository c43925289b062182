//! `takt-bench`: measures the release binaries that lie beside it, and keeps the figures in `bench/results`.
//!
//! Exit codes: 0 measured, whether or not the goals are met; 1 could not measure; 130 ended by a signal.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use takt_tests::bench::{
    AgentGroup, BenchError, HandoverGroup, HarmGroup, JournalGroup, PlannerGroup, PreserveGroup, SwapGroup,
    keep, table,
};
use takt_tests::fleet::{FleetError, heed_signals};

const EXIT_INTERRUPTED: u8 = 130;
/// Rounds that are measured when nothing else is said.
const SWAP_ROUNDS: u32 = 10;
const AGENT_ROUNDS: u32 = 3;
const HANDOVER_SWAPS: u32 = 100;
const PRESERVE_ROUNDS: u32 = 5;
const JOURNAL_COMMITS: u32 = 500;
const PLANNER_ROUNDS: u32 = 3;
const SEEDS: u64 = 200;

/// Measures the programs that lie beside it, prints the figures and keeps them in bench/results.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    group: Group,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Group {
    /// Downtime of container swaps beside `docker rm -f && docker run -d`.
    Swap {
        /// How many times each swap is measured.
        #[arg(long, default_value_t = SWAP_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
    },
    /// Connections that fail while releases take over under load, beside the same with a port that the engine publishes.
    Handover {
        /// How many releases take over.
        #[arg(long, default_value_t = HANDOVER_SWAPS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        swaps: u32,
    },
    /// Downtime of rollbacks that keep the memory, beside a checkpoint and the start from it.
    Preserve {
        /// How many times each size of memory is measured.
        #[arg(long, default_value_t = PRESERVE_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
    },
    /// Durable commits of the agent's journal, beside appends with fsync.
    Journal {
        /// How many are measured.
        #[arg(long, default_value_t = JOURNAL_COMMITS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        commits: u32,
    },
    /// Memory, processor time and size of the agent.
    Agent {
        /// How many times the agent is watched at rest.
        #[arg(long, default_value_t = AGENT_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
    },
    /// The planner: similarities, chains, forecasts and schedules, beside NetworkX, scikit-learn and the paper's algorithm.
    Planner {
        /// How many times what has a peer is measured.
        #[arg(long, default_value_t = PLANNER_ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
    },
    /// Devices that a bad release harms in simulated fleets, beside a fixed rate, equal groups and an exponential rate.
    Fleet {
        /// How many fleets each figure is of.
        #[arg(long, default_value_t = SEEDS, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    heed_signals();
    match run(Arguments::parse().group) {
        Ok(()) => ExitCode::SUCCESS,
        Err(BenchError::Fleet(FleetError::Interrupted)) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            eprintln!("takt-bench: failed to {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

fn run(group: Group) -> Result<(), BenchError> {
    let mut say = |text: &str| println!("{text}");
    let (name, figures) = match group {
        Group::Swap { rounds } => ("swap", SwapGroup { rounds }.run(&mut say)?),
        Group::Handover { swaps } => ("handover", HandoverGroup { swaps }.run(&mut say)?),
        Group::Preserve { rounds } => ("preserve", PreserveGroup { rounds }.run(&mut say)?),
        Group::Journal { commits } => ("journal", JournalGroup { commits }.run(&mut say)?),
        Group::Agent { rounds } => ("agent", AgentGroup { rounds }.run(&mut say)?),
        Group::Planner { rounds } => ("planner", PlannerGroup { rounds }.run(&mut say)?),
        Group::Fleet { seeds } => ("fleet", HarmGroup { seeds }.run(&mut say)?),
    };
    println!();
    for line in table(&figures) {
        println!("{line}");
    }
    println!();
    if cfg!(debug_assertions) {
        println!("a debug build: these figures are not kept");
    } else {
        let path = keep(name, &figures)?;
        println!("kept in {}", path.display());
    }
    Ok(())
}
