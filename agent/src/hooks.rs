//! Hooks: programs of a release, run on the device with a time limit, a bounded output and a known environment.
//!
//! A hook gets no input and runs as the agent's user, in a folder of its order that outlives it. Its environment is empty
//! but for:
//!
//! | variable | value |
//! |---|---|
//! | `PATH` | `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` |
//! | `TAKT_HOOK` | the point: `pre-fetch`, `pre-switch`, `takeover`, `hand-back`, `export-state`, `import-state`, `post-switch`, `healthy` or `rollback` |
//! | `TAKT_DEVICE`, `TAKT_NAME` | id and name of the device |
//! | `TAKT_RELEASE`, `TAKT_OLD_RELEASE` | names on this device of the workload that comes and of the one before it; containers are called so too |
//! | `TAKT_STATE_DIR` | a folder of this order, the same for all its hooks: `export-state` writes there what `import-state` reads |
//! | `TAKT_DOCKER_SOCKET` | the container engine |
//! | `TAKT_VAR_<NAME>` | each variable of the device, in capitals, other characters than letters and digits as `_` |
//!
//! What a hook starts does not outlive it: its process group is killed when it ends or its time is up, and so is every
//! other process that still carries its mark in its environment (`TAKT_HOOK_MARK`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use takt_agent_core::WorkloadName;
use takt_agent_core::failure::Natured;
use takt_agent_core::{ActionFailure, Nature};
use takt_common::release::{Hook, HookPoint, NOT_NOW};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use crate::failure::failure;

/// How much of a hook's output is kept, from its begin; the rest is read and dropped, so that it can go on.
const SAID_LENGTH_MAX: usize = 2_048;
/// How long output is read on after the hook has ended: a process that it left behind may hold the pipe for ever.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);
/// The mark of everything that a hook starts.
const MARK: &str = "TAKT_HOOK_MARK";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What hooks need to know of the device.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Folder of programs and states.
    pub folder: PathBuf,
    /// Variables that every hook gets.
    pub environment: BTreeMap<String, String>,
}

/// Runs hooks.
#[derive(Debug)]
pub struct Hooks {
    settings: HookSettings,
    runs: AtomicU64,
}

/// One run of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// When.
    pub point: HookPoint,
    /// Which.
    pub hook: &'a Hook,
    /// Its program on disk, verified.
    pub program: &'a Path,
    /// The workload that comes.
    pub workload: &'a WorkloadName,
    /// What ran before it.
    pub old: Option<&'a WorkloadName>,
}

/// A hook did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A file of it.
    #[error("{what} '{}' for the hook {point}", path.display())]
    File {
        /// What was done.
        what: &'static str,
        /// To which.
        path: PathBuf,
        /// For which hook.
        point: HookPoint,
        /// Why it failed.
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("start the program of the hook {point}")]
    Start {
        /// Of which hook.
        point: HookPoint,
        /// Why not.
        source: io::Error,
    },
    /// It said "not now".
    #[error("the hook {point} says not now: {said}")]
    NotNow {
        /// Which.
        point: HookPoint,
        /// What it wrote.
        said: String,
    },
    /// It failed.
    #[error("the hook {point} ended with {status}: {said}")]
    Failed {
        /// Which.
        point: HookPoint,
        /// Its exit code or signal.
        status: ExitStatus,
        /// What it wrote.
        said: String,
    },
    /// It did not end.
    #[error("the hook {point} did not end within {} s: {said}", limit.as_secs())]
    Hangs {
        /// Which.
        point: HookPoint,
        /// Its time.
        limit: Duration,
        /// What it wrote.
        said: String,
    },
}

impl Natured for HookError {
    fn nature(&self) -> Nature {
        match self {
            Self::File { .. } => Nature::Transient,
            Self::NotNow { .. } => Nature::NotNow,
            Self::Start { .. } | Self::Failed { .. } | Self::Hangs { .. } => Nature::Fatal,
        }
    }
}

impl Hooks {
    /// Hooks of a device.
    pub const fn new(settings: HookSettings) -> Self {
        Self { settings, runs: AtomicU64::new(0) }
    }

    /// Runs a hook to its end; gives what it wrote.
    pub async fn run(&self, run: Run<'_>) -> Result<String, ActionFailure> {
        self.try_run(run).await.map_err(|error| failure(&error))
    }

    /// Forgets the states and programs of all orders: none is in hand.
    pub fn forget(&self) {
        // What cannot be removed now goes the next time.
        let _ = fs::remove_dir_all(&self.settings.folder);
    }

