//! The Device Redundancy Matrix (paper 1): who can stand in for whom.

use std::collections::{BTreeMap, BTreeSet};

use takt_common::api::{DrmSpec, ServeSetSpec, Takeover};
use takt_common::{DeviceId, Name};

use crate::domain_schedule::{DomainGateway, DomainSchedule};

/// The checked Device Redundancy Matrix of one domain.
#[derive(Debug, Clone, Default)]
pub struct RedundancyMatrix {
    rows: BTreeMap<DeviceId, Vec<DeviceId>>,
    /// Devices whose standbys do not launch what they run.
    otherwise: BTreeMap<DeviceId, Takeover>,
    sets: Vec<DeviceSet>,
    /// For each device, the numbers of its sets.
    in_sets: BTreeMap<DeviceId, Vec<usize>>,
    gateways: Vec<DomainGateway>,
    /// For each device, the numbers of the gateways that it is or is behind.
    at_gateways: BTreeMap<DeviceId, Vec<usize>>,
    max_in_flight: Option<usize>,
}

/// Devices of one domain that do the same work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSet {
    /// Its name.
    pub name: Name,
    /// Who belongs to it.
    pub members: BTreeSet<DeviceId>,
    /// How many of them may be away at once.
    pub away_max: usize,
}

/// A Device Redundancy Matrix is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedundancyError {
    /// A row names a device that the domain does not have.
    #[error("row of {row}: the domain has no device '{unknown}'")]
    UnknownDevice {
        /// The device of the row.
        row: Name,
        /// The name that is not known.
        unknown: Name,
    },
    /// A device stands in for itself.
    #[error("row of {0}: a device cannot be its own standby")]
    OwnStandby(Name),
    /// A device has two rows.
    #[error("{0} has two rows")]
    DuplicateRow(Name),
    /// A row names a standby twice.
    #[error("row of {row}: standby {standby} is named twice")]
    DuplicateStandby {
        /// The device of the row.
        row: Name,
        /// The standby.
        standby: Name,
    },
    /// A row without standbys, which would promise nothing.
    #[error("row of {0}: at least one standby is needed")]
    NoStandby(Name),
    /// A set names a device that the domain does not have.
    #[error("set {set}: the domain has no device '{unknown}'")]
    UnknownMember {
        /// The set.
        set: Name,
        /// The name that is not known.
        unknown: Name,
    },
    /// A set names a member twice.
    #[error("set {set}: {member} is named twice")]
    DuplicateMember {
        /// The set.
        set: Name,
        /// The member.
        member: Name,
    },
    /// Two sets have one name.
    #[error("there are two sets '{0}'")]
    DuplicateSet(Name),
    /// All members of a set must serve, so none could ever be upgraded.
    #[error(
        "set {set}: serve_min is {serve_min} of {members} members, so none of them could ever be upgraded"
    )]
    NobodyAway {
        /// The set.
        set: Name,
        /// How many must serve.
        serve_min: u32,
        /// How many there are.
        members: usize,
    },
}

impl RedundancyMatrix {
    /// Checks `spec` against the devices of the domain.
    pub fn new(spec: &DrmSpec, devices: &BTreeMap<Name, DeviceId>) -> Result<Self, RedundancyError> {
        let (mut rows, mut otherwise) = (BTreeMap::new(), BTreeMap::new());
        for row in &spec.rows {
            let find = |name: &Name| {
                let unknown =
                    || RedundancyError::UnknownDevice { row: row.device.clone(), unknown: name.clone() };
                devices.get(name).copied().ok_or_else(unknown)
            };
            let device = find(&row.device)?;
            if row.standbys.is_empty() {
                return Err(RedundancyError::NoStandby(row.device.clone()));
            }
            let mut standbys = Vec::with_capacity(row.standbys.len());
            for name in &row.standbys {
                let standby = find(name)?;
                if standby == device {
                    return Err(RedundancyError::OwnStandby(row.device.clone()));
                }
                if standbys.contains(&standby) {
                    let (row, standby) = (row.device.clone(), name.clone());
                    return Err(RedundancyError::DuplicateStandby { row, standby });
                }
                standbys.push(standby);
            }
            if !row.takeover.is_launch() {
                otherwise.insert(device, row.takeover);
            }
            if rows.insert(device, standbys).is_some() {
                return Err(RedundancyError::DuplicateRow(row.device.clone()));
            }
        }
        let sets = device_sets(&spec.sets, devices)?;
        let in_sets = numbered(sets.iter().map(|set| set.members.iter().copied()));
        Ok(Self { rows, otherwise, sets, in_sets, ..Self::default() })
    }

