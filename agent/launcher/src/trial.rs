//! A trial as a value, and as the name of a file. The names are a format that old and new agents and launchers share:
//! they do not change, and what cannot be read starts the installed agent.

use std::fmt;
use std::str::FromStr;

use crate::STARTS_MAX;

/// What every name of a trial, of any format, begins with.
pub(crate) const NAME_BEGINNING: &str = "trial";

/// The format of the names here.
const FORMAT: &str = "trial-v1";

/// With two of them a name stays below the 254 bytes that the smallest file systems allow.
const VERSION_BYTES_MAX: usize = 64;

/// The version of an agent's package, as dpkg, rpm or a release call it.
///
/// 1 to 64 of letters, digits and `. + ~ ^ : _ -`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(String);

/// A text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "use '{0}' as a version: 1 to 64 of letters, digits and '.+~^:_-' expected, beginning with a letter or digit"
)]
pub struct VersionError(String);

impl Version {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let rest = |one: char| one.is_ascii_alphanumeric() || ".+~^:_-".contains(one);
        if begins && text.len() <= VERSION_BYTES_MAX && text.chars().all(rest) {
            Ok(Self(text.to_owned()))
        } else {
            Err(VersionError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two agents of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The one on trial.
    pub new: Version,
    /// The one that comes back if the new one fails.
    pub previous: Version,
}

/// What the folder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// There is none: the installed agent is the agent.
    None,
    /// A new agent has to prove itself.
    On(OnTrial),
    /// The new agent failed, and the previous one runs until the package is rolled back.
    FellBack(FellBack),
    /// What is there cannot be read.
    Damaged {
        /// What is wrong, for people.
        what: String,
    },
}

/// A trial in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnTrial {
    /// Of what.
    pub versions: Versions,
    /// Starts that count as failed until the new agent is alive or confirmed.
    pub starts: u8,
    /// How often starts were forgiven, because the agent had been alive.
    pub forgiven: u8,
}

/// A trial that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FellBack {
    /// Of what.
    pub versions: Versions,
    /// Why.
    pub why: Why,
}

/// Why a trial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// All its starts were used up.
    Starts,
    /// The kernel refused to run the new agent.
    CannotRun {
        /// With this error.
        errno: i32,
    },
}

impl Trial {
    /// The trial that these names in the folder tell of.
    ///
    /// There can be several: file systems without a journal may show a renamed file by both names after a power cut.
    /// A trial only ever goes on, so the furthest is true.
    pub(crate) fn of_names(names: &[String]) -> Self {
        let read: Vec<Self> = names.iter().filter_map(|name| Self::of_name(name)).collect();
        let Some(furthest) = read.iter().max_by_key(|trial| trial.progress()) else {
            return names.first().map_or(Self::None, |name| Self::Damaged {
                what: format!("'{name}' is not the name of a trial that this version reads"),
            });
        };
        match read.iter().find(|trial| trial.versions() != furthest.versions()) {
            Some(other) => Self::Damaged { what: format!("there are two: {furthest}, and {other}") },
            None => furthest.clone(),
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let fields = name.strip_prefix(FORMAT)?.strip_prefix(',')?;
        let fields: Vec<(&str, &str)> =
            fields.split(',').map(|field| field.split_once('=')).collect::<Option<_>>()?;
        let versions = |new: &str, previous: &str| {
            Some(Versions { new: new.parse().ok()?, previous: previous.parse().ok()? })
        };
        let trial = match fields[..] {
            [("new", new), ("previous", previous), ("starts", starts), ("forgiven", forgiven)] => {
                Self::On(OnTrial {
                    versions: versions(new, previous)?,
                    starts: starts.parse().ok()?,
                    forgiven: forgiven.parse().ok()?,
                })
            }
            [("new", new), ("previous", previous), ("fell-back", why)] => {
                Self::FellBack(FellBack { versions: versions(new, previous)?, why: Why::of_field(why)? })
            }
            _ => return None,
        };
        // There is one way to write it: no signs, no leading zeros.
        (trial.file_name().as_deref() == Some(name)).then_some(trial)
    }

    /// The name of the file that is this trial, where there is one.
    pub(crate) fn file_name(&self) -> Option<String> {
        let Versions { new, previous } = self.versions()?;
        let state = match self {
            Self::On(OnTrial { starts, forgiven, .. }) => format!("starts={starts},forgiven={forgiven}"),
            Self::FellBack(FellBack { why: Why::Starts, .. }) => "fell-back=starts".to_owned(),
            Self::FellBack(FellBack { why: Why::CannotRun { errno }, .. }) => {
                format!("fell-back=errno-{errno}")
            }
            Self::None | Self::Damaged { .. } => return None,
        };
        Some(format!("{FORMAT},new={new},previous={previous},{state}"))
    }

    /// The two agents, where they are known.
    pub fn versions(&self) -> Option<&Versions> {
        match self {
            Self::On(OnTrial { versions, .. }) | Self::FellBack(FellBack { versions, .. }) => Some(versions),
            Self::None | Self::Damaged { .. } => None,
        }
    }

    /// Grows with every change that a trial can make.
    fn progress(&self) -> (bool, u8, u8) {
        match self {
            Self::On(OnTrial { starts, forgiven, .. }) => (false, *forgiven, *starts),
            Self::FellBack(_) => (true, 0, 0),
            Self::None | Self::Damaged { .. } => (false, 0, 0),
        }
    }
}

impl Why {
    fn of_field(field: &str) -> Option<Self> {
        match field {
            "starts" => Some(Self::Starts),
            _ => Some(Self::CannotRun { errno: field.strip_prefix("errno-")?.parse().ok()? }),
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no agent is on trial"),
            Self::On(OnTrial { versions: Versions { new, previous }, starts, .. }) => {
                write!(f, "agent {new} is on trial over {previous}, {starts} of {STARTS_MAX} starts used")
            }
            Self::FellBack(FellBack { versions: Versions { new, previous }, why }) => {
                write!(f, "agent {new} was given up for {previous}: {why}")
            }
            Self::Damaged { what } => write!(f, "the trial cannot be read: {what}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts => write!(f, "{STARTS_MAX} starts without a confirmation"),
            Self::CannotRun { errno } => {
                write!(f, "it cannot be run: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
