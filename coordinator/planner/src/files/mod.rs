//! What people write down for the planner: four kinds of files, read without a coordinator.
//!
//! Readers take what a file holds and the name to call it by. They give all of it or the first thing that is wrong, with its
//! line and field: half a file never passes for a whole one.

mod drm;
mod edges;
mod policy;
mod table;
mod time;
mod toml_file;
mod workload;

pub use drm::read_drm;
pub use edges::read_edges;
pub use policy::{SchedulePolicy, read_policy};
pub use workload::{LoadWeights, read_workload};

/// A file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, {field}: {what}")]
pub struct InputError {
    /// The file, as it was called.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// The column or key.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

/// How much of what is wrong is shown: a quote that is not closed can hold a whole file.
const SHOWN_MAX: usize = 300;

impl InputError {
    /// In one line, whatever stands in the file.
    fn new(file: &str, line: u64, field: &str, what: &str) -> Self {
        Self { file: file.to_owned(), line, field: one_line(field), what: one_line(what) }
    }
}

fn one_line(text: &str) -> String {
    let mut shown: String =
        text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(SHOWN_MAX).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
