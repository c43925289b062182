//! How many new connections a second the clients make on this machine, against the tiny backend.
//!
//! `cargo run --release -p takt-load --example rate [CLIENTS [PER_SEC [SECONDS]]]`

use std::error::Error;
use std::time::Duration;

use takt_load::{Backend, Clients, Spec, now};

/// From one look at the clock to the next.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[allow(clippy::disallowed_methods)] // It only waits for the end.
fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut next = |usual| numbers.next().unwrap_or(Ok(usual));
    let (clients, per_sec, secs) = (next(8)?, next(0)?, next(5)?);
    let backend = Backend::start(([127, 0, 0, 1], 0).into(), "tiny")?;
    let per_sec = Some(per_sec).filter(|per_sec| *per_sec > 0);
    let begun = now();
    let running = Clients::start(&Spec { clients, per_sec, ..Spec::http(backend.address(), "/") })?;
    while begun.elapsed() < Duration::from_secs(secs.into()) {
        std::thread::sleep(LOOK_EVERY);
    }
    let report = running.stop();
    println!(
        "{clients} clients: {:.0} connections a second, {} answered, {} failed {:?}, the slowest took {:.1} ms, the \
         longest time without an answer {:.1} ms",
        report.per_sec(),
        report.answered,
        report.failed,
        report.failures,
        report.slowest.as_secs_f64() * 1_000.0,
        report.largest_gap(begun, now()).as_secs_f64() * 1_000.0
    );
    Ok(())
}
