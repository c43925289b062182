//! Health probes: asking a release whether it is well, and remembering what it has said.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use takt_agent_core::{BootTime, ContainerName, Wellness, Workload};
use takt_common::release::Probe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::engine::{Engine, EngineError, ExecError};
use crate::failure::sentence;
use crate::variables::{VariableError, Variables};

/// The longest status line that is read: the words after the code are nobody's business.
const STATUS_LINE_LENGTH_MAX: usize = 1_024;
/// How much of what a command says is kept.
const SAID_LENGTH_MAX: usize = 400;
/// HTTP's port.
const HTTP_PORT: &str = "80";

/// A probe did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe names what the device does not have.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// Not a plain HTTP address.
    #[error("'{url}' is not 'http://host[:port][/path]'")]
    Url {
        /// As written.
        url: String,
    },
    /// No connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broke(#[source] io::Error),
    /// Not HTTP.
    #[error("the answer is not HTTP: '{said}'")]
    NotHttp {
        /// How it begins.
        said: String,
    },
    /// Not 200 to 299.
    #[error("the status is {0}")]
    Status(u16),
    /// The command did not succeed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The engine cannot say.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A container's own health check.
    #[error("container {container} is {said}")]
    Unhealthy {
        /// Which.
        container: ContainerName,
        /// What the engine says of it.
        said: String,
    },
    /// A command without a program.
    #[error("the command is empty")]
    NoCommand,
    /// The command cannot be run.
    #[error("run '{program}'")]
    Run {
        /// Its program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The command did not succeed.
    #[error("it ended with {status}: {said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The unit is not active.
    #[error("it is {said}")]
    UnitState {
        /// What systemd says.
        said: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

/// Who answers a round beside the network.
pub struct Asked<'a> {
    /// The container engine.
    pub engine: &'a Engine,
    /// The release.
    pub workload: &'a Workload,
    /// What `${name}` in its checks stands for.
    pub variables: &'a Variables,
}

/// One round: all probes at once. The error is what the first one that failed, in their order, said.
pub async fn round(asked: &Asked<'_>) -> Result<(), String> {
    let health = &asked.workload.manifest.health;
    let ask = |probe| async move {
        match timeout(health.timeout(), pass(asked, probe, health.timeout())).await {
            Ok(passed) => passed,
            Err(_elapsed) => Err(ProbeError::Silent(health.timeout())),
        }
    };
    let answers = join_all(health.probes.iter().map(ask)).await;
    for (probe, answer) in health.probes.iter().zip(answers) {
        // What was really asked, with the device's own port in it.
        let text = asked.variables.fill(&probe.to_string()).unwrap_or_else(|_| probe.to_string());
        answer.map_err(|error| format!("{text}: {}", sentence(&error)))?;
    }
    Ok(())
}

async fn pass(asked: &Asked<'_>, probe: &Probe, limit: Duration) -> Result<(), ProbeError> {
    let (engine, variables) = (asked.engine, asked.variables);
    match probe {
        Probe::Http(url) => http(&variables.fill(url)?).await,
        Probe::Tcp(address) => {
            TcpStream::connect(variables.fill(address)?).await.map(drop).map_err(ProbeError::Connect)
        }
        Probe::Exec(command) => {
            let command = command.iter().map(|text| variables.fill(text)).collect::<Result<Vec<_>, _>>()?;
            match asked.workload.containers().next() {
                Some((container, _)) => Ok(engine.exec(&container, &command, limit).await?),
                None => run(&command).await,
            }
        }
        Probe::Unit(unit) => unit_is_active(unit).await,
        Probe::Healthcheck => {
            for (container, _) in asked.workload.containers() {
                if let Some(said) = engine.unhealthy(&container).await? {
                    return Err(ProbeError::Unhealthy { container, said });
                }
            }
            Ok(())
        }
    }
}

/// A command of the device itself; it must exit with 0. It is killed when its time is up.
async fn run(command: &[String]) -> Result<(), ProbeError> {
    let Some((program, arguments)) = command.split_first() else { return Err(ProbeError::NoCommand) };
    let mut child = tokio::process::Command::new(program);
    child.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for variable in crate::service::VARIABLES {
        child.env_remove(variable);
    }
    let output =
        child.output().await.map_err(|source| ProbeError::Run { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said: String = String::from_utf8_lossy(&said).trim().chars().take(SAID_LENGTH_MAX).collect();
    Err(ProbeError::Ended { status: output.status, said })
}

async fn unit_is_active(unit: &str) -> Result<(), ProbeError> {
    let command = ["systemctl", "is-active", "--", unit].map(str::to_owned);
    match run(&command).await {
        Err(ProbeError::Ended { said, .. }) => Err(ProbeError::UnitState { said }),
        other => other,
    }
}

/// How long a standby may take to answer.
const STANDBY_LIMIT: Duration = Duration::from_secs(3);

/// Asks whether a standby serves, by a plain HTTP GET.
pub async fn ask_standby(url: &str) -> Result<(), ProbeError> {
    match timeout(STANDBY_LIMIT, http(url)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(ProbeError::Silent(STANDBY_LIMIT)),
    }
}

/// The parts of `http://host[:port][/path]`: where to connect, the `Host` field, the path with its query.
fn parts(url: &str) -> Option<(String, &str, String)> {
    let rest = url.strip_prefix("http://")?;
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    let address = match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(|_| authority.to_owned())?,
        None => format!("{authority}:{HTTP_PORT}"),
    };
    (!authority.is_empty() && !authority.starts_with(':') && !authority.contains('@'))
        .then_some((address, authority, path))
}

/// A plain GET. Only the status line of the answer is read.
async fn http(url: &str) -> Result<(), ProbeError> {
    let (address, host, path) = parts(url).ok_or_else(|| ProbeError::Url { url: url.to_owned() })?;
    let mut stream = TcpStream::connect(address).await.map_err(ProbeError::Connect)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: takt-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(ProbeError::Broke)?;
    let mut line = Vec::new();
    let mut piece = [0; 256];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_LENGTH_MAX {
        match stream.read(&mut piece).await.map_err(ProbeError::Broke)? {
            0 => break,
            read => line.extend_from_slice(&piece[..read]),
        }
    }
    let line = String::from_utf8_lossy(&line);
    let line = line.lines().next().unwrap_or_default();
    match status(line) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(ProbeError::Status(status)),
        None => Err(ProbeError::NotHttp { said: line.chars().take(80).collect() }),
    }
}

/// The code of `HTTP/1.x CODE words` (RFC 9112, section 4).
fn status(line: &str) -> Option<u16> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    let good = version.starts_with("HTTP/1.") && code.len() == 3;
    code.parse().ok().filter(|code| good && (100..=599).contains(code))
}

