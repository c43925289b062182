//! The first start: settings file, fleet CA, online keys, and the operator's profile.
//!
//! It may die at any point: what is there is kept, the settings file is whole or absent, and the file that says
//! that all keys exist is written last. A part that is missing *afterwards* is an error and never made anew, because
//! a new CA or order key would silently cut off the fleet.

use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};
use takt_common::key::KeyError;
use takt_common::{Sha256Digest, SigningKey, UnixTime};

use crate::ca::{CaError, FleetCa, authority};
use crate::files::{self, Access, FileError};
use crate::identity::{CA_FILE, CA_KEY_FILE, OPERATOR_HASH_FILE, ORDER_KEY_FILE, TIMESTAMP_KEY_FILE};
use crate::settings::{Settings, SettingsError, default_file};
use crate::token::{self, NoRandom};

/// The operator's profile for the `takt` command.
pub const PROFILE_FILE: &str = "operator.toml";

const PROFILE_BYTES_MAX: u64 = 16 * 1024;

/// Whether keys were made by this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The data directory was prepared now.
    First,
    /// It had been prepared before.
    Again,
}

/// The data directory cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// A file or folder.
    #[error("prepare the first start")]
    File(#[from] FileError),
    /// The settings file.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A key.
    #[error("prepare the first start")]
    Key(#[from] KeyError),
    /// The CA.
    #[error("prepare the first start")]
    Ca(#[from] CaError),
    /// The operator's token.
    #[error("prepare the first start")]
    Token(#[from] NoRandom),
    /// The profile is not the TOML it should be.
    #[error("the operator's profile '{}' is unreadable: {why}", .file.display())]
    Profile {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

/// What `operator.toml` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Profile {
    url: String,
    ca: PathBuf,
    token: String,
}

/// Reads the settings in `file`, making it with the defaults if it does not exist.
pub fn settings(file: &Path) -> Result<Settings, FirstStartError> {
    // A broken link exists and must not be replaced.
    if file.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::make_folder(folder)?;
        }
        files::write_atomic(file, default_file().as_bytes(), Access::Everybody)?;
    }
    Ok(Settings::load(file)?)
}

/// Makes the keys of this coordinator in its data directory, unless an earlier start has completed that.
pub fn prepare(settings: &Settings, now: UnixTime) -> Result<Start, FirstStartError> {
    let folder = &settings.data_dir;
    if folder.join(OPERATOR_HASH_FILE).exists() {
        return Ok(Start::Again);
    }
    files::make_folder(folder)?;
    if !(folder.join(CA_FILE).exists() && folder.join(CA_KEY_FILE).exists()) {
        let pair = FleetCa::create("Takt fleet CA", now)?;
        files::write_atomic(&folder.join(CA_KEY_FILE), pair.key.as_bytes(), Access::Owner)?;
        files::write_atomic(&folder.join(CA_FILE), pair.certificate.as_bytes(), Access::Everybody)?;
    }
    for name in [ORDER_KEY_FILE, TIMESTAMP_KEY_FILE] {
        let path = folder.join(name);
        if !path.exists() {
            let key = SigningKey::generate(&SystemRandom::new())?;
            files::write_atomic(&path, key.to_pem().as_bytes(), Access::Owner)?;
        }
    }
    let token = token::make()?;
    let host = settings.hosts().first().cloned().unwrap_or_default();
    let url = format!("https://{}", authority(&host, settings.api.listen.port()));
    let profile = Profile { url, ca: PathBuf::from(CA_FILE), token: token.clone() };
    write_profile(folder, &profile)?;
    let hash = format!("{}\n", Sha256Digest::of(token.as_bytes()));
    files::write_atomic(&folder.join(OPERATOR_HASH_FILE), hash.as_bytes(), Access::Owner)?;
    Ok(Start::First)
}

/// Writes the address into the operator's profile, for a port that was chosen by the system.
pub fn point_profile_at(folder: &Path, url: &str) -> Result<(), FirstStartError> {
    let file = folder.join(PROFILE_FILE);
    if !file.exists() {
        // The operator has moved it elsewhere.
        return Ok(());
    }
    let text = files::read_text(&file, PROFILE_BYTES_MAX)?;
    let mut profile: Profile = toml::from_str(&text)
        .map_err(|error| FirstStartError::Profile { file, why: error.message().to_owned() })?;
    url.clone_into(&mut profile.url);
    write_profile(folder, &profile)
}

fn write_profile(folder: &Path, profile: &Profile) -> Result<(), FirstStartError> {
    let text = toml::to_string(profile).expect("a profile holds only texts");
    let text = format!("# How `takt` reaches this coordinator; whoever has it is its operator.\n{text}");
    Ok(files::write_atomic(&folder.join(PROFILE_FILE), text.as_bytes(), Access::Owner)?)
}

/// What a person does next, for the terminal.
pub fn next_steps(settings: &Settings) -> String {
    let folder = &settings.data_dir;
    let profile = folder.join(PROFILE_FILE);
    format!(
        "This was the first start. Everything is in {folder}:\n\
         \u{20} {CA_FILE}          certificate of the fleet CA\n\
         \u{20} {PROFILE_FILE}   how `takt` reaches this coordinator (keep it secret)\n\
         \u{20} *.key           keys of the CA, for orders and for timestamps (keep them secret)\n\
         Next, on the operator's machine with that profile:\n\
         \u{20} export TAKT_PROFILE={profile}\n\
         \u{20} takt key new ...          a publisher's key\n\
         \u{20} takt trust init ...       the two roots of trust, signed and published\n\
         \u{20} takt release publish ...  a first release\n\
         \u{20} takt enrol token ...      a one-time token for `takt-agent enrol` on a device",
        folder = folder.display(),
        profile = profile.display(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::Identity;

    const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

    #[test]
    fn an_interrupted_first_start_is_completed_with_the_keys_it_had_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/coordinator.toml");
        let first = settings(&file).unwrap();
        assert_eq!(prepare(&first, NOW).unwrap(), Start::First);
        let kept = Identity::load(&first.data_dir).unwrap();

        fs::remove_file(first.data_dir.join(OPERATOR_HASH_FILE)).unwrap();
        fs::remove_file(first.data_dir.join(TIMESTAMP_KEY_FILE)).unwrap();
        assert_eq!(prepare(&settings(&file).unwrap(), NOW).unwrap(), Start::First);
        assert_eq!(prepare(&settings(&file).unwrap(), NOW).unwrap(), Start::Again);
        let again = Identity::load(&first.data_dir).unwrap();
        assert_eq!(again.order_key.public(), kept.order_key.public());
        assert_eq!(again.ca.fingerprint(), kept.ca.fingerprint());

        let profile: Profile =
            toml::from_str(&fs::read_to_string(first.data_dir.join(PROFILE_FILE)).unwrap()).unwrap();
        assert!(token::is(&profile.token, &again.operator));
        assert_eq!(profile.url, "https://localhost:8443");
    }

    #[test]
    fn secrets_are_for_their_owner_only_and_a_lost_key_is_never_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder.path().join("coordinator.toml")).unwrap();
        prepare(&settings, NOW).unwrap();
        for name in [CA_KEY_FILE, ORDER_KEY_FILE, TIMESTAMP_KEY_FILE, PROFILE_FILE, OPERATOR_HASH_FILE] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
        fs::remove_file(folder.path().join(ORDER_KEY_FILE)).unwrap();
        assert_eq!(prepare(&settings, NOW).unwrap(), Start::Again);
        let error = Identity::load(folder.path()).err().unwrap();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("order.key"), "{source}");
    }
}
