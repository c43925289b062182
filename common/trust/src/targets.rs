//! The targets document: what has been published, and how the publishers change it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sigstore_tuf::{Metadata, TargetFile, Targets};
use takt_common::release::{Artifact, Manifest, ManifestError, ReleaseId};
use takt_common::{Name, Sha256Digest, UnixTime};

use crate::delegation::{Delegation, DelegationsBody};
use crate::document::{Document, DocumentError};
use crate::root::faithful;
use crate::rules::{SPEC_VERSION, instant_of};

/// How long a targets document is good for unless something else is wished: a year.
pub const TARGETS_LIFE: Duration = Duration::from_hours(365 * 24);

/// One published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its exact length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// What it is.
    pub custom: TargetCustom,
}

/// What a published file is: TUF's `custom` field.
///
/// Fields that are not known here are ignored, and so are whole targets of another type: TUF's rule for documents that
/// live longer than their readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TargetCustom {
    /// The manifest of a release.
    Manifest(ManifestCustom),
    /// A file that releases consist of.
    Artifact(ArtifactCustom),
}

/// What a device must know of a release before it reads the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestCustom {
    /// What the release is a release of.
    pub component: Name,
    /// The version text.
    pub release: Name,
    /// Orders the releases of a component.
    pub counter: u64,
    /// Releases of the component with a lower counter must not be installed any more.
    pub floor: u64,
    /// Hardware that the release is for; none means any.
    pub hardware: Vec<Name>,
    /// Releases that must run first.
    pub requires: Vec<String>,
    /// The kinds of its steps, in their order, as `file, container`; text, so that kinds to come do not hide the rest
    /// from old readers.
    pub kind: String,
}

/// What a device must know of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactCustom {
    /// The paths of the manifests that use it.
    pub releases: BTreeSet<String>,
}

/// A release that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What devices must know of it.
    pub about: ManifestCustom,
    /// Length and digest of its manifest.
    pub manifest: Artifact,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
}

/// Everything that is published, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsDocument {
    /// Counts from 1.
    pub version: u64,
    /// After this it is not accepted any more.
    pub expires: UnixTime,
    /// What is published, by path.
    pub targets: BTreeMap<String, Target>,
    /// Who else may publish a part; a delegated role's own document has none.
    pub delegations: Vec<Delegation>,
}

/// A change that would break a promise to devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetsError {
    /// Other bytes under a published path.
    #[error(
        "'{path}' is published with sha256 {published} and cannot be replaced by {offered}; make a new release"
    )]
    Replaced {
        /// The path.
        path: String,
        /// What stands there.
        published: Sha256Digest,
        /// What was to stand there.
        offered: Sha256Digest,
    },
    /// The same digest with another length: one of the two was not measured.
    #[error("'{path}' is published with {published} bytes, not {offered}")]
    Length {
        /// The path.
        path: String,
        /// Its published length.
        published: u64,
        /// The other length.
        offered: u64,
    },
    /// The same manifest with other facts.
    #[error("'{path}' is published already, with other facts about it; make a new release")]
    FactsChanged {
        /// The path.
        path: String,
    },
    /// A floor below the component's floor.
    #[error("the floor of component '{component}' is {current} and only rises; {offered} was given")]
    FloorLowered {
        /// The component.
        component: Name,
        /// Its floor.
        current: u64,
        /// The floor that was given.
        offered: u64,
    },
    /// A release that no device could install.
    #[error("release '{release}' of component '{component}' has counter {counter}, below the floor {floor}")]
    BelowFloor {
        /// The component.
        component: Name,
        /// The release.
        release: Name,
        /// Its counter.
        counter: u64,
        /// The floor.
        floor: u64,
    },
    /// Two releases that devices could not put in order.
    #[error("counter {counter} of component '{component}' belongs to release '{release}' already")]
    CounterTaken {
        /// The component.
        component: Name,
        /// The counter.
        counter: u64,
        /// The release that has it.
        release: Name,
    },
    /// Nothing of this component is published.
    #[error("no release of component '{component}' is published")]
    UnknownComponent {
        /// The component.
        component: Name,
    },
}

#[derive(Serialize)]
struct TargetsBody {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delegations: Option<DelegationsBody>,
    expires: String,
    spec_version: &'static str,
    targets: BTreeMap<String, TargetBody>,
    version: u64,
}

#[derive(Serialize)]
struct TargetBody {
    custom: TargetCustom,
    hashes: Hashes,
    length: u64,
}

