//! Small questions to the kernel over netlink: how often the rules of this network have changed, which TCP sockets there
//! are, and which connections it remembers.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// The kernel answers at once; this only ends what would never end.
const ANSWER_SECS_MAX: i64 = 5;
/// The kernel fills up to 32 KiB at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Of one question. A million sockets need some 12,000.
const DATAGRAMS_MAX: usize = 50_000;

/// Header of every message: length, type, flags, sequence number, sender (netlink(7)).
const HEADER_BYTES: usize = 16;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A subsystem's message: nf_tables, `NFT_MSG_GETGEN`, and its answer `NFT_MSG_NEWGEN` (linux/netfilter/nf_tables.h).
const GET_GENERATION: u16 = (10 << 8) | 16;
const NEW_GENERATION: u16 = (10 << 8) | 15;
/// Its attribute `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;
/// `struct nfgenmsg`.
const FAMILY_BYTES: usize = 4;

/// Remembered connections: `IPCTNL_MSG_CT_NEW`, `_GET` and `_DELETE` (linux/netfilter/nfnetlink_conntrack.h).
const TRACKED: u16 = 1 << 8;
const GET_TRACKED: u16 = TRACKED | 1;
const DELETE_TRACKED: u16 = TRACKED | 2;
/// Their attributes `CTA_ID` and `CTA_ZONE`.
pub(crate) const TRACKED_ID: u16 = 12;
pub(crate) const TRACKED_ZONE: u16 = 18;
/// `CTA_COUNTERS_ORIG` and `_REPLY`, which are there with `net.netfilter.nf_conntrack_acct`, and what they hold.
pub(crate) const COUNTERS: [u16; 2] = [NESTED + 9, NESTED + 10];
/// `NLA_F_NESTED`: attributes in an attribute.
const NESTED: u16 = 1 << 15;
const COUNTED_BYTES: u16 = 2;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const SOCKETS_BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2` and where `struct inet_diag_msg` has the socket's own port (linux/inet_diag.h).
const SOCKETS_REQUEST_BYTES: usize = 56;
const OWN_PORT_AT: usize = 4;
const PEER_PORT_AT: usize = 6;
const OWN_AT: usize = 8;
const PEER_AT: usize = 24;
const SOCKET_BYTES: usize = 72;
/// The attribute `INET_DIAG_INFO`: `struct tcp_info` (linux/tcp.h), with `tcpi_bytes_acked` and `tcpi_bytes_received`.
const TCP_INFO: u16 = 2;
const BYTES_ACKED_AT: usize = 120;
const BYTES_RECEIVED_AT: usize = 128;
const LISTENING: u32 = 1 << 10;
const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;
/// All states but `TCP_TIME_WAIT`: such a socket sends and expects nothing more (linux/net/tcp_states.h).
const NOT_OVER: u32 = !(1 << 6);

/// A message: its type and what follows on the header.
type Message<'a> = (u16, &'a [u8]);

/// A number that changes whenever any nftables rule of this network does.
pub(crate) fn generation() -> io::Result<u32> {
    let socket = open(SockProtocol::NetlinkNetFilter)?;
    let mut found = None;
    ask(&socket, GET_GENERATION, REQUEST, &[0; FAMILY_BYTES], &mut |(kind, body)| {
        if kind == NEW_GENERATION {
            found = attribute(body.get(FAMILY_BYTES..).unwrap_or_default(), GENERATION_ID)
                .and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)));
        }
        kind == NEW_GENERATION
    })?;
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A socket that asks about the TCP sockets of the network in which it is made, wherever it is used.
pub(crate) fn tcp_sockets() -> io::Result<OwnedFd> {
    open(SockProtocol::NetlinkSockDiag)
}

/// How many TCP sockets have this own port and are in one of these states (a bit for each).
pub(crate) fn count_tcp(socket: &OwnedFd, port: u16, states: u32) -> io::Result<u32> {
    let mut count: u32 = 0;
    each_tcp(socket, states, 0, |_, body| {
        if port_at(body, OWN_PORT_AT) == Some(port) {
            count = count.saturating_add(1);
        }
    })?;
    Ok(count)
}

/// The TCP sockets with these own ports whose connections are not over: own port and peer.
pub(crate) fn peers(socket: &OwnedFd, ports: &BTreeSet<u16>) -> io::Result<BTreeSet<(u16, SocketAddr)>> {
    let mut peers = BTreeSet::new();
    each_tcp(socket, NOT_OVER, 0, |family, body| {
        let own = port_at(body, OWN_PORT_AT).filter(|own| ports.contains(own));
        if let (Some(own), Some(peer)) = (own, end_at(family, body, PEER_AT, PEER_PORT_AT)) {
            peers.insert((own, peer));
        }
    })?;
    Ok(peers)
}

/// The ports at which TCP connections are awaited.
pub(crate) fn listening(socket: &OwnedFd) -> io::Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    each_tcp(socket, LISTENING, 0, |_, body| ports.extend(port_at(body, OWN_PORT_AT)))?;
    Ok(ports)
}

/// A TCP socket that has a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connected {
    /// Its own end.
    pub(crate) own: SocketAddr,
    /// The other one.
    pub(crate) peer: SocketAddr,
    /// Sent and acknowledged, and received; 0 where the kernel does not remember it any more.
    pub(crate) bytes: u64,
}

/// Gives the TCP sockets in one of these states (a bit for each) to `take`.
pub(crate) fn each_connected(
    socket: &OwnedFd,
    states: u32,
    mut take: impl FnMut(Connected),
) -> io::Result<()> {
    each_tcp(socket, states, 1 << (TCP_INFO - 1), |family, body| {
        let own = end_at(family, body, OWN_AT, OWN_PORT_AT);
        let peer = end_at(family, body, PEER_AT, PEER_PORT_AT);
        let info = attribute(body.get(SOCKET_BYTES..).unwrap_or_default(), TCP_INFO).unwrap_or_default();
        let count = |at: usize| {
            let bytes = info.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_ne_bytes)
        };
        let bytes = count(BYTES_ACKED_AT).saturating_add(count(BYTES_RECEIVED_AT));
        if let (Some(own), Some(peer)) = (own, peer) {
            take(Connected { own, peer, bytes });
        }
    })
}

/// With these `extensions` beside what is said of every socket.
fn each_tcp(
    socket: &OwnedFd,
    states: u32,
    extensions: u8,
    mut take: impl FnMut(u8, &[u8]),
) -> io::Result<()> {
    for family in [INET, INET6] {
        let mut request = [0; SOCKETS_REQUEST_BYTES];
        (request[0], request[1], request[2]) = (family, TCP, extensions);
        request[4..8].copy_from_slice(&states.to_ne_bytes());
        ask(socket, SOCKETS_BY_FAMILY, REQUEST | DUMP, &request, &mut |(kind, body)| {
            if kind == SOCKETS_BY_FAMILY {
                take(family, body);
            }
            false
        })?;
    }
    Ok(())
}

fn port_at(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
}

/// Where an end of a socket is. An IPv4 client of a socket for both is one of IPv4.
fn end_at(family: u8, body: &[u8], at: usize, port: usize) -> Option<SocketAddr> {
    let bytes: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
    let address = if family == INET {
        let [a, b, c, d, ..] = bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some((address, port_at(body, port)?).into())
}

/// A socket that asks about the connections that the kernel remembers in this network.
pub(crate) fn tracking() -> io::Result<OwnedFd> {
    open(SockProtocol::NetlinkNetFilter)
}

/// Gives the attributes of each connection that the kernel remembers to `take`.
pub(crate) fn each_tracked(socket: &OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    ask(socket, GET_TRACKED, REQUEST | DUMP, &[0; FAMILY_BYTES], &mut |(kind, body)| {
        if kind == TRACKED {
            take(body.get(FAMILY_BYTES..).unwrap_or_default());
        }
        false
    })
}

/// Lets the kernel forget the connection that these attributes name.
pub(crate) fn forget_tracked(socket: &OwnedFd, is_ipv6: bool, name: &[u8]) -> io::Result<()> {
    let family = if is_ipv6 { INET6 } else { INET };
    let request = [&[family, 0, 0, 0], name].concat();
    ask(socket, DELETE_TRACKED, REQUEST | ACKNOWLEDGE, &request, &mut |_| false)
}

fn open(protocol: SockProtocol) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECS_MAX))?;
    Ok(socket)
}

/// Sends one request and gives each message of the answer to `take`, which says whether it was the last one.
fn ask(
    socket: &OwnedFd,
    kind: u16,
    flags: u16,
    body: &[u8],
    take: &mut dyn FnMut(Message<'_>) -> bool,
) -> io::Result<()> {
    let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut request = Vec::with_capacity(HEADER_BYTES + body.len());
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    for _ in 0..DATAGRAMS_MAX {
        let received = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            received => received?,
        };
        for (kind, body) in messages(&buffer[..received]) {
            if let Some(ended) = end(kind, body) {
                return ended;
            }
            if take((kind, body)) {
                return Ok(());
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"))
}

/// What a message says that ends an answer: a list is over, which may have been cut short by an error, or an error, of which 0
/// acknowledges.
fn end(kind: u16, body: &[u8]) -> Option<io::Result<()>> {
    if ![DONE, ERROR].contains(&kind) {
        return None;
    }
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    Some(if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(()) })
}

/// The messages in a datagram; what is cut off is left out.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The bytes that a counter of a remembered connection holds: `CTA_COUNTERS_BYTES`, in the order of the network.
pub(crate) fn counted_bytes(counter: &[u8]) -> u64 {
    attribute(counter, COUNTED_BYTES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The value of an attribute: length and type, then the value, each on a multiple of four.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(HEADER_BYTES + body.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_are_taken_apart_and_a_cut_one_is_left_out() {
        let mut datagram = message(20, b"abcde");
        datagram.extend(message(3, b""));
        let whole = datagram.len();
        datagram.extend(message(20, b"zzzz"));
        let found =
            |bytes: &[u8]| messages(bytes).map(|(kind, body)| (kind, body.to_vec())).collect::<Vec<_>>();
        assert_eq!(found(&datagram[..whole]), [(20, b"abcde".to_vec()), (3, Vec::new())]);
        assert_eq!(found(&datagram[..datagram.len() - 1]).len(), 2);
        // A length of less than the header must not turn in a circle.
        assert_eq!(found(&[0; 64]).len(), 0);
    }

    #[test]
    fn an_error_ends_a_list_too() {
        let ended =
            |kind, code: i32| end(kind, &code.to_ne_bytes()).map(|ended| ended.map_err(|error| error.kind()));
        let refused = Some(Err(io::ErrorKind::NotFound));
        let absent = -(Errno::ENOENT as i32);
        assert_eq!((ended(DONE, absent), ended(ERROR, absent)), (refused, refused));
        assert_eq!((ended(DONE, 0), ended(ERROR, 0)), (Some(Ok(())), Some(Ok(()))));
        assert!(end(DONE, &[]).is_some_and(|ended| ended.is_ok()));
        assert_eq!(ended(SOCKETS_BY_FAMILY, absent), None);
    }

    #[test]
    fn attributes_are_found_behind_others() {
        let mut attributes = vec![];
        attributes.extend(7_u16.to_ne_bytes());
        attributes.extend(9_u16.to_ne_bytes());
        attributes.extend(b"abc\0");
        attributes.extend(8_u16.to_ne_bytes());
        attributes.extend(1_u16.to_ne_bytes());
        attributes.extend(5_u32.to_be_bytes());
        assert_eq!(attribute(&attributes, 1), Some(5_u32.to_be_bytes().as_slice()));
        assert_eq!(attribute(&attributes, 2), None);
        assert_eq!(attribute(&[0; 16], 2), None, "a length of nothing must not turn in a circle");
    }
}
