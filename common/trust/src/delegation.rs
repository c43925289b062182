//! Delegated publishers: who may publish a part of the components, in some kinds and domains, without the other publishers
//! (TUF 1.0.31, 4.5; kinds and domains are Takt's).
//!
//! A delegated role has a targets document of its own, which delegates no further. It may speak of the components that its
//! delegation names and of nothing else: what it says beyond that is not there, as TUF has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sigstore_tuf::metadata::{DelegatedRole, Delegations};
use takt_common::Name;

use crate::rules::{RoleSpec, RootRule, key_id, key_object};
use crate::targets::{ManifestCustom, Target, TargetCustom};

/// So many roles may be delegated.
pub const DELEGATED_ROLES_MAX: usize = 32;

/// The longest name of a delegated role.
pub const ROLE_NAME_LENGTH_MAX: usize = 32;

/// So many components, kinds and domains may a delegation name.
const LIMITS_MAX: usize = 64;

/// The longest pattern, and how often it may leave something open: trying it takes no more steps than a name has letters, to that power.
const PATTERN_LENGTH_MAX: usize = 64;
const STARS_MAX: usize = 3;

/// Names that other documents have.
const RESERVED: [&str; 5] = ["root", "targets", "snapshot", "timestamp", "director"];

/// What lets a role speak of artifacts. Their paths are their digests, so all roles may.
const ARTIFACTS: &str = "artifacts/*";

/// A delegated role, as the targets document of the publishers has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// Who signs for it.
    pub holders: RoleSpec,
    /// The components that it may publish; `*` stands for any characters.
    pub components: Vec<String>,
    /// The kinds that steps of its releases may have; none means any.
    pub kinds: Vec<String>,
    /// The domains whose devices may install its releases; none means any.
    pub domains: Vec<Name>,
}

/// A delegation breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationRule {
    /// The name.
    #[error(
        "'{name}' is no name of a delegated role: up to {ROLE_NAME_LENGTH_MAX} lower-case letters, digits and '-', and no name of \
         another document"
    )]
    Name {
        /// What stands there.
        name: String,
    },
    /// Two of one name.
    #[error("role '{name}' is delegated twice")]
    Twice {
        /// The role.
        name: String,
    },
    /// Too many.
    #[error("{count} roles are delegated, at most {DELEGATED_ROLES_MAX} may be")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Keys or threshold.
    #[error(transparent)]
    Holders(#[from] RootRule),
    /// A pattern that is none.
    #[error(
        "role '{role}': '{pattern}' is no pattern for components: up to {PATTERN_LENGTH_MAX} letters, digits, '.', '_', '-', and at most \
         {STARS_MAX} times '*' were expected"
    )]
    Pattern {
        /// The role.
        role: String,
        /// The pattern.
        pattern: String,
    },
    /// Of nothing, or of too much.
    #[error("role '{role}' names {count} {what}, between {least} and {LIMITS_MAX} were expected")]
    Count {
        /// The role.
        role: String,
        /// Components, kinds or domains.
        what: &'static str,
        /// How many it names.
        count: usize,
        /// How many it must name.
        least: usize,
    },
    /// Something that Takt does not write.
    #[error("role '{role}': {what}")]
    Foreign {
        /// The role.
        role: String,
        /// What.
        what: &'static str,
    },
    /// A key of the coordinator publishes.
    #[error("role '{role}' has key {key_id} of the coordinator; an online key has one role")]
    Online {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// A delegated role delegates.
    #[error("role '{role}' delegates in its turn, which only the publishers may")]
    Deep {
        /// The role.
        role: String,
    },
}

/// Delegations as they stand in a document.
#[derive(Debug, Serialize)]
pub(crate) struct DelegationsBody {
    keys: BTreeMap<String, Value>,
    roles: Vec<DelegatedRoleBody>,
}

