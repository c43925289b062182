//! Which devices are away or about to be, and whom that keeps from going.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::{DeviceId, Name};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::fleet::{DeviceState, FleetView};

/// Devices in work in whatever campaign, and those whose turn has come.
#[derive(Debug, Default)]
pub(super) struct Away {
    devices: BTreeSet<DeviceId>,
    /// Standbys of theirs, each with one of them.
    standbys: BTreeMap<DeviceId, DeviceId>,
    /// What they require, each with one of them.
    required: BTreeMap<DeviceId, DeviceId>,
    /// For each set, how many of its devices do not serve: they are away, offline or not enrolled any more.
    absent: Vec<usize>,
    /// For each gateway, how many devices behind it are away.
    behind: Vec<usize>,
    /// How many are away, by domain.
    in_domains: BTreeMap<Name, usize>,
}

impl Away {
    /// Nobody is.
    pub(super) fn nobody(fleet: &FleetView, drm: &RedundancyMatrix) -> Self {
        let absent = |device: &&DeviceId| !is_here(fleet, **device);
        let absent = drm.sets().iter().map(|set| set.members.iter().filter(absent).count()).collect();
        Self { absent, behind: vec![0; drm.gateways().len()], ..Self::default() }
    }

    pub(super) fn add(
        &mut self,
        device: DeviceId,
        fleet: &FleetView,
        graph: &DomainGraph,
        drm: &RedundancyMatrix,
    ) {
        if !self.devices.insert(device) {
            return;
        }
        self.standbys.extend(drm.standbys_for(device).iter().map(|standby| (*standby, device)));
        self.required.extend(graph.requirements(device).into_iter().map(|required| (required, device)));
        if is_here(fleet, device) {
            drm.sets_of(device).iter().for_each(|set| self.absent[*set] += 1);
        }
        for gateway in drm.gateways_of(device) {
            self.behind[*gateway] += usize::from(drm.gateways()[*gateway].device != device);
        }
        if let Some(state) = fleet.devices.get(&device) {
            *self.in_domains.entry(state.domain.clone()).or_default() += 1;
        }
    }

    pub(super) fn has(&self, device: DeviceId) -> bool {
        self.devices.contains(&device)
    }

    /// How many of a set, by its number, do not serve beside `device`, which belongs to it.
    pub(super) fn absent_beside(&self, device: DeviceId, set: usize, fleet: &FleetView) -> usize {
        self.absent[set] - usize::from(self.has(device) || !is_here(fleet, device))
    }

    /// How many of those behind a gateway, by its number, are away beside `device`, which is the gateway or behind it.
    pub(super) fn behind_beside(&self, device: DeviceId, gateway: usize, drm: &RedundancyMatrix) -> usize {
        let counted = self.has(device) && drm.gateways()[gateway].device != device;
        self.behind[gateway] - usize::from(counted)
    }

    /// How many of the domain of `state` are away beside it.
    pub(super) fn in_domain_beside(&self, state: &DeviceState) -> usize {
        self.in_domains.get(&state.domain).map_or(0, |count| count - usize::from(self.has(state.id)))
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

fn is_here(fleet: &FleetView, device: DeviceId) -> bool {
    fleet.devices.get(&device).is_some_and(|state| state.online)
}
