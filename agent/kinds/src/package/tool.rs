//! Running dpkg, rpm and their helpers.
//!
//! A *question* changes nothing: it ends with the agent. A *change* goes on when the agent is killed: it is a group of
//! processes of its own, and writes to memory that stays as long as it needs it, not to a pipe that would break.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, ftruncate, memfd_create};
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::{interval, timeout};

/// How long a question may take: reading a database of tens of thousands of files on a slow disk.
const QUESTION_MAX: Duration = Duration::from_mins(5);

/// More than the longest answer, a line for each of a device's packages.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What a change has said beyond this is forgotten; looked at so often.
const SAID_BYTES_MAX: u64 = 1 << 20;
const SAID_LOOK: Duration = Duration::from_millis(500);

/// So much of its end is shown to people.
const SHOWN_BYTES: usize = 1200;

/// Where programs are, whatever the agent's own path is.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program cannot be run, or fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The device does not have it.
    #[error("run '{program}': this device does not have it")]
    Missing {
        /// Which.
        program: String,
    },
    /// It cannot be started, or not be waited for.
    #[error("run '{program}'")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("run '{program}': it did not end within {limit_secs} s, and was killed; it said: {said}")]
    Slow {
        /// Which.
        program: String,
        /// The limit.
        limit_secs: u64,
        /// The end of its output.
        said: String,
    },
    /// It failed.
    #[error("run '{program}': {how}: {said}")]
    Failed {
        /// Which, with what it was to do.
        program: String,
        /// Its exit code or signal.
        how: Ended,
        /// The end of its output.
        said: String,
    },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "it ended with code {code}"),
            Self::Signal(signal) => write!(f, "it was ended by signal {signal}"),
        }
    }
}

impl Natured for ToolError {
    fn nature(&self) -> Nature {
        match self {
            Self::Missing { .. } | Self::Slow { .. } | Self::Failed { how: Ended::Code(_), .. } => {
                Nature::Fatal
            }
            // Killed, for example when memory ran out.
            Self::Run { .. } | Self::Failed { how: Ended::Signal(_), .. } => Nature::Transient,
        }
    }
}

/// One run of a program.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, &'static str)>,
    wrapper: Vec<String>,
}

/// What it said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output; of a change both outputs, as far as they are kept.
    pub(crate) out: Vec<u8>,
    /// Its other output.
    pub(crate) errors: Vec<u8>,
}

impl Said {
    /// The end of all that it said, in one line.
    pub(crate) fn shown(&self) -> String {
        let all = [self.out.as_slice(), self.errors.as_slice()].concat();
        let from = all.len().saturating_sub(SHOWN_BYTES);
        let text = String::from_utf8_lossy(&all[from..]).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") }
    }

    /// Its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

impl Tool {
    /// A run of `program`.
    pub(crate) fn new(program: &str) -> Self {
        let (arguments, variables, wrapper) = (Vec::new(), Vec::new(), Vec::new());
        Self { program: program.into(), arguments, variables, wrapper }
    }

    /// With one more argument.
    #[must_use]
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub(crate) fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With these variables, beside those that every run has.
    #[must_use]
    pub(crate) fn with(mut self, variables: &[(&'static str, &'static str)]) -> Self {
        self.variables.extend(variables);
        self
    }

    /// With these words before it.
    #[must_use]
    pub(crate) fn wrapped(mut self, wrapper: &[String]) -> Self {
        self.wrapper = wrapper.to_vec();
        self
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn command(&self) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&self.program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.args(&self.arguments).env_clear().stdin(Stdio::null());
        command
            .envs([("PATH", PATH), ("LC_ALL", "C"), ("HOME", "/root")])
            .envs(self.variables.iter().copied());
        command
    }

    fn failed_to_start(&self, source: io::Error) -> ToolError {
        match source.kind() {
            io::ErrorKind::NotFound => ToolError::Missing { program: self.name() },
            _ => ToolError::Run { program: self.name(), source },
        }
    }

    /// Asks a question, and takes whatever it answers. Not to be called on the runtime's own thread.
    pub(crate) fn ask(&self) -> Result<Said, ToolError> {
        Handle::current().block_on(async {
            let mut command = self.command();
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn().map_err(|error| self.failed_to_start(error))?;
            match timeout(QUESTION_MAX, answer(&mut child)).await {
                Ok(said) => said.map_err(|source| ToolError::Run { program: self.name(), source }),
                Err(_elapsed) => Err(self.unanswered()),
            }
        })
    }

    /// Whether its answer has at most `limit` bytes; a longer one is not heard out. Not to be called on the runtime's own
    /// thread.
    pub(crate) fn answers_within(&self, limit: u64) -> Result<bool, ToolError> {
        Handle::current().block_on(async {
            let mut command = self.command();
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn().map_err(|error| self.failed_to_start(error))?;
            let Some(out) = child.stdout.take() else { return Ok(true) };
            let heard = async { tokio::io::copy(&mut out.take(limit + 1), &mut tokio::io::sink()).await };
            match timeout(QUESTION_MAX, heard).await {
                Ok(heard) => heard
                    .map(|bytes| bytes <= limit)
                    .map_err(|source| ToolError::Run { program: self.name(), source }),
                Err(_elapsed) => Err(self.unanswered()),
            }
        })
    }

    fn unanswered(&self) -> ToolError {
        let (program, limit_secs) = (self.name(), QUESTION_MAX.as_secs());
        ToolError::Slow { program, limit_secs, said: "nothing".to_owned() }
    }

    /// Asks a question that must be answered.
    pub(crate) fn answer(&self) -> Result<Said, ToolError> {
        self.ask().and_then(|said| self.well(said))
    }

