//! Hooks from arguments: `POINT=FILE`.

use std::path::PathBuf;
use std::str::FromStr;

use takt_common::release::HookPoint;

/// A hook from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HookArg {
    /// When it runs.
    pub(super) point: HookPoint,
    /// The program.
    pub(super) program: PathBuf,
}

/// A hook is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HookError {
    /// No point and program.
    #[error("POINT=FILE is expected, such as pre-switch=quiet.sh")]
    Form,
    /// No such point.
    #[error("'{point}' is no point of an upgrade; there are {}", points())]
    Point {
        /// As written.
        point: String,
    },
}

fn points() -> String {
    HookPoint::ALL.map(|point| point.to_string()).join(", ")
}

impl FromStr for HookArg {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (point, program) =
            text.split_once('=').filter(|(_, program)| !program.is_empty()).ok_or(HookError::Form)?;
        let found = HookPoint::ALL.into_iter().find(|known| known.to_string() == point);
        let unknown = || HookError::Point { point: point.chars().take(40).collect() };
        Ok(Self { point: found.ok_or_else(unknown)?, program: program.into() })
    }
}
