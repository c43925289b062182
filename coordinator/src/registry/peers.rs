//! With whom devices have talked, a day of a device under each key.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use takt_common::health::Talk;
use takt_common::{DeviceId, UnixTime};
use takt_store::{Batch, Store as _, StoreJson as _};

use super::loads::DAY_SECS;
use super::{Registry, RegistryError, keys};
use crate::peers::PeerSum;
use crate::service;

/// Days that are kept of each device: a week, so that what happens on one day of it only is known too.
pub const PEER_DAYS_KEPT: u64 = 7;

/// The most that a day takes, with all the peers that are kept and all days that go.
const DAY_BYTES_MAX: usize = 40 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Day {
    own: Vec<IpAddr>,
    /// Address, connections and bytes of those that the device began, and of those that the peer did.
    peers: Vec<(IpAddr, u64, u64, u64, u64)>,
    left_out: u64,
}

/// A day, counted from 1970.
pub const fn day_of(time: UnixTime) -> u64 {
    time.as_secs() / DAY_SECS
}

impl Registry {
    /// Adds what devices have seen, at most once of each, to the day of `now`, in as many batches as it needs.
    pub fn keep_peers(&self, seen: &[(DeviceId, PeerSum)], now: UnixTime) -> Result<(), RegistryError> {
        let mut batch = Batch::new();
        for (device, sum) in seen {
            if batch.bytes() + DAY_BYTES_MAX > self.store().batch_bytes_max() {
                self.commit_batch(std::mem::take(&mut batch))?;
                service::alive();
            }
            batch = self.with_peers(batch, *device, sum, day_of(now))?;
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
        let mut sum = known.unwrap_or_default().sum();
        sum.add(seen);
        let mut batch = batch.put_json(key, &Day::of(&sum))?;
        if begins {
            for old in self.days(&keys::peers(device))?.into_iter().filter(|old| old + PEER_DAYS_KEPT <= day)
            {
                batch = batch.delete(keys::peers_of_day(device, old));
            }
        }
        Ok(batch)
    }

    /// What a device has seen on a day.
    pub fn peers(&self, device: DeviceId, day: u64) -> Result<PeerSum, RegistryError> {
        let known: Option<Day> = self.store().get_json(keys::peers_of_day(device, day).as_bytes())?;
        Ok(known.unwrap_or_default().sum())
    }
}

impl Day {
    fn of(sum: &PeerSum) -> Self {
        let peer = |(address, (to, from)): (&IpAddr, &(Talk, Talk))| {
            (*address, to.connections, to.bytes, from.connections, from.bytes)
        };
        Self { own: sum.own.clone(), peers: sum.peers.iter().map(peer).collect(), left_out: sum.left_out }
    }

    fn sum(self) -> PeerSum {
        let talk = |connections, bytes| Talk { connections, bytes };
        let peer = |(address, to, to_bytes, from, from_bytes)| {
            (address, (talk(to, to_bytes), talk(from, from_bytes)))
        };
        PeerSum { own: self.own, peers: self.peers.into_iter().map(peer).collect(), left_out: self.left_out }
    }
}

#[cfg(test)]
mod tests {
    use takt_store::{Options, SledStore};

    use super::*;

    const DAY: u64 = 20_000;

    fn sum(own: &str, peers: &[(&str, u64)]) -> PeerSum {
        let peer = |(address, connections): &(&str, u64)| {
            let to = Talk { connections: *connections, bytes: 10 * connections };
            (address.parse().unwrap(), (to, Talk { connections: 1, bytes: 0 }))
        };
        PeerSum { own: vec![own.parse().unwrap()], peers: peers.iter().map(peer).collect(), left_out: 1 }
    }

    #[test]
    fn days_are_summed_up_and_go_after_a_week() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path().join("store"), &Options::default()).unwrap().store;
        let registry = Registry::open(store.into()).unwrap();
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let other: DeviceId = "00112233445566778899aabbccddee00".parse().unwrap();
        let at = |day: u64| UnixTime::from_secs(day * DAY_SECS + 3_600);
        let keep = |day, seen: PeerSum| {
            registry.keep_peers(&[(device, seen), (other, sum("10.0.0.2", &[]))], at(day)).unwrap();
        };
        keep(DAY, sum("10.0.0.1", &[("10.0.0.2", 3)]));
        keep(DAY, sum("10.0.0.7", &[("10.0.0.2", 4), ("10.0.0.3", 1)]));
        keep(DAY + 1, sum("10.0.0.7", &[("10.0.0.2", 2)]));

        let seen = registry.peers(device, DAY).unwrap();
        assert_eq!((seen.own, seen.left_out), (vec!["10.0.0.7".parse::<IpAddr>().unwrap()], 2));
        let talk = |connections, bytes| Talk { connections, bytes };
        let talks: Vec<(Talk, Talk)> = seen.peers.values().copied().collect();
        assert_eq!(talks, [(talk(7, 70), talk(2, 0)), (talk(1, 10), talk(1, 0))]);
        assert_eq!(registry.peers(device, DAY + 1).unwrap().peers.len(), 1);
        assert_eq!(registry.peers(device, DAY + 2).unwrap(), PeerSum::default());
        assert_eq!(registry.peers(other, DAY).unwrap().own.len(), 1);
        keep(DAY + PEER_DAYS_KEPT, sum("10.0.0.7", &[]));
        assert_eq!(registry.days(&keys::peers(device)).unwrap(), [DAY + 1, DAY + PEER_DAYS_KEPT]);
    }
}
