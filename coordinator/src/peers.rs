//! With whom devices talk, as their health samples say: summed up, kept for a week, and put together to the edges of a domain's graph.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use takt_common::health::{ADDRESSES_MAX, PEERS_MAX, PeerSeen, PeersSeen, Talk};
use takt_common::{DeviceId, Name, UnixTime};
use takt_planner::{Observed, ObservedEdge, observed};

use crate::registry::{Registry, RegistryError};

/// Peers of one device that are kept apart.
const PEERS_KEPT_MAX: usize = 4 * PEERS_MAX;

/// What one device has seen, over several samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerSum {
    /// Where others reach it, as it said last.
    pub own: Vec<IpAddr>,
    /// With whom: over connections that it began, and over those that the peer did.
    pub peers: BTreeMap<IpAddr, (Talk, Talk)>,
}

impl PeerSum {
    /// Adds a sample. Of what is more than a device may tell, the rest is not taken.
    pub fn add(&mut self, seen: &PeersSeen) {
        if !seen.own.is_empty() {
            self.own = seen.own.iter().copied().take(ADDRESSES_MAX).collect();
        }
        for PeerSeen { address, outgoing, incoming } in seen.peers.iter().take(PEERS_KEPT_MAX) {
            let (to, from) = self.peers.entry(*address).or_default();
            (*to, *from) = (to.and(*outgoing), from.and(*incoming));
        }
        if self.peers.len() > 2 * PEERS_KEPT_MAX {
            self.peers = without_the_quietest(std::mem::take(&mut self.peers));
        }
    }

    /// As one sample.
    pub fn seen(&self) -> PeersSeen {
        let peer = |(address, (outgoing, incoming)): (&IpAddr, &(Talk, Talk))| PeerSeen {
            address: *address,
            outgoing: *outgoing,
            incoming: *incoming,
        };
        PeersSeen { own: self.own.clone(), peers: self.peers.iter().map(peer).collect(), left_out: 0 }
    }
}

/// Those that have talked most, as many as are kept.
pub(crate) fn without_the_quietest(peers: BTreeMap<IpAddr, (Talk, Talk)>) -> BTreeMap<IpAddr, (Talk, Talk)> {
    let mut peers: Vec<_> = peers.into_iter().collect();
    peers.sort_by_key(|(_, (to, from))| std::cmp::Reverse(to.and(*from)));
    peers.truncate(PEERS_KEPT_MAX);
    peers.into_iter().collect()
}

/// What all devices have seen.
#[derive(Debug)]
pub struct PeerBook {
    /// Over which it is summed up before it is kept, in seconds.
    step: u64,
    present: Mutex<Present>,
    /// By domain, what follows from all that is kept.
    edges: Mutex<BTreeMap<Name, Arc<Vec<ObservedEdge>>>>,
}

#[derive(Debug, Default)]
struct Present {
    /// The step that has not ended.
    at: u64,
    devices: HashMap<DeviceId, PeerSum>,
}

impl PeerBook {
    /// With steps of so many seconds.
    pub fn new(step: u64) -> Self {
        Self { step, present: Mutex::default(), edges: Mutex::default() }
    }

    /// What a device has seen since it last told.
    pub fn note(&self, device: DeviceId, seen: &PeersSeen) {
        lock(&self.present).devices.entry(device).or_default().add(seen);
    }

    /// Keeps what was seen in a step that has ended.
    pub fn roll_up(&self, registry: &Registry, now: UnixTime) -> Result<(), RegistryError> {
        let ended: Vec<(DeviceId, PeerSum)> = {
            let mut present = lock(&self.present);
            let at = now.as_secs() / self.step;
            if present.at == at {
                return Ok(());
            }
            present.at = at;
            present.devices.drain().collect()
        };
        if !ended.is_empty() {
            registry.keep_peers(&ended, now)?;
        }
        // What is older than a week is no longer counted either.
        lock(&self.edges).clear();
        Ok(())
    }

    /// The edges between devices of a domain that have been seen in the week up to the last step that has ended.
    pub fn edges(
        &self,
        registry: &Registry,
        domain: &Name,
        now: UnixTime,
    ) -> Result<Arc<Vec<ObservedEdge>>, RegistryError> {
        if let Some(known) = lock(&self.edges).get(domain) {
            return Ok(known.clone());
        }
        let edges = Arc::new(kept(registry, domain, now, |_, _| {})?.edges);
        lock(&self.edges).insert(domain.clone(), edges.clone());
        Ok(edges)
    }

    /// What has been seen in a domain up to now.
    pub fn all(&self, registry: &Registry, domain: &Name, now: UnixTime) -> Result<Observed, RegistryError> {
        kept(registry, domain, now, |device, sum| {
            if let Some(present) = lock(&self.present).devices.get(&device) {
                sum.add(&present.seen());
            }
        })
    }
}

fn kept(
    registry: &Registry,
    domain: &Name,
    now: UnixTime,
    add_present: impl Fn(DeviceId, &mut PeerSum),
) -> Result<Observed, RegistryError> {
    let mut seen = BTreeMap::new();
    for (name, device) in registry.devices().names(domain) {
        let mut sum = registry.peers(device, now)?;
        add_present(device, &mut sum);
        seen.insert(name, sum.seen());
    }
    Ok(observed(&seen))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums of a sample that was half counted are still sums, so a panic elsewhere does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(own: &[&str], peers: impl Iterator<Item = (u32, u64)>) -> PeersSeen {
        let peer = |(number, connections): (u32, u64)| PeerSeen {
            address: IpAddr::from((0x0a00_0000 + number).to_be_bytes()),
            outgoing: Talk { connections, bytes: 1 },
            incoming: Talk::default(),
        };
        PeersSeen {
            own: own.iter().map(|own| own.parse().unwrap()).collect(),
            peers: peers.map(peer).collect(),
            left_out: 0,
        }
    }

    #[test]
    fn samples_add_up_and_addresses_are_those_that_were_said_last() {
        let mut sum = PeerSum::default();
        sum.add(&seen(&["10.0.0.1"], [(2, 3)].into_iter()));
        sum.add(&seen(&[], [(2, 4), (3, 1)].into_iter()));
        sum.add(&seen(&["10.0.0.9"], std::iter::empty()));
        assert_eq!(sum.own, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        let talks: Vec<(Talk, Talk)> = sum.peers.values().copied().collect();
        let of = |connections, bytes| (Talk { connections, bytes }, Talk::default());
        assert_eq!(talks, [of(7, 2), of(1, 1)]);
        assert_eq!(PeerSum { own: sum.own.clone(), ..rebuilt(&sum) }, sum);
    }

    fn rebuilt(sum: &PeerSum) -> PeerSum {
        let mut again = PeerSum::default();
        again.add(&sum.seen());
        again
    }

    #[test]
    fn a_device_that_names_ever_more_peers_needs_no_more_memory() {
        let mut sum = PeerSum::default();
        for round in 0..50_u32 {
            let first = round * 1_000;
            sum.add(&seen(&["10.0.0.1"; 99], (first..first + 1_000).map(|number| (number, 1))));
        }
        sum.add(&seen(&[], [(1_000_000, 99)].into_iter()));
        assert!(sum.peers.len() <= 2 * PEERS_KEPT_MAX && sum.own.len() <= ADDRESSES_MAX);
        let loudest = without_the_quietest(sum.peers);
        assert_eq!(loudest.len(), PEERS_KEPT_MAX);
        assert!(loudest.values().any(|(to, _)| to.connections == 99));
    }
}
