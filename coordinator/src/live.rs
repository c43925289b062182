//! What is known only while the process runs: who is connected, and the last health samples.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use takt_common::health::HealthSample;
use takt_common::{DeviceId, Name, UnixTime};
use takt_coordinator_core::{DeviceState, Facts};

/// The present of one device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiveDevice {
    /// Its connection at the gate.
    pub connection: Option<u64>,
    /// When it was last heard of since this process began.
    pub last_seen: Option<UnixTime>,
    /// Its last health sample.
    pub health: Option<HealthSample>,
}

impl LiveDevice {
    /// Whether it has a session now.
    pub const fn online(&self) -> bool {
        self.connection.is_some()
    }
}

/// The present of all devices. Only admitted devices get an entry, so it is as small as the registry.
#[derive(Debug, Default)]
pub struct Live {
    devices: Mutex<Devices>,
}

#[derive(Debug, Default)]
struct Devices {
    all: HashMap<DeviceId, LiveDevice>,
    /// Those of which something new is known since they were last asked for.
    changed: HashSet<DeviceId>,
}

impl Devices {
    /// A device of which something new is known.
    fn entry(&mut self, device: DeviceId) -> &mut LiveDevice {
        self.changed.insert(device);
        self.all.entry(device).or_default()
    }
}

impl Live {
    /// The present of one device.
    pub fn of(&self, device: DeviceId) -> LiveDevice {
        self.lock().all.get(&device).cloned().unwrap_or_default()
    }

    /// The device as it is known now, with what is known only while the process runs.
    pub fn look_at(&self, stored: &DeviceState) -> DeviceState {
        let mut state = stored.clone();
        if let Some(live) = self.lock().all.get(&state.id) {
            state.online = live.online();
            state.last_seen = state.last_seen.max(live.last_seen);
            state.facts = live.health.as_ref().map(Facts::of).unwrap_or_default();
        } else {
            state.online = false;
        }
        state
    }

    /// Devices of which something new is known since this was last asked.
    pub fn take_changed(&self) -> HashSet<DeviceId> {
        std::mem::take(&mut self.lock().changed)
    }

    /// Whether the device has a session now.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.lock().all.get(&device).is_some_and(LiveDevice::online)
    }

    /// When the device was last heard of since this process began.
    pub fn last_seen(&self, device: DeviceId) -> Option<UnixTime> {
        self.lock().all.get(&device).and_then(|live| live.last_seen)
    }

    /// How many milliseconds a component of the device takes to answer, by its last sample.
    pub fn response_millis(&self, device: DeviceId, component: &Name) -> Option<u64> {
        self.lock().all.get(&device)?.health.as_ref()?.response_millis.get(component).copied()
    }

    /// How many have a session now.
    pub fn online_count(&self) -> usize {
        self.lock().all.values().filter(|live| live.online()).count()
    }

    /// The device has a session.
    pub fn connected(&self, device: DeviceId, connection: u64, now: UnixTime) {
        let mut devices = self.lock();
        let live = devices.entry(device);
        live.connection = Some(connection);
        live.last_seen = Some(now);
    }

    /// The session has ended; a newer one stays, and then this is false.
    pub fn disconnected(&self, device: DeviceId, connection: u64) -> bool {
        let mut devices = self.lock();
        let ended = devices.all.get_mut(&device).filter(|live| live.connection == Some(connection));
        let ended = ended.is_some_and(|live| live.connection.take().is_some());
        if ended {
            devices.changed.insert(device);
        }
        ended
    }

    /// The device was heard of.
    pub fn heard(&self, device: DeviceId, now: UnixTime) {
        self.lock().entry(device).last_seen = Some(now);
    }

    /// A health sample replaces the last one.
    pub fn health(&self, sample: HealthSample, now: UnixTime) {
        let mut devices = self.lock();
        let live = devices.entry(sample.device);
        live.last_seen = Some(now);
        live.health = Some(sample);
    }

    fn lock(&self) -> MutexGuard<'_, Devices> {
        // Every change is a plain assignment, so a panic elsewhere leaves nothing half done.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_older_session_does_not_end_the_newer_one() {
        let live = Live::default();
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        live.connected(device, 1, UnixTime::from_secs(10));
        live.connected(device, 2, UnixTime::from_secs(11));
        live.disconnected(device, 1);
        assert!(live.is_online(device));
        live.disconnected(device, 2);
        assert!(!live.is_online(device));
        assert_eq!(live.last_seen(device), Some(UnixTime::from_secs(11)));
    }
}
