//! `takt release sign`: a publisher's word that a release is theirs.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use takt_common::release::ReleaseId;
use takt_common::{PublicKey, SigningKey, UnixTime};
use takt_trust::{Delegation, Release, RoleSpec, TargetsDocument};

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
    /// The delegated role that publishes the release; without it the publishers do, or the role that the keys hold
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
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
    let (role, keys) = read_keys(&args, &dir, &folder)?;
    prepare(&dir, &folder, &role, args.floor, now)?;
    sign_pending(&dir, &keys, now)?;
    tell(&dir, &folder, &role, output)
}

/// In which role the release is published, and all keys that sign.
fn read_keys(
    args: &SignArgs,
    dir: &TrustDir,
    folder: &ReleaseFolder,
) -> Result<(Role, Vec<SigningKey>), Failure> {
    let keys = args.publisher_keys.iter().map(|path| key::read_signing(path));
    let mut keys = keys.collect::<Result<Vec<SigningKey>, _>>()?;
    let publics: Vec<PublicKey> = keys.iter().map(SigningKey::public).collect();
    let role = match &args.role {
        Some(name) => Role::Delegated(name.clone()),
        None => held_by(dir, folder, &publics)?,
    };
    for (path, public) in args.publisher_keys.iter().zip(&publics) {
        check_holder(path, public, &role, dir)?;
    }
    if let Some(path) = &args.snapshot_key {
        let key = key::read_signing(path)?;
        check_holder(path, &key.public(), &Role::Snapshot, dir)?;
        keys.push(key);
    }
    Ok((role, keys))
}

/// The role that these keys hold: that of the publishers, or one that may publish the component.
fn held_by(dir: &TrustDir, folder: &ReleaseFolder, keys: &[PublicKey]) -> Result<Role, TrustDirError> {
    let holds = |spec: &RoleSpec| keys.iter().all(|key| spec.keys.contains(key));
    if holds(&dir.role(&Role::Targets)?) {
        return Ok(Role::Targets);
    }
    let component = &folder.manifest.release.name;
    let fits = |delegation: &Delegation| holds(&delegation.holders) && delegation.covers_component(component);
    let found = dir.delegations()?.into_iter().find(fits);
    Ok(found.map_or(Role::Targets, |delegation| Role::Delegated(delegation.name)))
}

/// Refuses a key that does not hold `role`.
fn check_holder(path: &Path, public: &PublicKey, role: &Role, dir: &TrustDir) -> Result<(), Failure> {
    if dir.role(role)?.keys.contains(public) {
        return Ok(());
    }
    let root = match role {
        Role::Delegated(_) => Role::Targets.file(dir.targets()?.0.version),
        _ => Role::Root.file(dir.root()?.version),
    };
    let (file, public, signers) = (path.to_owned(), *public, role.signers());
    Err(TrustDirError::WrongRole { file, public, signers, root }.into())
}

/// Sees to it that the newest document of the role holds the release: unchanged when it does, else as a new version.
fn prepare(
    dir: &TrustDir,
    folder: &ReleaseFolder,
    role: &Role,
    floor: Option<u64>,
    now: UnixTime,
) -> Result<(), Failure> {
    let mut everything = dir.everything()?;
    let release = release_of(folder, &everything, floor)?;
    if let Role::Delegated(name) = role {
        let delegation = dir.delegation(name)?;
        if !delegation.covers(&release.about) {
            let (role, allowed) = (name.clone(), delegation.allowed());
            let (kind, release) = (release.about.kind, folder.manifest.release.to_string());
            return Err(TrustDirError::NotCovered { role, release, kind, allowed }.into());
        }
    }
    // Against what all roles have published: devices see it together.
    everything.add_release(&release).map_err(TrustDirError::from)?;
    let stored = dir.newest(role)?;
    let mut targets = match &stored {
        Some(stored) => stored.targets()?,
        None => TargetsDocument::new(now),
    };
    let before = targets.clone();
    targets.add_release(&release).map_err(TrustDirError::from)?;
    if targets == before {
        return Ok(());
    }
    let holders = dir.role(role)?;
    match (stored, role) {
        (Some(stored), _) if !stored.document.is_signed_by(&holders) => {
            return Err(TrustDirError::OtherPending {
                path: stored.path,
                valid: stored.document.valid_signatures(&holders).len(),
                threshold: holders.threshold,
                release: folder.manifest.release.to_string(),
            }
            .into());
        }
        (_, Role::Delegated(name)) => {
            targets.begin_next(now);
            targets.version = dir.next_version(name)?;
        }
        _ => targets.begin_next(now),
    }
    dir.write(role, &targets.document())?;
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

fn tell(dir: &TrustDir, folder: &ReleaseFolder, role: &Role, output: Output) -> Result<(), Failure> {
    let release = &folder.manifest.release;
    let targets = DocumentStatus::of(dir, role, &dir.demand(role)?)?;
    let complete = match dir.complete(&dir.published()?) {
        Ok(_) => targets.is_complete(),
        Err(TrustDirError::Unsigned { .. } | TrustDirError::NoSnapshot { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let snapshot = if complete {
        Some(DocumentStatus::of(dir, &Role::Snapshot, &dir.demand(&Role::Snapshot)?)?)
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
