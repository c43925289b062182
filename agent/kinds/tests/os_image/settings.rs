//! The agent's settings on a device whose parts all lie in one folder; also for an agent in a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use takt_agent_core::{StepKey, WorkloadName};
use takt_common::Sha256Digest;
use takt_kinds::os_image::OsImageSettings;
use takt_kinds::os_image::identity::IdentitySettings;
use takt_kinds::{ArtifactFiles, KindSettings};

/// How long an installation may stand still here.
const STALL_MAX: Duration = Duration::from_secs(8);

/// Artifacts by their digest in a folder.
pub(crate) struct Store(pub(crate) PathBuf);

impl ArtifactFiles for Store {
    fn file(&self, sha256: &Sha256Digest) -> PathBuf {
        self.0.join(sha256.to_string())
    }
}

/// The step that tests take.
pub(crate) fn key() -> StepKey {
    StepKey { workload: WorkloadName("takt-00-os-g1-7".to_owned()), index: 0 }
}

pub(crate) fn bus_address(folder: &Path) -> String {
    format!("unix:path={}", folder.join("bus").display())
}

pub(crate) fn settings(folder: &Path) -> KindSettings {
    let at = |name: &str| folder.join(name);
    KindSettings {
        way_back: at("way-back"),
        file: takt_kinds::file::FileSettings::default(),
        package: takt_kinds::package::PackageSettings::default(),
        live_patch: takt_kinds::live_patch::LivePatchSettings::default(),
        os_image: OsImageSettings {
            bus: Some(bus_address(folder)),
            rauc_settings: vec![at("absent.conf"), at("system.conf")],
            boot_id: at("boot-id"),
            slot_root: None,
            stall_max: STALL_MAX,
            at_rest_max: Duration::from_mins(1),
            systemctl: Vec::new(),
            mark_good_units: Vec::new(),
            identity: IdentitySettings {
                path: at("identity"),
                hostname: at("hostname"),
                interfaces: at("net"),
                ..IdentitySettings::default()
            },
        },
    }
}
