//! What can go wrong with a virtual fleet, each fit after "failed to".

use std::io;
use std::path::PathBuf;

use takt_agent::fetch::FetchError;
use takt_common::key::KeyError;
use takt_trust::TrustError;

/// The fleet cannot be enrolled or connected.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file of the fleet CA cannot be read.
    #[error("read the fleet CA '{}'", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A certificate is none, or does not fit its key.
    #[error("use the certificates of {whose}: {why}")]
    Certificates {
        /// Whose.
        whose: String,
        /// Why not.
        why: String,
    },
    /// Not a token.
    #[error("use the token: 'takt1.<secret>.<64 hex digits>' expected, as `takt enrol token` prints it")]
    Token,
    /// The fleet has no device.
    #[error("make a fleet of no device")]
    Empty,
    /// A name that no device can have.
    #[error("name a device '{0}'")]
    Name(String),
    /// No key.
    #[error("make a device's key")]
    Key(#[from] KeyError),
    /// The coordinator's address is none, or it cannot be reached.
    #[error("reach the coordinator")]
    Coordinator(#[from] FetchError),
    /// The coordinator does not take a device in.
    #[error("enrol '{name}': {why}")]
    Refused {
        /// The device.
        name: String,
        /// What the coordinator says.
        why: String,
    },
    /// The broker's address is none.
    #[error("use the broker's address '{0}': host:port expected")]
    Broker(String),
    /// A root that came with the enrolment is not to be trusted.
    #[error("verify the roots of the enrolment")]
    Roots(#[from] TrustError),
    /// A limit of this process cannot be changed.
    #[error("raise the limit of open files")]
    OpenFiles(#[source] nix::Error),
}

/// Documents of the package repository cannot be had or are not to be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// A document was refused.
    #[error("verify the {of}")]
    Refused {
        /// Which set of documents.
        of: &'static str,
        /// Which rule, document, role and key.
        source: Box<TrustError>,
    },
    /// A document could not be had; nothing is known to be wrong with it.
    #[error("fetch '{document}': {why}")]
    Unreachable {
        /// Its name in the repository.
        document: String,
        /// Why.
        why: String,
    },
}
