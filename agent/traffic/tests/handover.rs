//! Published ports move between two real backends, while clients come.

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{DEVICE, Space, nft, run, to_host, until, wait};
use takt_load::{Backend, Clients, Report, Spec, now};
use takt_traffic::{Sockets, Traffic, allocate, connections};

/// What clients use.
const PUBLISHED: u16 = 8080;
/// Swaps under load: the figure of the promise.
const SWAPS: usize = 100;
/// Connections that each of the two groups of clients makes, at least, between two swaps.
const BETWEEN: u64 = 20;

fn traffic() -> Traffic {
    Traffic::new(DEVICE).unwrap()
}

/// Two backends at direct ports of the device, on all its addresses.
fn backends() -> [Backend; 2] {
    let ports = allocate(2, &BTreeSet::from([PUBLISHED]), 1).unwrap();
    let start = |port: u16, name| Backend::start(([0_u16; 8], port).into(), name).unwrap();
    [start(ports[0], "old"), start(ports[1], "new")]
}

fn route(port: u16, backend: &Backend) {
    wait(traffic().route(&to_host(port, backend.address().port()))).unwrap();
}

/// One connection: its whole answer.
fn answer(address: impl Into<SocketAddr>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_millis(900))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.rsplit('\n').next().unwrap_or_default().to_owned())
}

/// A connection that stays open.
fn stay(address: impl Into<SocketAddr>) -> TcpStream {
    let mut stream = TcpStream::connect(address.into()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(echoes(&mut stream, b"!"));
    stream
}

/// Whether it still goes both ways.
fn echoes(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut back = vec![0; bytes.len()];
    stream.write_all(bytes).is_ok() && stream.read_exact(&mut back).is_ok() && back == bytes
}

/// Which backend may answer a connection, by when it was begun.
#[derive(Debug, Default)]
struct Rota(Mutex<Vec<(Instant, &'static str)>>);

impl Rota {
    /// From now on only this one may answer.
    fn settled(&self, name: &'static str) {
        self.0.lock().unwrap().push((now(), name));
    }

    /// One that was begun after the last move, and before a next one can have begun, is answered by nobody else. What
    /// overlaps with a move may be answered by either, but by one of the two.
    fn judge(&self, begun: Instant, answer: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(answer).rsplit('\n').next().unwrap_or_default().to_owned();
        let rota = self.0.lock().unwrap();
        let at = rota.partition_point(|(from, _)| *from <= begun);
        let allowed: Vec<_> = rota[at.saturating_sub(1)..].iter().map(|(_, name)| *name).collect();
        if allowed.contains(&name.as_str()) || (at == rota.len() && moving(&rota, &name)) {
            return Ok(());
        }
        Err(format!("'{name}' has answered instead of {allowed:?}"))
    }
}
