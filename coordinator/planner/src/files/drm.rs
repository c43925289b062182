//! `drm.toml`: `[[set]] name, members, serve_min` and `[[standby]] device, by, takeover, capability, capacity`.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::InputError;
use super::toml_file::TomlFile;
use crate::network::Network;
use crate::standby::{Drm, ServeSet, Standby, Takeover};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    set: Vec<SetEntry>,
    #[serde(default)]
    standby: Vec<StandbyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetEntry {
    name: Spanned<String>,
    members: Vec<Spanned<String>>,
    serve_min: Spanned<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandbyEntry {
    device: Spanned<String>,
    by: Spanned<String>,
    takeover: Takeover,
    #[serde(default)]
    capability: Option<String>,
    #[serde(default)]
    capacity: Option<Spanned<usize>>,
}

/// Reads the Device Redundancy Matrix of the devices of `network`. Of each set, `serve_min` members serve at any time; `by` serves
/// for up to `capacity` devices at once (1 if absent, and the least that one of its rows says).
pub fn read_drm(file: &str, text: &[u8], network: &Network) -> Result<Drm, InputError> {
    let toml = TomlFile::new(file, text)?;
    let content: File = toml.read()?;
    let find = |name: &Spanned<String>, field: &str| {
        network.find(name.as_ref()).ok_or_else(|| {
            toml.error_at(&name.span(), field, format!("no edge names a device '{}'", name.as_ref()))
        })
    };
    let mut drm = Drm::default();
    let mut names = BTreeSet::new();
    for set in &content.set {
        if !names.insert(set.name.as_ref()) {
            let what = format!("there is a set '{}' already", set.name.as_ref());
            return Err(toml.error_at(&set.name.span(), "name", what));
        }
        let mut members = Vec::with_capacity(set.members.len());
        for name in &set.members {
            let member = find(name, "members")?;
            if members.contains(&member) {
                return Err(toml.error_at(
                    &name.span(),
                    "members",
                    format!("'{}' stands there twice", name.as_ref()),
                ));
            }
            members.push(member);
        }
        let serve_min = *set.serve_min.as_ref();
        if serve_min > members.len() {
            let what = format!("{serve_min} of {} members cannot serve", members.len());
            return Err(toml.error_at(&set.serve_min.span(), "serve_min", what));
        }
        if serve_min == members.len() && serve_min > 0 {
            let what = format!("all {serve_min} members must serve, so none of them can ever be upgraded");
            return Err(toml.error_at(&set.serve_min.span(), "serve_min", what));
        }
        drm.sets.push(ServeSet { name: set.name.as_ref().clone(), members, serve_min });
    }
    let mut pairs = BTreeSet::new();
    for entry in &content.standby {
        let (device, by) = (find(&entry.device, "device")?, find(&entry.by, "by")?);
        let (device_name, by_name) = (entry.device.as_ref(), entry.by.as_ref());
        if device == by {
            return Err(toml.error_at(
                &entry.by.span(),
                "by",
                format!("'{by_name}' cannot stand in for itself"),
            ));
        }
        if !pairs.insert((device, by)) {
            let what = format!("'{by_name}' stands in for '{device_name}' already");
            return Err(toml.error_at(&entry.by.span(), "by", what));
        }
        let capacity = entry.capacity.as_ref().map_or(1, |capacity| *capacity.as_ref());
        if capacity == 0 {
            let span = entry.capacity.as_ref().map(Spanned::span).unwrap_or_default();
            return Err(toml.error_at(&span, "capacity", "a standby serves for at least one device"));
        }
        let capability = entry.capability.clone();
        drm.standbys.push(Standby { device, by, takeover: entry.takeover, capability, capacity });
    }
    Ok(drm)
}
