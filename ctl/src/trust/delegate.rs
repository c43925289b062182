//! `takt trust delegate`: others who may publish a part of the components.

use std::path::PathBuf;

use clap::Args;
use takt_common::{Name, SigningKey, UnixTime};
use takt_trust::{Delegation, RoleSpec};

use super::dir::{Role, TrustDir};
use super::init::{publics, read_all};
use super::sign::sign_pending;
use super::status::Status;
use crate::failure::Failure;
use crate::key::KeyFile;
use crate::output::Output;

pub(super) const EXAMPLE: &str = "Example:\n  \
    takt trust delegate --dir trust --role os --holder-key anna.pub --holder-key ben.pub --threshold 2 \
    --component 'os-*' --kind os-image --domain north --key publisher.key\n  \
    takt trust delegate --dir trust --role os --remove --key publisher.key";

/// `takt trust delegate`
#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// The folder with the trust documents
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    dir: PathBuf,
    /// The role: lower-case letters, digits and `-`
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Who publishes in it from then on, private or public key; all of them
    #[arg(long = "holder-key", value_name = "FILE", required_unless_present = "remove")]
    holder_keys: Vec<PathBuf>,
    /// How many of them must sign
    #[arg(long, value_name = "K", default_value_t = 1)]
    threshold: usize,
    /// A component that it may publish; `*` stands for any characters; may be given several times
    #[arg(long = "component", value_name = "PATTERN", required_unless_present = "remove")]
    components: Vec<String>,
    /// A kind that steps of its releases may have, without one any; may be given several times
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// A domain whose devices may install its releases, without one any; may be given several times
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<Name>,
    /// Take the role away: what it has published cannot be installed any more
    #[arg(long, conflicts_with_all = ["holder_keys", "components", "kinds", "domains"])]
    remove: bool,
    /// A private key that signs at once, of a publisher or a holder; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
}

/// Makes the next targets in the folder and signs what it can. Nothing is published.
pub(super) fn run(args: &DelegateArgs, now: UnixTime, output: Output) -> Result<(), Failure> {
    let dir = TrustDir::open(&args.dir)?;
    // A change that is not complete would be lost in the next one.
    dir.complete(&[Role::Root, Role::Targets])?;
    let holders = read_all(&args.holder_keys)?;
    let signing = read_all(&args.keys)?;
    let (_, mut targets) = dir.targets()?;
    let at = targets.delegations.iter().position(|known| known.name == args.role);
    if args.remove {
        // Tells which roles there are, if it is none of them.
        dir.delegation(&args.role)?;
        targets.delegations.retain(|known| known.name != args.role);
    } else {
        let delegation = Delegation {
            name: args.role.clone(),
            holders: RoleSpec { keys: publics(&holders), threshold: args.threshold },
            components: args.components.clone(),
            kinds: args.kinds.clone(),
            domains: args.domains.clone(),
        };
        delegation.check().map_err(super::TrustDirError::from)?;
        delegation.check_apart(&dir.root()?.roles.timestamp).map_err(super::TrustDirError::from)?;
        resign(&dir, &delegation, now)?;
        match at {
            Some(at) => targets.delegations[at] = delegation,
            None => targets.delegations.push(delegation),
        }
    }
    targets.begin_next(now);
    dir.write(&Role::Targets, &targets.document())?;
    let signing: Vec<SigningKey> =
        holders.into_iter().chain(signing).filter_map(KeyFile::into_signing).collect();
    sign_pending(&dir, &signing, now)?;

    let status = Status::of(&dir)?;
    output.give(&status, || status.lines(output))?;
    if !status.complete {
        output.note("signatures are missing: the others run `takt trust sign`, then `takt trust publish`")?;
    }
    Ok(())
}

/// What a role has published needs the signatures of those who hold it from then on.
fn resign(dir: &TrustDir, delegation: &Delegation, now: UnixTime) -> Result<(), Failure> {
    let role = Role::Delegated(delegation.name.clone());
    let Some(stored) = dir.newest(&role)? else { return Ok(()) };
    if !stored.document.is_signed_by(&delegation.holders) {
        let mut published = stored.targets()?;
        published.begin_next(now);
        published.version = dir.next_version(&delegation.name)?;
        dir.write(&role, &published.document())?;
    }
    Ok(())
}
