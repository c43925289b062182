//! The `takt` command: keys, trust documents, releases, devices and campaigns from a terminal.
//!
//! One module a group of commands; each holds its arguments and what they do. [`cli`] ties them together,
//! [`exit`] says what the process's exit codes mean, [`failure`] gives every error its code.

pub mod api;
pub mod audit;
pub mod campaign;
pub mod cli;
pub mod clock;
pub mod device;
pub mod document;
pub mod drm;
pub mod enrol;
pub mod exit;
pub mod failure;
pub mod file;
pub mod graph;
pub mod key;
pub mod lock;
pub mod operator;
pub mod output;
mod picture;
pub mod plan;
pub mod profile;
pub mod reference;
pub mod release;
pub mod schedule;
pub mod sim;
pub mod span;
pub mod table;
pub mod trust;
pub mod why;
