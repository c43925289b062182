//! Opens a store, examines what is in it, and commits numbered batches until it is stopped.
//!
//! `store-writer <wrapped|large|stock> FOLDER [BATCHES]` prints, a line each and at once: `opened ORIGIN`,
//! `found LANE NUMBER` for every lane, `a LANE NUMBER` for every batch that the store acknowledged; and at its end
//! `broken TEXT` when the contents are impossible, or `failed TEXT` when the store reports an error.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use takt_store::{Options, SledStore, Store};
use takt_store_proof::model::{self, LANES, Load};
use takt_store_proof::stock::StockSled;

/// An export is tried after so many batches of a lane, so that cuts meet exports too.
const EXPORT_EVERY_BATCHES: u64 = 60;
/// The largest batch of a store for large ones.
const LARGE: usize = 1024 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kind, folder, batches) = match arguments.as_slice() {
        [kind, folder] => (kind.as_str(), folder, u64::MAX),
        [kind, folder, batches] => match batches.parse() {
            Ok(batches) => (kind.as_str(), folder, batches),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    let ended = match kind {
        "wrapped" => run_wrapped(Path::new(folder), Load::Usual, batches),
        "large" => run_wrapped(Path::new(folder), Load::Large, batches),
        "stock" => run_stock(Path::new(folder), batches),
        _ => return usage(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            say(&line);
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    say("failed usage: store-writer <wrapped|large|stock> FOLDER [BATCHES]");
    ExitCode::from(2)
}

/// One line, at once: a line that is only in a buffer would be lost with the process.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: then nothing needs to be said.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

fn run_wrapped(folder: &Path, load: Load, batches: u64) -> Result<(), String> {
    let mut options = Options { export_every: Duration::ZERO, ..Options::default() };
    if load == Load::Large {
        options.batch_bytes_max = LARGE;
    }
    let opened = SledStore::open(folder, &options).map_err(|error| failed(&error))?;
    say(&format!("opened {}", opened.origin));
    let store = &opened.store;
    let clock = AtomicU64::new(0);
    work(store, load, batches, &|number| {
        if number.is_multiple_of(EXPORT_EVERY_BATCHES) {
            let now = Duration::from_secs(clock.fetch_add(1, Ordering::Relaxed));
            store.export_if_due(now).map_err(|error| failed(&error))?;
        }
        Ok(())
    })
}

fn run_stock(folder: &Path, batches: u64) -> Result<(), String> {
    let store = StockSled::open(folder).map_err(|error| failed(&error))?;
    say("opened stock sled");
    work(&store, Load::Usual, batches, &|_| Ok(()))
}

type BetweenBatches<'a> = &'a (dyn Fn(u64) -> Result<(), String> + Sync);

/// Examines the store, then commits in all lanes at once until `batches` more are in each, or the first error.
fn work(store: &dyn Store, load: Load, batches: u64, between: BetweenBatches<'_>) -> Result<(), String> {
    let mut lasts = Vec::new();
    for lane in 0..LANES {
        let last = model::examine(store, lane, load).map_err(|error| format!("broken {error}"))?;
        say(&format!("found {lane} {last}"));
        lasts.push((lane, last));
    }
    thread::scope(|scope| {
        let lanes: Vec<_> = lasts
            .into_iter()
            .map(|(lane, last)| scope.spawn(move || work_lane(store, (lane, load), last, batches, between)))
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "failed a lane panicked".to_owned())?)
    })
}

fn work_lane(
    store: &dyn Store,
    (lane, load): (u64, Load),
    last: u64,
    batches: u64,
    between: BetweenBatches<'_>,
) -> Result<(), String> {
    for number in last + 1..=last.saturating_add(batches) {
        store.commit(model::batch(lane, number, load)).map_err(|error| failed(&error))?;
        say(&format!("a {lane} {number}"));
        between(number)?;
    }
    Ok(())
}

fn failed(error: &dyn std::error::Error) -> String {
    let mut text = format!("failed {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
