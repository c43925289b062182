//! The clients.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

use crate::clock::{now, rest};
use crate::record::{Record, Report};

/// Clients at one time; more only wait for each other.
const CLIENTS_MAX: u32 = 256;
/// An answer that is longer is cut off, and judged by what there is.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How far a client may fall behind its pace and still catch up; then it starts anew from here.
const BEHIND_MAX: Duration = Duration::from_millis(20);

/// Says whether an answer is right: when its connection was begun, and what came.
pub type Judge = dyn Fn(Instant, &[u8]) -> Result<(), String> + Send + Sync;

/// What to ask, and how often.
#[derive(Clone)]
pub struct Spec {
    /// Whom.
    pub target: SocketAddr,
    /// So many clients, each in a thread of its own, with one connection at a time.
    pub clients: u32,
    /// New connections a second, all clients together; as many as they can if absent.
    pub per_sec: Option<u32>,
    /// What is sent.
    pub request: Vec<u8>,
    /// Each of connecting, sending and receiving fails after this. Below a second, a lost first packet is a failure:
    /// the kernel sends it again only then.
    pub patience: Duration,
    /// Judges what came.
    pub judge: Arc<Judge>,
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("target", &self.target)
            .field("clients", &self.clients)
            .field("per_sec", &self.per_sec)
            .finish_non_exhaustive()
    }
}

impl Spec {
    /// An HTTP request for `path`, from eight clients as fast as they can; any answer with status 200 is right.
    pub fn http(target: SocketAddr, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n");
        let judge = |_: Instant, answer: &[u8]| {
            let head = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            if head.split(|byte| *byte == b' ').nth(1) == Some(b"200") {
                return Ok(());
            }
            Err(format!("the answer is '{}'", String::from_utf8_lossy(head)))
        };
        Self {
            target,
            clients: 8,
            per_sec: None,
            request: request.into_bytes(),
            patience: Duration::from_millis(900),
            judge: Arc::new(judge),
        }
    }
}

/// The clients cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No clients, or too many.
    #[error("run {0} clients: 1 to {CLIENTS_MAX} are possible")]
    Clients(u32),
    /// No thread for a client.
    #[error("start a thread for a client")]
    Thread(#[source] io::Error),
}

