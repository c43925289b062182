//! Which coordinator to talk to, and as whom: `--url`, `--ca` and `--token`, else the profile file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::file::{self, FileError, SyntaxError};

/// Where the profile is when nothing else is said, below the home folder.
const DEFAULT_PROFILE: &str = ".config/takt/profile.toml";

/// What the profile file may hold; unknown settings are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    url: Option<String>,
    ca: Option<PathBuf>,
    token: Option<String>,
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--profile`.
    pub profile: Option<PathBuf>,
    /// `--url`.
    pub url: Option<String>,
    /// `--ca`.
    pub ca: Option<PathBuf>,
    /// `--token`.
    pub token: Option<String>,
    /// The home folder, where the default profile is.
    pub home: Option<PathBuf>,
}

/// A coordinator, as reached by this command.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// `https://host:port`, without a slash at its end.
    pub url: String,
    /// The file with the only certificate authority that is trusted.
    pub ca: PathBuf,
    /// The operator's token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// It is not clear which coordinator is meant.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The profile that was named cannot be read.
    #[error("read the profile")]
    Unreadable(#[source] FileError),
    /// It is not the TOML that is expected.
    #[error("read the profile {}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
    /// Neither the profile nor the command line has it.
    #[error("no {setting} of the coordinator is known: give --{setting}, or write it into {}", profile.display())]
    Missing {
        /// `url` or `ca`.
        setting: &'static str,
        /// The profile that was looked at.
        profile: PathBuf,
    },
    /// The token would travel in clear text.
    #[error("the coordinator's url '{url}' is not usable: https://HOST:PORT is expected")]
    NotHttps {
        /// The address as given.
        url: String,
    },
}

impl Overrides {
    /// Decides: the command line first, then the profile file.
    pub fn resolve(self) -> Result<Connection, ProfileError> {
        let (path, file) = self.profile_file()?;
        let missing = |setting| ProfileError::Missing { setting, profile: path.clone() };
        let url = self.url.or(file.url).ok_or_else(|| missing("url"))?;
        let url = url.trim_end_matches('/').to_owned();
        if url.strip_prefix("https://").is_none_or(|rest| rest.is_empty() || rest.contains(['/', '@', ' '])) {
            return Err(ProfileError::NotHttps { url });
        }
        // A relative path in the profile means a file beside the profile.
        let beside = |ca: PathBuf| path.parent().unwrap_or(Path::new("")).join(ca);
        let ca = self.ca.or(file.ca.map(beside)).ok_or_else(|| missing("ca"))?;
        Ok(Connection { url, ca, token: self.token.or(file.token) })
    }

    /// The profile; a missing one is only an error when it was named.
    fn profile_file(&self) -> Result<(PathBuf, ProfileFile), ProfileError> {
        let named = self.profile.is_some();
        let default = || self.home.as_deref().unwrap_or(Path::new("")).join(DEFAULT_PROFILE);
        let path = self.profile.clone().unwrap_or_else(default);
        if !named && !path.exists() {
            return Ok((path, ProfileFile::default()));
        }
        let text = file::read_text(&path).map_err(ProfileError::Unreadable)?;
        match file::from_toml(&text) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(ProfileError::Malformed { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> (tempfile::TempDir, Overrides) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Overrides { profile: Some(path), ..Overrides::default() })
    }

    #[test]
    fn the_command_line_comes_before_the_profile() {
        let (folder, overrides) = profile("url = 'https://a:1/'\nca = 'ca.pem'\ntoken = 't'");
        let connection = overrides.clone().resolve().unwrap();
        assert_eq!(connection.url, "https://a:1");
        assert_eq!(connection.ca, folder.path().join("ca.pem"));
        assert_eq!(connection.token.as_deref(), Some("t"));
        let given = Overrides {
            url: Some("https://b:2".to_owned()),
            ca: Some("other.pem".into()),
            token: Some("u".to_owned()),
            ..overrides
        };
        let connection = given.resolve().unwrap();
        assert_eq!((connection.url.as_str(), connection.ca), ("https://b:2", "other.pem".into()));
        assert_eq!(connection.token.as_deref(), Some("u"));
    }

    #[test]
    fn unknown_settings_plain_http_and_missing_ones_are_refused() {
        let refused = |text: &str| profile(text).1.resolve().unwrap_err().to_string();
        assert!(refused("uri = 'https://a'").contains("profile.toml"));
        assert!(refused("url = 'http://a'\nca = 'x'").contains("https"));
        assert!(refused("url = 'https://'\nca = 'x'").contains("https"));
        assert!(refused("url = 'https://a:1'").contains("--ca"));
        assert!(refused("").contains("--url"));
    }

    #[test]
    fn a_connection_never_shows_its_token() {
        let (_folder, overrides) = profile("url = 'https://a'\nca = 'c'\ntoken = 'hush'");
        assert!(!format!("{:?}", overrides.resolve().unwrap()).contains("hush"));
    }
}
