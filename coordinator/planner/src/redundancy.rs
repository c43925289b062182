//! The Device Redundancy Matrix (paper 1): who can stand in for whom.

use std::collections::BTreeMap;

use takt_common::api::DrmSpec;
use takt_common::{DeviceId, Name};

/// The checked Device Redundancy Matrix of one domain.
#[derive(Debug, Clone, Default)]
pub struct RedundancyMatrix {
    rows: BTreeMap<DeviceId, Vec<DeviceId>>,
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
}

impl RedundancyMatrix {
    /// Checks `spec` against the devices of the domain.
    pub fn new(spec: &DrmSpec, devices: &BTreeMap<Name, DeviceId>) -> Result<Self, RedundancyError> {
        let mut rows = BTreeMap::new();
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
            if rows.insert(device, standbys).is_some() {
                return Err(RedundancyError::DuplicateRow(row.device.clone()));
            }
        }
        Ok(Self { rows })
    }

    /// Who may serve for `device`, the preferred first; empty when nobody may.
    pub fn standbys_for(&self, device: DeviceId) -> &[DeviceId] {
        self.rows.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Whether one of the two may serve for the other, so that they must not be away together.
    pub fn related(&self, a: DeviceId, b: DeviceId) -> bool {
        self.standbys_for(a).contains(&b) || self.standbys_for(b).contains(&a)
    }
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
        RedundancyMatrix::new(&DrmSpec { rows: rows.iter().map(row).collect() }, &devices)
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
