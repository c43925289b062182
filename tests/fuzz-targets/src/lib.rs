//! What holds for any input: one function for each door by which bytes of strangers come in.
//!
//! A function returns when all is well and panics when it is not. The programs of `fuzz/` give it what libFuzzer thinks of, and
//! `tests/replay.rs` gives it what was kept: the corpus, and every input that ever broke something. docs/fuzzing.md says how to run both.

pub mod broker;
pub mod envelopes;
pub mod images;
mod json;
mod memory;
pub mod orders;
pub mod packages;
pub mod queries;
pub mod reports;
pub mod seeds;
pub mod settings;
pub mod topics;
pub mod trust;

/// A door.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the module, of the program `fuzz-<name>` and of the folders `fuzz/corpus/<name>` and `fuzz/finds/<name>`.
    pub name: &'static str,
    /// Gives it an input.
    pub run: fn(&[u8]),
}

/// All doors.
pub const TARGETS: [Target; 10] = [
    Target { name: "broker", run: broker::run },
    Target { name: "envelopes", run: envelopes::run },
    Target { name: "images", run: images::run },
    Target { name: "orders", run: orders::run },
    Target { name: "packages", run: packages::run },
    Target { name: "queries", run: queries::run },
    Target { name: "reports", run: reports::run },
    Target { name: "settings", run: settings::run },
    Target { name: "topics", run: topics::run },
    Target { name: "trust", run: trust::run },
];
