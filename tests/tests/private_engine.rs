//! The engines that tests start: private, and gone without a trace however their owner ends.

// Helpers of tests are tests too, and a wait with a limit needs a clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use takt_tests::engine::Engine;

const PATIENCE: Duration = Duration::from_secs(30);

fn traces_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut traces: Vec<String> =
        mounts.lines().filter(|line| line.contains(folder)).map(String::from).collect();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // The script that watches over the engine ends with it, but may still be on its way.
        if command.contains(folder) && !command.contains("dockerd.sh") {
            traces.push(command);
        }
    }
    if Path::new(folder).exists() {
        traces.push(folder.to_owned());
    }
    traces
}

#[test]
fn a_dropped_engine_leaves_nothing() {
    let engine = Engine::start().unwrap();
    let folder = engine.socket().parent().unwrap().to_owned();
    let version = engine.docker().args(["version", "--format", "{{.Server.Experimental}}"]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&version.stdout).trim(),
        "true",
        "checkpoints need an experimental engine"
    );
    assert!(!traces_of(&folder).is_empty());
    drop(engine);
    assert_eq!(traces_of(&folder), Vec::<String>::new());
}

#[test]
fn an_engine_ends_with_an_owner_that_was_killed() {
    let folder = tempfile::tempdir().unwrap().keep();
    let mut owner = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("env/dockerd.sh");
    let started =
        Command::new(script).arg("start").arg(&folder).arg(owner.id().to_string()).output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let start = Instant::now();
    while !traces_of(&folder).is_empty() {
        assert!(start.elapsed() < PATIENCE, "still there: {:?}", traces_of(&folder));
        std::thread::yield_now();
    }
}
