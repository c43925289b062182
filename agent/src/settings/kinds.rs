//! What the settings say of the update kinds: the tables `[file]`, `[package]`, `[os_image]` and `[live_patch]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use takt_kinds::KindSettings;
use takt_kinds::file::FileSettings;
use takt_kinds::live_patch::LivePatchSettings;
use takt_kinds::os_image::{OsImageSettings, identity};
use takt_kinds::package::PackageSettings;

use super::SettingsError;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    roots: Option<Vec<PathBuf>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    root: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OsImage {
    rauc_config: Option<PathBuf>,
    identity_file: Option<PathBuf>,
    stall_mins_max: Option<u64>,
    mark_good_units: Option<Vec<String>>,
    #[serde(default)]
    features: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LivePatch {
    kpatch: Option<PathBuf>,
    leave_secs_min: Option<u64>,
}

/// The tables.
pub(super) struct Sections {
    pub(super) file: File,
    pub(super) package: Package,
    pub(super) os_image: OsImage,
    pub(super) live_patch: LivePatch,
}

impl Sections {
    /// What follows from them; `value` makes the error of a field.
    pub(super) fn settings(
        self,
        state_dir: &Path,
        value: &impl Fn(&'static str, String) -> SettingsError,
    ) -> Result<KindSettings, SettingsError> {
        Ok(KindSettings {
            way_back: state_dir.join("way-back"),
            file: file(self.file, state_dir, value)?,
            package: package(self.package, state_dir, value)?,
            os_image: os_image(self.os_image, state_dir, value)?,
            live_patch: live_patch(self.live_patch, value)?,
        })
    }
}

fn file(
    section: File,
    state_dir: &Path,
    value: &impl Fn(&'static str, String) -> SettingsError,
) -> Result<FileSettings, SettingsError> {
    let mut settings = FileSettings { never: vec![state_dir.to_owned()], ..FileSettings::default() };
    if let Some(roots) = section.roots {
        if let Some(root) = roots.iter().find(|root| !root.is_absolute()) {
            return Err(value("file.roots", format!("must be absolute paths, not '{}'", root.display())));
        }
        settings.roots = roots;
    }
    Ok(settings)
}

fn package(
    section: Package,
    state_dir: &Path,
    value: &impl Fn(&'static str, String) -> SettingsError,
) -> Result<PackageSettings, SettingsError> {
    if let Some(path) = section.root.as_deref().filter(|path| !path.is_absolute()) {
        return Err(value("package.root", format!("must be an absolute path, not '{}'", path.display())));
    }
    let usual = PackageSettings::default();
    // Joined to a path from `/` on, a root would be lost.
    let below = |root: &Path| {
        usual.agent.strip_prefix("/").map_or_else(|_| usual.agent.clone(), |path| root.join(path))
    };
    Ok(PackageSettings {
        agent: section.root.as_deref().map_or_else(|| usual.agent.clone(), below),
        root: section.root,
        launcher: state_dir.join("launcher"),
        ..usual
    })
}

fn os_image(
    section: OsImage,
    state_dir: &Path,
    value: &impl Fn(&'static str, String) -> SettingsError,
) -> Result<OsImageSettings, SettingsError> {
    let mut settings = OsImageSettings::default();
    if let Some(path) = section.rauc_config {
        settings.rauc_settings = vec![path];
    }
    settings.identity.path = section.identity_file.unwrap_or_else(|| state_dir.join("device-identity"));
    if !settings.identity.path.is_absolute() {
        let path = settings.identity.path.display();
        return Err(value("os_image.identity_file", format!("must begin with '/', not be '{path}'")));
    }
    if let Some(minutes) = section.stall_mins_max {
        if !(1..=360).contains(&minutes) {
            return Err(value("os_image.stall_mins_max", format!("must be 1 to 360, not {minutes}")));
        }
        settings.stall_max = Duration::from_mins(minutes);
    }
    if let Some(units) = section.mark_good_units {
        settings.mark_good_units = units;
    }
    for (name, text) in &section.features {
        if !identity::is_key(name) || text.contains('\n') {
            let why =
                format!("'{name}' must be of letters, digits, '.', '_' and '-', and its value one line");
            return Err(value("os_image.features", why));
        }
    }
    settings.identity.features = section.features;
    Ok(settings)
}

fn live_patch(
    section: LivePatch,
    value: &impl Fn(&'static str, String) -> SettingsError,
) -> Result<LivePatchSettings, SettingsError> {
    let mut settings = LivePatchSettings::default();
    if let Some(path) = section.kpatch {
        settings.kpatch = path;
    }
    if let Some(secs) = section.leave_secs_min {
        if !(1..=3600).contains(&secs) {
            return Err(value("live_patch.leave_secs_min", format!("must be 1 to 3600, not {secs}")));
        }
        settings.leave_min = Duration::from_secs(secs);
    }
    Ok(settings)
}