    /// With the limits of a schedule: a gateway and a device behind it must not be away together, nor more devices than it feeds or
    /// than may be in flight.
    #[must_use]
    pub fn with_limits(self, schedule: &DomainSchedule) -> Self {
        let gateways = schedule.gateways.clone();
        let there = gateways.iter().map(|gateway| {
            let behind = gateway.members.iter().filter(|member| **member != gateway.device);
            std::iter::once(gateway.device).chain(behind.copied())
        });
        let at_gateways = numbered(there);
        Self { gateways, at_gateways, max_in_flight: schedule.max_in_flight, ..self }
    }

    /// What gateways can feed.
    pub fn gateways(&self) -> &[DomainGateway] {
        &self.gateways
    }

    /// The numbers of the gateways that `device` is or is behind, ascending: where they stand in [`Self::gateways`].
    pub fn gateways_of(&self, device: DeviceId) -> &[usize] {
        self.at_gateways.get(&device).map_or(&[], Vec::as_slice)
    }

    /// The most devices that may be away at once.
    pub const fn max_in_flight(&self) -> Option<usize> {
        self.max_in_flight
    }

    /// Who may serve for `device`, the preferred first; empty when nobody may.
    pub fn standbys_for(&self, device: DeviceId) -> &[DeviceId] {
        self.rows.get(&device).map_or(&[], Vec::as_slice)
    }

    /// How a standby takes over for `device`.
    pub fn takeover_of(&self, device: DeviceId) -> Takeover {
        self.otherwise.get(&device).copied().unwrap_or_default()
    }

    /// Of which some must serve.
    pub fn sets(&self) -> &[DeviceSet] {
        &self.sets
    }