    async fn try_run(&self, run: Run<'_>) -> Result<String, HookError> {
        let point = run.point;
        let state = self.folder(run.workload, "state", point)?;
        let program = self.program(&run)?;
        // Unique among the runs of this agent, and no other's: nothing but what this run starts carries it.
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}-{}", std::process::id(), run.workload);
        let mut command = Command::new(&program);
        command
            .args(&run.hook.args)
            .env_clear()
            .envs(&self.settings.environment)
            .env("PATH", PATH)
            .env("TAKT_HOOK", point.to_string())
            .env("TAKT_RELEASE", &run.workload.0)
            .env("TAKT_STATE_DIR", &state)
            .env(MARK, &mark)
            .current_dir(&state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(old) = run.old {
            command.env("TAKT_OLD_RELEASE", &old.0);
        }
        let child = command.spawn().map_err(|source| HookError::Start { point, source })?;
        let whole = Whole { group: child.id().and_then(|id| i32::try_from(id).ok()), mark };
        watch(child, whole, point, run.hook.timeout()).await
    }

    fn folder(
        &self,
        workload: &WorkloadName,
        name: &'static str,
        point: HookPoint,
    ) -> Result<PathBuf, HookError> {
        let path = self.settings.folder.join(&workload.0).join(name);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| HookError::File {
            what: "make the folder",
            path: path.clone(),
            point,
            source,
        })?;
        Ok(path)
    }

    /// The program, where it may be run: artifacts are no programs.
    fn program(&self, run: &Run<'_>) -> Result<PathBuf, HookError> {
        let folder = self.folder(run.workload, "programs", run.point)?;
        let path = folder.join(run.point.to_string());
        let failed = |what, path: &Path, source| HookError::File {
            what,
            path: path.to_owned(),
            point: run.point,
            source,
        };
        let beside = folder.join(format!("{}.new", run.point));
        fs::copy(run.program, &beside).map_err(|error| failed("copy", run.program, error))?;
        let allowed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&beside, allowed).map_err(|error| failed("allow to run", &beside, error))?;
        fs::rename(&beside, &path).map_err(|error| failed("put in place", &path, error))?;
        Ok(path)
    }
}

/// Everything that one run of a hook has started. Dropped, it is gone.
struct Whole {
    group: Option<i32>,
    mark: String,
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // The group may be empty by now.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let mark = format!("{MARK}={}", self.mark);
        for pid in marked(mark.as_bytes()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The processes that carry the mark in their environment.
fn marked(mark: &[u8]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let carries = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == mark))
    };
    pids.filter(carries).map(Pid::from_raw).collect()
}

async fn watch(
    mut child: Child,
    whole: Whole,
    point: HookPoint,
    limit: Duration,
) -> Result<String, HookError> {
    let mut said = Said::default();
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let ended = {
        let reading = async {
            tokio::join!(read(&mut out, &said), read(&mut err, &said));
            // Whoever closes its output has not ended yet.
            std::future::pending::<()>().await;
        };
        tokio::pin!(reading);
        let waiting = tokio::time::timeout(limit, child.wait());
        tokio::pin!(waiting);
        let ended = tokio::select! {
            ended = &mut waiting => ended,
            () = &mut reading => unreachable!("it never ends"),
        };
        drop(whole);
        let _ = tokio::time::timeout(LAST_WORDS_MAX, &mut reading).await;
        ended
    };
    let said = said.text();
    match ended {
        Err(_elapsed) => Err(HookError::Hangs { point, limit, said }),
        Ok(Err(source)) => Err(HookError::Start { point, source }),
        Ok(Ok(status)) if status.success() => Ok(said),
        Ok(Ok(status)) if status.code() == Some(NOT_NOW) => Err(HookError::NotNow { point, said }),
        Ok(Ok(status)) => Err(HookError::Failed { point, status, said }),
    }
}

/// What was said so far, on both ways.
#[derive(Default)]
struct Said(std::sync::Mutex<Vec<u8>>);

impl Said {
    fn add(&self, piece: &[u8]) {
        let mut said = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let room = SAID_LENGTH_MAX.saturating_sub(said.len()).min(piece.len());
        said.extend_from_slice(&piece[..room]);
    }

    fn text(&mut self) -> String {
        let said = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = String::from_utf8_lossy(said);
        let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.is_empty() { "it wrote nothing".to_owned() } else { text }
    }
}