#[derive(Serialize)]
struct Hashes {
    sha256: Sha256Digest,
}

impl Target {
    /// Adds the releases of a role that has published the same file.
    pub(crate) fn share(&mut self, other: &Self) {
        let same = (self.length, self.sha256) == (other.length, other.sha256);
        if let (true, TargetCustom::Artifact(known), TargetCustom::Artifact(more)) =
            (same, &mut self.custom, &other.custom)
        {
            known.releases.extend(more.releases.iter().cloned());
        }
    }
}

impl ManifestCustom {
    /// Component and version.
    pub fn id(&self) -> ReleaseId {
        ReleaseId { name: self.component.clone(), version: self.release.clone() }
    }
}

impl Release {
    /// The release that these bytes of a manifest describe, with the floor that its publication sets.
    pub fn of_manifest(bytes: &[u8], floor: u64, requires: Vec<String>) -> Result<Self, ManifestError> {
        let manifest = Manifest::from_bytes(bytes)?;
        let kind = manifest.kinds();
        let ReleaseId { name: component, version: release } = manifest.release;
        let (counter, hardware) = (manifest.counter, manifest.hardware);
        let about = ManifestCustom { component, release, counter, floor, hardware, requires, kind };
        let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
        let file = Artifact { sha256: Sha256Digest::of(bytes), length };
        Ok(Self { about, manifest: file, artifacts: manifest.artifacts })
    }
}

impl TargetsDocument {
    /// The first version, with nothing published.
    pub fn new(now: UnixTime) -> Self {
        Self { version: 1, expires: now + TARGETS_LIFE, targets: BTreeMap::new(), delegations: Vec::new() }
    }

    /// Reads a targets document back. Its signatures are not checked.
    pub fn from_document(document: &Document) -> Result<Self, DocumentError> {
        let metadata =
            Metadata::<Targets>::from_slice(&document.to_bytes()).map_err(DocumentError::NotTuf)?;
        let signed = metadata.signed();
        let too_new = |_| DocumentError::TooNew { kind: document.kind().to_owned() };
        let mut targets = BTreeMap::new();
        for (path, file) in &signed.targets {
            if let Some(target) = read_target(file).map_err(too_new)? {
                targets.insert(path.clone(), target);
            }
        }
        let delegations = match &signed.delegations {
            Some(delegations) => Delegation::read_all(delegations)?,
            None => Vec::new(),
        };
        let again =
            Self { version: signed.version, expires: instant_of(signed.expires), targets, delegations };
        faithful(document, &again.document())?;
        Ok(again)
    }

    /// Makes this the next version, to be changed and signed.
    pub fn begin_next(&mut self, now: UnixTime) {
        self.version += 1;
        self.expires = now + TARGETS_LIFE;
    }

    /// The document to sign.
    pub fn document(&self) -> Document {
        let body = |target: &Target| TargetBody {
            custom: target.custom.clone(),
            hashes: Hashes { sha256: target.sha256 },
            length: target.length,
        };
        Document::unsigned(&TargetsBody {
            kind: "targets",
            delegations: Delegation::body_of(&self.delegations),
            expires: self.expires.to_string(),
            spec_version: SPEC_VERSION,
            targets: self.targets.iter().map(|(path, target)| (path.clone(), body(target))).collect(),
            version: self.version,
        })
    }

    /// Publishes a release: its manifest and its artifacts. Publishing it again changes nothing. On an error nothing
    /// has changed.
    pub fn add_release(&mut self, release: &Release) -> Result<(), TargetsError> {
        let Release { about, manifest, artifacts } = release;
        let manifest_path = about.id().target_path();
        self.check_numbers(about)?;
        self.check_bytes(&manifest_path, manifest)?;
        let custom = TargetCustom::Manifest(about.clone());
        if self.targets.get(&manifest_path).is_some_and(|published| published.custom != custom) {
            return Err(TargetsError::FactsChanged { path: manifest_path });
        }
        artifacts.iter().try_for_each(|file| self.check_bytes(&file.target_path(), file))?;

        for file in artifacts {
            let target = self.targets.entry(file.target_path()).or_insert_with(|| Target {
                length: file.length,
                sha256: file.sha256,
                custom: TargetCustom::Artifact(ArtifactCustom { releases: BTreeSet::new() }),
            });
            if let TargetCustom::Artifact(artifact) = &mut target.custom {
                artifact.releases.insert(manifest_path.clone());
            }
        }
        self.targets
            .insert(manifest_path, Target { length: manifest.length, sha256: manifest.sha256, custom });
        Ok(())
    }

