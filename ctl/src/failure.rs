//! Every way in which a command fails, with the exit code and the problem document that go with it.

use std::error::Error;

use takt_common::api::Problem;

use crate::api::ApiError;
use crate::audit::AuditError;
use crate::campaign::{WatchError, WhichDomainError, WhichNameError};
use crate::document::DocumentError;
use crate::drm::DrmError;
use crate::exit::Exit;
use crate::file::FileError;
use crate::graph::GraphError;
use crate::key::KeyFileError;
use crate::lock::LockError;
use crate::output::OutputError;
use crate::plan::PlanError;
use crate::profile::ProfileError;
use crate::release::ReleaseError;
use crate::sim::SimError;
use crate::trust::{ClientError, FetchError, InitError, PermitError, TrustDirError};

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A request to the coordinator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A trust folder.
    #[error(transparent)]
    TrustDir(#[from] TrustDirError),
    /// The ceremony.
    #[error(transparent)]
    Init(#[from] InitError),
    /// A permission.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The client of any repository.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What is published.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A release folder.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A redundancy matrix.
    #[error(transparent)]
    Drm(#[from] DrmError),
    /// A document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An update lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A scenario.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// Whose campaign it is.
    #[error(transparent)]
    WhichDomain(#[from] WhichDomainError),
    /// How campaigns are called.
    #[error(transparent)]
    WhichName(#[from] WhichNameError),
    /// A watched campaign.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Failure {
    /// What the shell gets.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Api(error) => error.exit(),
            Self::Audit(error) => error.exit(),
            Self::Key(error) => error.exit(),
            Self::TrustDir(error) => error.exit(),
            Self::Client(error) => error.exit(),
            Self::Fetch(error) => error.exit(),
            Self::Release(error) => error.exit(),
            Self::Watch(error) => error.exit(),
            Self::Lock(error) => error.exit(),
            Self::Plan(error) => error.exit(),
            Self::File(FileError::Exists { .. }) | Self::Permit(PermitError::Exists { .. }) => Exit::Refused,
            Self::File(FileError::Write { .. }) | Self::Output(_) => Exit::Failed,
            Self::Profile(_)
            | Self::Init(_)
            | Self::Permit(_)
            | Self::Graph(_)
            | Self::Drm(_)
            | Self::Document(_)
            | Self::Sim(_)
            | Self::WhichDomain(_)
            | Self::WhichName(_)
            | Self::File(_) => Exit::BadInput,
        }
    }

    /// True when only the reader of standard output has gone, which is its right.
    pub fn reader_left(&self) -> bool {
        match self {
            Self::Output(error) | Self::Key(KeyFileError::Output(error)) => error.reader_left(),
            _ => false,
        }
    }

    /// The failure as a problem document (RFC 9457); the coordinator's own one when it refused.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Api(ApiError::Refused { problem, .. }) => (**problem).clone(),
            _ => problem(self.exit(), sentence(self)),
        }
    }
}

/// A problem that was found here and not by the coordinator.
pub fn problem(exit: Exit, detail: String) -> Problem {
    let name = match exit {
        Exit::Done | Exit::Failed => "failed",
        Exit::BadInput => "bad-input",
        Exit::Aborted => "campaign-aborted",
        Exit::NotFound => "not-found",
        Exit::Refused => "refused",
    };
    Problem {
        kind: format!("urn:takt:problem:cli-{name}"),
        title: exit.meaning().to_owned(),
        status: exit.status(),
        detail,
    }
}

/// An error with its causes in one line. A cause that the text before it ends with already is left out; what a file made a
/// library say may hold line breaks and worse, and becomes spaces.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text.replace(char::is_control, " ")
}
