//! How many HTTPS connections there are, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places {
    all_max: usize,
    source_max: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    source: IpAddr,
}

impl Places {
    /// At most `all_max` connections, and `source_max` from one address.
    pub fn new(all_max: usize, source_max: usize) -> Self {
        Self { all_max, source_max, taken: Arc::default() }
    }

    /// A place for a connection from `address`, if there is one.
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&source).copied().unwrap_or(0);
        if all >= self.all_max || own >= self.source_max {
            return None;
        }
        taken.insert(source, own + 1);
        drop(taken);
        Some(Place { places: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get(&self.source).copied() {
            Some(count) if count > 1 => taken.insert(self.source, count - 1),
            _ => taken.remove(&self.source),
        };
    }
}

/// An IPv4 address, or the /64 that one IPv6 host commands.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_place() {
        let places = Places::new(3, 2);
        let (greedy, other): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let first = places.take(greedy).unwrap();
        let _second = places.take("2001:db8::2".parse().unwrap()).unwrap();
        assert!(places.take(greedy).is_none());
        let _third = places.take(other).unwrap();
        assert!(places.take(other).is_none());
        drop(first);
        assert!(places.take(other).is_some());
        assert!(places.take(greedy).is_some());
    }
}
