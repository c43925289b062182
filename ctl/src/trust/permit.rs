//! `takt trust permit`: what people allow beyond what a coordinator may order by itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use takt_common::envelope::PayloadType;
use takt_common::permission::{
    Marked, PERMISSION_FORMAT, PERMISSION_LENGTH_MAX, Permission, PermissionError,
};
use takt_common::{DeviceId, Envelope, Name, PublicKey, SigningKey, UnixTime};
use takt_trust::RoleSpec;

use super::dir::TrustDir;
use crate::campaign::ReleaseArg;
use crate::failure::Failure;
use crate::file;
use crate::key;
use crate::output::Output;
use crate::span;

pub(super) const EXAMPLE: &str = "Example:\n  \
    takt trust permit --dir trust --out back.permission --action downgrade --release counter@1.0.0 --domain line-7 --valid 2d --why counter-2-burns --key anna.key\n  \
    takt trust permit --dir trust --out back.permission --key ben.key";

/// `takt trust permit`
#[derive(Debug, Args)]
pub struct PermitArgs {
    /// The folder with the trust documents
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    dir: PathBuf,
    /// The permission; one that exists gets further signatures
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What is permitted; may be given several times
    #[arg(long = "action", value_enum, requires_all = ["release", "domain", "valid", "why"])]
    actions: Vec<ActionArg>,
    /// With which release
    #[arg(long, value_name = "COMPONENT@VERSION", requires = "actions")]
    release: Option<ReleaseArg>,
    /// In which domain
    #[arg(long, requires = "actions")]
    domain: Option<Name>,
    /// Only on this device, by its id; may be given several times
    #[arg(long = "device", value_name = "ID", requires = "actions")]
    devices: Vec<DeviceId>,
    /// How long: 12h, 7d
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs, requires = "actions")]
    valid: Option<u64>,
    /// Why, for those who sign it
    #[arg(long, value_name = "TEXT", requires = "actions")]
    why: Option<String>,
    /// A private key of a counter-signer; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
}

/// What may be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ActionArg {
    /// A release that is older than one which a device has verified, and that it has never verified itself
    Downgrade,
    /// Switching in spite of soft blockers once the deadline has passed
    GoAhead,
}

/// A permission cannot be made or signed.
#[derive(Debug, thiserror::Error)]
pub enum PermitError {
    /// The file holds none.
    #[error("use the permission {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PermissionError,
    },
    /// It holds something else, which must not be signed by mistake.
    #[error("use the permission {}: it is no permission, but of type {kind:?}", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: String,
    },
    /// It would fit into no order.
    #[error("write the permission {}: it would have {length} bytes, at most {PERMISSION_LENGTH_MAX} are allowed; name fewer devices", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// There is no file, and nothing is said about what would stand in it.
    #[error("there is no permission {}; to make it, say --action, --release, --domain, --valid and --why", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
    },
    /// What is in it was signed and is not changed.
    #[error("the permission {} exists already and is not changed; sign it with --key alone, or make another one", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The root names nobody.
    #[error(
        "the director root names nobody who may permit anything; name them with: takt trust rotate --counter-key FILE"
    )]
    NoRole,
    /// A key without a part in it.
    #[error("the key {} ({public}) belongs to no counter-signer of the director root", file.display())]
    Stranger {
        /// The file.
        file: PathBuf,
        /// The public half.
        public: PublicKey,
    },
}

#[derive(Serialize)]
struct Permitted {
    permission: Permission,
    signed: usize,
    threshold: usize,
    complete: bool,
}

/// Makes the permission, or takes the one that is there, and signs it.
pub(super) fn run(args: &PermitArgs, now: UnixTime, output: Output) -> Result<(), Failure> {
    let counter = TrustDir::open(&args.dir)?.director()?.counter.ok_or(PermitError::NoRole)?;
    let path = &args.out;
    let exists = path.symlink_metadata().is_ok();
    let mut envelope = match (exists, asked(args, now)) {
        (true, None) => {
            let bytes = file::read_bytes(path, PERMISSION_LENGTH_MAX as u64)?;
            Envelope::from_bytes(&bytes).map_err(|error| unusable(path, error.into()))?
        }
        (false, Some(asked)) => Envelope::seal(PayloadType::Permission, &asked.to_bytes(), &[]),
        (true, Some(_)) => return Err(PermitError::Exists { path: path.clone() }.into()),
        (false, None) => return Err(PermitError::Nothing { path: path.clone() }.into()),
    };
    if envelope.kind() != PayloadType::Permission.as_str() {
        return Err(PermitError::NotOne { path: path.clone(), kind: envelope.kind().to_owned() }.into());
    }
    let payload = envelope.unverified_payload().unwrap_or_default();
    let permission = Permission::read(&payload).map_err(|error| unusable(path, error))?;
    for file in &args.keys {
        let key: SigningKey = key::read_signing(file)?;
        let public = key.public();
        if !counter.keys.contains(&public) {
            return Err(PermitError::Stranger { file: file.clone(), public }.into());
        }
        envelope.add_signature(&key);
    }
    let bytes = envelope.to_bytes();
    if bytes.len() > PERMISSION_LENGTH_MAX {
        return Err(PermitError::TooLong { path: path.clone(), length: bytes.len() }.into());
    }
    file::replace(path, &bytes)?;
    let signed = signatures(&envelope, &counter);
    let threshold = counter.threshold;
    let permitted = Permitted { permission, signed, threshold, complete: signed >= threshold };
    output.give(&permitted, || lines(&permitted))?;
    if !permitted.complete {
        output.note("signatures are missing: the others run `takt trust permit --out FILE --key FILE`")?;
    }
    Ok(())
}

fn unusable(path: &std::path::Path, source: PermissionError) -> PermitError {
    PermitError::Unusable { path: path.to_owned(), source }
}

/// What the arguments ask for, when they ask for a new one.
fn asked(args: &PermitArgs, now: UnixTime) -> Option<Permission> {
    let actions = args.actions.iter().map(|action| match action {
        ActionArg::Downgrade => Marked::Downgrade,
        ActionArg::GoAhead => Marked::GoAhead,
    });
    Some(Permission {
        format: PERMISSION_FORMAT,
        actions: actions.collect(),
        release: args.release.clone()?.0,
        domain: args.domain.clone()?,
        devices: args.devices.iter().copied().collect(),
        not_after: now + std::time::Duration::from_secs(args.valid?),
        why: args.why.clone()?,
    })
}

/// How many of those who may have signed it.
fn signatures(envelope: &Envelope, counter: &RoleSpec) -> usize {
    let has = |key: &&PublicKey| {
        let signers = takt_common::envelope::Signers { role: String::new(), keys: vec![**key], threshold: 1 };
        envelope.open(PayloadType::Permission, &signers).is_ok()
    };
    counter.keys.iter().filter(has).count()
}

fn lines(permitted: &Permitted) -> Vec<String> {
    let Permitted { permission, signed, threshold, .. } = permitted;
    let actions = permission.actions.iter().map(Marked::to_string).collect::<Vec<_>>().join(", ");
    let devices = match permission.devices.len() {
        0 => "all devices".to_owned(),
        count => format!("{count} devices"),
    };
    vec![
        format!("permits    {actions} to {} on {devices} of {}", permission.release, permission.domain),
        format!("until      {}", permission.not_after),
        format!("because    {}", permission.why.replace(char::is_control, " ")),
        format!("signed by  {signed} of {threshold}"),
    ]
}
