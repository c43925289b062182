//! The fleet as campaigns look at it, kept from one look to the next: only devices of which something new is known are looked at anew.

use std::sync::Arc;

use takt_coordinator_core::FleetView;

use crate::coordinator::Coordinator;
use crate::registry::DeviceRecord;

/// The last look.
#[derive(Default)]
pub struct FleetBook {
    records: Vec<Arc<DeviceRecord>>,
    epoch: u64,
    fleet: FleetView,
}

impl FleetBook {
    /// Looks at all devices. There is one book: what is known of a device while the process runs counts as new once.
    pub fn look(&mut self, coordinator: &Coordinator) -> (&[Arc<DeviceRecord>], &FleetView) {
        // In this order: what changes in between is new the next time as well.
        let changed = coordinator.live.take_changed();
        let records = coordinator.registry.devices().all();
        let epoch = coordinator.epoch();
        let same = |one: &Arc<DeviceRecord>, other: &Arc<DeviceRecord>| one.state.id == other.state.id;
        let same_devices = records.len() == self.records.len()
            && records.iter().zip(&self.records).all(|(new, old)| Arc::ptr_eq(new, old) || same(new, old));
        if !same_devices || epoch != self.epoch {
            self.fleet = coordinator.fleet_of(&records);
        } else {
            for (new, old) in records.iter().zip(&self.records) {
                let id = new.state.id;
                if !Arc::ptr_eq(new, old) || changed.contains(&id) {
                    self.fleet.devices.insert(id, coordinator.look_at(new, epoch));
                }
            }
        }
        (self.records, self.epoch) = (records, epoch);
        (&self.records, &self.fleet)
    }
}
