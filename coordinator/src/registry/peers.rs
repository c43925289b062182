//! With whom devices have talked, a day of a device under each key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use takt_common::health::{PeerSeen, PeersSeen, Talk};
use takt_common::{DeviceId, UnixTime};
use takt_store::{BATCH_BYTES_MAX, Batch, StoreJson as _};

use super::loads::{DAY_SECS, day_of, days_max};
use super::{Registry, RegistryError, keys};
use crate::peers::{PeerSum, without_the_quietest};

/// Days that are kept of each device: a week, so that what happens on one day of it only is known too.
pub const PEER_DAYS_KEPT: u64 = 7;

/// The most that a day takes, with all the peers that are kept.
const DAY_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Day {
    own: Vec<IpAddr>,
    /// Address, connections and bytes of those that the device began, and of those that the peer did.
    peers: Vec<(IpAddr, u64, u64, u64, u64)>,
}

impl Registry {
    /// Adds what devices have seen, at most once of each, to the day of `now`, in as many batches as it needs.
    pub fn keep_peers(&self, seen: &[(DeviceId, PeerSum)], now: UnixTime) -> Result<(), RegistryError> {
        let mut batch = Batch::new();
        for (device, seen) in seen {
            if batch.bytes() + DAY_BYTES_MAX > BATCH_BYTES_MAX {
                self.commit_batch(std::mem::take(&mut batch))?;
            }
            batch = self.with_peers(batch, *device, seen, now.as_secs() / DAY_SECS)?;
        }
        if batch.is_empty() { Ok(()) } else { Ok(self.commit_batch(batch)?) }
    }

    fn with_peers(
        &self,
        batch: Batch,
        device: DeviceId,
        seen: &PeerSum,
        day: u64,
    ) -> Result<Batch, RegistryError> {
        let key = keys::peers_of_day(device, day);
        let known: Option<Day> = self.store().get_json(key.as_bytes())?;
        let begins = known.is_none();
        let mut sum = PeerSum::default();
        sum.add(&known.unwrap_or_default().seen());
        sum.add(&seen.seen());
        let mut batch = batch.put_json(key, &Day::of(&sum))?;
        if begins {
            for old in self.days(&keys::peers(device))?.into_iter().filter(|old| !is_kept(*old, day)) {
                batch = batch.delete(keys::peers_of_day(device, old));
            }
        }
        Ok(batch)
    }

    /// What a device has seen in the week up to `now`.
    pub fn peers(&self, device: DeviceId, now: UnixTime) -> Result<PeerSum, RegistryError> {
        let (prefix, today) = (keys::peers(device), now.as_secs() / DAY_SECS);
        let mut sum = PeerSum::default();
        for (key, day) in self.store().scan_json::<Day>(prefix.as_bytes(), None, days_max())? {
            if day_of(&key, prefix.len()).is_some_and(|day| is_kept(day, today)) {
                sum.add(&day.seen());
            }
        }
        Ok(sum)
    }
}

/// Those of a clock that was ahead are not.
const fn is_kept(day: u64, today: u64) -> bool {
    day <= today && day + PEER_DAYS_KEPT > today
}

impl Day {
    fn of(sum: &PeerSum) -> Self {
        let peers: BTreeMap<IpAddr, (Talk, Talk)> = without_the_quietest(sum.peers.clone());
        let peer = |(address, (to, from)): (IpAddr, (Talk, Talk))| {
            (address, to.connections, to.bytes, from.connections, from.bytes)
        };
        Self { own: sum.own.clone(), peers: peers.into_iter().map(peer).collect() }
    }

    fn seen(self) -> PeersSeen {
        let peer = |(address, to, to_bytes, from, from_bytes)| PeerSeen {
            address,
            outgoing: Talk { connections: to, bytes: to_bytes },
            incoming: Talk { connections: from, bytes: from_bytes },
        };
        PeersSeen { own: self.own, peers: self.peers.into_iter().map(peer).collect(), left_out: 0 }
    }
}

#[cfg(test)]
mod tests {
    use takt_store::{Options, SledStore};

    use super::*;

    const DAY: u64 = 20_000;

    fn at(day: u64) -> UnixTime {
        UnixTime::from_secs(day * DAY_SECS + 3_600)
    }

    fn sum(own: &str, peers: &[(&str, u64)]) -> PeerSum {
        let peer = |(address, connections): &(&str, u64)| PeerSeen {
            address: address.parse().unwrap(),
            outgoing: Talk { connections: *connections, bytes: 10 * connections },
            incoming: Talk { connections: 1, bytes: 0 },
        };
        let mut sum = PeerSum::default();
        let peers = peers.iter().map(peer).collect();
        sum.add(&PeersSeen { own: vec![own.parse().unwrap()], peers, left_out: 0 });
        sum
    }

    #[test]
    fn a_week_is_summed_up_and_what_is_older_or_of_a_clock_ahead_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path().join("store"), &Options::default()).unwrap().store;
        let registry = Registry::open(store.into()).unwrap();
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let other: DeviceId = "00112233445566778899aabbccddee00".parse().unwrap();
        let keep = |day, seen: PeerSum| registry.keep_peers(&[(device, seen)], at(day)).unwrap();
        keep(DAY + 30, sum("10.0.0.1", &[("10.0.0.9", 5)]));
        keep(DAY, sum("10.0.0.1", &[("10.0.0.2", 3)]));
        keep(DAY, sum("10.0.0.1", &[("10.0.0.2", 4), ("10.0.0.3", 1)]));
        keep(DAY + 1, sum("10.0.0.7", &[("10.0.0.2", 2)]));
        registry.keep_peers(&[(other, sum("10.0.0.2", &[]))], at(DAY)).unwrap();

        let of = |day| registry.peers(device, at(day)).unwrap();
        let talks = |sum: &PeerSum| -> Vec<(String, u64, u64)> {
            let talk = |(address, (to, from)): (&IpAddr, &(Talk, Talk))| {
                (address.to_string(), to.connections, from.connections)
            };
            sum.peers.iter().map(talk).collect()
        };
        let seen = of(DAY + 1);
        assert_eq!(seen.own, ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(talks(&seen), [("10.0.0.2".to_owned(), 9, 3), ("10.0.0.3".to_owned(), 1, 1)]);
        assert_eq!(talks(&of(DAY + PEER_DAYS_KEPT)), [("10.0.0.2".to_owned(), 2, 1)]);
        assert_eq!(of(DAY + 1 + PEER_DAYS_KEPT), PeerSum::default());
        // A day that begins takes away what no longer counts.
        keep(DAY + PEER_DAYS_KEPT + 1, sum("10.0.0.7", &[]));
        assert_eq!(registry.days(&keys::peers(device)).unwrap(), [DAY + PEER_DAYS_KEPT + 1]);
        assert_eq!(registry.peers(other, at(DAY)).unwrap().own.len(), 1);
    }
}
