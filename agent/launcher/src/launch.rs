//! The program: look, ask, remember, become the agent.
//!
//! Nothing here may end it before an agent runs: no panics, no errors that are not answered, and what it has to say
//! is said only if somebody listens.

use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::decide::{Facts, Program, Step, decide};
use crate::folder::{TrialFolder, sentence};
use crate::trial::Trial;
use crate::{FELL_BACK_UNKNOWN, FELL_BACK_VARIABLE};

/// A start counts, falls back, finds the folder unwritable and two agents refused, each at most once.
pub(crate) const STEPS_MAX: usize = 6;

/// Which agents, with which arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The folder of the trial.
    pub state: PathBuf,
    /// The installed agent.
    pub agent: PathBuf,
    /// Arguments of the agent.
    pub arguments: Vec<OsString>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start the agent.
    Launch(Launch),
    /// Say how to be used.
    Help,
    /// Say the version.
    Version,
}

/// The command line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// An argument that is not known.
    #[error("use the argument '{0}'")]
    Unknown(String),
    /// An argument that is needed.
    #[error("find the argument '{0}' and its value")]
    Missing(&'static str),
}

impl Request {
    /// Reads the command line without the program's own name.
    pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let (mut state, mut agent) = (None, None);
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--state") => state = arguments.next(),
                Some("--agent") => agent = arguments.next(),
                Some("--") => break,
                Some("--help" | "-h") => return Ok(Self::Help),
                Some("--version" | "-V") => return Ok(Self::Version),
                _ => return Err(UsageError::Unknown(argument.to_string_lossy().into_owned())),
            }
        }
        let state = state.ok_or(UsageError::Missing("--state"))?.into();
        let agent = agent.ok_or(UsageError::Missing("--agent"))?.into();
        Ok(Self::Launch(Launch { state, agent, arguments: arguments.collect() }))
    }
}

/// Becomes an agent. Returns only when neither can be run.
pub fn launch(launch: &Launch) {
    let folder = TrialFolder::new(&launch.state);
    let mut facts = Facts::of(folder.look());
    // Of a trial in force it says how far it is once the start is counted.
    if matches!(facts.trial, Trial::FellBack(_) | Trial::Damaged { .. }) {
        say(&facts.trial.to_string());
    }
    for _ in 0..STEPS_MAX {
        match decide(&facts) {
            Step::Remember(next) => match folder.advance(&facts.trial, &next) {
                Ok(()) => {
                    say(&next.to_string());
                    facts.remembered(next);
                }
                Err(error) => {
                    say(&format!("failed to {}: nothing can be counted now", sentence(&error)));
                    facts.unwritable = true;
                }
            },
            Step::Start(program) => {
                let path = match program {
                    Program::Installed => launch.agent.clone(),
                    Program::Previous => folder.previous_agent(),
                };
                let errno = become_agent(&path, &launch.arguments, fell_back(program, &facts.trial));
                say(&format!("failed to run '{}': {}", path.display(), std::io::Error::from(errno)));
                facts.refused(program, errno as i32);
            }
            Step::GiveUp => break,
        }
    }
    say("neither the installed agent nor a previous one can be run");
}

/// What the agent is told of a fall back.
fn fell_back(program: Program, trial: &Trial) -> Option<&str> {
    match program {
        Program::Installed => None,
        Program::Previous => {
            Some(trial.versions().map_or(FELL_BACK_UNKNOWN, |versions| versions.new.as_str()))
        }
    }
}

/// Replaces this process by the program, and returns only if the kernel refuses.
///
/// The system call itself, because the C library's `execvp`, which the standard library uses, gives a file that the
/// kernel refuses to a shell: a damaged agent would be run as a script.
fn become_agent(path: &Path, arguments: &[OsString], fell_back: Option<&str>) -> Errno {
    let with_zero = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_zero_inside| Errno::EINVAL);
    let run = || {
        let program = with_zero(path.as_os_str())?;
        let arguments = std::iter::once(path.as_os_str())
            .chain(arguments.iter().map(OsString::as_os_str))
            .map(with_zero)
            .collect::<Result<Vec<_>, _>>()?;
        let environment = std::env::vars_os()
            .filter(|(name, _)| name != FELL_BACK_VARIABLE)
            .chain(fell_back.map(|version| (FELL_BACK_VARIABLE.into(), version.into())))
            .map(|(name, value)| with_zero(&variable(name, &value)))
            .collect::<Result<Vec<_>, _>>()?;
        nix::unistd::execve(&program, &arguments, &environment)
    };
    match run() {
        Err(errno) => errno,
        Ok(never) => match never {},
    }
}

fn variable(name: OsString, value: &OsStr) -> OsString {
    let mut text = name.into_vec();
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    OsString::from_vec(text)
}

/// Says a line on standard error, if somebody listens: `eprintln!` would end the program when nobody does.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "takt-launcher: {line}");
}
