//! Limits of this process: each agent has a socket.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::FleetError;

/// Lets this process open as many files as the system lets it, and says how many those are.
pub fn raise_open_files() -> Result<u64, FleetError> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(FleetError::OpenFiles)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(FleetError::OpenFiles)?;
    Ok(most)
}
