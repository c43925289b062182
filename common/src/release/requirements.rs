//! What a device must have and run for a release (paper 2, "Target Identification": software version, hardware, battery, network, feature).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::health::Link;

/// What a release requires of a device beside its hardware. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requirements {
    /// The lowest release counter of the component that runs there before. A device with a lower one is brought to a release between
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_min: Option<u64>,
    /// The lowest charge of a device that runs on its battery, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_percent_min: Option<u8>,
    /// The kinds of links over which it may be fetched; any if empty.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<Link>,
    /// Free bytes of storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_free_bytes_min: Option<u64>,
    /// Features that are in use there, with their values; an empty value stands for any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, String>,
}

impl Requirements {
    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it, in words.
    pub(super) fn check(&self, counter: u64) -> Result<(), String> {
        if let Some(min) = self.counter_min.filter(|min| *min >= counter) {
            return Err(format!("counter_min {min} is not below the release's own counter {counter}"));
        }
        if let Some(percent) = self.battery_percent_min.filter(|percent| *percent > 100) {
            return Err(format!("battery_percent_min must be 0 to 100, not {percent}"));
        }
        Ok(())
    }
}
