//! What a commit costs on this machine's disk: `cargo run --release -p takt-store --example commit_cost [FOLDER]`.

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use takt_store::{Batch, Options, SledStore, Store};

const COMMITS: usize = 500;
const THREADS: usize = 16;
const COMMITS_EACH: usize = 100;
const KEYS: usize = 20_000;

#[allow(clippy::disallowed_methods, reason = "this measures")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

/// The memory this process has in use, in KiB.
fn resident_kib() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS in /proc/self/status")?.trim().to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("target/commit-cost"), PathBuf::from);
    if folder.exists() {
        return Err(format!("'{}' exists: name a folder that does not", folder.display()).into());
    }
    let before = resident_kib()?;
    let (opened, time) = timed(|| SledStore::open(&folder, &Options::default()));
    let store = opened?.store;
    println!("new store: {time:.1?}; memory in use {before} before, {} after", resident_kib()?);

    let mut times = Vec::with_capacity(COMMITS);
    for number in 0..COMMITS {
        let batch = Batch::new().put("phase", vec![7; 400]).put(format!("report/{number}"), vec![8; 1000]);
        let (committed, time) = timed(|| store.commit(batch));
        committed?;
        times.push(time);
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("one thread: median {:.2?}, 99 % {:.2?}; memory {}", at(50), at(99), resident_kib()?);

    let flushes = store.commit_number();
    let (done, time) = timed(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || {
                        (0..COMMITS_EACH).try_for_each(|number| {
                            store.commit(Batch::new().put(format!("{thread}/{number}"), vec![9; 400]))
                        })
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })
    });
    done?;
    let commits = THREADS * COMMITS_EACH;
    println!(
        "{THREADS} threads: {:.0} commits/s in {} flushes for {commits} commits",
        commits as f64 / time.as_secs_f64(),
        store.commit_number() - flushes
    );

    let keys: Vec<usize> = (0..KEYS).collect();
    for keys in keys.chunks(500) {
        let batch =
            keys.iter().fold(Batch::new(), |batch, key| batch.put(format!("device/{key:06}"), vec![5; 300]));
        store.commit(batch)?;
    }
    let (exported, time) = timed(|| store.export_if_due(Duration::ZERO));
    println!("export of {:?} keys: {time:.1?}", exported?.map(|exported| exported.pairs));
    drop(store);
    let (opened, time) = timed(|| SledStore::open(&folder, &Options::default()));
    println!("open with {KEYS} keys more, all of it read: {time:.1?}; memory {}", resident_kib()?);
    drop(opened?);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
