//! The wire between a device and what it talks to, in an attacker's hands: TCP on 127.0.0.1, in which bytes are read, lost, kept
//! back, changed, repeated and added. There is no key here.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takt_tests::fleet::pause;

/// So much is passed on at once at the most.
const PIECE_BYTES: usize = 4_096;
/// What is kept of all that has passed.
const TAP_BYTES_MAX: usize = 32 << 20;

/// Towards whom bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Device,
    Server,
}

/// What is done to the bytes. All but `Pass` and `Refuse` are done once, after so many bytes in that direction.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Pass,
    /// Connections end at once.
    Refuse,
    /// The connection ends.
    Cut {
        to: To,
        after: u64,
    },
    /// This many bytes vanish.
    Lose {
        to: To,
        after: u64,
        bytes: usize,
    },
    /// A bit of a byte is changed.
    Flip {
        to: To,
        after: u64,
        bit: u8,
    },
    /// These come between.
    Inject {
        to: To,
        after: u64,
        bytes: Vec<u8>,
    },
    /// What has just passed comes again.
    Repeat {
        to: To,
        after: u64,
    },
    /// So many bytes go one by one, with a pause after each.
    Drip {
        to: To,
        bytes: u64,
        pause: Duration,
    },
    /// So many bytes of nonsense follow.
    Flood {
        to: To,
        after: u64,
        bytes: usize,
    },
}

#[derive(Debug)]
struct Shared {
    server: u16,
    deed: Mutex<Deed>,
    /// Bytes in each direction since the deed was set.
    passed: [AtomicU64; 2],
    done: AtomicUsize,
    tap: Mutex<Vec<u8>>,
    /// What devices have said on each connection.
    said: Mutex<Vec<Vec<u8>>>,
    open: Mutex<Vec<TcpStream>>,
}

#[derive(Debug)]
pub(crate) struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

impl Wire {
    /// A way to the port; its threads end with the test.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            deed: Mutex::new(Deed::Pass),
            passed: Default::default(),
            done: AtomicUsize::new(0),
            tap: Mutex::default(),
            said: Mutex::default(),
            open: Mutex::default(),
        });
        let way = Arc::clone(&shared);
        std::thread::spawn(move || {
            for device in listener.incoming() {
                // A side that is not there is a connection that ends at once.
                let _ended = device.and_then(|device| connect(&way, device));
            }
        });
        Self { port, shared }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on this is done.
    pub(crate) fn set(&self, deed: Deed) {
        self.shared.passed.iter().for_each(|passed| passed.store(0, Ordering::SeqCst));
        let refuse = matches!(deed, Deed::Refuse);
        *self.shared.deed.lock().unwrap() = deed;
        if refuse {
            self.cut();
        }
    }

    /// How often a deed was done.
    pub(crate) fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        for side in self.shared.open.lock().unwrap().drain(..) {
            // Most of them have ended long ago.
            let _gone = side.shutdown(Shutdown::Both);
        }
    }

    /// All that has passed since this was asked last.
    pub(crate) fn tapped(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.tap.lock().unwrap())
    }

    /// What devices have said on the last connection.
    pub(crate) fn said_last(&self) -> Vec<u8> {
        self.shared.said.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn connect(way: &Arc<Shared>, device: TcpStream) -> io::Result<()> {
    if matches!(*way.deed.lock().unwrap(), Deed::Refuse) {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, way.server))?;
    device.set_nodelay(true)?;
    server.set_nodelay(true)?;
    way.open.lock().unwrap().extend([device.try_clone()?, server.try_clone()?]);
    let connection = {
        let mut said = way.said.lock().unwrap();
        said.push(Vec::new());
        said.len() - 1
    };
    for (mut from, mut to, direction) in
        [(device.try_clone()?, server.try_clone()?, To::Server), (server, device, To::Device)]
    {
        let way = Arc::clone(way);
        std::thread::spawn(move || {
            // However it ends, it ends for both sides.
            let _ended = way.pass(&mut from, &mut to, direction, connection);
            for side in [&from, &to] {
                let _gone = side.shutdown(Shutdown::Both);
            }
        });
    }
    Ok(())
}

impl Shared {
    fn pass(&self, from: &mut TcpStream, to: &mut TcpStream, way: To, connection: usize) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            let bytes = &mut piece[..length];
            self.listen(bytes, way, connection);
            let before =
                self.passed[usize::from(way == To::Device)].fetch_add(length as u64, Ordering::SeqCst);
            let deed = self.deed.lock().unwrap().clone();
            let reaches = |after: u64| before + length as u64 > after;
            match deed {
                Deed::Cut { to: towards, after } if towards == way && reaches(after) => {
                    self.once();
                    return Ok(());
                }
                Deed::Lose { to: towards, after, bytes: lost } if towards == way && reaches(after) => {
                    self.once();
                    to.write_all(&bytes[lost.min(length)..])?;
                }
                Deed::Flip { to: towards, after, bit } if towards == way && reaches(after) => {
                    self.once();
                    let at = usize::try_from(after.saturating_sub(before)).unwrap();
                    bytes[at] ^= 1 << bit;
                    to.write_all(bytes)?;
                }
                Deed::Inject { to: towards, after, bytes: more } if towards == way && reaches(after) => {
                    self.once();
                    to.write_all(&more)?;
                    to.write_all(bytes)?;
                }
                Deed::Repeat { to: towards, after } if towards == way && reaches(after) => {
                    self.once();
                    to.write_all(bytes)?;
                    to.write_all(bytes)?;
                }
                Deed::Flood { to: towards, after, bytes: more } if towards == way && reaches(after) => {
                    self.once();
                    to.write_all(bytes)?;
                    for _ in 0..more / PIECE_BYTES {
                        to.write_all(&[0x5a; PIECE_BYTES])?;
                    }
                }
                Deed::Drip { to: towards, bytes: slow, pause: rest } if towards == way && before < slow => {
                    self.done.fetch_add(1, Ordering::SeqCst);
                    let slow = usize::try_from(slow - before).unwrap().min(length);
                    for byte in &bytes[..slow] {
                        to.write_all(std::slice::from_ref(byte))?;
                        pause(rest);
                    }
                    to.write_all(&bytes[slow..])?;
                }
                _ => to.write_all(bytes)?,
            }
        }
    }

    fn once(&self) {
        *self.deed.lock().unwrap() = Deed::Pass;
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn listen(&self, bytes: &[u8], way: To, connection: usize) {
        let mut tap = self.tap.lock().unwrap();
        if tap.len() < TAP_BYTES_MAX {
            tap.extend_from_slice(bytes);
        }
        drop(tap);
        if way == To::Server {
            self.said.lock().unwrap()[connection].extend_from_slice(bytes);
        }
    }
}
