//! The form of the file. Fields that it does not know are refused with their line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use takt_common::Name;
use takt_common::release::{Conffiles, HookPoint, Network, Requirements, Severity, Strategy};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseText {
    pub(super) name: Option<Name>,
    pub(super) version: Option<Name>,
    pub(super) counter: Option<u64>,
    #[serde(default = "severity_default")]
    pub(super) severity: Severity,
    #[serde(default)]
    pub(super) hardware: Vec<Name>,
    /// Instead of what is added up from the files.
    pub(super) unpacked_bytes: Option<u64>,
    #[serde(default)]
    pub(super) requires: Requirements,
    pub(super) steps: Vec<Spanned<StepText>>,
    #[serde(default)]
    pub(super) hooks: BTreeMap<HookPoint, HookText>,
    #[serde(default)]
    pub(super) health: HealthText,
}

const fn severity_default() -> Severity {
    Severity::Minor
}

/// A step of any kind: one form for all, because TOML tells the line of an unknown field only then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepText {
    pub(super) kind: Spanned<KindText>,
    // Kind file.
    pub(super) files: Option<Spanned<Vec<FileText>>>,
    // Kind package.
    pub(super) packages: Option<Spanned<Vec<Spanned<PathBuf>>>>,
    pub(super) conffiles: Option<Spanned<Conffiles>>,
    // Kind container.
    pub(super) containers: Option<Spanned<Vec<ContainerText>>>,
    pub(super) strategies: Option<Spanned<Vec<Strategy>>>,
    pub(super) drain_secs: Option<Spanned<u32>>,
    // Kind os-image.
    pub(super) bundle: Option<Spanned<PathBuf>>,
    pub(super) compatible: Option<Spanned<String>>,
    pub(super) version: Option<Spanned<String>>,
    pub(super) boot_secs: Option<Spanned<u32>>,
    // Kind live-patch.
    pub(super) module: Option<Spanned<PathBuf>>,
    pub(super) stands_for: Option<Spanned<String>>,
    pub(super) transition_secs: Option<Spanned<u32>>,
}

/// The kinds that steps have today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KindText {
    File,
    Package,
    Container,
    OsImage,
    LivePatch,
}

/// A file of a step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileText {
    pub(super) path: Spanned<String>,
    /// Where its content is on this machine.
    pub(super) source: Option<Spanned<PathBuf>>,
    /// It goes.
    #[serde(default)]
    pub(super) remove: bool,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
    #[serde(default)]
    pub(super) xattrs: BTreeMap<String, String>,
}

/// A container of a step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerText {
    pub(super) name: Option<Name>,
    /// The archive.
    pub(super) image: Spanned<PathBuf>,
    pub(super) image_id: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) volumes: Vec<String>,
    pub(super) memory_mib: Option<u64>,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) ports: Vec<Spanned<String>>,
    pub(super) stop_grace_secs: Option<u32>,
}

/// A hook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookText {
    pub(super) program: Spanned<PathBuf>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    pub(super) timeout_secs: Option<u32>,
}

/// Health checks and probation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthText {
    #[serde(default)]
    pub(super) probes: Vec<Spanned<String>>,
    pub(super) start_secs: Option<Spanned<u32>>,
    pub(super) probation_secs: Option<Spanned<u32>>,
    pub(super) interval_millis: Option<u32>,
    pub(super) timeout_millis: Option<u32>,
    pub(super) failures_max: Option<u32>,
    #[serde(default)]
    pub(super) baseline: BaselineText,
}

/// How much worse than the previous release it may be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaselineText {
    pub(super) cpu_percent: Option<u32>,
    pub(super) memory_percent: Option<u32>,
    pub(super) response_percent: Option<u32>,
    pub(super) restarts: Option<u32>,
}
