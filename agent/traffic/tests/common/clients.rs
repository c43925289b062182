//! Clients of a published port, and who may answer them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use takt_load::{Clients, Report, Spec, now};
use takt_traffic::{Leads, Traffic};

use super::{DEVICE, wait};

/// One connection: its whole answer.
pub(crate) fn answer(address: impl Into<SocketAddr>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_millis(900))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.rsplit('\n').next().unwrap_or_default().to_owned())
}

/// A connection that stays open.
pub(crate) fn stay(address: impl Into<SocketAddr>) -> TcpStream {
    let mut stream = TcpStream::connect(address.into()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(echoes(&mut stream, b"!"));
    stream
}

/// A connection on which the client has not said anything yet.
pub(crate) fn stay_idle(address: impl Into<SocketAddr>) -> TcpStream {
    TcpStream::connect(address.into()).unwrap()
}

/// Whether it still goes both ways.
pub(crate) fn echoes(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let mut back = vec![0; bytes.len()];
    stream.write_all(bytes).is_ok() && stream.read_exact(&mut back).is_ok() && back == bytes
}

/// Which backend may answer a connection, by when it was begun: each move with its end, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Rota(Mutex<Vec<(&'static str, Option<Instant>)>>);

impl Rota {
    /// Moves the port to a backend.
    pub(crate) fn route(&self, leads: &Leads, name: &'static str) {
        self.0.lock().unwrap().push((name, None));
        wait(Traffic::new(DEVICE).unwrap().route(leads)).unwrap();
        self.0.lock().unwrap().last_mut().unwrap().1 = Some(now());
    }

    /// The one to which the last move before it led, or one of those to which moves have led since.
    fn judge(&self, begun: Instant, answer: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(answer).rsplit('\n').next().unwrap_or_default().to_owned();
        let rota = self.0.lock().unwrap();
        let settled = rota.iter().rposition(|(_, end)| end.is_some_and(|end| end <= begun)).unwrap_or(0);
        let allowed: Vec<_> = rota[settled..].iter().map(|(name, _)| *name).collect();
        if allowed.contains(&name.as_str()) {
            return Ok(());
        }
        Err(format!("'{name}' has answered instead of {allowed:?}"))
    }
}

/// Clients without a pause, judged by the rota.
pub(crate) fn clients(target: SocketAddr, rota: &Arc<Rota>) -> Clients {
    let rota = Arc::clone(rota);
    let judge = Arc::new(move |begun: Instant, answer: &[u8]| rota.judge(begun, answer));
    Clients::start(&Spec { clients: 4, judge, ..Spec::http(target, "/") }).unwrap()
}

pub(crate) fn told(what: &str, report: &Report) {
    println!(
        "{what}: {} connections, {:.0} a second, {} failed, the slowest took {:.1} ms",
        report.answered,
        report.per_sec(),
        report.failed,
        report.slowest.as_secs_f64() * 1_000.0
    );
    assert_eq!((report.failed, &report.failures), (0, &Vec::new()), "{what}");
}
