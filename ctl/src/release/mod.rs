//! `takt release`: from an image archive, or a description, to a published, signed release.
//!
//! A release folder holds `manifest.json` and `artifacts/<sha256>`; nothing in it is secret.

use clap::Subcommand;

use crate::cli::Online;
use crate::failure::Failure;
use crate::output::Output;

mod bundle;
mod description;
mod draft;
mod folder;
mod hook;
mod image;
mod module;
mod new;
mod one_container;
mod package;
mod port;
mod probe;
mod publish;
mod sign;
mod sources;

pub use bundle::BundleError;
pub use description::{DescriptionError, FieldError};
pub use folder::ReleaseError;
pub use image::{Image, ImageError};
pub use module::ModuleError;
pub use package::{PackageError, PackageFile};
pub use port::PortError;
pub use probe::{ProbeArg, ProbeError};

const NEW_EXAMPLE: &str = "Example:\n  takt release new --name counter --version 2.0.0 --counter 2 \
--image counter-2.tar --strategy preserve,replace --probe http=http://127.0.0.1:8080/health --out counter-2
  \
takt release new --from release.toml --version 2.0.0 --out counter-2";

const SIGN_EXAMPLE: &str =
    "Example:\n  takt release sign --dir counter-2 --trust trust --publisher-key publisher.key";

/// `takt release …`
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Makes a release folder, from an image archive or from a description
    #[command(after_help = NEW_EXAMPLE)]
    New(Box<new::NewArgs>),
    /// Adds a release to the targets and signs them; with a threshold, each publisher runs it once
    #[command(after_help = SIGN_EXAMPLE)]
    Sign(sign::SignArgs),
    /// Uploads a signed release and publishes the documents that name it
    #[command(after_help = "Example:\n  takt release publish --dir counter-2 --trust trust")]
    Publish(publish::PublishArgs),
}

/// Does what a `takt release` command asks for.
pub async fn run(command: ReleaseCommand, online: Online, output: Output) -> Result<(), Failure> {
    match command {
        ReleaseCommand::New(args) => new::run(*args, online, output).await,
        ReleaseCommand::Sign(args) => sign::run(args, online, output).await,
        ReleaseCommand::Publish(args) => publish::run(args, online, output).await,
    }
}
