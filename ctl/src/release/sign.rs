//! `takt release sign`: a publisher's word that a release is theirs.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use takt_common::release::ReleaseId;
use takt_common::{PublicKey, SigningKey, UnixTime};
use takt_trust::{Release, TargetsDocument};

use super::folder::{ReleaseError, ReleaseFolder};
use crate::cli::Online;
use crate::clock;
use crate::failure::Failure;
use crate::key;
use crate::output::Output;
use crate::trust::{self, DocumentStatus, Fetched, Role, TrustDir, TrustDirError, sign_pending};

/// `takt release sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The release folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The trust folder
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    trust: PathBuf,
    /// A publisher's private key; may be given several times
    #[arg(long = "publisher-key", value_name = "FILE", required = true)]
    publisher_keys: Vec<PathBuf>,
    /// The private key that signs snapshots, when that is not a publisher's
    #[arg(long, value_name = "FILE")]
    snapshot_key: Option<PathBuf>,
    /// Withdraw releases of the component with a lower counter, for good: devices refuse them from then on
    #[arg(long, value_name = "COUNTER")]
    floor: Option<u64>,
    /// Sign on top of the trust folder as it is, without asking the coordinator for what is newest
    #[arg(long)]
    offline: bool,
}

/// What a program gets.
#[derive(Serialize)]
struct Signed<'a> {
    release: &'a ReleaseId,
    counter: u64,
    targets: DocumentStatus,
    /// Absent until the targets are complete and in a snapshot.
    snapshot: Option<DocumentStatus>,
    /// True when it can be published.
    complete: bool,
}

/// Signs a release.
pub(super) async fn run(args: SignArgs, online: Online, output: Output) -> Result<(), Failure> {
    let folder = ReleaseFolder::open(&args.dir)?;
    folder.check_artifacts()?;
    let dir = TrustDir::open(&args.trust)?;
    let now = clock::now();
    if !args.offline && trust::fetch(&dir, &online.api()?, now).await? == Fetched::NothingPublished {
        output.note("nothing is published yet: signing on top of the trust folder as it is")?;
    }
    let keys = read_keys(&args, &dir)?;
    prepare(&dir, &folder, args.floor, now)?;
    sign_pending(&dir, &keys, now)?;
    tell(&dir, &folder, output)
}

fn read_keys(args: &SignArgs, dir: &TrustDir) -> Result<Vec<SigningKey>, Failure> {
    let mut keys = Vec::new();
    for path in &args.publisher_keys {
        keys.push(read_key(path, Role::Targets, dir)?);
    }
    if let Some(path) = &args.snapshot_key {
        keys.push(read_key(path, Role::Snapshot, dir)?);
    }
    Ok(keys)
}

/// A private key that holds `role`.
fn read_key(path: &Path, role: Role, dir: &TrustDir) -> Result<SigningKey, Failure> {
    let key = key::read_signing(path)?;
    let public: PublicKey = key.public();
    if !dir.role(role)?.keys.contains(&public) {
        let root = Role::Root.file(dir.root()?.version);
        let (file, signers) = (path.to_owned(), role.signers());
        return Err(TrustDirError::WrongRole { file, public, signers, root }.into());
    }
    Ok(key)
}

/// Sees to it that the newest targets hold the release: unchanged when they do, else as a new version.
fn prepare(dir: &TrustDir, folder: &ReleaseFolder, floor: Option<u64>, now: UnixTime) -> Result<(), Failure> {
    let (stored, mut targets) = dir.targets()?;
    let before = targets.clone();
    targets.add_release(&release_of(folder, &targets, floor)?).map_err(TrustDirError::from)?;
    if targets == before {
        return Ok(());
    }
    let publishers = dir.role(Role::Targets)?;
    if !stored.document.is_signed_by(&publishers) {
        return Err(TrustDirError::OtherPending {
            path: stored.path,
            valid: stored.document.valid_signatures(&publishers).len(),
            threshold: publishers.threshold,
            release: folder.manifest.release.to_string(),
        }
        .into());
    }
    targets.begin_next(now);
    dir.write(Role::Targets, &targets.document())?;
    Ok(())
}

/// What the targets say of the release in the folder.
pub(super) fn release_of(
    folder: &ReleaseFolder,
    targets: &TargetsDocument,
    floor: Option<u64>,
) -> Result<Release, ReleaseError> {
    let ReleaseId { name, version } = &folder.manifest.release;
    // A release that is there keeps its floor; a new one takes over the component's.
    let known = targets.releases(name).find(|known| known.release == *version).map(|known| known.floor);
    let floor = floor.or(known).unwrap_or_else(|| targets.floor(name));
    Release::of_manifest(&folder.manifest_bytes, floor, Vec::new())
        .map_err(|source| ReleaseError::Manifest { path: folder.manifest_path(), source })
}

fn tell(dir: &TrustDir, folder: &ReleaseFolder, output: Output) -> Result<(), Failure> {
    let release = &folder.manifest.release;
    let targets = DocumentStatus::of(dir, Role::Targets, &dir.demand(Role::Targets)?)?;
    let complete = match dir.complete(&[Role::Targets, Role::Snapshot]) {
        Ok(_) => true,
        Err(TrustDirError::Unsigned { .. } | TrustDirError::NoSnapshot { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let snapshot = if complete {
        Some(DocumentStatus::of(dir, Role::Snapshot, &dir.demand(Role::Snapshot)?)?)
    } else {
        None
    };
    let signed = Signed { release, counter: folder.manifest.counter, targets, snapshot, complete };
    Ok(output.give(&signed, || {
        let mut lines = vec![signed.targets.line(output)];
        lines.extend(signed.snapshot.iter().map(|snapshot| snapshot.line(output)));
        let missing = signed.targets.threshold.saturating_sub(signed.targets.signed_by.len());
        lines.push(match (complete, missing) {
            (true, _) => format!("release {release} is signed and can be published"),
            (false, 0) => {
                "the snapshot key has yet to sign: run this again with --snapshot-key FILE".to_owned()
            }
            (false, missing) => format!("{missing} more publishers have to run this with their own key"),
        });
        lines
    })?)
}
