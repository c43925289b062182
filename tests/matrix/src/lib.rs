//! The crash matrix: what was tried against a device, and what came of it. Each row is written by the test that tried it;
//! `takt-crash-matrix` makes the table of them. The attack matrix is in [`attack`].

pub mod attack;
mod kept;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The variable that names the folder of rows; without it they lie in the workspace's `target/crash-matrix`.
pub const FOLDER_VARIABLE: &str = "TAKT_CRASH_MATRIX";

/// A kill of the agent; the names of other faults that kill it begin so too.
pub const KILLED: &str = "agent killed";
/// A power cut.
pub const POWER_CUT: &str = "power cut";

/// What a device must never do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It does not come to an end.
    Stuck(String),
    /// It does not run the release that it should.
    Bricked(String),
    /// It told the end of one order more than once.
    Twice(String),
    /// It told something else than what is so.
    Wrong(String),
}

/// A kind of release under one kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Kind and strategy, and how the release ends.
    pub release: String,
    /// What was done to the device.
    pub fault: String,
    /// How many cut points were tried.
    pub tried: usize,
    /// How many of them ended so.
    pub stuck: usize,
    /// How many of them ended so.
    pub bricked: usize,
    /// How many of them ended so.
    pub twice: usize,
    /// How many of them ended so.
    pub wrong: usize,
    /// From the moment at which the agent could work again to its rest after the order, in milliseconds.
    pub recovery_millis: Vec<u64>,
    /// The faults in words.
    pub said: Vec<String>,
}

impl Row {
    /// A row in which nothing was tried yet.
    pub fn new(release: &str, fault: &str) -> Self {
        Self {
            release: release.to_owned(),
            fault: fault.to_owned(),
            tried: 0,
            stuck: 0,
            bricked: 0,
            twice: 0,
            wrong: 0,
            recovery_millis: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Counts what was tried at `point`, and how long the device took to recover.
    pub fn count(&mut self, point: &str, ended: Result<Duration, Fault>) {
        self.tried += 1;
        let (cell, said) = match ended {
            Ok(took) => {
                return self.recovery_millis.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            }
            Err(Fault::Stuck(said)) => (&mut self.stuck, said),
            Err(Fault::Bricked(said)) => (&mut self.bricked, said),
            Err(Fault::Twice(said)) => (&mut self.twice, said),
            Err(Fault::Wrong(said)) => (&mut self.wrong, said),
        };
        *cell += 1;
        self.said.push(format!("{point}: {said}"));
    }

    /// Counts of all faults.
    pub const fn faults(&self) -> usize {
        self.stuck + self.bricked + self.twice + self.wrong
    }

    /// Keeps it for the table, in the place of what was tried under the same name before.
    pub fn write(&self) -> io::Result<()> {
        kept::keep(&folder(), &format!("{}, {}", self.release, self.fault), self)
    }
}

/// Where rows are kept.
pub fn folder() -> PathBuf {
    kept::folder(FOLDER_VARIABLE, "crash-matrix")
}

/// All rows that are kept, by name.
pub fn rows() -> io::Result<Vec<Row>> {
    let mut rows = kept::all::<Row>(&folder())?;
    rows.sort_by(|one, other| (&one.release, &one.fault).cmp(&(&other.release, &other.fault)));
    Ok(rows)
}

/// The 50th and the 99th of 100 of these, in milliseconds; 0 of none.
fn quantiles(millis: &[u64]) -> (u64, u64) {
    let mut sorted = millis.to_vec();
    sorted.sort_unstable();
    let at = |hundredths: usize| {
        let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    };
    (at(50), at(99))
}

/// What stands above the table.
const HEAD: &str = "\
# Crash matrix

Made by `make crash-matrix`; the tests are in `tests/tests/crash_matrix`. Real agents, real containers and a real broker.
A *point* is a named place in the agent (`agent/failpoint`): before and after each commit of its journal that changes its
phase, each action, and each durable effect within an action. The points that a first round without a fault passes are
tried, each in a round of its own; of kinds that need a whole machine, `make test` draws some, and `make soak` tries each
(`docs/guest.md`). *The kind alone* is the part of the agent that goes the ways of one kind, in a process of its own
(`agent/kinds/tests`): at each of its effects, with RAUC's real service on slots that are files, and on a kernel that is
played. *Recovery* is from the moment at which the agent can work again to its rest after the
order, the rest of the upgrade and its probation of one second included. *Done twice* is an order whose end was told more
than once.

| fault | what happens at a point |
|---|---|
| power cut | of a whole machine, emulated (`docs/guest.md`), at random moments; what it takes to recover there says nothing. Of the kind alone: all that a reboot undoes is undone |
| agent killed | `SIGKILL`; it is started again |
| agent killed for memory | the kernel's out-of-memory killer takes it, in a group of processes that has no memory left; it is started again |
| disk full, broken, read-only | the disk with the agent's state, a FUSE disk of our own, gives ENOSPC, EIO or EROFS for 1.5 s; an agent that ends of it is started again |
| dockerd killed | `SIGKILL` of the engine, which is started again half a second later |
| download cut at each 10 % | the connection ends after that part of what is downloaded |
| broker gone throughout | from the order to its end there is no broker |
| clock at 1970, ten years ahead | for the whole order |

";

/// The page.
pub fn page(rows: &[Row]) -> String {
    let summary = |wanted: fn(&Row) -> bool| {
        let rows = || rows.iter().filter(|row| wanted(row));
        let tried: usize = rows().map(|row| row.tried).sum();
        let all: Vec<u64> = rows().flat_map(|row| row.recovery_millis.clone()).collect();
        let (median, p99) = quantiles(&all);
        (tried, format!("{median} ms in the median, {p99} ms at the 99th percentile of {}", all.len()))
    };
    let (tried, recovery) = summary(|_| true);
    let (kills, recovery_of_kills) = summary(|row| row.fault.starts_with(KILLED));
    let mut page = format!(
        "{HEAD}{tried} cut points tried; recovery {recovery}.\n\
         {kills} of them kills of the agent; recovery {recovery_of_kills}.\n\n\
         | kind and strategy | fault | cut points tried | stuck | bricked | done twice | wrong report | recovery p50 / p99, ms |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let (median, p99) = quantiles(&row.recovery_millis);
        let recovery =
            if row.recovery_millis.is_empty() { "–".to_owned() } else { format!("{median} / {p99}") };
        let cells = [row.tried, row.stuck, row.bricked, row.twice, row.wrong];
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        writeln!(page, "| {} | {} | {} | {recovery} |", row.release, row.fault, cells.join(" | "))
            .expect("a text takes all that is written");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_what_was_tried_and_what_came_of_it() {
        let mut row = Row::new("file, verified", "agent killed");
        row.count("a", Ok(Duration::from_millis(20)));
        row.count("b", Ok(Duration::from_millis(40)));
        row.count("c", Err(Fault::Bricked("it is gone".to_owned())));
        assert_eq!((row.faults(), row.said.as_slice()), (1, &["c: it is gone".to_owned()][..]));
        let mut other = Row::new("file, verified", "disk full");
        other.count("a", Ok(Duration::from_millis(60)));
        let page = page(&[row, other]);
        assert!(page.contains("| file, verified | agent killed | 3 | 0 | 1 | 0 | 0 | 20 / 40 |"), "{page}");
        assert!(
            page.contains(
                "4 cut points tried; recovery 40 ms in the median, 60 ms at the 99th percentile of 3."
            ),
            "{page}"
        );
        assert!(page.contains("3 of them kills of the agent; recovery 20 ms in the median, 40 ms at the 99th percentile of 2."), "{page}");
    }
}
