//! Published ports: rules of the kernel, gone with a reboot; and the clients that come through them.

use std::collections::BTreeMap;

use takt_agent_core::WorkloadName;
use takt_agent_core::facts::Routed;

/// How many clients the release that serves has at any time.
const CLIENTS: u32 = 3;

/// How long a client stays.
const STAYS_MILLIS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Ports {
    /// Where they lead.
    pub to: Option<WorkloadName>,
    /// Clients of those to which they do not lead any more, and since when.
    left: BTreeMap<WorkloadName, (u32, u64)>,
    /// Connections that were cut by a stop although the ports had just been moved away, and how long before.
    pub cut: Vec<(u32, u64)>,
}

impl Ports {
    pub fn route(&mut self, to: &WorkloadName, now: u64) {
        if self.to.as_ref() == Some(to) {
            return;
        }
        if let Some(from) = self.to.replace(to.clone()) {
            self.left.insert(from, (CLIENTS, now));
        }
        self.left.remove(to);
    }

    pub fn routed(&self, to: &WorkloadName) -> Routed {
        if self.to.as_ref() == Some(to) { Routed::Yes } else { Routed::No }
    }

    /// Clients that `of` serves.
    pub fn connections(&self, of: &WorkloadName, now: u64, they_stay: bool) -> u32 {
        if self.to.as_ref() == Some(of) {
            return CLIENTS;
        }
        let stay = |since: u64| they_stay || now.saturating_sub(since) < STAYS_MILLIS;
        self.left.get(of).filter(|(_, since)| stay(*since)).map_or(0, |(count, _)| *count)
    }

    /// A container of `of` has been stopped.
    pub fn stopped(&mut self, of: &WorkloadName, now: u64, they_stay: bool) {
        let connections = self.connections(of, now, they_stay);
        if let Some((_, since)) = self.left.remove(of)
            && connections > 0
        {
            self.cut.push((connections, now.saturating_sub(since)));
        }
    }

    pub fn booted(&mut self) {
        self.to = None;
        self.left.clear();
    }
}
