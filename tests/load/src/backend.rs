//! A tiny backend: answers every request with its name, and closes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};

/// Threads that accept: one that waits for a slow client must not stop the others.
const THREADS: usize = 4;
/// A client that says nothing is left after this.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Longer than the clients' requests.
const REQUEST_BYTES_MAX: usize = 4096;
/// What begins a connection that stays open; each further byte is sent back.
const STAY: u8 = b'!';

/// A backend in threads of its own. It listens in the network namespace of the thread that has started it.
///
/// A connection that begins with `!` stays open, and its bytes come back, until the client closes it.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    answer: Vec<u8>,
    served: AtomicU64,
    stop: AtomicBool,
}

impl Backend {
    /// Listens at `address`; port 0 stands for any free one.
    pub fn start(address: SocketAddr, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
        let shared = Arc::new(Shared {
            listener,
            answer: answer.into_bytes(),
            served: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let mut backend = Self { address, shared, threads: Vec::new() };
        for _ in 0..THREADS {
            let shared = Arc::clone(&backend.shared);
            backend.threads.push(std::thread::Builder::new().spawn(move || shared.serve())?);
        }
        Ok(backend)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers given so far.
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // No thread waits in `accept` any more after this.
        let _woken = shutdown(self.shared.listener.as_raw_fd(), Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            // A client that left before it was accepted harms only itself.
            let Ok((stream, _)) = self.listener.accept() else { continue };
            let _served = self.answer(stream);
        }
    }

    fn answer(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let mut request = [0; REQUEST_BYTES_MAX];
        let mut length = 0;
        // What is not read to its end would make the kernel reset the connection at its close.
        while !request[..length].ends_with(b"\r\n\r\n") {
            match stream.read(&mut request[length..])? {
                0 => return Ok(()),
                more => length += more,
            }
            if request[0] == STAY {
                stream.write_all(&request[..length])?;
                let shared = Arc::clone(self);
                // It ends with its client.
                std::thread::Builder::new().spawn(move || shared.echo(stream))?;
                return Ok(());
            }
        }
        stream.write_all(&self.answer)?;
        self.served.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn echo(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(None)?;
        let mut bytes = [0; REQUEST_BYTES_MAX];
        while !self.stop.load(Ordering::SeqCst) {
            match stream.read(&mut bytes)? {
                0 => break,
                length => stream.write_all(&bytes[..length])?,
            }
        }
        Ok(())
    }
}
