//! The command `nft`: one call, one answer, with a limit.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::TrafficError;

/// Where it is looked for: the path first, which a plain shell has without `sbin`.
const PROGRAMS: [&str; 2] = ["nft", "/usr/sbin/nft"];
/// A call takes some 10 ms; the kernel makes it wait while somebody else loads a large ruleset.
const LIMIT: Duration = Duration::from_secs(10);
/// More than a table with all the ports that there may be.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a complaint is told.
const COMPLAINT_BYTES_MAX: u64 = 600;

/// The command.
#[derive(Debug, Clone)]
pub(crate) struct Nft {
    programs: Vec<PathBuf>,
    limit: Duration,
}

impl Nft {
    pub(crate) fn of_the_device() -> Self {
        Self { programs: PROGRAMS.map(PathBuf::from).to_vec(), limit: LIMIT }
    }

    pub(crate) fn at(program: &Path, limit: Duration) -> Self {
        Self { programs: vec![program.to_owned()], limit }
    }

    /// Makes one transaction.
    pub(crate) async fn change(&self, doing: &'static str, transaction: &str) -> Result<(), TrafficError> {
        self.call(doing, &["-f", "-"], transaction).await.map(|_answer| ())
    }

    /// Asks a question; the answer is JSON.
    pub(crate) async fn ask(&self, doing: &'static str, question: &[&str]) -> Result<String, TrafficError> {
        self.call(doing, &[&["-j"], question].concat(), "").await
    }

    async fn call(
        &self,
        doing: &'static str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, TrafficError> {
        let (program, child) = self.start(arguments)?;
        let failed = |source| TrafficError::Program { program: program.clone(), source };
        // When the limit has passed, the child is killed as it is dropped.
        let ended = timeout(self.limit, converse(child, input)).await;
        let ended = ended.map_err(|_elapsed| TrafficError::Slow { doing, limit: self.limit })?;
        let (status, answer, complaint) = ended.map_err(failed)?;
        if !status.success() {
            let said = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
            let said = if said.is_empty() { status.to_string() } else { said };
            return Err(TrafficError::Refused { doing, said });
        }
        String::from_utf8(answer).map_err(|_| TrafficError::Strange("it is no text".to_owned()))
    }

    fn start(&self, arguments: &[&str]) -> Result<(PathBuf, Child), TrafficError> {
        let mut absent = None;
        for program in &self.programs {
            let mut command = Command::new(program);
            command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            match command.spawn() {
                Ok(child) => return Ok((program.clone(), child)),
                Err(source) => {
                    let go_on = source.kind() == io::ErrorKind::NotFound;
                    absent = Some(TrafficError::Program { program: program.clone(), source });
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(absent.expect("there is a program to try"))
    }
}

/// Feeds the child and reads what it says, all at once, so that neither waits for the other.
async fn converse(mut child: Child, input: &str) -> io::Result<(ExitStatus, Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // One that ends before it has read all has a complaint, which is what counts.
            let _fed = stdin.write_all(input.as_bytes()).await;
        }
        Ok(())
    };
    let ((), answer, complaint) =
        tokio::try_join!(feed, read(stdout, ANSWER_BYTES_MAX), read(stderr, COMPLAINT_BYTES_MAX))?;
    let status = child.wait().await?;
    if answer.len() as u64 >= ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
    }
    Ok((status, answer, String::from_utf8_lossy(&complaint).into_owned()))
}

/// Keeps the beginning; reads on to the end, so that the child is not held up, but not for ever: see the limit.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}
