//! Where the programs of the fleet are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::FleetError;

/// The variable that names the folder of the programs.
const FOLDER_VARIABLE: &str = "TAKT_BIN_DIR";
/// The variable that names the latch's program.
const LATCH_VARIABLE: &str = "TAKT_LATCH";

/// The programs of a fleet.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `takt-coordinator`.
    pub coordinator: PathBuf,
    /// `takt-agent`.
    pub agent: PathBuf,
    /// `takt`.
    pub takt: PathBuf,
    /// `takt-latch`, the static program that holds containers until their turn.
    pub latch: PathBuf,
}

impl Binaries {
    /// Finds them in `TAKT_BIN_DIR`, else beside the running program: `target/debug` or `target/release`. The Makefile names
    /// `target/tried` or `target/shipped`.
    pub fn find() -> Result<Self, FleetError> {
        Ok(Self {
            coordinator: Self::program("takt-coordinator")?,
            agent: Self::program("takt-agent")?,
            takt: Self::program("takt")?,
            latch: latch()?,
        })
    }

    /// Finds one of them, by its file name.
    pub fn program(name: &str) -> Result<PathBuf, FleetError> {
        let path = folder()?.join(name);
        if path.is_file() { Ok(path) } else { Err(FleetError::MissingBinary { path }) }
    }
}

fn folder() -> Result<PathBuf, FleetError> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return Ok(folder.into());
    }
    let own =
        std::env::current_exe().map_err(FleetError::file("find the running program", "/proc/self/exe"))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    // Tests and examples lie in folders below that of the programs.
    let below = folder.ends_with("deps") || folder.ends_with("examples");
    Ok(if below { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// The latch's program: the one `TAKT_LATCH` names, else freshly built.
fn latch() -> Result<PathBuf, FleetError> {
    if let Some(path) = std::env::var_os(LATCH_VARIABLE) {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/latch/build.sh");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| FleetError::Start { program: script.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FleetError::Build { script, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}
