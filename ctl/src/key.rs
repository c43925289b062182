//! `takt key`: Ed25519 keys in files.

mod passphrase;
mod protected;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ring::rand::SystemRandom;
use serde::Serialize;
use takt_common::key::KeyError;
use takt_common::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::file::{self, FileError, Readers};
use crate::output::{Output, OutputError};
pub use passphrase::PassphraseError;

/// A key file is a few hundred bytes; anything longer is another file.
const KEY_FILE_LENGTH_MAX: u64 = 16 * 1024;

/// `takt key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Makes a new Ed25519 key: FILE (private, 0600) and FILE.pub
    #[command(after_help = "Example:\n  takt key new --out publisher.key --protect")]
    New(NewArgs),
    /// Writes a private key anew, under a passphrase: PKCS#8 as other programs read it
    #[command(after_help = "Example:\n  takt key protect publisher.key --out publisher.protected.key")]
    Protect(ProtectArgs),
    /// Shows the public key of a private or public key file
    #[command(after_help = "Example:\n  takt key show publisher.key")]
    Show(ShowArgs),
}

/// `takt key new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Where the private key goes; the public one goes to FILE.pub. Neither is ever overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Puts it under a passphrase, which is asked for on the terminal, or is the first line of the file that the environment variable
    /// TAKT_PASSPHRASE_FILE names. So is every time that the key is used
    #[arg(long)]
    protect: bool,
}

/// `takt key protect`
#[derive(Debug, Args)]
pub struct ProtectArgs {
    /// The private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the protected one goes. It is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `takt key show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A private key (PKCS#8 PEM) or a public one (64 hex digits)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Out of reach, or in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither a private nor a public key.
    #[error("{} holds no usable key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A public key where one that signs is needed.
    #[error("{} holds a public key; the private one is needed to sign", path.display())]
    OnlyPublic {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase of a protected one.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// Protected in a way that is not known here.
    #[error("{} is no PKCS#8 key under a passphrase (PBES2) that can be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// It could not be put under a passphrase.
    #[error("put the key of {} under a passphrase", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random numbers.
    #[error(transparent)]
    Generate(KeyError),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl KeyFileError {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::File(FileError::Exists { .. }) => Exit::Refused,
            Self::File(FileError::Write { .. }) | Self::Generate(_) | Self::Seal { .. } | Self::Output(_) => {
                Exit::Failed
            }
            Self::Passphrase(error) => error.exit(),
            Self::File(_) | Self::NoKey { .. } | Self::Unreadable { .. } | Self::OnlyPublic { .. } => {
                Exit::BadInput
            }
        }
    }
}

/// What a key file holds.
#[derive(Debug)]
pub enum KeyFile {
    /// Both halves: it signs.
    Private(SigningKey),
    /// Only the public half.
    Public(PublicKey),
}

impl KeyFile {
    /// Reads a private key (PEM), if need be with a passphrase that is asked for, or a public one (hex digits).
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let bytes = file::read_bytes(path, KEY_FILE_LENGTH_MAX)?;
        let no_key = |source| KeyFileError::NoKey { path: path.to_owned(), source };
        let text = String::from_utf8(bytes).map_err(|_| no_key(KeyError::NotPem))?;
        if protected::is_protected(&text) {
            return protected::open(path, &text).map(Self::Private);
        }
        if text.contains("-----BEGIN") {
            return SigningKey::from_pem(&text).map(Self::Private).map_err(no_key);
        }
        text.trim().parse().map(Self::Public).map_err(no_key)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Private(key) => key.public(),
            Self::Public(key) => *key,
        }
    }

    /// The half that signs, if it is here, and nothing else.
    pub fn into_signing(self) -> Option<SigningKey> {
        match self {
            Self::Private(key) => Some(key),
            Self::Public(_) => None,
        }
    }

    /// The half that signs, if it is here.
    pub const fn signing(&self) -> Option<&SigningKey> {
        match self {
            Self::Private(key) => Some(key),
            Self::Public(_) => None,
        }
    }
}

/// Reads a key that must be able to sign.
pub fn read_signing(path: &Path) -> Result<SigningKey, KeyFileError> {
    match KeyFile::read(path) {
        Ok(KeyFile::Private(key)) => Ok(key),
        Ok(KeyFile::Public(_)) => Err(KeyFileError::OnlyPublic { path: path.to_owned() }),
        // What is neither was meant to be a private key, so nothing of it may be shown.
        Err(KeyFileError::NoKey { path, source: KeyError::NotPublic(_) }) => {
            Err(KeyFileError::NoKey { path, source: KeyError::NotPem })
        }
        Err(error) => Err(error),
    }
}

#[derive(Serialize)]
struct KeyResult<'a> {
    public_key: PublicKey,
    file: &'a Path,
    public_file: Option<&'a Path>,
    holds: &'static str,
}

/// Does what a `takt key` command asks for.
pub fn run(command: &KeyCommand, output: Output) -> Result<(), KeyFileError> {
    match command {
        KeyCommand::New(args) => new(args, output),
        KeyCommand::Protect(args) => protect(args, output),
        KeyCommand::Show(args) => show(&args.file, output),
    }
}

fn new(NewArgs { out: path, protect }: &NewArgs, output: Output) -> Result<(), KeyFileError> {
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    if public_path.exists() {
        return Err(FileError::Exists { path: public_path }.into());
    }
    if path.exists() {
        return Err(FileError::Exists { path: path.clone() }.into());
    }
    let key = SigningKey::generate(&SystemRandom::new()).map_err(KeyFileError::Generate)?;
    let pem = if *protect { under_passphrase(path, &key)? } else { Zeroizing::new(key.to_pem()) };
    file::create(path, pem.as_bytes(), Readers::Owner)?;
    file::create(&public_path, format!("{}\n", key.public()).as_bytes(), Readers::Everyone)?;
    let public_key = key.public();
    let result = KeyResult { public_key, file: path, public_file: Some(&public_path), holds: "private" };
    Ok(output.give(&result, || {
        vec![
            format!("public key   {public_key}"),
            format!("private key  {} (keep it secret; only you can read it)", path.display()),
            format!("public file  {}", public_path.display()),
        ]
    })?)
}

fn protect(ProtectArgs { file, out }: &ProtectArgs, output: Output) -> Result<(), KeyFileError> {
    if out.exists() {
        return Err(FileError::Exists { path: out.clone() }.into());
    }
    let key = read_signing(file)?;
    file::create(out, under_passphrase(out, &key)?.as_bytes(), Readers::Owner)?;
    let public_key = key.public();
    let result = KeyResult { public_key, file: out, public_file: None, holds: "private" };
    Ok(output.give(&result, || {
        vec![format!("private key  {} (under a passphrase; remove {})", out.display(), file.display())]
    })?)
}

fn under_passphrase(path: &Path, key: &SigningKey) -> Result<Zeroizing<String>, KeyFileError> {
    protected::seal(path, key, &passphrase::choose(path)?)
}

fn show(path: &Path, output: Output) -> Result<(), KeyFileError> {
    let key = KeyFile::read(path)?;
    let holds = if key.signing().is_some() { "private" } else { "public" };
    let public_key = key.public();
    let result = KeyResult { public_key, file: path, public_file: None, holds };
    Ok(output.give(&result, || vec![public_key.to_string()])?)
}
