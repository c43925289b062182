//! The `takt` command as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use super::error::FleetError;

/// Variables that would lead the command to another coordinator than ours.
const VARIABLES: [&str; 5] = ["TAKT_PROFILE", "TAKT_URL", "TAKT_CA", "TAKT_TOKEN", "TAKT_TRUST"];

/// The command with the profile of one coordinator.
#[derive(Debug, Clone)]
pub struct Takt {
    program: PathBuf,
    profile: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; -1 when it was killed.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Takt {
    /// The command at `program` with `profile`.
    pub fn new(program: &Path, profile: &Path) -> Self {
        Self { program: program.to_owned(), profile: profile.to_owned() }
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Result<Said, FleetError> {
        let mut command = Command::new(&self.program);
        for name in VARIABLES {
            command.env_remove(name);
        }
        let output = command
            .arg("--profile")
            .arg(&self.profile)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| FleetError::Start { program: self.program.clone(), source })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        })
    }

    /// Runs it and gives what it wrote; anything but success is an error with its own words.
    pub fn text(&self, arguments: &[&str]) -> Result<String, FleetError> {
        let said = self.run(arguments)?;
        if said.code == 0 {
            return Ok(said.out);
        }
        Err(FleetError::Command { line: line(arguments), code: said.code, said: said.err })
    }

    /// Runs it with `--json` and reads the result.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, FleetError> {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.text(&all)?;
        // `trust init` and the like write one document a line; the first is the result.
        let first = text.lines().next().unwrap_or_default();
        serde_json::from_str(first).map_err(|source| FleetError::Answer { line: line(&all), source })
    }
}

fn line(arguments: &[&str]) -> String {
    format!("takt {}", arguments.join(" "))
}
