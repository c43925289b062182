//! Speaks to QEMU's guest agent in the guest, over a Unix socket: no network, and nothing of Takt, is involved.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fleet::Said;

/// The longest wait for an answer to one question; a loaded machine emulates slowly.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The wait for the first answer: the agent may not run yet, and then nobody will ever answer.
const GREETING_LIMIT: Duration = Duration::from_secs(2);
/// The longest answer: 16 MiB of output is the agent's own limit, in base64.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Answers to earlier questions that may come before the one to ours.
const STALE_ANSWERS_MAX: usize = 100;

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Channel {
    stream: BufReader<UnixStream>,
}

impl Channel {
    /// Connects, and makes sure that the agent listens.
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(GREETING_LIMIT))?;
        stream.set_write_timeout(Some(GREETING_LIMIT))?;
        let mut channel = Self { stream: BufReader::new(stream) };
        // Whoever spoke before may have left half a question there, and answers that nobody read.
        let id = std::process::id().wrapping_shl(16) ^ NEXT.fetch_add(1, Ordering::Relaxed);
        channel.stream.get_mut().write_all(&[0xff])?;
        channel.send(&json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } }))?;
        for _ in 0..STALE_ANSWERS_MAX {
            if channel.receive()?.get("return") == Some(&json!(id)) {
                channel.stream.get_ref().set_read_timeout(Some(ANSWER_LIMIT))?;
                return Ok(channel);
            }
        }
        Err(io::Error::other("the guest agent answers other questions"))
    }

    /// Starts a shell command and gives its process id.
    pub(super) fn begin(&mut self, command: &str) -> io::Result<u64> {
        let arguments = json!({ "path": "/bin/bash", "arg": ["-c", command], "capture-output": true });
        let begun = self.ask("guest-exec", &arguments)?;
        begun["pid"].as_u64().ok_or_else(|| io::Error::other(format!("no process id in {begun}")))
    }

    /// How a command ended, once it has.
    pub(super) fn ended(&mut self, pid: u64) -> io::Result<Option<Said>> {
        let status = self.ask("guest-exec-status", &json!({ "pid": pid }))?;
        if status["exited"] != json!(true) {
            return Ok(None);
        }
        let text = |name: &str| {
            let bytes =
                STANDARD.decode(status[name].as_str().unwrap_or_default()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).trim_end().to_owned())
        };
        let number = |name: &str| status[name].as_i64().and_then(|number| i32::try_from(number).ok());
        let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(Some(Said { code, out: text("out-data")?, err: text("err-data")? }))
    }

    fn ask(&mut self, question: &str, arguments: &Value) -> io::Result<Value> {
        self.send(&json!({ "execute": question, "arguments": arguments }))?;
        let mut answer = self.receive()?;
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(io::Error::other(format!("{question}: {answer}"))),
        }
    }

    fn send(&mut self, question: &Value) -> io::Result<()> {
        let mut line = question.to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The answer to a greeting begins with the same byte as the greeting.
        let line = line.strip_prefix(&[0xff]).unwrap_or(&line);
        serde_json::from_slice(line).map_err(io::Error::other)
    }
}
