//! A device in a folder, and the process that goes one part of an order's way with one step.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use takt_agent_core::{StepKey, WorkloadName};
use takt_common::Sha256Digest;
use tempfile::TempDir;

/// A device.
pub(crate) struct World {
    temp: Option<TempDir>,
    kept: Cell<bool>,
    folder: PathBuf,
    /// What the driver reads.
    pub(crate) settings: Value,
}

/// What came of a part.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Where the step stands, or why the part failed.
    pub(crate) said: String,
    /// The part came to its end.
    pub(crate) well: bool,
    /// It was killed.
    pub(crate) killed: bool,
}

/// Programs that these tests need, and the Debian packages that hold them.
pub(crate) fn need(tools: &[(&str, &str)]) {
    assert!(rustix::process::geteuid().is_root(), "these tests give files to other users: run them as root");
    for (tool, package) in tools {
        let found =
            std::env::split_paths("/usr/sbin:/usr/bin:/sbin:/bin").any(|path| path.join(tool).exists());
        assert!(found, "'{tool}' is missing: install Debian's package {package} (tests/env/install.sh does)");
    }
}

/// True when files there may have extended attributes of every sort; in memory that is so since Linux 6.6.
fn takes_attributes(folder: &Path) -> bool {
    tempfile::tempfile_in(folder).is_ok_and(|file| {
        let set = |name| rustix::fs::fsetxattr(&file, name, b"1", rustix::fs::XattrFlags::empty());
        set("user.takt").is_ok() && set("trusted.takt").is_ok()
    })
}

impl World {
    /// A device in a new folder, in memory where there is such a file system: these tests sync thousands of times.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if takes_attributes(memory) { memory.to_owned() } else { std::env::temp_dir() };
        Self::below(&folder)
    }

    /// A device in a new folder below this one.
    pub(crate) fn below(folder: &Path) -> Self {
        need(&[]);
        let temp = tempfile::tempdir_in(folder).unwrap();
        let folder = temp.path().canonicalize().unwrap();
        let mut world = Self::at(&folder);
        world.temp = Some(temp);
        world
    }

    /// The same device, for settings that change for a while.
    pub(crate) fn again(other: &Self) -> Self {
        let (folder, settings) = (other.folder.clone(), other.settings.clone());
        Self { temp: None, kept: Cell::new(false), folder, settings }
    }

    /// A device in this folder.
    pub(crate) fn at(folder: &Path) -> Self {
        for name in ["device", "artifacts"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let key = StepKey { workload: WorkloadName("takt-00-app-g1-7".to_owned()), index: 1 };
        let settings = json!({
            "way_back": folder.join("way-back"),
            "artifacts": folder.join("artifacts"),
            "roots": [folder.join("device")],
            "key": key,
        });
        Self { temp: None, kept: Cell::new(false), folder: folder.to_owned(), settings }
    }

    /// A path on the device.
    pub(crate) fn on(&self, path: &str) -> PathBuf {
        self.folder.join("device").join(path)
    }

    /// Where ways back lie.
    pub(crate) fn way_back(&self) -> PathBuf {
        self.folder.join("way-back")
    }

    /// A path beside the device.
    pub(crate) fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Puts bytes into the artifact store.
    pub(crate) fn artifact(&self, bytes: &[u8]) -> Sha256Digest {
        let digest = Sha256Digest::of(bytes);
        fs::write(self.folder.join("artifacts").join(digest.to_string()), bytes).unwrap();
        digest
    }

    /// The step that parts are gone with.
    pub(crate) fn step(&mut self, step: Value) {
        self.settings["step"] = step;
    }

    /// The process that goes a part.
    pub(crate) fn command(&self, part: &str) -> Command {
        let settings = self.folder.join("world.json");
        fs::write(&settings, self.settings.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_takt-kinds-step"));
        command.arg(settings).arg(part);
        command
    }

    /// Goes a part.
    pub(crate) fn go(&self, part: &str) -> Ended {
        Ended::of(&self.command(part).output().unwrap())
    }

    /// Goes a part that must come to its end with this state.
    #[track_caller]
    pub(crate) fn must(&self, part: &str, state: &str) {
        let ended = self.go(part);
        assert!(ended.well && ended.said == state, "{part}: {state} expected, {ended:?}");
    }

    /// Goes a part that must fail and say this.
    #[track_caller]
    pub(crate) fn must_fail(&self, part: &str, why: &str) {
        let ended = self.go(part);
        assert!(
            !ended.well && !ended.killed && ended.said.contains(why),
            "{part}: '{why}' expected, {ended:?}"
        );
    }

    /// Goes a part with a failpoint armed.
    pub(crate) fn go_armed(&self, part: &str, point: &str) -> Ended {
        let folder = self.folder.join("failpoint");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = self.command(part);
        command.env("TAKT_FAILPOINT_DIR", &folder).env("TAKT_FAILPOINT", point);
        Ended::of(&command.output().unwrap())
    }

    /// Goes a part to its end; the points that it came by.
    pub(crate) fn points(&self, part: &str) -> Vec<String> {
        let ended = self.go_armed(part, "none");
        assert!(ended.well, "{part}: {ended:?}");
        let reached = fs::read_to_string(self.folder.join("failpoint/reached")).unwrap_or_default();
        reached.lines().map(str::to_owned).collect()
    }

    /// Remembers the device, its way back and the agent's trial as they are.
    pub(crate) fn save(&self) {
        self.copy("", "saved/");
    }

    /// Brings back what was remembered.
    pub(crate) fn load(&self) {
        self.copy("saved/", "");
    }

    fn copy(&self, from: &str, to: &str) {
        for name in ["device", "way-back", "launcher"] {
            let (from, to) =
                (self.folder.join(format!("{from}{name}")), self.folder.join(format!("{to}{name}")));
            let _ = fs::remove_dir_all(&to);
            if from.exists() {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                let copied = Command::new("cp").arg("-a").arg(&from).arg(&to).status().unwrap();
                assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
            }
        }
    }

    /// Keeps the folder when a test fails, to look into it.
    pub(crate) fn keep(&self) -> &Path {
        self.kept.set(true);
        &self.folder
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.kept.get()
            && let Some(temp) = self.temp.take()
        {
            let _ = temp.keep();
        }
    }
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let panicked = if errors.contains("panicked") { errors.into_owned() } else { String::new() };
        Self {
            said: said + &panicked,
            well: output.status.success(),
            killed: output.status.signal() == Some(9),
        }
    }
}
