//! With whom devices talk, as their health samples say: summed up, kept for a week, and put together to the edges of a domain's graph.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use takt_common::health::{ADDRESSES_MAX, PEERS_MAX, PeerSeen, PeersSeen, Talk};
use takt_common::{DeviceId, Name, UnixTime};
use takt_planner::{Observed, ObservedEdge, Owners, Span};

use crate::registry::{PEER_DAYS_KEPT, Registry, RegistryError, day_of};

/// Peers of one device that are kept apart.
const PEERS_KEPT_MAX: usize = 4 * PEERS_MAX;
/// What no device can have had to do with another between two accounts: whoever says so must not outweigh all others.
const TALK_MAX: Talk = Talk { connections: 10_000_000, bytes: 1 << 42 };

/// What one device has seen, over several samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerSum {
    /// Where others reach it, as it said last.
    pub own: Vec<IpAddr>,
    /// With whom: over connections that it began, and over those that the peer did.
    pub peers: BTreeMap<IpAddr, (Talk, Talk)>,
    /// Connections that it did not count.
    pub left_out: u64,
}

impl PeerSum {
    /// Adds a sample. Of what is more than a device may tell, the rest is not taken.
    pub fn note(&mut self, seen: &PeersSeen) {
        let cut = |talk: Talk| Talk {
            connections: talk.connections.min(TALK_MAX.connections),
            bytes: talk.bytes.min(TALK_MAX.bytes),
        };
        let peer = |seen: &PeerSeen| (seen.address, (cut(seen.outgoing), cut(seen.incoming)));
        self.add(&Self {
            own: seen.own.iter().copied().take(ADDRESSES_MAX).collect(),
            peers: seen.peers.iter().take(PEERS_MAX).map(peer).collect(),
            left_out: seen.left_out.min(TALK_MAX.connections),
        });
    }

    /// Adds what was seen later. Of very many peers, those stay with whom most was said.
    pub fn add(&mut self, later: &Self) {
        if !later.own.is_empty() {
            self.own.clone_from(&later.own);
        }
        for (address, (outgoing, incoming)) in &later.peers {
            let (to, from) = self.peers.entry(*address).or_default();
            (*to, *from) = (to.and(*outgoing), from.and(*incoming));
        }
        self.left_out = self.left_out.saturating_add(later.left_out);
        if self.peers.len() > PEERS_KEPT_MAX {
            let mut peers: Vec<_> = std::mem::take(&mut self.peers).into_iter().collect();
            let amount = |talks: &(Talk, Talk)| talks.0.and(talks.1).amount();
            peers.sort_by(|a, b| amount(&b.1).total_cmp(&amount(&a.1)));
            peers.truncate(PEERS_KEPT_MAX);
            self.peers = peers.into_iter().collect();
        }
    }

    /// As one sample.
    pub fn seen(&self) -> PeersSeen {
        let peer = |(address, (outgoing, incoming)): (&IpAddr, &(Talk, Talk))| PeerSeen {
            address: *address,
            outgoing: *outgoing,
            incoming: *incoming,
        };
        PeersSeen {
            own: self.own.clone(),
            peers: self.peers.iter().map(peer).collect(),
            left_out: self.left_out,
        }
    }
}

/// What all devices have seen.
#[derive(Debug)]
pub struct PeerBook {
    /// Over which it is summed up before it is kept, in seconds.
    step: u64,
    present: Mutex<Present>,
    /// By domain, what follows from all that is kept. One at a time works it out.
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
        lock(&self.present).devices.entry(device).or_default().note(seen);
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
        let kept = registry.keep_peers(&ended, now);
        // What is older than a week is no longer counted either.
        lock(&self.edges).clear();
        kept
    }

    /// The edges between devices of a domain that have been seen in the week up to the last step that has ended.
    pub fn edges(
        &self,
        registry: &Registry,
        domain: &Name,
        now: UnixTime,
    ) -> Result<Arc<Vec<ObservedEdge>>, RegistryError> {
        let mut known = lock(&self.edges);
        if let Some(edges) = known.get(domain) {
            return Ok(edges.clone());
        }
        let edges = Arc::new(kept(registry, domain, now, |_, _| {})?.edges());
        known.insert(domain.clone(), edges.clone());
        Ok(edges)
    }

    /// What has been seen in a domain up to now.
    pub fn all(&self, registry: &Registry, domain: &Name, now: UnixTime) -> Result<Observed, RegistryError> {
        kept(registry, domain, now, |device, today| {
            if let Some(present) = lock(&self.present).devices.get(&device) {
                today.add(present);
            }
        })
    }
}