    /// An error unless it ended well.
    pub(crate) fn well(&self, said: Said) -> Result<Said, ToolError> {
        let how = match (said.status.success(), said.status.code(), said.status.signal()) {
            (true, ..) => return Ok(said),
            (_, Some(code), _) => Ended::Code(code),
            (_, _, signal) => Ended::Signal(signal.unwrap_or_default()),
        };
        Err(ToolError::Failed { program: self.name(), how, said: said.shown() })
    }

    /// Makes a change, within `limit`; whatever it said and however it ended. Not to be called on the runtime's own thread.
    pub(crate) fn change(&self, limit: Duration) -> Result<Said, ToolError> {
        let run = |source| ToolError::Run { program: self.name(), source };
        let mut output = memory().map_err(run)?;
        let ended = Handle::current().block_on(async {
            let copy = || output.try_clone().map(Stdio::from);
            let mut command = self.command();
            command.stdout(copy().map_err(run)?).stderr(copy().map_err(run)?).process_group(0);
            let mut child = command.spawn().map_err(|error| self.failed_to_start(error))?;
            watch(&mut child, &output, limit).await.map_err(run)
        })?;
        let mut out = Vec::new();
        output.seek(SeekFrom::Start(0)).and_then(|_| output.read_to_end(&mut out)).map_err(run)?;
        if let Some(status) = ended {
            return Ok(Said { status, out, errors: Vec::new() });
        }
        let said = Said { status: ExitStatus::default(), out, errors: Vec::new() }.shown();
        Err(ToolError::Slow { program: self.name(), limit_secs: limit.as_secs(), said })
    }
}

async fn answer(child: &mut Child) -> io::Result<Said> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_out = async {
        match stdout {
            Some(pipe) => pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut out).await,
            None => Ok(0),
        }
    };
    let read_errors = async {
        match stderr {
            Some(pipe) => pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut errors).await,
            None => Ok(0),
        }
    };
    tokio::try_join!(read_out, read_errors)?;
    let status = child.wait().await?;
    Ok(Said { status, out, errors })
}

/// A file in memory that every writer appends to, so that it can be emptied between two lines.
fn memory() -> io::Result<File> {
    let file = memfd_create("takt-said", MemfdFlags::CLOEXEC)?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(File::from(file))
}

/// Waits for a change to end, and keeps its output within bounds; `None` when it was killed.
async fn watch(child: &mut Child, output: &File, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let group = child.id();
    let mut looks = interval(SAID_LOOK);
    let bounded = async {
        loop {
            looks.tick().await;
            if output.metadata().is_ok_and(|metadata| metadata.len() > SAID_BYTES_MAX) {
                // What is still said after this is the end of it, which tells most.
                let _ = ftruncate(output, 0);
            }
        }
    };
    let ended = timeout(limit, async {
        tokio::select! {
            status = child.wait() => status,
            () = bounded => unreachable!("an endless loop does not end"),
        }
    });
    if let Ok(status) = ended.await {
        return status.map(Some);
    }
    // All of its group: what hangs is a script that it started. For the database this is like a power cut.
    if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    child.wait().await?;
    Ok(None)
}

/// The file of a program in the places where programs are; `None` when the device does not have it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(PATH).map(|folder| folder.join(program)).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use takt_agent_core::failure::sentence;

    use super::*;

    /// On a thread that may wait, as all calls here are.
    fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::task::spawn_blocking(work).await.unwrap() })
    }

    fn sh(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[test]
    fn a_question_has_an_answer_and_a_failure_has_words() {
        let said = waiting(|| sh("echo yes; echo no >&2; echo $LC_ALL $TAKT").with(&[("TAKT", "1")]).ask());
        let said = said.unwrap();
        assert_eq!((said.text(), said.shown()), ("yes\nC 1\n".to_owned(), "yes; C 1; no".to_owned()));
        let error = waiting(|| sh("echo well; exit 3").answer()).unwrap_err();
        assert_eq!(sentence(&error), "run 'sh': it ended with code 3: well");
        let error = waiting(|| sh("kill -9 $$").answer()).unwrap_err();
        assert_eq!(error.nature(), Nature::Transient);
        let error = waiting(|| Tool::new("no-such-program-here").ask()).unwrap_err();
        assert_eq!(sentence(&error), "run 'no-such-program-here': this device does not have it");
    }

    #[test]
    fn a_change_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo working; sleep 600 & echo $! > {}; wait", pid.display());
        let error = waiting(move || sh(&script).change(Duration::from_millis(300))).unwrap_err();
        assert!(sentence(&error).ends_with("and was killed; it said: working"), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        let gone = || state().map_or(true, |stat| stat.contains(") Z "));
        assert!(
            (0..200).any(|_| {
                std::thread::yield_now();
                gone()
            }) || gone()
        );
    }

    #[test]
    fn a_change_that_floods_its_output_is_kept_within_bounds() {
        let script = "i=0; while [ $i -lt 40 ]; do head -c 200000 /dev/zero | tr '\\0' x; i=$((i+1)); done; \
                      sleep 1; echo; echo the end";
        let said = waiting(move || sh(script).change(Duration::from_mins(1))).unwrap();
        assert!(said.out.len() < 9_000_000 && said.shown().ends_with("the end"), "{}", said.out.len());
        let wrapped = waiting(|| {
            sh("echo $0")
                .wrapped(&["env".to_owned(), "-u".to_owned(), "HOME".to_owned()])
                .change(Duration::from_mins(1))
        });
        assert!(wrapped.unwrap().status.success());
    }
}