#[derive(Debug, Serialize)]
struct DelegatedRoleBody {
    keyids: Vec<String>,
    name: String,
    paths: Vec<String>,
    terminating: bool,
    threshold: usize,
    #[serde(flatten)]
    limits: Limits,
}

/// What TUF does not know.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Limits {
    #[serde(rename = "x-takt-domains", default, skip_serializing_if = "Vec::is_empty")]
    domains: Vec<Name>,
    #[serde(rename = "x-takt-kinds", default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
}

impl Delegation {
    /// Checks everything that does not depend on how it is written.
    pub fn check(&self) -> Result<(), DelegationRule> {
        let role = || self.name.clone();
        if !is_role_name(&self.name) {
            return Err(DelegationRule::Name { name: self.name.chars().take(80).collect() });
        }
        self.holders.check(&self.name)?;
        let counts = [
            ("components", self.components.len(), 1),
            ("kinds", self.kinds.len(), 0),
            ("domains", self.domains.len(), 0),
        ];
        for (what, count, least) in counts {
            if !(least..=LIMITS_MAX).contains(&count) {
                return Err(DelegationRule::Count { role: role(), what, count, least });
            }
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        let sound = |pattern: &&String| {
            let length = (1..=PATTERN_LENGTH_MAX).contains(&pattern.len());
            length && pattern.bytes().all(plain) && pattern.matches('*').count() <= STARS_MAX
        };
        match self.components.iter().find(|pattern| !sound(pattern)) {
            Some(pattern) => {
                let pattern = pattern.chars().take(80).collect();
                Err(DelegationRule::Pattern { role: role(), pattern })
            }
            None => Ok(()),
        }
    }

    /// None of its keys is one of the coordinator's.
    pub fn check_apart(&self, online: &RoleSpec) -> Result<(), DelegationRule> {
        match self.holders.keys.iter().find(|key| online.keys.contains(key)) {
            Some(key) => Err(DelegationRule::Online { role: self.name.clone(), key_id: key_id(key) }),
            None => Ok(()),
        }
    }

    /// Whether the role may publish this release.
    #[must_use]
    pub fn covers(&self, about: &ManifestCustom) -> bool {
        self.covers_component(&about.component)
            && (self.kinds.is_empty()
                || about.kind.split(", ").all(|kind| self.kinds.iter().any(|known| known == kind)))
    }

    /// What it may publish, for people.
    pub fn allowed(&self) -> String {
        let of = |what: &str, names: &[String]| {
            if names.is_empty() { String::new() } else { format!("{what} {}", names.join(", ")) }
        };
        format!("components {}{}", self.components.join(", "), of("; kinds", &self.kinds))
    }

    /// Whether the role may publish releases of this component.
    #[must_use]
    pub fn covers_component(&self, component: &Name) -> bool {
        self.components.iter().any(|pattern| matches(pattern.as_bytes(), component.as_str().as_bytes()))
    }

    /// What of a role's targets counts: releases that it may publish, each under its own path, and artifacts of these.
    pub(crate) fn limit(&self, targets: BTreeMap<String, Target>) -> BTreeMap<String, Target> {
        let covered = |path: &str, target: &Target| match &target.custom {
            TargetCustom::Manifest(about) => about.id().target_path() == path && self.covers(about),
            TargetCustom::Artifact(_) => false,
        };
        let releases: Vec<String> = targets
            .iter()
            .filter(|(path, target)| covered(path, target))
            .map(|(path, _)| path.clone())
            .collect();
        let of_these = |(path, mut target): (String, Target)| match &mut target.custom {
            TargetCustom::Manifest(_) => releases.contains(&path).then_some((path, target)),
            TargetCustom::Artifact(artifact) => {
                artifact.releases.retain(|release| releases.contains(release));
                let own = path == format!("artifacts/{}", target.sha256);
                (own && !artifact.releases.is_empty()).then_some((path, target))
            }
        };
        targets.into_iter().filter_map(of_these).collect()
    }

    /// Reads the delegations of a targets document.
    pub(crate) fn read_all(delegations: &Delegations) -> Result<Vec<Self>, DelegationRule> {
        let count = delegations.roles.len();
        if count > DELEGATED_ROLES_MAX {
            return Err(DelegationRule::TooMany { count });
        }
        let mut all: Vec<Self> = Vec::with_capacity(count);
        for role in &delegations.roles {
            let delegation = Self::read(role, delegations)?;
            if all.iter().any(|known| known.name == delegation.name) {
                return Err(DelegationRule::Twice { name: delegation.name });
            }
            all.push(delegation);
        }
        Ok(all)
    }

    fn read(role: &DelegatedRole, delegations: &Delegations) -> Result<Self, DelegationRule> {
        let name: String = role.name.chars().take(80).collect();
        let foreign = |what| DelegationRule::Foreign { role: name.clone(), what };
        if role.terminating || role.path_hash_prefixes.is_some() {
            return Err(foreign("it ends searches or goes by digests of paths, which Takt's roles do not"));
        }
        let component = |path: &String| {
            let inner = path.strip_prefix("releases/")?.strip_suffix("/*")?;
            Some(inner.to_owned())
        };
        let paths = role.paths.as_deref().unwrap_or_default();
        let (artifacts, releases): (Vec<&String>, Vec<&String>) =
            paths.iter().partition(|path| *path == ARTIFACTS);
        let components: Option<Vec<String>> = releases.into_iter().map(component).collect();
        let components = components
            .filter(|_| !artifacts.is_empty())
            .ok_or_else(|| foreign("its paths are not those of components and artifacts"))?;
        let limits: Limits = serde_json::to_value(&role.extra)
            .and_then(serde_json::from_value)
            .map_err(|_| foreign("its kinds or domains are unreadable"))?;
        let holders = RoleSpec::read(&name, &role.role_keys(), &delegations.keys)?;
        let read = Self {
            name: role.name.clone(),
            holders,
            components,
            kinds: limits.kinds,
            domains: limits.domains,
        };
        read.check()?;
        Ok(read)
    }

    /// As they are written; nothing where there are none.
    pub(crate) fn body_of(all: &[Self]) -> Option<DelegationsBody> {
        let keys = all.iter().flat_map(|delegation| &delegation.holders.keys);
        let keys = keys.map(|key| (key_id(key), key_object(key))).collect();
        let role = |delegation: &Self| {
            let Self { name, holders, components, kinds, domains } = delegation.clone();
            let releases = components.iter().map(|component| format!("releases/{component}/*"));
            DelegatedRoleBody {
                keyids: holders.keys.iter().map(key_id).collect(),
                name,
                paths: releases.chain([ARTIFACTS.to_owned()]).collect(),
                terminating: false,
                threshold: holders.threshold,
                limits: Limits { domains, kinds },
            }
        };
        (!all.is_empty()).then(|| DelegationsBody { keys, roles: all.iter().map(role).collect() })
    }
}

/// Whether a delegated role may have this name.
#[must_use]
pub fn is_role_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=ROLE_NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(fits) && !RESERVED.contains(&name)
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(first, name)| first == byte && matches(rest, name))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ring::rand::SystemRandom;
    use takt_common::release::{Artifact, ReleaseId};
    use takt_common::{Sha256Digest, SigningKey};

    use super::*;
    use crate::targets::ArtifactCustom;

    fn delegation() -> Delegation {
        let keys = [(); 2].map(|()| SigningKey::generate(&SystemRandom::new()).unwrap().public());
        Delegation {
            name: "os".to_owned(),
            holders: RoleSpec { keys: keys.to_vec(), threshold: 2 },
            components: vec!["os-*".to_owned(), "boot".to_owned()],
            kinds: vec!["os-image".to_owned()],
            domains: vec!["north".parse().unwrap()],
        }
    }

    fn manifest(component: &str, kind: &str) -> Target {
        let about = ManifestCustom {
            component: component.parse().unwrap(),
            release: "1.0".parse().unwrap(),
            counter: 1,
            floor: 0,
            hardware: Vec::new(),
            requires: Vec::new(),
            kind: kind.to_owned(),
        };
        Target {
            length: 5,
            sha256: Sha256Digest::of(component.as_bytes()),
            custom: TargetCustom::Manifest(about),
        }
    }

    #[test]
    fn delegations_are_read_as_they_were_written() {
        let (one, mut other) = (delegation(), delegation());
        (other.name, other.kinds, other.domains) = ("apps".to_owned(), Vec::new(), Vec::new());
        let all = [one, other];
        let text = serde_json::to_string(&Delegation::body_of(&all)).unwrap();
        let read: Delegations = serde_json::from_str(&text).unwrap();
        assert_eq!(Delegation::read_all(&read).unwrap(), all);
        assert!(Delegation::body_of(&[]).is_none());
        let foreign = text.replace("artifacts/*", "anything/*");
        let read: Delegations = serde_json::from_str(&foreign).unwrap();
        assert!(matches!(Delegation::read_all(&read), Err(DelegationRule::Foreign { .. })));
    }

    #[test]
    fn a_role_speaks_of_its_components_kinds_and_their_artifacts_only() {
        let role = delegation();
        let path = |component: &str| {
            ReleaseId { name: component.parse().unwrap(), version: "1.0".parse().unwrap() }.target_path()
        };
        let artifact = |content: &[u8], releases: &[&str]| {
            let file = Artifact { sha256: Sha256Digest::of(content), length: 3 };
            let releases: BTreeSet<String> = releases.iter().map(|component| path(component)).collect();
            let custom = TargetCustom::Artifact(ArtifactCustom { releases });
            (file.target_path(), Target { length: 3, sha256: file.sha256, custom })
        };
        let mut targets = BTreeMap::from([
            (path("os-base"), manifest("os-base", "os-image")),
            (path("boot"), manifest("boot", "os-image")),
            (path("os-tool"), manifest("os-tool", "os-image, file")),
            (path("camera"), manifest("camera", "os-image")),
            // One component under the path of another.
            (path("os-other"), manifest("camera", "os-image")),
        ]);
        targets.extend([artifact(b"a", &["os-base", "camera"]), artifact(b"b", &["camera"])]);
        let (lie, _) = artifact(b"c", &["os-base"]);
        let (_, other) = artifact(b"d", &["os-base"]);
        targets.insert(lie, other);
        let limited = role.limit(targets);
        let (kept, of_base) = artifact(b"a", &["os-base"]);
        assert_eq!(
            limited.keys().cloned().collect::<Vec<_>>(),
            [kept.clone(), path("boot"), path("os-base")]
        );
        assert_eq!(limited[&kept], of_base);
    }

    #[test]
    fn patterns_and_names_are_checked() {
        for (pattern, name, fits) in [
            ("os-*", "os-base", true),
            ("os-*", "os-", true),
            ("os-*", "os", false),
            ("*", "anything", true),
            ("*-fw", "lamp-fw", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
        for name in ["", "Root", "root", "targets", "a.b", "a/b", "director", &"a".repeat(33)] {
            let named = Delegation { name: name.to_owned(), ..delegation() };
            assert!(matches!(named.check(), Err(DelegationRule::Name { .. })), "{name}");
        }
        for pattern in ["", "os/*", "[a]", "os-?"] {
            let odd = Delegation { components: vec![pattern.to_owned()], ..delegation() };
            assert!(matches!(odd.check(), Err(DelegationRule::Pattern { .. })), "{pattern}");
        }
        let nothing = Delegation { components: Vec::new(), ..delegation() };
        assert!(matches!(nothing.check(), Err(DelegationRule::Count { what: "components", .. })));
        let mut alone = delegation();
        alone.holders.threshold = 3;
        assert!(matches!(alone.check(), Err(DelegationRule::Holders(RootRule::Threshold { .. }))));
    }
}
