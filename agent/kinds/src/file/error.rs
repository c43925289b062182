//! What can go wrong with a set of files, each with its subject.

use std::fmt::Write as _;
use std::path::PathBuf;

use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use takt_common::Sha256Digest;

use crate::disk::DiskError;
use crate::kept::KeptError;

/// A set of files cannot be kept, put in force or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The path is below no root.
    #[error("use '{}': it lies below none of this device's allowed roots{}", path.display(), list(roots))]
    Outside {
        /// Which.
        path: PathBuf,
        /// Those that there are.
        roots: Vec<PathBuf>,
    },
    /// The path has parts that lead elsewhere.
    #[error("use '{}': it is not an absolute path without '.' and '..'", path.display())]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// The agent's own state.
    #[error("use '{}': '{}' is the agent's own", path.display(), own.display())]
    Own {
        /// Which.
        path: PathBuf,
        /// The agent's folder.
        own: PathBuf,
    },
    /// What should be a folder is none.
    #[error("use '{}': '{}' on the way to it is {what}, not a folder", path.display(), at.display())]
    NoFolder {
        /// Which.
        path: PathBuf,
        /// Where the way ends.
        at: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// A root is not there.
    #[error("use '{}': the allowed root '{}' is not there", path.display(), root.display())]
    NoRoot {
        /// Which.
        path: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// A file that cannot be replaced.
    #[error("replace '{}': it {why}", path.display())]
    Fixed {
        /// Which.
        path: PathBuf,
        /// What keeps it.
        why: &'static str,
    },
    /// A user or group that this device does not have.
    #[error("give '{}' to {kind} '{name}': this device has no such {kind}", path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The content is not in the artifact store.
    #[error("put '{}' in place: its content, artifact {sha256}, is not on disk", path.display())]
    NoArtifact {
        /// Which file.
        path: PathBuf,
        /// Its content.
        sha256: Sha256Digest,
    },
    /// No room, seen ahead.
    #[error("put '{}' in place: {needed} bytes are needed there and {free} are free", path.display())]
    NoRoom {
        /// The first file of that file system.
        path: PathBuf,
        /// For all of them.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// Somebody wrote to it since its copy was kept.
    #[error("replace '{}': it has been changed since its way back was kept", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// It must be prepared first.
    #[error("put the files in place: no way back has been kept")]
    NoWayBack,
    /// It has begun: the way back of before must stay.
    #[error("keep the way back: the new files are partly in force already")]
    Begun,
    /// The record of the way back cannot be used.
    #[error("use the way back '{}': {what}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn list(roots: &[PathBuf]) -> String {
    roots.iter().enumerate().fold(String::new(), |mut text, (index, root)| {
        let before = if index == 0 { " (" } else { ", " };
        let after = if index + 1 == roots.len() { ")" } else { "" };
        write!(text, "{before}{}{after}", root.display()).expect("a text grows");
        text
    })
}

impl Natured for FileError {
    fn nature(&self) -> Nature {
        match self {
            Self::Outside { .. }
            | Self::Path { .. }
            | Self::Own { .. }
            | Self::NoFolder { .. }
            | Self::NoRoot { .. }
            | Self::Fixed { .. }
            | Self::Owner { .. }
            | Self::Begun
            | Self::Record { .. } => Nature::Fatal,
            Self::NoArtifact { .. } | Self::NoRoom { .. } | Self::Changed { .. } | Self::NoWayBack => {
                Nature::Transient
            }
            Self::Kept(error) => error.nature(),
            Self::Disk(error) => error.nature(),
        }
    }
}