/// What the rounds of one release's probes have said. Pure: time is an argument.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    failures_in_a_row: u32,
    ever_well: bool,
    well_since: Option<BootTime>,
    last_failure: Option<String>,
}

impl Watch {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a round that ended at `at`. The streak of good health ends with `failures_max` failed rounds in a
    /// row: a single one is forgiven.
    pub fn note(&mut self, at: &BootTime, failures_max: u32, round: Result<(), String>) {
        match round {
            Ok(()) => {
                self.failures_in_a_row = 0;
                self.ever_well = true;
                // A streak of another boot says nothing about this one.
                let goes_on = self.well_since.as_ref().is_some_and(|since| at.since(since).is_some());
                if !goes_on {
                    self.well_since = Some(at.clone());
                }
            }
            Err(why) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.last_failure = Some(why);
                if self.failures_in_a_row >= failures_max {
                    self.well_since = None;
                }
            }
        }
    }

    /// What is known at `now`.
    pub fn wellness(&self, now: &BootTime) -> Wellness {
        Wellness {
            failures_in_a_row: self.failures_in_a_row,
            ever_well: self.ever_well,
            well_for: self.well_since.as_ref().and_then(|since| now.since(since)),
            last_failure: self.last_failure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootTime {
        BootTime { boot_id: "one".into(), millis }
    }

    fn bad() -> Result<(), String> {
        Err("no".into())
    }

    #[test]
    fn one_failed_round_does_not_end_a_streak_and_the_limit_does() {
        let mut watch = Watch::new();
        assert_eq!(watch.wellness(&at(0)), Wellness::default());
        watch.note(&at(100), 2, bad());
        assert_eq!(watch.wellness(&at(100)).well_for, None);
        watch.note(&at(200), 2, Ok(()));
        watch.note(&at(300), 2, Ok(()));
        watch.note(&at(400), 2, bad());
        let wellness = watch.wellness(&at(450));
        assert_eq!((wellness.failures_in_a_row, wellness.well_for), (1, Some(Duration::from_millis(250))));
        watch.note(&at(500), 2, bad());
        let wellness = watch.wellness(&at(500));
        assert_eq!((wellness.failures_in_a_row, wellness.well_for, wellness.ever_well), (2, None, true));
        assert_eq!(wellness.last_failure.as_deref(), Some("no"));
        watch.note(&at(600), 2, Ok(()));
        assert_eq!(watch.wellness(&at(700)).well_for, Some(Duration::from_millis(100)));
        assert_eq!(watch.wellness(&at(700)).failures_in_a_row, 0);
    }

    #[test]
    fn a_streak_does_not_reach_over_a_boot() {
        let mut watch = Watch::new();
        watch.note(&at(100), 1, Ok(()));
        let later = BootTime { boot_id: "two".into(), millis: 50 };
        assert_eq!(watch.wellness(&later).well_for, None);
        watch.note(&later, 1, Ok(()));
        assert_eq!(watch.wellness(&later).well_for, Some(Duration::ZERO));
    }

    #[test]
    fn urls_are_taken_apart_and_odd_ones_refused() {
        let whole = |a: &str, h: &'static str, p: &str| Some((a.to_owned(), h, p.to_owned()));
        assert_eq!(parts("http://a"), whole("a:80", "a", "/"));
        assert_eq!(parts("http://127.0.0.1:8/h?x=1#y"), whole("127.0.0.1:8", "127.0.0.1:8", "/h?x=1"));
        assert_eq!(parts("http://a?x"), whole("a:80", "a", "/?x"));
        assert_eq!(parts("http://[::1]/"), whole("[::1]:80", "[::1]", "/"));
        assert_eq!(parts("http://[::1]:81/"), whole("[::1]:81", "[::1]:81", "/"));
        for odd in [
            "",
            "a",
            "https://a",
            "http://",
            "http://:80/",
            "http:///x",
            "http://a:b/",
            "http://a:99999/",
            "http://u@a/",
            "http://a/ b",
            "http://a/\r\nX: y",
        ] {
            assert_eq!(parts(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_a_status_line_is_a_status() {
        assert_eq!(status("HTTP/1.1 204 No Content"), Some(204));
        assert_eq!(status("HTTP/1.0 500"), Some(500));
        for odd in [
            "",
            "HTTP/1.1",
            "HTTP/1.1 20",
            "HTTP/1.1 +20 x",
            "HTTP/1.1 999 x",
            "SSH-2.0 200 x",
            "HTTP/1.1  200",
        ] {
            assert_eq!(status(odd), None, "{odd}");
        }
    }
}
