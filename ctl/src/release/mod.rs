//! `takt release`: from an image archive to a published, signed release.
//!
//! A release folder holds `manifest.json` and `artifacts/<sha256>`; nothing in it is secret.

use clap::Subcommand;

use crate::cli::Online;
use crate::failure::Failure;
use crate::output::Output;

mod folder;
mod image;
mod new;
mod probe;
mod publish;
mod sign;

pub use folder::ReleaseError;
pub use image::{Image, ImageError};
pub use probe::ProbeArg;

const NEW_EXAMPLE: &str = "Example:\n  takt release new --name counter --version 2.0.0 --counter 2 \
--image counter-2.tar --strategy preserve,replace --probe http=http://127.0.0.1:8080/health --out counter-2";

const SIGN_EXAMPLE: &str =
    "Example:\n  takt release sign --dir counter-2 --trust trust --publisher-key publisher.key";

/// `takt release …`
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Makes a release folder from an image archive
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
