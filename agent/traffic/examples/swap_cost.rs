//! What swaps cost clients, in a network namespace of its own: failed connections, and the longest time without an answer
//! around each swap, beside the same without a swap.
//!
//! `cargo run --release -p takt-traffic --example swap_cost [SWAPS [PER_SEC [CLIENTS]]]`

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use takt_load::{Backend, Clients, Spec, now};
use takt_traffic::{Lead, Leads, Sockets, Traffic, allocate, connections};

const PUBLISHED: u16 = 8080;
/// Between two swaps, and without one.
const QUIET: Duration = Duration::from_millis(40);
/// After a swap, in which gaps still count as its own.
const AFTER: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut next = |usual| numbers.next().unwrap_or(Ok(usual));
    let (swaps, per_sec, clients) = (next(100)?, next(6_000)?, next(8)?);
    // Threads and processes that are started from here on are in it too.
    unshare(CloneFlags::CLONE_NEWNET)?;
    Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ports = allocate(2, &BTreeSet::from([PUBLISHED]), 1)?;
    let backends = [listen(ports[0])?, listen(ports[1])?];
    let traffic = Traffic::new("bench")?;
    let leads = |index: usize| {
        let port = backends[index].address().port();
        Leads::from([(PUBLISHED, Lead::everyone(takt_traffic::Backend::Host { port }))])
    };
    runtime.block_on(traffic.route(&leads(0)))?;
    let spec = Spec {
        clients,
        per_sec: Some(per_sec).filter(|per_sec| *per_sec > 0),
        ..Spec::http(([127, 0, 0, 1], PUBLISHED).into(), "/")
    };
    let running = Clients::start(&spec)?;
    let (mut quiet, mut swapped) = (Vec::new(), Vec::new());
    for swap in 1..=swaps as usize {
        quiet.push(rest(QUIET));
        let from = now();
        runtime.block_on(traffic.route(&leads(swap % 2)))?;
        let done = now();
        rest(AFTER);
        swapped.push((from, done));
    }
    let counted = now();
    let live = connections(Sockets::OfDevice, ports[0])?;
    let counting = counted.elapsed();
    let report = running.stop();
    println!(
        "{swaps} swaps, {:.0} connections a second: {} answered, {} failed {:?}, the slowest took {:.1} ms",
        report.per_sec(),
        report.answered,
        report.failed,
        report.failures,
        millis(report.slowest)
    );
    show("a transaction takes", swapped.iter().map(|(from, done)| *done - *from));
    let gap = |(from, to): (Instant, Instant)| report.largest_gap(from, to);
    show(
        "the longest time without an answer, of a swap",
        swapped.iter().map(|(from, done)| gap((*from, *done + AFTER))),
    );
    show("the longest time without an answer, without one", quiet.into_iter().map(gap));
    println!("counting connections takes {:.1} ms ({live} found)", millis(counting));
    Ok(())
}

fn listen(port: u16) -> Result<Backend, Box<dyn Error>> {
    Ok(Backend::start(([127, 0, 0, 1], port).into(), "tiny")?)
}

#[allow(clippy::disallowed_methods)] // It only lets time pass.
fn rest(span: Duration) -> (Instant, Instant) {
    let from = now();
    std::thread::sleep(span);
    (from, now())
}

fn show(what: &str, spans: impl Iterator<Item = Duration>) {
    let mut all: Vec<_> = spans.collect();
    all.sort_unstable();
    let at = |percent: usize| {
        millis(all.get(all.len() * percent / 100).or(all.last()).copied().unwrap_or_default())
    };
    println!("{what}: median {:.1} ms, 90 % {:.1} ms, most {:.1} ms", at(50), at(90), at(100));
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
