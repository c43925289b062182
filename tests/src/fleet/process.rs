//! A program of the fleet as a process with a group and a log of its own.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::clock::{pause, wait_until};
use super::error::FleetError;

/// How long a program may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often a group is looked at whose leader has been killed: zombies that nobody reaps stay in it.
const GROUP_LOOKS_MAX: usize = 20;
const GROUP_LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Lines of a log that errors quote.
const LAST_LINES: usize = 6;

/// A running program. It is killed when this is dropped, and when the thread that started it ends in any other way.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it says is added to `log`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: &[A],
        log: &Path,
    ) -> Result<Self, FleetError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output = open().map_err(FleetError::file("open the log", log))?;
        let errors = open().map_err(FleetError::file("open the log", log))?;
        // The kernel kills it when the thread that started it ends, however that happens.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| FleetError::Start { program: program.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id, which is that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended by itself.
    pub fn check(&mut self) -> Result<(), FleetError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(FleetError::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                last_words: last_lines(&self.log, LAST_LINES).join(" | "),
            }),
        }
    }

    /// Kills it and its group at once (SIGKILL), as a power cut would.
    pub fn kill(mut self) {
        self.end_now();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn stop(mut self) -> Result<(), FleetError> {
        self.signal(Signal::SIGTERM);
        let what = format!("the end of {}", self.name);
        wait_until(&what, STOP_LIMIT, || Ok(self.ended().map(|_| ()).ok_or_else(String::new)))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        // It fails only for a child that is not ours.
        self.child.try_wait().ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        // A group that has ended needs no signal; its leader is not reaped yet, so the number is still its own.
        let _gone = killpg(group, signal);
    }

    fn end_now(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
            let _reaped = self.child.wait();
            // What it had started ends a moment later, and may hold what the next one needs.
            let group = Pid::from_raw(self.child.id().cast_signed());
            for _ in 0..GROUP_LOOKS_MAX {
                if killpg(group, None).is_err() {
                    break;
                }
                pause(GROUP_LOOK_AGAIN);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// The end of a log.
pub(super) fn last_lines(log: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_process_ends_with_its_owner_and_one_that_ended_by_itself_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let shell = Path::new("/bin/sh");
        let process = Process::start("sleeper", shell, &["-c", "sleep 100"], &log).unwrap();
        let pid = process.pid();
        assert!(exists(pid));
        drop(process);
        assert!(!exists(pid));

        let mut process = Process::start("talker", shell, &["-c", "echo good night; exit 3"], &log).unwrap();
        let error = wait_until("an end", Duration::from_secs(10), || {
            Ok(process.check().err().ok_or_else(String::new))
        });
        let error = error.unwrap().to_string();
        assert!(error.contains("talker") && error.contains('3') && error.contains("good night"), "{error}");
    }
}
