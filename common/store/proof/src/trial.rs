//! One writer, one cut or kill, and the comparison of what was acknowledged with what is found.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::disk::{Disk, Image, Survival};
use crate::model::LANES;

#[expect(clippy::cast_possible_truncation, reason = "three")]
const LANE_COUNT: usize = LANES as usize;
/// Opening, examining and reaching a cut takes well under a second; sled waits for ever on some errors.
const HANG_LIMIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Which store the writer opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takt's store.
    Wrapped,
    /// The same, made for batches of 1 MiB.
    Large,
    /// sled as it comes.
    Stock,
}

/// What must never happen, and the errors of the trial itself.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The store did not open, or failed while the disk worked.
    #[error("the store fails on a working disk: {text}")]
    Fails {
        /// What it says.
        text: String,
    },
    /// Contents that whole batches do not lead to.
    #[error("a batch is there in part: {text}")]
    Torn {
        /// What differs.
        text: String,
    },
    /// An acknowledged batch is gone.
    #[error("lane {lane}: batch {acknowledged} was acknowledged, but the last one found is {found}")]
    Lost {
        /// The lane.
        lane: usize,
        /// The last acknowledged (or already seen) batch.
        acknowledged: u64,
        /// The last batch found.
        found: u64,
    },
    /// More is there than was ever begun.
    #[error("lane {lane}: batch {found} is there, but none after {begun} was ever begun")]
    Invented {
        /// The lane.
        lane: usize,
        /// The last batch that was begun.
        begun: u64,
        /// The last batch found.
        found: u64,
    },
    /// A restore loses what came after the export; a cut or a kill must never make one necessary.
    #[error("the store was not found sound: {text}")]
    Restored {
        /// What it says.
        text: String,
    },
    /// Nothing happens any more.
    #[error("the writer hangs")]
    Hangs,
    /// The trial itself failed.
    #[error("the trial itself failed")]
    Trial(#[from] io::Error),
}

/// What was acknowledged so far, lane by lane, and what has been tried.
#[derive(Debug, Clone, Default)]
pub struct Record {
    acknowledged: [u64; LANE_COUNT],
    /// Acknowledged batches of all lanes.
    pub batches: u64,
    /// Starts that came as far as a whole examination.
    pub examined: u64,
    /// Cuts and kills.
    pub ends: u64,
    /// Those of them that came before the examination was over.
    pub ends_in_start: u64,
}

impl Record {
    /// Adds the numbers of another trial.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.examined += other.examined;
        self.ends += other.ends;
        self.ends_in_start += other.ends_in_start;
    }

    /// Compares what a writer said with what was acknowledged before. Errors that it reports count only when it
    /// had a working disk to the end.
    fn take(&mut self, lines: &[String], disk_worked: bool) -> Result<(), Violation> {
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "opened" if rest.contains("restored") => {
                    return Err(Violation::Restored { text: rest.to_owned() });
                }
                "found" => self.take_found(rest)?,
                "a" => {
                    let (lane, number) = lane_and_number(rest)?;
                    self.acknowledged[lane] = number;
                    self.batches += 1;
                }
                "broken" if disk_worked => {
                    return Err(Violation::Torn { text: rest.to_owned() });
                }
                "failed" if disk_worked => {
                    return Err(Violation::Fails { text: rest.to_owned() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_found(&mut self, rest: &str) -> Result<(), Violation> {
        let (lane, found) = lane_and_number(rest)?;
        let acknowledged = self.acknowledged[lane];
        if found < acknowledged {
            return Err(Violation::Lost { lane, acknowledged, found });
        }
        // Each lane waits for one acknowledgement before it begins the next batch.
        if found > acknowledged + 1 {
            return Err(Violation::Invented { lane, begun: acknowledged + 1, found });
        }
        self.acknowledged[lane] = found;
        self.examined += u64::from(lane == 0);
        Ok(())
    }
}

fn lane_and_number(text: &str) -> Result<(usize, u64), Violation> {
    text.split_once(' ')
        .and_then(|(lane, number)| Some((lane.parse().ok()?, number.parse().ok()?)))
        .filter(|(lane, _)| *lane < LANE_COUNT)
        .ok_or_else(|| Violation::Trial(io::Error::other(format!("the writer said '{text}'"))))
}

/// A kill comes after a time, not after an event: there is nothing to wait for. What the writer says meanwhile
/// waits in its channel.
fn wait(time: Duration) {
    let (_never, timer) = channel::<()>();
    // The sender lives, so this ends by time.
    let _ = timer.recv_timeout(time);
}

/// Runs writers of one kind.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The `store-writer` program.
    pub writer: PathBuf,
    /// Which store it opens.
    pub kind: Kind,
}

impl Trial {
    /// Runs a writer on `image`, mounted at `at`, cuts the power during change `cut_at`, and returns the image as
    /// it is when the power comes back. `Ok(None)` as the second part: the writer ended by itself before the cut.
    pub fn cut(
        &self,
        record: &mut Record,
        image: Image,
        at: &Path,
        run: &Run,
        survival: &mut Survival,
    ) -> Result<(Image, Ended), Violation> {
        let disk = Disk::mount(image, at, run.cut_at)?;
        let mut writer = Writer::spawn(self, &at.join("store"), run.batches)?;
        let ended = writer.wait_for_end_or_cut(&disk)?;
        let said = writer.stop()?;
        // Ends in order: the disk may have been cut after the writer's last line, but not before its end.
        let image = disk.take_out()?;
        said.record(record, ended)?;
        Ok((image.after_cut(survival), ended))
    }

    /// Runs a writer in the folder `at` until it is killed.
    pub fn kill(&self, record: &mut Record, at: &Path, kill: Kill) -> Result<(), Violation> {
        let mut writer = Writer::spawn(self, at, None)?;
        match kill {
            Kill::AfterSpawn(delay) => wait(delay),
            Kill::UnderLoad(delay) => {
                writer.listen_until_found()?;
                wait(delay);
            }
        }
        writer.stop()?.record(record, Ended::Killed)
    }

    /// Runs a writer in the folder `at` for `batches` batches in each lane, to its end.
    pub fn run_to_end(&self, record: &mut Record, at: &Path, batches: u64) -> Result<(), Violation> {
        let mut writer = Writer::spawn(self, at, Some(batches))?;
        writer.wait_for_end()?;
        writer.stop()?.record(record, Ended::ByItself)
    }
}

/// How far a writer goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// The change of the disk during which the power goes.
    pub cut_at: Option<u64>,
    /// How many batches in each lane, unless until it is stopped.
    pub batches: Option<u64>,
}

/// When a writer is killed.
#[derive(Debug, Clone, Copy)]
pub enum Kill {
    /// So long after its start.
    AfterSpawn(Duration),
    /// So long after it examined the store and began to commit.
    UnderLoad(Duration),
}

/// How a writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The power was cut.
    Cut,
    /// It was killed.
    Killed,
    /// It did all its batches.
    ByItself,
}

