//! A way between two programs that a test can cut: TCP on 127.0.0.1, byte for byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::error::FleetError;

/// So many bytes are passed on at once at the most; a cut is as exact as that.
const PIECE_BYTES: usize = 4_096;

/// A port that leads to another one. It and all connections through it end when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Way {
    to: u16,
    ended: AtomicBool,
    closed: AtomicBool,
    /// Bytes from there to here until the cut.
    left: AtomicU64,
    cuts: AtomicUsize,
    /// From there to here, in all connections.
    carried: AtomicU64,
    /// Both ends of each connection.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A new port that leads to `port`.
    pub fn to(port: u16) -> Result<Self, FleetError> {
        let failed = FleetError::file("open a port for", format!("127.0.0.1:{port}"));
        let (listener, own) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr().map(|address| (listener, address.port())))
            .map_err(failed)?;
        let way = Arc::new(Way {
            to: port,
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            left: AtomicU64::new(u64::MAX),
            cuts: AtomicUsize::new(0),
            carried: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = std::thread::spawn({
            let way = Arc::clone(&way);
            move || way.accept(&listener)
        });
        Ok(Self { port: own, way, accepting: Some(accepting) })
    }

    /// The port that stands for the other one.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Once so many more bytes have come from the other side, the connection on which they come ends in the middle.
    pub fn cut_after(&self, bytes: u64) {
        self.way.left.store(bytes, Ordering::SeqCst);
    }

    /// How often a connection was cut so.
    pub fn cuts(&self) -> usize {
        self.way.cuts.load(Ordering::SeqCst)
    }

    /// How many bytes have come from the other side.
    pub fn carried(&self) -> u64 {
        self.way.carried.load(Ordering::SeqCst)
    }

    /// Ends all connections, and every new one at once.
    pub fn close(&self) {
        self.way.closed.store(true, Ordering::SeqCst);
        self.way.end_all();
    }

    /// Lets new connections through again.
    pub fn open(&self) {
        self.way.closed.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection; it ends all others.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
    }
}

impl Way {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for here in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                break;
            }
            // A side that is not there is a connection that ends at once.
            let _refused = here.and_then(|here| self.connect(here));
        }
        self.end_all();
    }

    fn connect(self: &Arc<Self>, here: TcpStream) -> io::Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let there = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extend([here.try_clone()?, there.try_clone()?]);
        drop(open);
        for (mut from, mut to, counted) in
            [(here.try_clone()?, there.try_clone()?, false), (there, here, true)]
        {
            let way = Arc::clone(self);
            std::thread::spawn(move || {
                // However it ends, it ends for both sides.
                let _ended = way.pass(&mut from, &mut to, counted);
                for side in [&from, &to] {
                    let _gone = side.shutdown(Shutdown::Both);
                }
            });
        }
        // Closed meanwhile.
        if self.closed.load(Ordering::SeqCst) {
            self.end_all();
        }
        Ok(())
    }

    fn pass(&self, from: &mut TcpStream, to: &mut TcpStream, counted: bool) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            if counted {
                self.carried.fetch_add(length as u64, Ordering::SeqCst);
                let left = self.left.load(Ordering::SeqCst);
                if left < length as u64 {
                    self.left.store(u64::MAX, Ordering::SeqCst);
                    self.cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                if left != u64::MAX {
                    self.left.fetch_sub(length as u64, Ordering::SeqCst);
                }
            }
            to.write_all(&piece[..length])?;
        }
    }

    fn end_all(&self) {
        for side in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Most of them have ended long ago.
            let _gone = side.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says `bytes` to everybody who comes.
    fn talker(bytes: usize) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let _heard = client.unwrap().write_all(&vec![7; bytes]);
            }
        });
        port
    }

    fn heard(port: u16) -> usize {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut all = Vec::new();
        // A reset is an end too.
        let _end = client.read_to_end(&mut all);
        all.len()
    }

    #[test]
    fn a_way_passes_all_until_it_is_cut_or_closed() {
        const BYTES: usize = 100_000;
        let proxy = Proxy::to(talker(BYTES)).unwrap();
        assert_eq!(heard(proxy.port()), BYTES);
        proxy.cut_after(30_000);
        let cut = heard(proxy.port());
        assert!(cut <= 30_000 && cut > 30_000 - 2 * PIECE_BYTES, "{cut}");
        assert_eq!(proxy.cuts(), 1);
        assert_eq!(heard(proxy.port()), BYTES, "it is cut once");
        proxy.close();
        assert_eq!(heard(proxy.port()), 0);
        proxy.open();
        assert_eq!(heard(proxy.port()), BYTES);
    }
}
