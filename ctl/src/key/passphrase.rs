//! Passphrases of key files: from the file that `TAKT_PASSPHRASE_FILE` names, or asked for on the terminal.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::file::{self, FileError};

/// Names a file with passphrases, one a line, for where nobody can be asked.
const FILE_VARIABLE: &str = "TAKT_PASSPHRASE_FILE";
/// A file with passphrases has a few lines; anything longer is another file.
const FILE_LENGTH_MAX: u64 = 16 * 1024;
/// A wrong passphrase may be given again so many times.
const TRIES_MAX: usize = 3;
/// Shorter ones are found by trying.
const LENGTH_MIN: usize = 8;

/// A passphrase. It is wiped from memory when it is not needed any more.
pub(super) type Passphrase = Zeroizing<String>;

/// A passphrase cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file with passphrases.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not text.
    #[error("{} holds no text, a passphrase a line was expected", path.display())]
    NotText {
        /// The file with passphrases.
        path: PathBuf,
    },
    /// Nobody to ask.
    #[error(
        "{} is protected by a passphrase: run this on a terminal, or name a file with it in TAKT_PASSPHRASE_FILE",
        key.display()
    )]
    NobodyToAsk {
        /// The key's file.
        key: PathBuf,
    },
    /// None opens it.
    #[error("no passphrase that was given opens {}", key.display())]
    Wrong {
        /// The key's file.
        key: PathBuf,
    },
    /// Too short for a new one.
    #[error("the passphrase for {} is too short: {LENGTH_MIN} characters are needed", key.display())]
    Short {
        /// The key's file.
        key: PathBuf,
    },
    /// The two that were typed.
    #[error("the passphrase for {} was typed in two ways", key.display())]
    Differ {
        /// The key's file.
        key: PathBuf,
    },
    /// The terminal.
    #[error("ask for the passphrase of {}", key.display())]
    Ask {
        /// The key's file.
        key: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl PassphraseError {
    /// What the shell gets.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Wrong { .. } | Self::Short { .. } | Self::Differ { .. } => Exit::Refused,
            Self::File(_) | Self::NotText { .. } | Self::NobodyToAsk { .. } => Exit::BadInput,
            Self::Ask { .. } => Exit::Failed,
        }
    }
}

/// Gives what `open` makes of the first passphrase that it takes.
pub(super) fn unlock<T>(key: &Path, open: impl Fn(&str) -> Option<T>) -> Result<T, PassphraseError> {
    let wrong = || PassphraseError::Wrong { key: key.to_owned() };
    if let Some(known) = from_file()? {
        return known.iter().find_map(|passphrase| open(passphrase)).ok_or_else(wrong);
    }
    for _ in 0..TRIES_MAX {
        if let Some(opened) = open(&ask(key, "")?) {
            return Ok(opened);
        }
    }
    Err(wrong())
}

/// A new passphrase for a key file: the first one of the file with passphrases, or what is typed twice.
pub(super) fn choose(key: &Path) -> Result<Passphrase, PassphraseError> {
    let chosen = if let Some(known) = from_file()? {
        known.into_iter().next().unwrap_or_default()
    } else {
        let first = ask(key, "new ")?;
        if ask(key, "again, the ")? != first {
            return Err(PassphraseError::Differ { key: key.to_owned() });
        }
        first
    };
    if chosen.chars().count() < LENGTH_MIN {
        return Err(PassphraseError::Short { key: key.to_owned() });
    }
    Ok(chosen)
}

fn from_file() -> Result<Option<Vec<Passphrase>>, PassphraseError> {
    let Some(path) = std::env::var_os(FILE_VARIABLE).filter(|path: &OsString| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let bytes = Zeroizing::new(file::read_bytes(&path, FILE_LENGTH_MAX)?);
    let Ok(text) = std::str::from_utf8(&bytes) else { return Err(PassphraseError::NotText { path }) };
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(Some(lines.map(|line| Zeroizing::new(line.to_owned())).collect()))
}

fn ask(key: &Path, which: &str) -> Result<Passphrase, PassphraseError> {
    if !io::stdin().is_terminal() {
        return Err(PassphraseError::NobodyToAsk { key: key.to_owned() });
    }
    let typed = rpassword::prompt_password(format!("{which}passphrase of {}: ", key.display()));
    typed.map(Zeroizing::new).map_err(|source| PassphraseError::Ask { key: key.to_owned(), source })
}
