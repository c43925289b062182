//! What else on the device could undo the promise that only a verified system is marked good, or let the agent forget
//! what it is doing.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tokio::process::Command;

use super::error::OsImageError;
use crate::way_back::StepFolder;

/// Refuses when one of `units` would be started at boot: it would mark a new system good before anybody has looked at it.
///
/// `systemctl` is the program with its first arguments. A device without it has no such units.
pub(super) async fn nothing_marks_good(systemctl: &[String], units: &[String]) -> Result<(), OsImageError> {
    let Some((program, first)) = systemctl.split_first() else { return Ok(()) };
    for unit in units {
        let asked = Command::new(program).args(first).args(["is-enabled", unit]).kill_on_drop(true).output();
        let answer = match asked.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(OsImageError::Units { program: program.clone(), unit: unit.clone(), source });
            }
            Ok(answer) => answer.stdout,
        };
        let answer = String::from_utf8_lossy(&answer);
        // `static` has no [Install] section of its own: whoever pulls it in is for people to find (docs/kinds.md).
        if matches!(answer.trim(), "enabled" | "enabled-runtime" | "alias" | "generated") {
            return Err(OsImageError::MarksGood { unit: unit.clone() });
        }
    }
    Ok(())
}

/// Refuses when the agent's folder or the identity file lies in the same file system as `root`, the folder in which a
/// slot's system is mounted.
pub(super) fn both_outlive_the_slot(
    folder: &StepFolder,
    identity: &Path,
    root: &Path,
) -> Result<(), OsImageError> {
    if lies_in(folder.path(), root)? {
        return Err(OsImageError::StateInSlot { path: folder.path().to_owned() });
    }
    if lies_in(identity, root)? {
        return Err(OsImageError::IdentityInSlot { path: identity.to_owned() });
    }
    Ok(())
}

fn lies_in(path: &Path, root: &Path) -> Result<bool, OsImageError> {
    let device = |path: &Path| {
        path.metadata()
            .map(|found| found.dev())
            .map_err(|source| OsImageError::Folder { path: path.to_owned(), source })
    };
    // It may still have to be made.
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Ok(device(there)? == device(root)?)
}
