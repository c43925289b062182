//! Counts connections: in all, by source, and those that have not been admitted yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::GateLimits;
use super::metrics::Closed;

/// Who is inside. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Count,
    sources: HashMap<Source, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    open: usize,
    unproven: usize,
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source([u8; 8]);

/// A place in the gate; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    census: Census,
    source: Source,
    proven: bool,
}

impl Census {
    pub(crate) fn new() -> Self {
        Self { counts: Arc::default() }
    }

    /// A place for a connection from `address`, or the limit that is reached.
    pub(crate) fn enter(&self, address: IpAddr, limits: &GateLimits) -> Result<Place, Closed> {
        let source = Source::of(address);
        let mut counts = self.lock();
        let of_source = counts.sources.get(&source).copied().unwrap_or_default();
        if counts.all.open >= limits.connections_max {
            return Err(Closed::Full);
        }
        if of_source.open >= limits.connections_per_source_max {
            return Err(Closed::SourceFull);
        }
        if counts.all.unproven >= limits.unproven_max || of_source.unproven >= limits.unproven_per_source_max
        {
            return Err(Closed::UnprovenFull);
        }
        counts.all.enter();
        counts.sources.entry(source).or_default().enter();
        drop(counts);
        Ok(Place { census: self.clone(), source, proven: false })
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.lock().all.open
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn enter(&mut self) {
        self.open += 1;
        self.unproven += 1;
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        let mut source = [0; 8];
        match address.to_canonical() {
            // The first bytes of a global IPv6 address are never zero, so the two kinds do not meet.
            IpAddr::V4(v4) => source[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => source.copy_from_slice(&v6.octets()[..8]),
        }
        Self(source)
    }
}

impl Place {
    /// The connection is admitted: its place no longer counts among the unproven.
    pub(crate) fn prove(&mut self) {
        if self.proven {
            return;
        }
        self.proven = true;
        let mut counts = self.census.lock();
        counts.all.unproven -= 1;
        if let Some(count) = counts.sources.get_mut(&self.source) {
            count.unproven -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
        let mut counts = self.census.lock();
        counts.all.open -= 1;
        if let Some(count) = counts.sources.get_mut(&self.source) {
            count.open -= 1;
            if count.open == 0 {
                counts.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_given_back_and_sources_are_forgotten() {
        let limits =
            GateLimits { connections_max: 3, connections_per_source_max: 2, ..GateLimits::default() };
        let census = Census::new();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let other: IpAddr = "2001:db8::1".parse().unwrap();
        let far: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let first = census.enter(one, &limits).unwrap();
        let second = census.enter(mapped, &limits).unwrap();
        assert_eq!(census.enter(one, &limits).unwrap_err(), Closed::SourceFull);
        let third = census.enter(other, &limits).unwrap();
        assert_eq!(census.enter(far, &limits).unwrap_err(), Closed::Full);
        drop((first, second, third));
        assert_eq!(census.open(), 0);
        assert!(census.lock().sources.is_empty());
    }

    #[test]
    fn proven_connections_leave_room_for_the_unproven() {
        let limits = GateLimits { unproven_max: 9, unproven_per_source_max: 1, ..GateLimits::default() };
        let census = Census::new();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mut first = census.enter(one, &limits).unwrap();
        assert_eq!(census.enter(one, &limits).unwrap_err(), Closed::UnprovenFull);
        first.prove();
        let _second = census.enter(one, &limits).unwrap();
        assert_eq!(census.open(), 2);
    }
}
