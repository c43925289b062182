//! What the tests against real processes share: a device with an installed agent, a trial folder, and the launcher.

// Each test binary uses its part of this.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use takt_launcher::{FELL_BACK_VARIABLE, Trial, TrialFolder, Version, Versions};
use tempfile::TempDir;

pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_takt-launcher");

/// What the agent writes down that is there before a trial.
pub(crate) const OLD: &str = "old";
/// What the one on trial writes down.
pub(crate) const NEW: &str = "new";

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

pub(crate) fn versions() -> Versions {
    Versions { new: version("1.1.0"), previous: version("1.0.0") }
}

/// A device with an agent in `bin`, and its trial folder where a test wants it.
pub(crate) struct Device {
    folder: TempDir,
    state: PathBuf,
}

/// One start of an agent, as the agent itself wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) fell_back: Option<String>,
    pub(crate) arguments: String,
}

impl Device {
    /// With the old agent, which works, and its trial folder beside it.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("launcher");
        let device = Self { folder, state };
        fs::create_dir(device.path("bin")).unwrap();
        device.install_script(OLD, 0);
        device
    }

    /// The same with its trial folder elsewhere.
    pub(crate) fn with_state(state: &Path) -> Self {
        Self { state: state.to_owned(), ..Self::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn installed(&self) -> PathBuf {
        self.path("bin/takt-agent")
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn trial(&self) -> TrialFolder {
        TrialFolder::new(&self.state)
    }

    pub(crate) fn look(&self) -> Trial {
        self.trial().look()
    }

    pub(crate) fn begin(&self) {
        self.trial().begin(&self.installed(), &versions()).unwrap();
    }

    /// Replaces the installed agent, as packages do: by a rename.
    pub(crate) fn install(&self, contents: &[u8], mode: u32) {
        let aside = self.path("bin/takt-agent.new");
        fs::write(&aside, contents).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(aside, self.installed()).unwrap();
    }

    /// Installs an agent that writes down that it started and ends with `code`.
    pub(crate) fn install_script(&self, name: &str, code: u8) {
        self.install(self.script(name, &format!("exit {code}")).as_bytes(), 0o755);
    }

    /// An agent that writes down that it started, and what it does then.
    pub(crate) fn script(&self, name: &str, then: &str) -> String {
        let log = self.path("log");
        format!(
            "#!/bin/sh\necho \"{name} $$ ${{{FELL_BACK_VARIABLE}-}} | $*\" >>'{}'\n{then}\n",
            log.display()
        )
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(LAUNCHER);
        command.arg("--state").arg(&self.state).arg("--agent").arg(self.installed());
        command.args(["--", "run", "--config", "a file"]).stdin(Stdio::null());
        command
    }

    /// Runs the launcher to the end of whatever it became.
    pub(crate) fn start(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Runs the launcher and returns the one agent that started.
    pub(crate) fn started(&self) -> Started {
        self.forget_log();
        let output = self.start();
        let mut starts = self.log();
        assert_eq!(starts.len(), 1, "{starts:?}: {}", said(&output));
        starts.remove(0)
    }

    /// Every agent that started.
    pub(crate) fn log(&self) -> Vec<Started> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(started).collect()
    }

    pub(crate) fn forget_log(&self) {
        let _ = fs::remove_file(self.path("log"));
    }

    /// What is in the trial folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.state) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn started(line: &str) -> Started {
    let (start, arguments) = line.split_once(" | ").unwrap();
    let mut words = start.split(' ');
    let name = words.next().unwrap().to_owned();
    let pid = words.next().unwrap().parse().unwrap();
    let fell_back = words.next().filter(|word| !word.is_empty()).map(str::to_owned);
    Started { name, pid, fell_back, arguments: arguments.to_owned() }
}

/// What a launcher said.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
