//! The kernel's out-of-memory killer takes the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use takt_matrix::Row;
use takt_tests::fleet::{Device, wait_until};
use takt_workload::Nature;

use super::kills::{LANES, lanes};
use super::lane::{Body, Inject};
use super::releases;
use super::stage::{Check, Make, Stage, at_each_point, rolled_back, verified};

const LIMIT_BYTES: u64 = 32 << 20;
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// A group of processes with little memory; it goes with this.
struct Group {
    folder: PathBuf,
    /// The file that counts the killer's victims: of the second version of cgroups, or of the first.
    counter: PathBuf,
}

impl Group {
    fn with(pid: u32) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let (root, limit, counter) = if root.join("cgroup.controllers").exists() {
            (root.to_owned(), "memory.max", "memory.events")
        } else {
            (root.join("memory"), "memory.limit_in_bytes", "memory.oom_control")
        };
        let folder = root.join(format!("takt-out-of-memory-{pid}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(limit), LIMIT_BYTES.to_string()).unwrap();
        fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
        Self { counter: folder.join(counter), folder }
    }

    fn killed(&self) -> u64 {
        let counts = fs::read_to_string(&self.counter).unwrap();
        let count = counts.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("the kernel counts whom it kills").trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty: all in it were killed.
        let _gone = fs::remove_dir(&self.folder);
    }
}

/// Somebody else on the device takes all the memory there is, and the killer prefers the agent.
fn run_out_of_memory(agent: &mut Device) {
    let pid = agent.pid().unwrap();
    let group = Group::with(pid);
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").unwrap();
    let eat = format!("echo $$ >'{}' && exec tail /dev/zero", group.folder.join("cgroup.procs").display());
    let mut eater =
        Command::new("sh").args(["-c", &eat]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the end of both", KILL_LIMIT, || {
        let (agent, eater) = (agent.check().is_err(), eater.try_wait().unwrap().is_some());
        Ok(if agent && eater { Ok(()) } else { Err(format!("ended: agent {agent}, the other {eater}")) })
    })
    .unwrap();
    assert!(group.killed() >= 2, "the killer took {}", group.killed());
}

fn out_of_memory(release: &str, make: Make, nature: Nature, body: Body, check: Check<'_>) {
    let stage = Stage::start(make, nature);
    at_each_point(
        Row::new(release, "agent killed for memory"),
        lanes(&stage, LANES, false, body),
        |point| point.ends_with(":before"),
        |point| Inject::Fault {
            point,
            strike: Box::new(run_out_of_memory),
            mend: Box::new(|_: &mut Device, _: &Path| Ok(())),
        },
        check,
    );
}

#[test]
fn a_container_that_is_replaced_when_memory_runs_out() {
    let release = "container, `replace`: verified";
    out_of_memory(release, releases::replace, Nature::Good, Body::Containers, verified());
}

#[test]
fn a_container_that_hands_over_when_memory_runs_out() {
    let release = "container, `handover`: verified";
    out_of_memory(release, releases::handover, Nature::Good, Body::Containers, verified());
}

#[test]
fn a_container_that_comes_back_when_memory_runs_out() {
    let release = "container, `preserve`: rolled back";
    out_of_memory(release, releases::preserve, Nature::Sick, Body::Containers, rolled_back());
}

#[test]
fn a_file_that_comes_back_when_memory_runs_out() {
    out_of_memory("file: rolled back", releases::files, Nature::Sick, Body::Files, rolled_back());
}

#[test]
fn a_package_when_memory_runs_out() {
    out_of_memory("package: verified", releases::package, Nature::Good, Body::Package, verified());
}