struct Writer {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
    errors: Option<JoinHandle<String>>,
}

/// All that a writer said.
struct Said {
    lines: Vec<String>,
    errors: String,
    status: ExitStatus,
}

impl Writer {
    fn spawn(trial: &Trial, folder: &Path, batches: Option<u64>) -> io::Result<Self> {
        let kind = match trial.kind {
            Kind::Wrapped => "wrapped",
            Kind::Large => "large",
            Kind::Stock => "stock",
        };
        let mut command = Command::new(&trial.writer);
        command.arg(kind).arg(folder).args(batches.map(|batches| batches.to_string()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let mut error = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // Only read by people, when something failed.
            let _ = error.read_to_string(&mut text);
            text
        });
        Ok(Self { child, lines, heard: Vec::new(), errors: Some(errors) })
    }

    fn wait_for_end_or_cut(&mut self, disk: &Disk) -> Result<Ended, Violation> {
        let mut waited = Duration::ZERO;
        while waited < HANG_LIMIT {
            if disk.wait_for_cut(PAUSE) {
                return Ok(Ended::Cut);
            }
            if self.child.try_wait()?.is_some() {
                // The cut may have come between the two questions.
                let cut = disk.wait_for_cut(Duration::ZERO);
                return Ok(if cut { Ended::Cut } else { Ended::ByItself });
            }
            waited += PAUSE;
        }
        Err(Violation::Hangs)
    }

    fn listen_until_found(&mut self) -> Result<(), Violation> {
        let last = format!("found {} ", LANES - 1);
        loop {
            match self.lines.recv_timeout(HANG_LIMIT) {
                Ok(line) => {
                    let found = line.starts_with(&last);
                    self.heard.push(line);
                    if found {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(Violation::Hangs),
                // It ended: what it said tells why.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn wait_for_end(&mut self) -> Result<(), Violation> {
        loop {
            match self.lines.recv_timeout(HANG_LIMIT) {
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(Violation::Hangs),
                Err(RecvTimeoutError::Disconnected) => {
                    self.child.wait()?;
                    return Ok(());
                }
            }
        }
    }

    /// Kills it, if it still runs, and hears all it said before.
    fn stop(mut self) -> io::Result<Said> {
        self.child.kill()?;
        let status = self.child.wait()?;
        let mut lines = std::mem::take(&mut self.heard);
        lines.extend(self.lines.iter());
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Said { lines, errors, status })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // No writer outlives its trial. Failing means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn record(&self, record: &mut Record, ended: Ended) -> Result<(), Violation> {
        // On a cut disk it reports errors, as it should.
        let disk_worked = ended != Ended::Cut;
        let stopped = ended != Ended::ByItself;
        let last_found = format!("found {} ", LANES - 1);
        let examined = self.lines.iter().any(|line| line.starts_with(&last_found));
        record.ends += u64::from(stopped);
        record.ends_in_start += u64::from(stopped && !examined);
        record.take(&self.lines, disk_worked)?;
        if ended == Ended::ByItself && !self.status.success() {
            return Err(Violation::Fails { text: format!("{}: {}", self.status, self.errors) });
        }
        Ok(())
    }
}
