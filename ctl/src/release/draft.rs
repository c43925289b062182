//! A release before it has a counter: what the short form and the description both lead to.

use std::collections::BTreeMap;

use takt_common::Name;
use takt_common::release::{
    Health, Hook, HookPoint, MANIFEST_FORMAT, Manifest, ReleaseId, Requirements, Severity, Step,
};

use super::sources::Sources;

/// Milliseconds of a second.
pub(super) const MILLIS: u32 = 1_000;

/// The longest span in seconds whose milliseconds fit the manifest.
pub(super) const SECS_MAX: u32 = u32::MAX / MILLIS;

/// All that makes a release.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Option<Name>,
    pub(super) version: Option<Name>,
    pub(super) counter: Option<u64>,
    pub(super) severity: Severity,
    pub(super) hardware: Vec<Name>,
    pub(super) steps: Vec<Step>,
    pub(super) hooks: BTreeMap<HookPoint, Hook>,
    pub(super) health: Health,
    pub(super) unpacked_bytes: u64,
    pub(super) requires: Requirements,
    /// The files that it consists of.
    pub(super) sources: Sources,
    /// What people should know.
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// The manifest, with the name and counter that have been settled.
    pub(super) fn manifest(&self, release: ReleaseId, counter: u64) -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            release,
            counter,
            severity: self.severity,
            hardware: self.hardware.clone(),
            artifacts: self.sources.artifacts(),
            steps: self.steps.clone(),
            hooks: self.hooks.clone(),
            health: self.health.clone(),
            unpacked_bytes: self.unpacked_bytes,
            requires: self.requires.clone(),
        }
    }
}