async fn read(from: &mut Option<impl AsyncRead + Unpin>, said: &Said) {
    let Some(from) = from else { return };
    let mut piece = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        said.add(&piece[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Duration {
        crate::host::uptime().unwrap()
    }

    struct Bench {
        folder: tempfile::TempDir,
        hooks: Hooks,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let environment = [("TAKT_NAME".to_owned(), "camera-1".to_owned())].into();
            let settings = HookSettings { folder: folder.path().join("hooks"), environment };
            Self { folder, hooks: Hooks::new(settings) }
        }

        async fn run(
            &self,
            point: HookPoint,
            script: &str,
            timeout_secs: u32,
        ) -> Result<String, ActionFailure> {
            let program = self.folder.path().join("artifact");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            let hook =
                Hook { program: takt_common::Sha256Digest::of(b""), args: vec!["one".into()], timeout_secs };
            let workload = WorkloadName("takt-00-app-g1-7".into());
            let run = Run { point, hook: &hook, program: &program, workload: &workload, old: None };
            self.hooks.run(run).await
        }
    }

    #[tokio::test]
    async fn a_hook_sees_its_environment_and_leaves_state_for_the_next() {
        let bench = Bench::new();
        let script = "echo $TAKT_HOOK $TAKT_NAME $TAKT_RELEASE $1 ${HOME:-homeless}; echo 42 > $TAKT_STATE_DIR/counter";
        let said = bench.run(HookPoint::ExportState, script, 10).await.unwrap();
        assert_eq!(said, "export-state camera-1 takt-00-app-g1-7 one homeless");
        assert_eq!(bench.run(HookPoint::ImportState, "cat counter", 10).await.unwrap(), "42");
        bench.hooks.forget();
        assert!(bench.run(HookPoint::ImportState, "cat counter", 10).await.is_err());
    }

    #[tokio::test]
    async fn what_a_hook_says_decides_whether_to_wait_or_to_fail() {
        let bench = Bench::new();
        let held = bench.run(HookPoint::PreSwitch, "echo in surgery; exit 75", 10).await.unwrap_err();
        assert_eq!((held.nature, held.text.contains("in surgery")), (Nature::NotNow, true), "{held:?}");
        let failed = bench.run(HookPoint::PreSwitch, "echo broken >&2; exit 3", 10).await.unwrap_err();
        assert_eq!(failed.nature, Nature::Fatal);
        assert!(failed.text.contains("exit status: 3: broken"), "{failed:?}");
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
        let bench = Bench::new();
        let begin = now();
        let pids = bench.folder.path().join("pids");
        let script = format!(
            "sleep 300 & echo $! > {0}; setsid sleep 301 & echo $! >> {0}; echo waiting; sleep 302",
            pids.display()
        );
        let failed = bench.run(HookPoint::PostSwitch, &script, 1).await.unwrap_err();
        assert!(failed.text.contains("did not end within 1 s: waiting"), "{failed:?}");
        assert!(now() < begin + Duration::from_secs(20));
        for pid in fs::read_to_string(pids).unwrap().lines() {
            let gone = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => stat.contains(") Z "),
                Err(_) => true,
            };
            let limit = now() + Duration::from_secs(10);
            while !gone() {
                assert!(now() < limit, "process {pid} outlived its hook");
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_child_left_behind_does_not_hold_the_hook_up() {
        let bench = Bench::new();
        let begin = now();
        let said = bench.run(HookPoint::PostSwitch, "setsid sleep 300 & echo done", 100).await.unwrap();
        assert_eq!(said, "done");
        assert!(now() < begin + Duration::from_secs(50));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_cut_and_does_not_stop_the_hook() {
        let bench = Bench::new();
        let script =
            "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done";
        let said = bench.run(HookPoint::PostSwitch, script, 60).await.unwrap();
        assert!(said.len() <= SAID_LENGTH_MAX && said.len() > SAID_LENGTH_MAX / 2, "{}", said.len());
    }

    #[tokio::test]
    async fn what_is_no_program_fails_with_its_name() {
        let bench = Bench::new();
        let program = bench.folder.path().join("artifact");
        fs::write(&program, [0x7f, b'E', b'L', b'F', 9, 9, 9]).unwrap();
        let hook = Hook { program: takt_common::Sha256Digest::of(b""), args: vec![], timeout_secs: 5 };
        let workload = WorkloadName("takt-00-app-g1-7".into());
        let point = HookPoint::PreFetch;
        let run = Run { point, hook: &hook, program: &program, workload: &workload, old: None };
        let failed = bench.hooks.run(run).await.unwrap_err();
        assert!(failed.text.contains("start the program of the hook pre-fetch"), "{failed:?}");
    }
}