/// What is kept of a domain, day by day: an address may be that of another device on another day.
fn kept(
    registry: &Registry,
    domain: &Name,
    now: UnixTime,
    add_present: impl Fn(DeviceId, &mut PeerSum),
) -> Result<Observed, RegistryError> {
    let names = registry.devices().names(domain);
    let today = day_of(now);
    let mut all = Observed::default();
    for day in today.saturating_sub(PEER_DAYS_KEPT - 1)..=today {
        let of = |device: DeviceId| -> Result<PeerSum, RegistryError> {
            let mut sum = registry.peers(device, day)?;
            if day == today {
                add_present(device, &mut sum);
            }
            Ok(sum)
        };
        let mut owners = Owners::default();
        for (name, device) in &names {
            owners.add(name, &of(*device)?.own);
        }
        let mut span = Span::new(owners);
        for (name, device) in &names {
            span.add(name, &of(*device)?.seen());
        }
        all.add(span);
    }
    Ok(all)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums of a sample that was half counted are still sums, so a panic elsewhere does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use takt_store::{Options, SledStore};

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

    fn talks(sum: &PeerSum) -> Vec<(u64, u64)> {
        sum.peers.values().map(|(to, _)| (to.connections, to.bytes)).collect()
    }

    #[test]
    fn samples_add_up_and_addresses_are_those_that_were_said_last() {
        let mut sum = PeerSum::default();
        sum.note(&seen(&["10.0.0.1"], [(2, 3)].into_iter()));
        sum.note(&seen(&[], [(2, 4), (3, 1)].into_iter()));
        sum.note(&seen(&["10.0.0.9"], std::iter::empty()));
        assert_eq!(sum.own, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        assert_eq!(talks(&sum), [(7, 2), (1, 1)]);
    }

    #[test]
    fn a_device_that_names_ever_more_peers_or_too_much_of_one_is_bounded() {
        let mut sum = PeerSum::default();
        for round in 0..50_u32 {
            let first = round * 1_000;
            sum.note(&seen(&["10.0.0.1"; 99], (first..first + 1_000).map(|number| (number, 1))));
        }
        sum.note(&seen(&[], [(1_000_000, u64::MAX)].into_iter()));
        assert_eq!((sum.peers.len(), sum.own.len()), (PEERS_KEPT_MAX, ADDRESSES_MAX));
        assert!(sum.peers.values().any(|(to, _)| to.connections == TALK_MAX.connections));
    }

    struct Site {
        _folder: tempfile::TempDir,
        registry: Registry,
        book: PeerBook,
    }

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(20_000 * DAY + secs)
    }

    fn device(number: u8) -> DeviceId {
        format!("{number:032x}").parse().unwrap()
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = SledStore::open(folder.path().join("store"), &Options::default()).unwrap().store;
            let site = Self {
                _folder: folder,
                registry: Registry::open(store.into()).unwrap(),
                book: PeerBook::new(HOUR),
            };
            site.book.roll_up(&site.registry, at(0)).unwrap();
            site
        }

        fn tell(&self, number: u8, peers: impl Iterator<Item = (u32, u64)>) {
            self.book.note(device(number), &seen(&[&format!("10.0.0.{number}")], peers));
        }
    }

    #[test]
    fn a_step_is_kept_once_it_has_ended_and_the_loudest_peers_survive() {
        let site = Site::new();
        // More peers than are kept, in several accounts; those with the highest addresses say most.
        for first in (0..400).step_by(50) {
            site.tell(1, (first..first + 50).map(|number| (1_000 + number, u64::from(number) + 1)));
        }
        site.book.roll_up(&site.registry, at(HOUR - 1)).unwrap();
        assert_eq!(site.registry.peers(device(1), day_of(at(0))).unwrap(), PeerSum::default());
        site.book.roll_up(&site.registry, at(HOUR)).unwrap();
        site.tell(1, [(1_399, 600)].into_iter());
        site.book.roll_up(&site.registry, at(2 * HOUR)).unwrap();
        let kept = site.registry.peers(device(1), day_of(at(0))).unwrap();
        assert_eq!(kept.peers.len(), PEERS_KEPT_MAX);
        assert_eq!(talks(&kept).last(), Some(&(1_000, 2)));
    }
}
