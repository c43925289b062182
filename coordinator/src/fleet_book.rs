//! The fleet as campaigns look at it, kept from one look to the next: only devices of which something new is known are looked at anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use takt_common::DeviceId;
use takt_coordinator_core::FleetView;

use crate::coordinator::Coordinator;
use crate::registry::DeviceRecord;

/// The last look.
#[derive(Default)]
pub struct FleetBook {
    /// By id.
    records: Vec<Arc<DeviceRecord>>,
    /// Those that have changed since.
    changed: BTreeSet<DeviceId>,
    epoch: u64,
    fleet: FleetView,
}

impl FleetBook {
    /// Looks at all devices. There is one book: what changes of a device counts as new once.
    pub fn look(&mut self, coordinator: &Coordinator) -> (&[Arc<DeviceRecord>], &FleetView) {
        // In this order: what changes in between is new the next time as well.
        self.changed.extend(coordinator.live.take_changed());
        self.changed.extend(coordinator.registry.devices().take_changed());
        let epoch = coordinator.epoch();
        let count = coordinator.registry.devices().count();
        let anew = epoch != self.epoch || count != self.records.len() || !self.look_again(coordinator);
        if anew {
            self.records = coordinator.registry.devices().all();
            self.fleet = coordinator.fleet_of(&self.records);
            self.epoch = epoch;
        }
        self.changed.clear();
        (&self.records, &self.fleet)
    }

    /// Looks at the devices that have changed; false when one of them is new.
    fn look_again(&mut self, coordinator: &Coordinator) -> bool {
        for id in &self.changed {
            let Some(record) = coordinator.registry.devices().get(*id) else { continue };
            let Ok(at) = self.records.binary_search_by_key(id, |record| record.state.id) else {
                return false;
            };
            if record.state.is_decommissioned() {
                self.fleet.devices.remove(id);
            } else {
                self.fleet.devices.insert(*id, coordinator.look_at(&record, self.epoch));
            }
            self.records[at] = record;
        }
        true
    }
}
