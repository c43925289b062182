//! Takt's agent: one for each device. It takes in signed orders, decides for itself when it is safe, and keeps a way back.
//!
//! The decisions are in `takt-agent-core`; here are the adapters, one for each outside thing, and the loop.

pub mod agent;
pub mod artifacts;
pub mod budget;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod decommission;
pub mod engine;
pub mod enrol;
mod failpoint;
pub mod fetch;
pub mod hooks;
pub mod host;
pub mod identity;
pub mod journal;
pub mod link;
pub mod locks;
pub mod memory;
pub mod peers;
pub mod perform;
mod pin;
pub mod ports;
pub mod power;
pub mod probe;
pub mod renew;
pub mod restart;
pub mod service;
pub mod settings;
pub mod takeover;
mod tls;
pub mod trust;
pub mod uplink;
pub mod variables;
pub mod vitals;

pub use takt_agent_core::failure::{self, sentence};
