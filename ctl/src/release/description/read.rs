//! From the file to a draft of the release.

use std::ops::Range;
use std::path::{Path, PathBuf};

use std::collections::BTreeMap;

use takt_common::release::{Artifact, BaselineLimits, Health, Hook, Probe, ReleaseId};
use toml::Spanned;

use super::error::{DescriptionError, FieldError};
use super::steps;
use super::text::{HealthText, ReleaseText};
use crate::file;
use crate::release::draft::{Draft, MILLIS, SECS_MAX};
use crate::release::probe::ProbeArg;
use crate::release::sources::Sources;

/// The description, to say where in it something is wrong.
pub(super) struct Page<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Page<'_> {
    /// An error of the field that stands at `span`.
    pub(super) fn wrong(
        &self,
        span: &Range<usize>,
        field: &'static str,
        source: impl Into<FieldError>,
    ) -> DescriptionError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        DescriptionError::Field { path: self.path.to_owned(), line, field, source: Box::new(source.into()) }
    }

    /// A path in the description is relative to its folder.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A release as it grows from its description.
pub(super) struct Growing<'a> {
    pub(super) page: Page<'a>,
    pub(super) sources: Sources,
    /// Bytes that it takes once unpacked, as far as known.
    pub(super) unpacked_bytes: u64,
    /// True when the description states them itself.
    pub(super) unpacked_stated: bool,
    /// What people should know.
    pub(super) notes: Vec<String>,
}

impl Growing<'_> {
    /// Takes in the file that a field names.
    pub(super) fn file(
        &mut self,
        path: &Spanned<PathBuf>,
        field: &'static str,
    ) -> Result<Artifact, DescriptionError> {
        let found = self.page.beside(path.get_ref());
        self.sources.add(&found).map_err(|error| self.page.wrong(&path.span(), field, error))
    }

    pub(super) fn unpacks(&mut self, bytes: u64) {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes);
    }
}

/// Reads a description and all files that it names.
pub(in crate::release) fn read(path: &Path) -> Result<Draft, DescriptionError> {
    let text = file::read_text(path)?;
    let release: ReleaseText = file::from_toml(&text)
        .map_err(|source| DescriptionError::Malformed { path: path.to_owned(), source })?;
    let mut growing = Growing {
        page: Page { path, text: &text },
        sources: Sources::default(),
        unpacked_bytes: 0,
        unpacked_stated: release.unpacked_bytes.is_some(),
        notes: Vec::new(),
    };
    let mut made = Vec::new();
    for step in release.steps {
        made.push(steps::make(step, &mut growing)?);
    }
    let mut hooks = BTreeMap::new();
    for (point, hook) in release.hooks {
        let program = growing.file(&hook.program, "program")?.sha256;
        let timeout_secs = hook.timeout_secs.unwrap_or(Hook::TIMEOUT_SECS_DEFAULT);
        hooks.insert(point, Hook { program, args: hook.args, timeout_secs });
    }
    let health = health(&release.health, &growing.page)?;
    let draft = Draft {
        name: release.name,
        version: release.version,
        counter: release.counter,
        severity: release.severity,
        hardware: release.hardware,
        steps: made,
        hooks,
        health,
        unpacked_bytes: release.unpacked_bytes.unwrap_or(growing.unpacked_bytes),
        requires: release.requires,
        sources: growing.sources,
        notes: growing.notes,
    };
    check(path, &draft)?;
    Ok(draft)
}

/// Whether the fields fit together: said of the description, which people can mend, and not of the manifest.
fn check(path: &Path, draft: &Draft) -> Result<(), DescriptionError> {
    let any = || "any".parse().expect("'any' is a name");
    let id = ReleaseId { name: any(), version: any() };
    let manifest = draft.manifest(id, draft.counter.unwrap_or(1));
    manifest.check().map_err(|source| DescriptionError::Manifest { path: path.to_owned(), source })
}

fn health(text: &HealthText, page: &Page<'_>) -> Result<Health, DescriptionError> {
    let probe = |probe: &Spanned<String>| -> Result<Probe, DescriptionError> {
        let read = probe.get_ref().parse::<ProbeArg>();
        read.map(|probe| probe.0).map_err(|error| page.wrong(&probe.span(), "probes", error))
    };
    let millis = |secs: &Option<Spanned<u32>>, field, default| match secs {
        None => Ok(default),
        Some(secs) if *secs.get_ref() <= SECS_MAX => Ok(secs.get_ref() * MILLIS),
        Some(secs) => {
            let source = FieldError::TooLong { secs: *secs.get_ref(), most: SECS_MAX };
            Err(page.wrong(&secs.span(), field, source))
        }
    };
    let usual = Health::default();
    Ok(Health {
        probes: text.probes.iter().map(probe).collect::<Result<_, _>>()?,
        interval_millis: text.interval_millis.unwrap_or(usual.interval_millis),
        timeout_millis: text.timeout_millis.unwrap_or(usual.timeout_millis),
        start_millis: millis(&text.start_secs, "start_secs", usual.start_millis)?,
        probation_millis: millis(&text.probation_secs, "probation_secs", usual.probation_millis)?,
        failures_max: text.failures_max.unwrap_or(usual.failures_max),
        baseline: BaselineLimits {
            cpu_percent: text.baseline.cpu_percent.unwrap_or(usual.baseline.cpu_percent),
            memory_percent: text.baseline.memory_percent.unwrap_or(usual.baseline.memory_percent),
            response_percent: text.baseline.response_percent.unwrap_or(usual.baseline.response_percent),
            restarts: text.baseline.restarts.unwrap_or(usual.baseline.restarts),
        },
    })
}
