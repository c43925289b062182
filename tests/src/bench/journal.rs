//! One durable commit of the agent's journal, beside a plain append and fsync of the same bytes, in turns.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use ring::rand::SystemRandom;
use takt_agent::journal::Journal;
use takt_common::report::{PhaseName, REPORT_FORMAT, Report, Timing};
use takt_common::{DeviceId, SigningKey, UnixTime};
use takt_workload::Nature;

use super::campaign::install;
use super::error::{BenchError, with_last_words};
use super::figure::{Figure, Goal, Unit};
use super::machine::machine;
use super::spread::Spread;
use crate::engine::Engine;
use crate::fleet::{Device, Fleet, FleetError, ReleaseSpec, Stopwatch, interrupted};

/// The device whose journal it is.
const DEVICE: &str = "bench";
/// What a commit may take.
const MILLIS_MAX: f64 = 10.0;
/// What the peer does.
const PEER: &str = "append and fsync of the same bytes";

/// The group `journal`.
#[derive(Debug, Clone, Copy)]
pub struct JournalGroup {
    /// How many commits are measured.
    pub commits: u32,
}

impl JournalGroup {
    /// Measures everything, and tells of it through `say`.
    pub fn run(self, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
        let engine = Engine::shared().map_err(FleetError::from)?;
        let machine = machine(Some(&engine));
        let fleet = Fleet::start()?;
        self.measure(&fleet, &machine, say).map_err(|error| with_last_words(&fleet, error))
    }

    fn measure(
        self,
        fleet: &Fleet,
        machine: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Figure>, BenchError> {
        let mut devices = fleet.devices(&[DEVICE])?;
        let device = devices.first_mut().expect("one name gives one device");
        // Two of them: the journal of a device also holds the release to which it could go back.
        for version in ["1.0.0", "1.1.0"] {
            let release = ReleaseSpec { probation_secs: 1, ..ReleaseSpec::new(version, Nature::Good) };
            install(fleet, &release)?;
        }
        let folder = taken_over(device)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(BenchError::file("start a runtime in", folder.path()))?;
        let (commits, appends, bytes) = runtime.block_on(self.turns(folder.path()))?;
        say(&format!("{} commits of about {bytes:.0} bytes", self.commits));
        let figure =
            Figure::new("one durable commit of the agent's journal", Unit::Millis, &commits, machine);
        Ok(vec![figure.beside(PEER, &appends).with(Goal::Value(MILLIS_MAX))])
    }

    /// A commit and an append in turns: times in milliseconds, and the mean of the bytes.
    async fn turns(self, folder: &Path) -> Result<(Spread, Spread, f64), BenchError> {
        let (mut journal, _) = Journal::open(&folder.join("journal"))?;
        let key = SigningKey::generate(&SystemRandom::new()).expect("a key can be made where TLS works");
        let path = folder.join("appended");
        let mut appended = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(BenchError::file("open", &path))?;
        let (mut commits, mut appends, mut total) = (Spread::default(), Spread::default(), 0);
        for _ in 0..self.commits {
            if interrupted() {
                return Err(FleetError::Interrupted.into());
            }
            let record = journal.record().clone();
            let report = report(&journal, DeviceId::of_key(&key.public()));
            let mut bytes = serde_json::to_vec(&record).expect("a record is plain values");
            let begun = Stopwatch::start();
            journal.commit(record, vec![report], &key).await?;
            commits.push(millis(begun));
            let last = journal.last_sequence().unwrap_or_default();
            let waiting = journal.waiting(last.checked_sub(1), 1)?;
            bytes.extend(waiting.iter().flat_map(|report| &report.envelope));
            total += bytes.len();
            let begun = Stopwatch::start();
            append(&mut appended, &bytes).map_err(BenchError::file("append to", &path))?;
            appends.push(millis(begun));
            // Not measured: so that the outbox is as short as that of a device with a link.
            journal.acknowledged(last).await?;
        }
        Ok((commits, appends, total as f64 / f64::from(self.commits)))
    }
}

fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Ends the device's agent and takes a copy of its journal to the disk of the build folder.
fn taken_over(device: &mut Device) -> Result<tempfile::TempDir, BenchError> {
    device.kill();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let folder = tempfile::Builder::new().prefix("bench-journal.").tempdir_in(&target);
    let folder = folder.map_err(BenchError::file("make a folder in", &target))?;
    let from = device.state().join("journal");
    copy(&from, &folder.path().join("journal")).map_err(BenchError::file("copy", &from))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// As the agent makes one when a phase ends; the journal gives it its number, link and nonce.
fn report(journal: &Journal, device: DeviceId) -> Report {
    let record = journal.record();
    Report {
        format: REPORT_FORMAT,
        device,
        sequence: 0,
        previous_report_digest: None,
        boot_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        nonce: String::new(),
        installed: record.installed_list(),
        standing_in_for: None,
        order: None,
        phase: PhaseName::Probation,
        timing: Some(Timing::default()),
        warnings: Vec::new(),
        hooks: BTreeMap::new(),
        outcome: None,
        waiting_on: None,
        refused: None,
        made: UnixTime::default(),
        skipped: None,
        time_floor: record.time_floor,
    }
}

fn millis(begun: Stopwatch) -> f64 {
    begun.elapsed().as_secs_f64() * 1_000.0
}
