//! Which devices are away or about to be, and whom that keeps from going.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::DeviceId;
use takt_planner::{DomainGraph, RedundancyMatrix};

/// Devices in work in whatever campaign, and those whose turn has come.
#[derive(Debug, Default)]
pub(super) struct Away {
    devices: BTreeSet<DeviceId>,
    /// Standbys of theirs, each with one of them.
    standbys: BTreeMap<DeviceId, DeviceId>,
    /// What they require, each with one of them.
    required: BTreeMap<DeviceId, DeviceId>,
}

impl Away {
    pub(super) fn add(&mut self, device: DeviceId, graph: &DomainGraph, drm: &RedundancyMatrix) {
        if self.devices.insert(device) {
            self.standbys.extend(drm.standbys_for(device).iter().map(|standby| (*standby, device)));
            self.required.extend(graph.requirements(device).into_iter().map(|required| (required, device)));
        }
    }

    pub(super) fn has(&self, device: DeviceId) -> bool {
        self.devices.contains(&device)
    }

    /// All of them but `device`.
    pub(super) fn others(&self, device: DeviceId) -> impl Iterator<Item = DeviceId> + '_ {
        self.devices.iter().copied().filter(move |other| *other != device)
    }

    /// One of them that must not be away together with `device`, and why.
    pub(super) fn bond(
        &self,
        device: DeviceId,
        graph: &DomainGraph,
        drm: &RedundancyMatrix,
    ) -> Option<(DeviceId, &'static str)> {
        if self.devices.is_empty() {
            return None;
        }
        let standby = drm.standbys_for(device).iter().copied().find(|standby| self.has(*standby));
        if let Some(other) = standby.or_else(|| self.standbys.get(&device).copied()) {
            return Some((other, "one stands in for the other"));
        }
        if let Some(other) = graph.requirements(device).into_iter().find(|required| self.has(*required)) {
            return Some((other, "it is required"));
        }
        self.required.get(&device).map(|other| (*other, "it requires this device"))
    }
}
