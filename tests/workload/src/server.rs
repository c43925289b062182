//! The counter and its HTTP server: a few threads answer those who ask one thing and leave, and who stays gets a thread of
//! its own. Both have a limit.

use std::io::{self, BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::{Request, RequestError, Response};
use crate::nature::Nature;
use crate::settings::Settings;

/// Connections that stay, at one time; further ones are closed after their first answer. A few clients and a health check need three.
const CONNECTIONS_MAX: usize = 256;
/// Threads that accept. A new one for each connection would cost more than the answer.
const ACCEPTORS: usize = 3;
/// Who has not asked within this does not keep others waiting.
const AT_ONCE: Duration = Duration::from_millis(20);
/// A silent connection is closed after this: longer than a client pauses between two requests.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What the workload keeps: only in memory, so that a restart shows.
#[derive(Debug)]
pub struct Counter {
    settings: Settings,
    count: AtomicU64,
    connections: AtomicUsize,
    /// Never read: it is only there to be kept.
    _held: Vec<u64>,
}

/// What is done about a request.
enum Deed {
    Answer(Response),
    /// The connection stays open until the client gives up.
    StaySilent,
}

/// What is done about a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It may ask again.
    Listen,
    /// Whatever comes next is read and ignored, until the client leaves.
    StaySilent,
    Close,
}

impl Counter {
    /// A counter at zero.
    pub fn new(settings: Settings) -> Self {
        let held = noise(settings.hold_mib);
        Self { settings, count: AtomicU64::new(0), connections: AtomicUsize::new(0), _held: held }
    }

