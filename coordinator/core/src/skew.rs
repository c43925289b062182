//! How far the releases of neighbours may be apart: by so many release counters of one component, at any time.

use std::collections::BTreeSet;

use takt_common::DeviceId;
use takt_planner::DomainGraph;

use crate::campaign::ReleaseFacts;
use crate::fleet::FleetView;

/// A neighbour that a device would be too far ahead of with the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFar {
    pub(crate) neighbour: DeviceId,
    /// What the neighbour runs.
    pub(crate) counter: u64,
    /// How far they may be apart.
    pub(crate) most: u64,
}

/// The neighbours that `device` would be too far apart from if it ran the release now. One that does not have the component is none.
pub(crate) fn too_far<'a>(
    device: DeviceId,
    release: &'a ReleaseFacts,
    fleet: &'a FleetView,
    graph: &'a DomainGraph,
) -> impl Iterator<Item = TooFar> + 'a {
    graph.skews(device).iter().filter_map(move |(neighbour, most)| {
        let state = fleet.devices.get(neighbour)?;
        let counter = state.installed_release(&release.id.name)?.counter;
        let far = counter.abs_diff(release.counter) > *most;
        far.then_some(TooFar { neighbour: *neighbour, counter, most: *most })
    })
}

/// A device of `targets` that can never get the release, and because of whom: a neighbour that is no target or has to come after it.
pub(crate) fn impossible(
    targets: &BTreeSet<DeviceId>,
    release: &ReleaseFacts,
    fleet: &FleetView,
    graph: &DomainGraph,
) -> Option<(DeviceId, TooFar)> {
    let has_it = |device: &DeviceId| {
        let state = fleet.devices.get(device);
        let runs = state.and_then(|state| state.installed_release(&release.id.name));
        runs.is_some_and(|runs| runs.manifest == release.manifest)
    };
    targets.iter().filter(|device| !has_it(device)).find_map(|device| {
        let hopeless = |far: &TooFar| {
            let after = || {
                graph.requirements(far.neighbour).contains(device)
                    || too_far(far.neighbour, release, fleet, graph).any(|other| other.neighbour == *device)
            };
            !targets.contains(&far.neighbour) || after()
        };
        too_far(*device, release, fleet, graph).find(hopeless).map(|far| (*device, far))
    })
}
