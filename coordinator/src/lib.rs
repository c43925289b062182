//! The coordinator of a Takt fleet: one process that knows the devices, decides what and how fast, and signs orders.
//!
//! ```text
//!  operator ── HTTPS ── api ─┬─ registry ── store            engine: look, ask core::advance, commit, dispatch
//!  device ──── HTTPS ───┘    ├─ repository, artifacts (files)    │
//!  device ──── MQTT ─── gate ┴─ reports ── registry          dispatch ── gate ── device
//! ```
//!
//! Decisions are made in `takt-coordinator-core`; here are the effects. Every change of state is one atomic batch of
//! the store, so the process may be killed at any time and goes on where it was.

pub mod api;
pub mod artifacts;
pub mod audit;
pub mod begin;
pub mod ca;
pub mod caller;
pub mod checkpoints;
pub mod cli;
pub mod clock;
pub mod coordinator;
pub mod dispatch;
pub mod engine;
pub mod enrol;
pub mod files;
pub mod first_start;
pub mod fleet_book;
pub mod follow;
pub mod gate;
pub mod https;
pub mod identity;
pub mod incoming;
pub mod live;
pub mod load;
pub mod orders;
pub mod outage;
pub mod peers;
pub mod places;
pub mod planning;
pub mod registry;
pub mod renew;
pub mod reports;
pub mod repository;
mod response;
pub mod sentence;
pub mod serve;
pub mod service;
pub mod settings;
pub mod sink;
pub mod tls;
pub mod token;
mod write_deadline;

pub use serve::{Running, ServeError, serve};
pub use settings::Settings;