    fn handle(&self, request: &Request) -> Deed {
        if request.method != "GET" {
            return Deed::Answer(Response {
                status: "405 Method Not Allowed",
                json: r#"{"allowed":"GET"}"#.into(),
            });
        }
        match request.path.as_str() {
            "/" => {
                let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
                Deed::Answer(self.show(count))
            }
            "/counter" => Deed::Answer(self.show(self.count.load(Ordering::SeqCst))),
            "/health" => match self.settings.nature {
                Nature::Mute => Deed::StaySilent,
                Nature::Sick => Deed::Answer(Response {
                    status: "500 Internal Server Error",
                    json: r#"{"healthy":false}"#.into(),
                }),
                Nature::Good | Nature::DiesAfter(_) | Nature::WontStart => {
                    Deed::Answer(Response { status: "200 OK", json: r#"{"healthy":true}"#.into() })
                }
            },
            _ => Deed::Answer(Response {
                status: "404 Not Found",
                json: r#"{"paths":["/","/counter","/health"]}"#.into(),
            }),
        }
    }

    fn show(&self, count: u64) -> Response {
        let version = json_text(&self.settings.version);
        let device = json_text(&self.settings.device);
        Response {
            status: "200 OK",
            json: format!(r#"{{"version":{version},"counter":{count},"device":{device}}}"#),
        }
    }

    /// Answers the first request, and leaves everything else to a thread of its own.
    fn receive(self: &Arc<Self>, connection: TcpStream) -> Result<(), RequestError> {
        connection.set_read_timeout(Some(AT_ONCE)).map_err(RequestError::Read)?;
        let mut requests = BufReader::new(connection);
        let next = match requests.fill_buf() {
            Err(error) if is_late(&error) => Next::Listen,
            Err(error) => return Err(RequestError::Read(error)),
            Ok([]) => Next::Close,
            Ok(asked) if asked.ends_with(b"\r\n\r\n") => self.answer(&mut requests)?,
            Ok(_not_whole_yet) => Next::Listen,
        };
        if next == Next::Close {
            return Ok(());
        }
        if self.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            return Ok(());
        }
        let shared = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("connection".into()).spawn(move || {
            // A client that leaves or talks nonsense harms only itself.
            let _ended = shared.converse(requests, next);
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            self.connections.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn converse(&self, mut requests: BufReader<TcpStream>, mut next: Next) -> Result<(), RequestError> {
        let set_up = |connection: &TcpStream| {
            connection.set_nodelay(true)?;
            connection.set_read_timeout(Some(SILENCE_MAX))?;
            connection.set_write_timeout(Some(SILENCE_MAX))
        };
        set_up(requests.get_ref()).map_err(RequestError::Read)?;
        while next == Next::Listen {
            next = self.answer(&mut requests)?;
        }
        if next == Next::StaySilent {
            io::copy(&mut requests, &mut io::sink()).map_err(RequestError::Read)?;
        }
        Ok(())
    }

    /// Answers one request.
    fn answer(&self, requests: &mut BufReader<TcpStream>) -> Result<Next, RequestError> {
        let request = Request::read(requests)?;
        match self.handle(&request) {
            Deed::Answer(response) => {
                response.write(&mut requests.get_ref(), request.keep_alive).map_err(RequestError::Read)?;
                Ok(if request.keep_alive { Next::Listen } else { Next::Close })
            }
            Deed::StaySilent => Ok(Next::StaySilent),
        }
    }
}

/// So much memory in which no two pages are alike and none is empty (xorshift64, Marsaglia 2003): nothing that keeps it
/// can make it smaller.
fn noise(mib: usize) -> Vec<u64> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..(mib << 20) / size_of::<u64>()).map(next).collect()
}

/// Serves for ever. Ends only when the listener breaks; another of those who accept ends the process then.
pub fn serve(counter: &Arc<Counter>, listener: &TcpListener) -> io::Result<()> {
    for _ in 1..ACCEPTORS {
        let (counter, listener) = (Arc::clone(counter), listener.try_clone()?);
        std::thread::spawn(move || {
            if let Err(error) = accept(&counter, &listener) {
                eprintln!("cannot accept: {error}");
                std::process::exit(1);
            }
        });
    }
    accept(counter, listener)
}

fn accept(counter: &Arc<Counter>, listener: &TcpListener) -> io::Result<()> {
    loop {
        match listener.accept() {
            // A client that leaves or talks nonsense harms only itself.
            Ok((connection, _)) => drop(counter.receive(connection)),
            Err(error) if is_the_clients_fault(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_the_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A text as JSON, quotes included.
fn json_text(text: &str) -> String {
    use std::fmt::Write as _;
    let mut json = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            control if control < ' ' => {
                write!(json, "\\u{:04x}", u32::from(control)).expect("a String takes any text");
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(counter: &Counter, path: &str) -> Option<Response> {
        let request = Request { method: "GET".into(), path: path.into(), keep_alive: true };
        match counter.handle(&request) {
            Deed::Answer(response) => Some(response),
            Deed::StaySilent => None,
        }
    }

    fn counter(nature: Nature) -> Counter {
        Counter::new(Settings {
            address: ([127, 0, 0, 1], 1).into(),
            version: "2.0.0".into(),
            nature,
            device: "ca\"m\n".into(),
            hold_mib: 0,
        })
    }

    #[test]
    fn only_the_front_page_counts() {
        let counter = counter(Nature::Good);
        assert_eq!(
            ask(&counter, "/counter").unwrap().json,
            r#"{"version":"2.0.0","counter":0,"device":"ca\"m\u000a"}"#
        );
        assert!(ask(&counter, "/").unwrap().json.contains(r#""counter":1,"#));
        ask(&counter, "/health");
        assert!(ask(&counter, "/counter").unwrap().json.contains(r#""counter":1,"#));
    }

    #[test]
    fn what_is_held_has_its_size_and_no_two_equal_pages() {
        let held = noise(1);
        assert_eq!(size_of_val(held.as_slice()), 1 << 20);
        let pages: std::collections::BTreeSet<&[u64]> = held.chunks(512).collect();
        assert_eq!(pages.len(), 256);
    }

    #[test]
    fn health_follows_the_nature() {
        let status = |nature| ask(&counter(nature), "/health").map(|response| response.status);
        assert_eq!(status(Nature::Good), Some("200 OK"));
        assert_eq!(status(Nature::Sick), Some("500 Internal Server Error"));
        assert_eq!(status(Nature::Mute), None);
        assert!(ask(&counter(Nature::Mute), "/").is_some(), "a mute workload still counts");
    }
}