    /// Raises the floor of a component without a new release: its releases with a lower counter are withdrawn.
    pub fn raise_floor(&mut self, component: &Name, floor: u64) -> Result<(), TargetsError> {
        let current = self.floor(component);
        if floor < current {
            return Err(TargetsError::FloorLowered { component: component.clone(), current, offered: floor });
        }
        let newest = self
            .targets
            .values_mut()
            .filter_map(|target| match &mut target.custom {
                TargetCustom::Manifest(about) if about.component == *component => Some(about),
                _ => None,
            })
            .max_by_key(|about| about.counter)
            .ok_or_else(|| TargetsError::UnknownComponent { component: component.clone() })?;
        if newest.counter < floor {
            return Err(below_floor(newest, floor));
        }
        newest.floor = floor;
        Ok(())
    }

    /// The floor of a component: the highest of its releases; 0 when it has none.
    pub fn floor(&self, component: &Name) -> u64 {
        floors(self.targets.values()).get(component).copied().unwrap_or(0)
    }

    /// The releases of `component`, in no order of meaning.
    pub fn releases<'a>(&'a self, component: &'a Name) -> impl Iterator<Item = &'a ManifestCustom> {
        self.targets.values().filter_map(move |target| match &target.custom {
            TargetCustom::Manifest(about) if about.component == *component => Some(about),
            _ => None,
        })
    }

    fn check_numbers(&self, about: &ManifestCustom) -> Result<(), TargetsError> {
        let (component, current) = (&about.component, self.floor(&about.component));
        let same = |known: &&ManifestCustom| known.release == about.release;
        // A release that is there already may well be below today's floor: publishing it again changes nothing.
        if self.releases(component).find(same).is_some_and(|known| known == about) {
            return Ok(());
        }
        if about.floor < current {
            return Err(TargetsError::FloorLowered {
                component: component.clone(),
                current,
                offered: about.floor,
            });
        }
        if about.counter < about.floor {
            return Err(below_floor(about, about.floor));
        }
        let taken =
            |known: &&ManifestCustom| known.counter == about.counter && known.release != about.release;
        match self.releases(component).find(taken) {
            Some(known) => Err(TargetsError::CounterTaken {
                component: component.clone(),
                counter: about.counter,
                release: known.release.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_bytes(&self, path: &str, offered: &Artifact) -> Result<(), TargetsError> {
        match self.targets.get(path) {
            Some(published) if published.sha256 != offered.sha256 => Err(TargetsError::Replaced {
                path: path.to_owned(),
                published: published.sha256,
                offered: offered.sha256,
            }),
            Some(published) if published.length != offered.length => Err(TargetsError::Length {
                path: path.to_owned(),
                published: published.length,
                offered: offered.length,
            }),
            _ => Ok(()),
        }
    }
}

fn below_floor(about: &ManifestCustom, floor: u64) -> TargetsError {
    let ManifestCustom { component, release, counter, .. } = about.clone();
    TargetsError::BelowFloor { component, release, counter, floor }
}

/// The floor of every component that has a release among `targets`.
pub(crate) fn floors<'a>(targets: impl Iterator<Item = &'a Target>) -> BTreeMap<Name, u64> {
    let mut floors = BTreeMap::new();
    for target in targets {
        if let TargetCustom::Manifest(about) = &target.custom {
            let floor = floors.entry(about.component.clone()).or_insert(0);
            *floor = about.floor.max(*floor);
        }
    }
    floors
}

/// Reads one entry of a targets document; `None` for a target of a type that is not known here.
pub(crate) fn read_target(file: &TargetFile) -> Result<Option<Target>, serde_json::Error> {
    let Some(custom) = &file.custom else {
        return Ok(None);
    };
    if !matches!(custom.get("type").and_then(Value::as_str), Some("manifest" | "artifact")) {
        return Ok(None);
    }
    let custom = TargetCustom::deserialize(custom)?;
    let digest = file.hashes.get("sha256").ok_or_else(|| serde::de::Error::missing_field("sha256"))?;
    let sha256 = digest.parse().map_err(serde::de::Error::custom)?;
    Ok(Some(Target { length: file.length, sha256, custom }))
}

#[cfg(test)]
mod tests;