    /// The numbers of the sets that `device` belongs to, ascending: where they stand in [`Self::sets`].
    pub fn sets_of(&self, device: DeviceId) -> &[usize] {
        self.in_sets.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Whether one of the two may serve for the other, so that they must not be away together.
    pub fn related(&self, a: DeviceId, b: DeviceId) -> bool {
        self.standbys_for(a).contains(&b) || self.standbys_for(b).contains(&a)
    }
}

/// For each device, the numbers of the groups that have it.
fn numbered<G: Iterator<Item = DeviceId>>(groups: impl Iterator<Item = G>) -> BTreeMap<DeviceId, Vec<usize>> {
    let mut numbers: BTreeMap<DeviceId, Vec<usize>> = BTreeMap::new();
    for (number, group) in groups.enumerate() {
        for device in group {
            numbers.entry(device).or_default().push(number);
        }
    }
    numbers
}

fn device_sets(
    specs: &[ServeSetSpec],
    devices: &BTreeMap<Name, DeviceId>,
) -> Result<Vec<DeviceSet>, RedundancyError> {
    let mut sets: Vec<DeviceSet> = Vec::with_capacity(specs.len());
    for spec in specs {
        let set = || spec.name.clone();
        if sets.iter().any(|other| other.name == spec.name) {
            return Err(RedundancyError::DuplicateSet(set()));
        }
        let mut members = BTreeSet::new();
        for name in &spec.members {
            let unknown = || RedundancyError::UnknownMember { set: set(), unknown: name.clone() };
            if !members.insert(devices.get(name).copied().ok_or_else(unknown)?) {
                return Err(RedundancyError::DuplicateMember { set: set(), member: name.clone() });
            }
        }
        let serve_min = usize::try_from(spec.serve_min).unwrap_or(usize::MAX);
        let away_max = members.len().saturating_sub(serve_min);
        if away_max == 0 {
            let (serve_min, members) = (spec.serve_min, members.len());
            return Err(RedundancyError::NobodyAway { set: set(), serve_min, members });
        }
        sets.push(DeviceSet { name: set(), members, away_max });
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use takt_common::api::{StandbySpec, Takeover};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn id(number: usize) -> DeviceId {
        format!("{number:032x}").parse().unwrap()
    }

    /// A device and its standbys.
    type Row = (&'static str, &'static [&'static str]);

    fn matrix(rows: &[Row]) -> Result<RedundancyMatrix, RedundancyError> {
        let devices =
            ["a", "b", "c"].iter().enumerate().map(|(number, text)| (name(text), id(number))).collect();
        let row = |(device, standbys): &Row| StandbySpec {
            device: name(device),
            standbys: standbys.iter().map(|text| name(text)).collect(),
            takeover: Takeover::Launch,
        };
        RedundancyMatrix::new(&DrmSpec { rows: rows.iter().map(row).collect(), sets: vec![] }, &devices)
    }

    /// A name, its members and how many of them must serve.
    type Set = (&'static str, &'static [&'static str], u32);

    fn with_sets(sets: &[Set]) -> Result<RedundancyMatrix, RedundancyError> {
        let devices =
            ["a", "b", "c"].iter().enumerate().map(|(number, text)| (name(text), id(number))).collect();
        let set = |(text, members, serve_min): &Set| ServeSetSpec {
            name: name(text),
            members: members.iter().map(|text| name(text)).collect(),
            serve_min: *serve_min,
        };
        RedundancyMatrix::new(&DrmSpec { rows: vec![], sets: sets.iter().map(set).collect() }, &devices)
    }

    #[test]
    fn so_many_of_a_set_may_be_away_as_need_not_serve() {
        let matrix = with_sets(&[("cells", &["a", "b", "c"], 1), ("pair", &["a", "b"], 1)]).unwrap();
        assert_eq!(matrix.sets().iter().map(|set| set.away_max).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(matrix.sets()[1].members, BTreeSet::from([id(0), id(1)]));
        assert_eq!([0, 2].map(|device| matrix.sets_of(id(device))), [&[0, 1][..], &[0]]);
        assert!(matrix.sets_of(id(7)).is_empty());
    }

    #[test]
    fn sets_of_which_nobody_could_be_upgraded_are_refused_by_name() {
        let cases: [(&[Set], &str); 5] = [
            (&[("s", &["x"], 0)], "set s: the domain has no device 'x'"),
            (&[("s", &["a", "a"], 1)], "set s: a is named twice"),
            (&[("s", &["a", "b"], 1), ("s", &["b", "c"], 1)], "there are two sets 's'"),
            (
                &[("s", &["a", "b"], 2)],
                "set s: serve_min is 2 of 2 members, so none of them could ever be upgraded",
            ),
            (&[("s", &[], 0)], "set s: serve_min is 0 of 0 members, so none of them could ever be upgraded"),
        ];
        for (sets, expected) in cases {
            assert_eq!(with_sets(sets).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn standbys_keep_the_order_in_which_they_were_declared() {
        let matrix = matrix(&[("a", &["c", "b"]), ("b", &["c"])]).unwrap();
        assert_eq!(matrix.standbys_for(id(0)), [id(2), id(1)]);
        assert_eq!(matrix.standbys_for(id(2)), []);
        assert!(matrix.related(id(2), id(0)) && matrix.related(id(0), id(2)));
        assert!(!matrix.related(id(2), id(2)));
    }

    #[test]
    fn rows_that_promise_nothing_or_too_much_are_refused_by_name() {
        let cases: [(&[Row], &str); 6] = [
            (&[("x", &["a"])], "row of x: the domain has no device 'x'"),
            (&[("a", &["x"])], "row of a: the domain has no device 'x'"),
            (&[("a", &["b", "a"])], "row of a: a device cannot be its own standby"),
            (&[("a", &["b"]), ("a", &["c"])], "a has two rows"),
            (&[("a", &["b", "b"])], "row of a: standby b is named twice"),
            (&[("a", &[])], "row of a: at least one standby is needed"),
        ];
        for (rows, expected) in cases {
            assert_eq!(matrix(rows).unwrap_err().to_string(), expected);
        }
    }
}
