//! `takt trust init`: the ceremony that makes the first roots.

use std::path::{Path, PathBuf};

use clap::Args;
use takt_common::api::CoordinatorKeys;
use takt_common::{PublicKey, SigningKey};
use takt_trust::root::ROOT_LIFE;
use takt_trust::{DirectorSpec, PackageRoles, RoleSpec, RootSpec, TargetsDocument};

use super::dir::{Role, TrustDir, TrustDirError};
use super::sign::sign_pending;
use super::status::Status;
use crate::cli::Online;
use crate::clock;
use crate::failure::Failure;
use crate::file::{self, FileError};
use crate::key::{KeyFile, KeyFileError};
use crate::output::Output;

/// `takt trust init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where the documents go; made when it is not there
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    dir: PathBuf,
    /// A key that says who may sign what, private or public; may be given several times
    #[arg(long = "root-key", value_name = "FILE", required = true)]
    root_keys: Vec<PathBuf>,
    /// How many root keys must sign a root
    #[arg(long, value_name = "K", default_value_t = 1)]
    root_threshold: usize,
    /// A publisher's key, private or public; may be given several times
    #[arg(long = "publisher-key", value_name = "FILE", required = true)]
    publisher_keys: Vec<PathBuf>,
    /// How many publishers must sign a release
    #[arg(long, value_name = "K", default_value_t = 1)]
    publisher_threshold: usize,
    /// The key that signs snapshots, private or public; without it any one publisher signs them
    #[arg(long, value_name = "FILE")]
    snapshot_key: Option<PathBuf>,
    /// A key that permits what the coordinator may not order by itself, private or public; may be given several times
    #[arg(long = "counter-key", value_name = "FILE")]
    counter_keys: Vec<PathBuf>,
    /// How many of them must sign a permission; one if it is not said
    #[arg(long, value_name = "K", requires = "counter_keys")]
    counter_threshold: Option<usize>,
    /// The coordinator's public keys as JSON, as GET /api/v1/keys answers; without it they are asked for
    #[arg(long, value_name = "FILE")]
    coordinator_keys: Option<PathBuf>,
    /// Talk to no coordinator and publish nothing (needs --coordinator-keys)
    #[arg(long, requires = "coordinator_keys")]
    offline: bool,
}

/// The coordinator's keys are not usable.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Offline, and no file either.
    #[error("the coordinator's public keys are needed: give --coordinator-keys FILE with --offline")]
    NoKeys,
    /// The file is out of reach.
    #[error("read the coordinator's keys")]
    File(#[source] FileError),
    /// The file is not what the coordinator answers.
    #[error("read the coordinator's keys {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Makes, signs and publishes the first documents.
pub(super) async fn run(args: InitArgs, online: Online, output: Output) -> Result<(), Failure> {
    let root_keys = read_all(&args.root_keys)?;
    let publisher_keys = read_all(&args.publisher_keys)?;
    let snapshot_key = args.snapshot_key.as_deref().map(KeyFile::read).transpose()?;
    let counter_keys = publics(&read_all(&args.counter_keys)?);
    // Nothing is made before it is known whom to publish it to.
    let api = if args.offline { None } else { Some(online.api()?) };
    let coordinator = match (&args.coordinator_keys, &api) {
        (Some(path), _) => read_coordinator_keys(path)?,
        (None, Some(api)) => api.get("/api/v1/keys").await?,
        (None, None) => return Err(InitError::NoKeys.into()),
    };
    let now = clock::now();
    let root = RoleSpec { keys: publics(&root_keys), threshold: args.root_threshold };
    let targets = RoleSpec { keys: publics(&publisher_keys), threshold: args.publisher_threshold };
    let snapshot = match &snapshot_key {
        Some(key) => RoleSpec { keys: vec![key.public()], threshold: 1 },
        None => RoleSpec { keys: targets.keys.clone(), threshold: 1 },
    };
    let timestamp = RoleSpec { keys: vec![coordinator.timestamp], threshold: 1 };
    let order = RoleSpec { keys: vec![coordinator.order], threshold: 1 };
    let counter = (!counter_keys.is_empty())
        .then_some(RoleSpec { keys: counter_keys, threshold: args.counter_threshold.unwrap_or(1) });
    let expires = now + ROOT_LIFE;
    let roles = PackageRoles { root: root.clone(), targets, snapshot, timestamp };
    let package_root = RootSpec { version: 1, expires, roles }.document().map_err(TrustDirError::from)?;
    let director_root =
        DirectorSpec { epoch: 1, expires, root, order, counter }.document().map_err(TrustDirError::from)?;

    let dir = TrustDir::create(&args.dir)?;
    // The root comes last: a folder without it is made anew by the next attempt.
    dir.write(&Role::Targets, &TargetsDocument::new(now).document())?;
    dir.write(&Role::Director, &director_root)?;
    dir.write(&Role::Root, &package_root)?;
    let signing: Vec<SigningKey> = root_keys
        .into_iter()
        .chain(publisher_keys)
        .chain(snapshot_key)
        .filter_map(KeyFile::into_signing)
        .collect();
    sign_pending(&dir, &signing, now)?;

    let status = Status::of(&dir)?;
    output.give(&status, || status.lines(output))?;
    if !status.complete {
        output.note("signatures are missing: the others run `takt trust sign`, then `takt trust publish`")?;
    } else if !args.offline {
        let names = super::publish(&dir, &online).await?;
        output.note(&format!("published {}", names.join(", ")))?;
    }
    Ok(())
}

pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<KeyFile>, KeyFileError> {
    paths.iter().map(|path| KeyFile::read(path)).collect()
}

pub(super) fn publics(keys: &[KeyFile]) -> Vec<PublicKey> {
    keys.iter().map(KeyFile::public).collect()
}

pub(super) fn read_coordinator_keys(path: &Path) -> Result<CoordinatorKeys, InitError> {
    let text = file::read_text(path).map_err(InitError::File)?;
    serde_json::from_str(&text).map_err(|source| InitError::Malformed { path: path.to_owned(), source })
}
