//! `takt trust`: the documents that say who may publish and who may order, and their signatures.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use takt_common::api::RepositoryUpload;
use takt_common::{SigningKey, UnixTime};

use crate::cli::Online;
use crate::clock;
use crate::failure::Failure;
use crate::key;
use crate::output::Output;

mod client;
mod delegate;
mod dir;
mod fetch;
mod init;
mod permit;
mod rotate;
mod sign;
mod status;

pub use client::ClientError;
pub use dir::{Role, Stored, TrustDir, TrustDirError};
pub use fetch::{FetchError, Fetched, fetch};
pub use init::InitError;
pub use permit::PermitError;
pub use sign::sign_pending;
pub use status::{DocumentStatus, Status};

const INIT_EXAMPLE: &str =
    "Example:\n  takt trust init --dir trust --root-key root.key --publisher-key publisher.key";

/// `takt trust …`
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Makes the first roots, targets and snapshot in DIR, signs what it can, and publishes them
    #[command(after_help = INIT_EXAMPLE)]
    Init(init::InitArgs),
    /// Makes the next roots in DIR, with other keys or thresholds, and signs what it can
    ///
    /// What is not named stays as it is; with nothing named the roots get a later expiry. The next roots need the
    /// signatures of those who hold the present ones and of those who will hold the next: the others run `takt trust
    /// sign`, then somebody runs `takt trust publish`.
    #[command(after_help = rotate::EXAMPLE)]
    Rotate(rotate::RotateArgs),
    /// Lets others publish a part of the components: those of some names, kinds and domains
    ///
    /// A delegated role has a document of its own, which its holders sign. What is named takes the place of what the role had;
    /// the publishers sign that, then `takt trust publish`.
    #[command(after_help = delegate::EXAMPLE)]
    Delegate(delegate::DelegateArgs),
    /// Permits what a coordinator may not order by itself: a downgrade, or a switch in spite of soft blockers
    ///
    /// The counter-signers that the director root names sign it, one after the other; `takt campaign start --permission` takes it
    /// once enough have. A FILE that exists is shown and gets the signatures of --key.
    #[command(after_help = permit::EXAMPLE)]
    Permit(permit::PermitArgs),
    /// Adds signatures to whatever in DIR still misses some
    #[command(after_help = "Example:\n  takt trust sign --dir trust --key second-root.key")]
    Sign(SignArgs),
    /// Publishes the newest documents of DIR
    #[command(after_help = "Example:\n  takt trust publish --dir trust")]
    Publish(DirArgs),
    /// Shows the newest documents of DIR and their signatures
    #[command(after_help = "Example:\n  takt trust show --dir trust")]
    Show(DirArgs),
    /// Verifies any TUF repository, Takt's or not, by the rules of TUF alone; whatever fails, the exit code is 1
    Client(client::ClientArgs),
}

/// A folder with trust documents.
#[derive(Debug, Clone, Args)]
pub struct DirArgs {
    /// The folder with the trust documents
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    dir: PathBuf,
}

/// `takt trust sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// A private key of any role; may be given several times
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
}

/// Does what a `takt trust` command asks for.
pub async fn run(command: TrustCommand, online: Online, output: Output) -> Result<(), Failure> {
    match command {
        TrustCommand::Init(args) => init::run(args, online, output).await,
        TrustCommand::Rotate(args) => rotate::run(&args, clock::now(), output),
        TrustCommand::Delegate(args) => delegate::run(&args, clock::now(), output),
        TrustCommand::Permit(args) => permit::run(&args, clock::now(), output),
        TrustCommand::Sign(args) => sign(&args, clock::now(), output),
        TrustCommand::Publish(args) => {
            let dir = TrustDir::open(&args.dir)?;
            let documents = publish(&dir, &online).await?;
            Ok(output.give(&serde_json::json!({ "published": documents }), || {
                vec![format!("published {}", documents.join(", "))]
            })?)
        }
        TrustCommand::Show(args) => {
            let status = Status::of(&TrustDir::open(&args.dir)?)?;
            Ok(output.give(&status, || status.lines(output))?)
        }
        TrustCommand::Client(args) => client::run(args, online.ca(), clock::now(), output).await,
    }
}

fn sign(args: &SignArgs, now: UnixTime, output: Output) -> Result<(), Failure> {
    let dir = TrustDir::open(&args.dir.dir)?;
    let keys =
        args.keys.iter().map(|path| key::read_signing(path)).collect::<Result<Vec<SigningKey>, _>>()?;
    for (path, key) in args.keys.iter().zip(&keys) {
        if !dir.holds_role(&key.public())? {
            return Err(TrustDirError::Stranger { file: path.clone(), public: key.public() }.into());
        }
    }
    sign_pending(&dir, &keys, now)?;
    let status = Status::of(&dir)?;
    Ok(output.give(&status, || status.lines(output))?)
}

/// Publishes the newest document of each role; refuses when signatures are missing. Gives the file names.
async fn publish(dir: &TrustDir, online: &Online) -> Result<Vec<String>, Failure> {
    let documents = dir.complete(&dir.all()?)?;
    let names: Vec<String> = documents.keys().cloned().collect();
    online.api()?.put("/api/v1/repository", &RepositoryUpload { documents }).await?;
    Ok(names)
}
