//! What the settings say of takeovers: the table `[takeover]`.

use std::collections::BTreeSet;

use serde::Deserialize;
use takt_common::DeviceId;

use super::SettingsError;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Takeover {
    #[serde(default)]
    restore_from: Vec<String>,
}

impl Takeover {
    /// Ids and no names: an id is the digest of the device's key, while names are the coordinator's to give.
    pub(super) fn restore_from(
        self,
        value: &impl Fn(&'static str, String) -> SettingsError,
    ) -> Result<BTreeSet<DeviceId>, SettingsError> {
        let id = |text: String| {
            let why = || value("takeover.restore_from", format!("must have ids of devices, not '{text}'"));
            text.parse().map_err(|_| why())
        };
        self.restore_from.into_iter().map(id).collect()
    }
}
