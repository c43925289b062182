//! An HTTP client of the demo's workload: one connection kept open, built anew when it breaks, with short time-outs.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

/// A request that takes longer has failed: on one machine answers take well under a millisecond, but a machine that
/// builds something beside may stall for a moment.
const PATIENCE: Duration = Duration::from_millis(250);
/// The workload's answers are shorter.
const BODY_BYTES_MAX: usize = 4096;
/// So are their heads.
const HEAD_LINES_MAX: usize = 32;

/// What the workload answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The version of the release.
    pub version: String,
    /// The counter, which is only in its memory.
    pub counter: u64,
    /// Who serves: the device's variable `device`.
    pub device: String,
}

/// A client of one workload.
#[derive(Debug)]
pub struct HttpClient {
    port: u16,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    /// A client of the workload on this port of 127.0.0.1; it connects with its first request.
    pub const fn new(port: u16) -> Self {
        Self { port, connection: None }
    }

    /// Reads the counter.
    pub fn counter(&mut self) -> io::Result<Answer> {
        self.ask("/counter")
    }

    /// Adds one to the counter.
    pub fn count(&mut self) -> io::Result<Answer> {
        self.ask("/")
    }

    fn ask(&mut self, path: &str) -> io::Result<Answer> {
        let answer = self.exchange(path);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    fn exchange(&mut self, path: &str) -> io::Result<Answer> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let body = read_body(connection)?;
        serde_json::from_slice(&body).map_err(io::Error::other)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, self.port).into(), PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

fn read_body(connection: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.split(' ').nth(1) != Some("200") {
        return Err(bad(line.trim()));
    }
    let mut length = None;
    for _ in 0..HEAD_LINES_MAX {
        line.clear();
        connection.read_line(&mut line)?;
        let header = line.trim();
        if header.is_empty() {
            let length = length.filter(|length| *length <= BODY_BYTES_MAX).ok_or_else(|| bad("no length"))?;
            let mut body = vec![0; length];
            connection.read_exact(&mut body)?;
            return Ok(body);
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
    }
    Err(bad("too long a head"))
}
