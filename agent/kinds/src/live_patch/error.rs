//! Why a live-patch step cannot be taken.

use std::io;
use std::path::PathBuf;

use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;

use super::module::ModuleError;
use crate::note::NoteError;

/// An action of kind `live-patch` failed, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum LivePatchError {
    /// The module file.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The patch is for another kernel.
    #[error(
        "patch {name} is for kernel {kernel} and stands for kernel {stands_for}, but this device runs {runs}"
    )]
    OtherKernel {
        /// The patch.
        name: String,
        /// What it is for.
        kernel: String,
        /// What it stands for.
        stands_for: String,
        /// What runs.
        runs: String,
    },
    /// The kernel cannot be patched.
    #[error("kernel {runs} cannot be patched while it runs: '{}' is not there (CONFIG_LIVEPATCH)", path.display())]
    NoLivePatching {
        /// What runs.
        runs: String,
        /// What is missing.
        path: PathBuf,
    },
    /// Another module has the name.
    #[error("another module with the name {name} is loaded (its build id is another one)")]
    OtherModule {
        /// The name.
        name: String,
    },
    /// The kernel's files.
    #[error("read '{}'", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not let the patch go.
    #[error("write 0 to '{}'", path.display())]
    Disable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not take the module.
    #[error("load module {name}")]
    Load {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// `kpatch` does not load it.
    #[error("'{program} load' failed with {status}: {said}")]
    Kpatch {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// `kpatch` does not start, or the file that it needs cannot be made.
    #[error("run '{program} load'")]
    KpatchStart {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The module did not stay.
    #[error("module {name} was loaded, but its patch is not in force: {stands}")]
    NotInForce {
        /// Which.
        name: String,
        /// How it stands.
        stands: String,
    },
    /// Some tasks did not come to the patched code.
    #[error(
        "patch {name} was not in force within {secs} s and was taken back: some task never left the old code"
    )]
    Stalled {
        /// Which.
        name: String,
        /// The deadline.
        secs: u64,
    },
    /// Neither forward nor back.
    #[error("patch {name} was not in force within {secs} s, and could not be taken back")]
    StalledHalf {
        /// Which.
        name: String,
        /// The deadline.
        secs: u64,
        /// Why.
        source: Box<LivePatchError>,
    },
    /// The patch does not go.
    #[error("patch {name} is not gone after {secs} s: {stands}")]
    Stays {
        /// Which.
        name: String,
        /// The limit.
        secs: u64,
        /// How it stands.
        stands: String,
    },
    /// The kernel does not let the module go.
    #[error("unload module {name}")]
    Unload {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// What a kernel says of a module that may be otherwise in a moment: it is at another patch, or out of memory.
fn passes(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EBUSY | Errno::EAGAIN | Errno::EINTR | Errno::ENOMEM))
}

impl Natured for LivePatchError {
    fn nature(&self) -> Nature {
        match self {
            Self::Module(error) => error.nature(),
            Self::Note(error) => error.nature(),
            Self::Load { source, .. } => {
                if passes(source) {
                    Nature::Transient
                } else {
                    Nature::Fatal
                }
            }
            Self::Read { .. }
            | Self::Disable { .. }
            | Self::Unload { .. }
            | Self::KpatchStart { .. }
            | Self::Stays { .. }
            | Self::StalledHalf { .. } => Nature::Transient,
            // The deadline was the time to try: who wants more states a later one.
            Self::OtherKernel { .. }
            | Self::NoLivePatching { .. }
            | Self::OtherModule { .. }
            | Self::Kpatch { .. }
            | Self::NotInForce { .. }
            | Self::Stalled { .. } => Nature::Fatal,
        }
    }
}
