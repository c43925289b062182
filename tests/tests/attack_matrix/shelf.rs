//! The HTTPS server that devices ask for documents and artifacts, in an attacker's hands: it has the true certificate and the
//! true files, and serves what it likes in their place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use takt_coordinator::identity::Identity;
use takt_coordinator::tls::{ClientCertificate, ServerIdentity, server_config};
use takt_tests::fleet::{now, pause};

/// A client that is silent for so long is let go.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// A question is shorter.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// "Endless" ends here: whoever has taken so much would take any amount.
const ENDLESS_BYTES: usize = 64 << 20;

/// How something is served.
#[derive(Debug, Clone)]
pub(crate) enum Serve {
    /// These bytes, from where they are asked for.
    Bytes(Vec<u8>),
    /// These bytes from their beginning on, whatever is asked for, of which only so many come; `states` is the length that
    /// the answer states.
    Part { bytes: Vec<u8>, come: usize, states: usize },
    /// An answer without a body.
    Status(u16),
    /// Bytes without an end, without a stated length.
    Endless(u8),
    /// So many bytes at a time, with a pause after each.
    Drip { bytes: Vec<u8>, piece: usize, pause: Duration },
    /// The connection ends before an answer.
    Nothing,
    /// One after the other, each for one question; the last one for all that follow.
    Turns(Vec<Serve>),
}

/// What is served in the place of what is true, by path below `/api/v1/`.
#[derive(Debug, Default)]
struct Lies {
    by_path: BTreeMap<String, Serve>,
    asked: BTreeMap<String, usize>,
    timestamp: Vec<u8>,
}

#[derive(Debug)]
struct Files {
    documents: PathBuf,
    artifacts: PathBuf,
    lies: Mutex<Lies>,
}

/// The server. Its threads end with the test.
#[derive(Debug)]
pub(crate) struct Shelf {
    port: u16,
    files: Arc<Files>,
}

impl Shelf {
    /// With the certificate of the coordinator whose folder this is, its artifacts, and the publishers' documents.
    pub(crate) fn open(coordinator: &Path, documents: &Path) -> Self {
        let Identity { ca, .. } = Identity::load(coordinator).unwrap();
        let server = ServerIdentity::new(&ca, &["127.0.0.1".to_owned()], now()).unwrap();
        let tls = server_config(&server, ca.certificate(), ClientCertificate::Optional).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = Arc::new(Files {
            documents: documents.to_owned(),
            artifacts: coordinator.join("artifacts"),
            lies: Mutex::default(),
        });
        let shared = Arc::clone(&files);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (files, tls) = (Arc::clone(&shared), Arc::clone(&tls));
                // Whoever breaks off gets no more.
                std::thread::spawn(move || client.and_then(|client| files.answer(client, tls)));
            }
        });
        Self { port, files }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The timestamp that is true now.
    pub(crate) fn set_timestamp(&self, bytes: Vec<u8>) {
        self.files.lies.lock().unwrap().timestamp = bytes;
    }

    /// From now on this is served at the path, such as `repository/timestamp.json`.
    pub(crate) fn lie(&self, path: &str, serve: Serve) {
        self.files.lies.lock().unwrap().by_path.insert(path.to_owned(), serve);
    }

    /// A document of the repository.
    pub(crate) fn lie_document(&self, name: &str, bytes: Vec<u8>) {
        self.lie(&format!("repository/{name}"), Serve::Bytes(bytes));
    }

    /// From now on all is true.
    pub(crate) fn be_honest(&self) {
        let mut lies = self.files.lies.lock().unwrap();
        lies.by_path.clear();
        lies.asked.clear();
    }
}

impl Files {
    fn answer(&self, client: TcpStream, tls: Arc<ServerConfig>) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(SILENCE_MAX))?;
        client.set_write_timeout(Some(SILENCE_MAX))?;
        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, client);
        let head = head(&mut stream)?;
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches("/api/v1/").to_owned();
        let range = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let first = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?;
            if name.eq_ignore_ascii_case("range") { first.parse().ok() } else { None }
        });
        serve(&mut stream, self.for_path(&path), range)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn for_path(&self, path: &str) -> Serve {
        let mut lies = self.lies.lock().unwrap();
        if let Some(serve) = lies.by_path.get(path).cloned() {
            let asked = lies.asked.entry(path.to_owned()).or_default();
            *asked += 1;
            return match serve {
                Serve::Turns(turns) => turns[(*asked - 1).min(turns.len() - 1)].clone(),
                other => other,
            };
        }
        let found = match path.split_once('/') {
            Some(("repository", "timestamp.json")) => Some(lies.timestamp.clone()),
            Some(("repository", name)) => fs::read(self.documents.join(name)).ok(),
            Some(("artifacts", digest)) => fs::read(self.artifacts.join(digest)).ok(),
            _ => None,
        };
        found.map_or(Serve::Status(404), Serve::Bytes)
    }
}

fn head(stream: &mut impl io::Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn serve(stream: &mut impl Write, what: Serve, from: Option<usize>) -> io::Result<()> {
    let close = "connection: close\r\n\r\n";
    match what {
        Serve::Bytes(bytes) => {
            let from = from.filter(|from| *from < bytes.len());
            let length = bytes.len();
            let range = from.map(|from| format!("content-range: bytes {from}-{}/{length}\r\n", length - 1));
            let rest = &bytes[from.unwrap_or(0)..];
            let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
            let range = range.unwrap_or_default();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{range}{close}", rest.len())?;
            stream.write_all(rest)
        }
        Serve::Part { bytes, come, states } => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {states}\r\n{close}")?;
            stream.write_all(&bytes[..come])
        }
        Serve::Status(status) => {
            write!(stream, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n{close}")
        }
        Serve::Endless(byte) => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}")?;
            let piece = [byte; 16 * 1024];
            for _ in 0..ENDLESS_BYTES / piece.len() {
                stream.write_all(&piece)?;
            }
            Ok(())
        }
        Serve::Drip { bytes, piece, pause: rest } => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{close}", bytes.len())?;
            for piece in bytes.chunks(piece) {
                stream.write_all(piece)?;
                stream.flush()?;
                pause(rest);
            }
            Ok(())
        }
        Serve::Nothing | Serve::Turns(_) => Ok(()),
    }
}
