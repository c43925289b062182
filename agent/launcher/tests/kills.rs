//! `kill -9` of the launcher at every system call: before it and after it, from its first to the one by which it
//! becomes an agent. Whenever it dies, the next start has an agent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use common::{Device, NEW, OLD, versions};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use takt_launcher::{FellBack, OnTrial, STARTS_MAX, Trial, Why};

/// The launcher makes about a hundred system calls; more than this many stops and something loops.
const STOPS_MAX: usize = 2000;

/// How a traced launcher ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Killed,
    /// It became an agent before it could be killed.
    Agent,
}

/// Runs the launcher and kills it at stop number `stop`, counted from its own first system call.
fn kill_at(device: &Device, stop: usize) -> Ended {
    // A shell holds it back until it is traced, then becomes it.
    let mut launcher = device.command();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read go; exec \"$@\"", "sh"])
        .arg(launcher.get_program())
        .args(launcher.get_args())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    launcher.stdin(Stdio::null());
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    ptrace::interrupt(pid).unwrap();
    waitpid(pid, None).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let ended = trace(pid, stop);
    kill(child);
    ended
}

fn trace(pid: Pid, stop: usize) -> Ended {
    let (mut programs, mut stops) = (0, 0);
    for _ in 0..STOPS_MAX {
        ptrace::syscall(pid, None).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                programs += 1;
                // The first is the launcher, the second is what it becomes.
                if programs == 2 {
                    return Ended::Agent;
                }
            }
            WaitStatus::PtraceSyscall(_) if programs == 1 => {
                stops += 1;
                if stops == stop {
                    return Ended::Killed;
                }
            }
            WaitStatus::PtraceSyscall(_) | WaitStatus::PtraceEvent(..) => {}
            other => panic!("stop {stop}: {other:?}"),
        }
    }
    panic!("the launcher does not become an agent within {STOPS_MAX} stops");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills the launcher at every stop, each time on the same device in the same trial, whose new agent is `new`; `check`
/// looks at what is left.
fn kill_everywhere(starts: u8, new: impl Fn(&Device) -> Vec<u8>, check: impl Fn(&Device)) {
    let device = Device::new();
    device.begin();
    device.install_script(NEW, 1);
    for _ in 0..starts {
        device.start();
    }
    device.install(&new(&device), 0o755);
    let begun = trial_name(&device);
    for stop in 1..STOPS_MAX {
        fs::rename(device.state().join(trial_name(&device)), device.state().join(&begun)).unwrap();
        let ended = kill_at(&device, stop);
        check(&device);
        if ended == Ended::Agent {
            println!("killed at each of {} stops", stop - 1);
            assert!(stop > 50, "the launcher stopped {stop} times only");
            return;
        }
    }
    panic!("the launcher makes more than {STOPS_MAX} stops");
}

fn trial_name(device: &Device) -> String {
    device.names().into_iter().find(|name| name.starts_with("trial")).unwrap()
}

fn on(starts: u8) -> Trial {
    Trial::On(OnTrial { versions: versions(), starts, forgiven: 0 })
}

fn fell_back(why: Why) -> Trial {
    Trial::FellBack(FellBack { versions: versions(), why })
}

#[test]
fn killed_anywhere_while_it_counts_a_start() {
    let crashing = |device: &Device| device.script(NEW, "exit 1").into_bytes();
    kill_everywhere(1, crashing, |device| {
        let found = device.look();
        assert!([on(1), on(2)].contains(&found), "{found}");
        assert_eq!(device.started().name, NEW);
    });
}

#[test]
fn killed_anywhere_while_it_falls_back_after_three_starts() {
    let crashing = |device: &Device| device.script(NEW, "exit 1").into_bytes();
    kill_everywhere(STARTS_MAX, crashing, |device| {
        let found = device.look();
        assert!([on(STARTS_MAX), fell_back(Why::Starts)].contains(&found), "{found}");
        assert_eq!(device.started().name, OLD);
    });
}

#[test]
fn killed_anywhere_while_it_falls_back_from_an_agent_that_cannot_be_run() {
    let errno = nix::errno::Errno::ENOEXEC as i32;
    kill_everywhere(
        0,
        |_| b"nonsense".to_vec(),
        |device| {
            let found = device.look();
            assert!([on(0), on(1), fell_back(Why::CannotRun { errno })].contains(&found), "{found}");
            assert_eq!(device.started().name, OLD);
            assert_eq!(device.look(), fell_back(Why::CannotRun { errno }));
        },
    );
}
