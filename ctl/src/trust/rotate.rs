//! `takt trust rotate`: the next roots, with other keys, thresholds or a later expiry.

use std::path::PathBuf;

use clap::Args;
use takt_common::{PublicKey, SigningKey, UnixTime};
use takt_trust::root::ROOT_LIFE;
use takt_trust::{DirectorSpec, RoleSpec, RootSpec};

use super::dir::{Role, Stored, TrustDir, TrustDirError};
use super::init::{publics, read_all, read_coordinator_keys};
use super::permit::PermitError;
use super::sign::sign_pending;
use super::status::Status;
use crate::failure::Failure;
use crate::key::KeyFile;
use crate::output::Output;

pub(super) const EXAMPLE: &str = "Example:\n  \
    takt trust rotate --dir trust --publisher-key anna.pub --publisher-key new.pub --key root.key --key anna.key\n  \
    takt trust rotate --dir trust --root-key r1.pub --root-key r2.pub --root-key r4.key --root-threshold 2 --key r1.key";

/// `takt trust rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The folder with the trust documents
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    dir: PathBuf,
    /// Who says from then on who may sign what, private or public key; all of them
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// How many of them must sign a root
    #[arg(long, value_name = "K")]
    root_threshold: Option<usize>,
    /// Who publishes from then on, private or public key; all of them
    #[arg(long = "publisher-key", value_name = "FILE")]
    publisher_keys: Vec<PathBuf>,
    /// How many of them must sign a release
    #[arg(long, value_name = "K")]
    publisher_threshold: Option<usize>,
    /// Who signs snapshots from then on, private or public key
    #[arg(long, value_name = "FILE")]
    snapshot_key: Option<PathBuf>,
    /// Who permits from then on what the coordinator may not order by itself, private or public key; all of them
    #[arg(long = "counter-key", value_name = "FILE")]
    counter_keys: Vec<PathBuf>,
    /// How many of them must sign a permission
    #[arg(long, value_name = "K")]
    counter_threshold: Option<usize>,
    /// The coordinator's public keys from then on, as GET /api/v1/keys answers
    #[arg(long, value_name = "FILE")]
    coordinator_keys: Option<PathBuf>,
    /// A private key of now or of then that signs at once; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
}

/// Makes the next roots in the folder and signs what it can. Nothing is published.
pub(super) fn run(args: &RotateArgs, now: UnixTime, output: Output) -> Result<(), Failure> {
    let dir = TrustDir::open(&args.dir)?;
    // A change that is not complete would be lost in the next one.
    dir.complete(&[Role::Root, Role::Director, Role::Targets])?;
    let root_keys = read_all(&args.root_keys)?;
    let publisher_keys = read_all(&args.publisher_keys)?;
    let snapshot_key = args.snapshot_key.as_deref().map(KeyFile::read).transpose()?;
    let counter_keys = read_all(&args.counter_keys)?;
    let signing = read_all(&args.keys)?;
    let coordinator = args.coordinator_keys.as_deref().map(read_coordinator_keys).transpose()?;

    let (packages, director) = (dir.root()?, dir.director()?);
    let mut next = RootSpec { version: packages.version + 1, expires: now + ROOT_LIFE, ..packages.clone() };
    let mut next_director =
        DirectorSpec { epoch: director.epoch + 1, expires: now + ROOT_LIFE, ..director.clone() };
    next.roles.root = changed(&packages.roles.root, &root_keys, args.root_threshold);
    next_director.root = next.roles.root.clone();
    next.roles.targets = changed(&packages.roles.targets, &publisher_keys, args.publisher_threshold);
    if let Some(key) = &snapshot_key {
        next.roles.snapshot = RoleSpec { keys: vec![key.public()], threshold: 1 };
    } else if packages.roles.snapshot.keys == packages.roles.targets.keys {
        // Any one publisher signs snapshots.
        next.roles.snapshot.keys.clone_from(&next.roles.targets.keys);
    }
    if let Some(coordinator) = coordinator {
        next.roles.timestamp = RoleSpec { keys: vec![coordinator.timestamp], threshold: 1 };
        next_director.order = RoleSpec { keys: vec![coordinator.order], threshold: 1 };
    }

    let nobody = RoleSpec { keys: Vec::new(), threshold: 1 };
    let counter =
        changed(director.counter.as_ref().unwrap_or(&nobody), &counter_keys, args.counter_threshold);
    if counter.keys.is_empty() && args.counter_threshold.is_some() {
        return Err(PermitError::NoRole.into());
    }
    next_director.counter = (!counter.keys.is_empty()).then_some(counter);

    let kept = next_director.order == director.order && next_director.counter == director.counter;
    let renewed = next.roles == packages.roles && kept;
    let root = (renewed || next.roles != packages.roles).then(|| next.document()).transpose();
    let root = root.map_err(TrustDirError::from)?;
    let ordered = !kept || next_director.root != director.root;
    let director = (renewed || ordered).then(|| next_director.document()).transpose();
    let director = director.map_err(TrustDirError::from)?;

    if let Some(root) = &root {
        // Under the next root, what is published needs the signatures of those who publish then.
        let (Stored { document, .. }, mut targets) = dir.targets()?;
        let snapshot = dir.newest(&Role::Snapshot)?;
        let snapshot = snapshot.is_some_and(|snapshot| snapshot.document.is_signed_by(&next.roles.snapshot));
        if !document.is_signed_by(&next.roles.targets) || !snapshot {
            targets.begin_next(now);
            dir.write(&Role::Targets, &targets.document())?;
        }
        dir.write(&Role::Root, root)?;
    }
    if let Some(director) = &director {
        dir.write(&Role::Director, director)?;
    }
    let all = root_keys.into_iter().chain(publisher_keys).chain(snapshot_key).chain(signing);
    let signing: Vec<SigningKey> = all.filter_map(KeyFile::into_signing).collect();
    sign_pending(&dir, &signing, now)?;

    let status = Status::of(&dir)?;
    output.give(&status, || status.lines(output))?;
    if !status.complete {
        output.note("signatures are missing: the others run `takt trust sign`, then `takt trust publish`")?;
    }
    Ok(())
}

/// A role with what is named in place of what it had.
fn changed(role: &RoleSpec, keys: &[KeyFile], threshold: Option<usize>) -> RoleSpec {
    let named: Vec<PublicKey> = publics(keys);
    RoleSpec {
        keys: if named.is_empty() { role.keys.clone() } else { named },
        threshold: threshold.unwrap_or(role.threshold),
    }
}