/// Clients at work, until they are told to stop. Their connections come from the network namespace of the thread that
/// has started them.
#[derive(Debug)]
pub struct Clients {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts them.
    pub fn start(spec: &Spec) -> Result<Self, LoadError> {
        if spec.clients == 0 || spec.clients > CLIENTS_MAX {
            return Err(LoadError::Clients(spec.clients));
        }
        let record = Arc::new(Record::new(now()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Self { record, stop, threads: Vec::new() };
        for _ in 0..spec.clients {
            let (record, stop) = (Arc::clone(&clients.record), Arc::clone(&clients.stop));
            let spec = spec.clone();
            let thread = std::thread::Builder::new().name("client".into());
            let thread = thread.spawn(move || work(&spec, &record, &stop)).map_err(LoadError::Thread)?;
            clients.threads.push(thread);
        }
        Ok(clients)
    }

    /// How many connections were answered as they should be, and how many were not, up to now.
    pub fn counts(&self) -> (u64, u64) {
        self.record.counts()
    }

    /// Lets every client end its last connection, and tells what has come of all.
    pub fn stop(mut self) -> Report {
        let end = now();
        self.end();
        self.record.report(end)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A client that panicked has said so; its connections are missing in the counts.
            let _ended = thread.join();
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

fn work(spec: &Spec, record: &Record, stop: &AtomicBool) {
    let pace = spec.per_sec.map(|per_sec| Duration::from_secs(1) * spec.clients / per_sec.max(1));
    let mut answer = Vec::new();
    let mut due = now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(pace) = pace {
            let ahead = due.saturating_duration_since(now());
            if !ahead.is_zero() {
                rest(ahead);
            }
            due = (due + pace).max(now().checked_sub(BEHIND_MAX).unwrap_or(due));
        }
        let begun = now();
        let went = ask(spec, &mut answer).map_err(|(doing, error)| format!("{doing}: {error}"));
        let ended = now();
        match went.and_then(|()| (spec.judge)(begun, &answer)) {
            Ok(()) => record.answered(begun, ended),
            Err(what) => record.failed(begun, ended, what),
        }
    }
}

/// One connection, up to the backend's close.
fn ask(spec: &Spec, answer: &mut Vec<u8>) -> Result<(), (&'static str, io::Error)> {
    let doing = |doing: &'static str| move |error| (doing, error);
    let mut stream = connect(spec).map_err(doing("connect"))?;
    stream.write_all(&spec.request).map_err(doing("send"))?;
    answer.clear();
    stream.take(ANSWER_BYTES_MAX).read_to_end(answer).map_err(doing("receive"))?;
    Ok(())
}

/// The limit of sending is that of connecting too (socket(7)), so that it takes no more calls than there must be: what a
/// client costs, backends miss.
fn connect(spec: &Spec) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(spec.target), Type::STREAM, None)?;
    socket.set_write_timeout(Some(spec.patience))?;
    socket.set_read_timeout(Some(spec.patience))?;
    socket.connect(&spec.target.into()).map_err(|error| match error.raw_os_error() {
        // So the kernel says that the limit has passed.
        Some(number) if number == Errno::EINPROGRESS as i32 => io::ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::Backend;

    fn spec(target: SocketAddr) -> Spec {
        Spec { clients: 2, patience: Duration::from_millis(200), ..Spec::http(target, "/") }
    }

    fn after(connections: u64, clients: Clients) -> Report {
        let begun = now();
        while clients.counts().0 + clients.counts().1 < connections {
            assert!(begun.elapsed() < Duration::from_secs(20), "the clients stand still");
            rest(Duration::from_millis(1));
        }
        clients.stop()
    }

    #[test]
    fn every_connection_is_counted_once_and_judged() {
        let backend = Backend::start(([127, 0, 0, 1], 0).into(), "one").unwrap();
        let report = after(100, Clients::start(&spec(backend.address())).unwrap());
        assert_eq!((report.failed, &report.failures), (0, &Vec::new()));
        assert!(report.answered >= 100 && report.slowest > Duration::ZERO);
        assert_eq!(report.answered, backend.served());

        let picky = Arc::new(|_: Instant, answer: &[u8]| Err(String::from_utf8_lossy(answer).into_owned()));
        let report = after(5, Clients::start(&Spec { judge: picky, ..spec(backend.address()) }).unwrap());
        assert_eq!(report.answered, 0);
        assert!(report.failures[0].what.ends_with("\r\n\r\none"), "{report:?}");
    }

    #[test]
    fn a_port_with_nobody_behind_it_and_a_silent_one_are_failures() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let silent = after(2, Clients::start(&spec(address)).unwrap());
        assert!(silent.failures[0].what.starts_with("receive: "), "{silent:?}");
        assert!(silent.failures[0].took >= Duration::from_millis(200));
        drop(listener);
        let nobody = after(2, Clients::start(&spec(address)).unwrap());
        assert!(nobody.answered == 0 && nobody.failures[0].what.starts_with("connect: "), "{nobody:?}");
    }

    #[test]
    fn a_pace_is_kept() {
        let backend = Backend::start(([127, 0, 0, 1], 0).into(), "one").unwrap();
        let spec = Spec { per_sec: Some(500), ..spec(backend.address()) };
        let report = after(100, Clients::start(&spec).unwrap());
        // Catching up after a pause of the machine adds a few.
        assert!(report.per_sec() < 800.0, "{}", report.per_sec());
        assert!(matches!(Clients::start(&Spec { clients: 0, ..spec }), Err(LoadError::Clients(0))));
    }
}
