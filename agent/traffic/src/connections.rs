//! Whom a backend still serves.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};

use crate::error::TrafficError;
use crate::netlink::{count_tcp, tcp_sockets};

/// States of a TCP socket of a backend, by the kernel's numbers, in which it may still have something to hear or to say.
/// Listening is none of them, and neither are FIN-WAIT-2 and TIME-WAIT: there the client has got all.
const SERVING: [u8; 6] = [ESTABLISHED, SYN_RECEIVED, FIN_WAIT_1, CLOSE_WAIT, LAST_ACK, CLOSING];
const ESTABLISHED: u8 = 1;
const SYN_RECEIVED: u8 = 3;
const FIN_WAIT_1: u8 = 4;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// In which network a backend's sockets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// In the device's own: its container is on the host's network.
    OfDevice,
    /// In that of its container, whose first process has this id.
    OfProcess(u32),
}

/// How many clients' TCP connections a backend at this port serves: those that it has not accepted yet and those that
/// are half closed included, whichever way they came.
///
/// It takes a few milliseconds: the kernel walks through the sockets itself and passes the many that have just ended.
pub fn connections(sockets: Sockets, port: u16) -> Result<u32, TrafficError> {
    let failed = |source| TrafficError::Netlink { what: "the TCP connections of a backend", source };
    let states = SERVING.iter().fold(0, |states, state| states | 1 << state);
    count_tcp(&sockets.ask(failed)?, port, states).map_err(failed)
}

impl Sockets {
    /// A netlink socket that asks about them. What says `failed` is for those of the device.
    pub(crate) fn ask(self, failed: impl FnOnce(io::Error) -> TrafficError) -> Result<OwnedFd, TrafficError> {
        let pid = match self {
            Self::OfDevice => return tcp_sockets().map_err(failed),
            Self::OfProcess(pid) => pid,
        };
        let entered = |source| TrafficError::Enter { pid, source };
        let network = File::open(format!("/proc/{pid}/ns/net")).map_err(entered)?;
        // Entering is for a thread of its own, which ends; the socket belongs to that network for good.
        let made = std::thread::Builder::new().spawn(move || -> io::Result<_> {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            tcp_sockets()
        });
        let made = made.map_err(entered)?.join();
        made.unwrap_or_else(|_| Err(io::Error::other("the thread has panicked"))).map_err(entered)
    }
}
