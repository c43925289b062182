//! What the kernel remembers of connections from before a port was published.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{DEVICE, Space, echoes, nft, run, stay, to_host, until, wait};
use socket2::{Domain, Socket, Type};
use takt_load::Backend;
use takt_traffic::{Traffic, allocate};

const PUBLISHED: u16 = 8080;
/// The client's port.
const CLIENT: u16 = 40_001;

/// A client that comes from a port of its choice.
fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), Duration::from_millis(900))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// The kernel tracks connections as long as somebody's rule asks about them.
fn track() {
    nft("table inet user { chain input { type filter hook input priority 0; ct state invalid counter; }; }");
}

/// Connections that the kernel remembers.
fn remembered() -> usize {
    lines_with("").len()
}

fn lines_with(text: &str) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
    all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Some time after the last rule has gone, the kernel tracks no longer.
fn stop_tracking() {
    run("nft delete table inet user");
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    until("the kernel tracks nothing", || {
        let before = remembered();
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        remembered() == before
    });
}

fn publish() -> Backend {
    let port = allocate(1, &BTreeSet::from([PUBLISHED]), 1).unwrap()[0];
    let backend = Backend::start((Ipv6Addr::UNSPECIFIED, port).into(), "new").unwrap();
    wait(Traffic::new(DEVICE).unwrap().route(&to_host(PUBLISHED, port))).unwrap();
    backend
}

/// When the kernel sees a connection for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    AtItsBegin,
    /// It is taken for one that the server has begun.
    AtAnAnswer,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Neither side keeps anything of it, as is so after a minute else.
    Reset,
    /// The side of the server waits for stray packets, for a minute.
    ByTheServer,
}

/// Its memory of a connection stays, because the kernel does not look when it ends.
fn a_connection_whose_end_is_not_seen(address: IpAddr, seen: Seen, end: End) {
    if seen == Seen::AtItsBegin {
        track();
    }
    let listener = TcpListener::bind((address, PUBLISHED)).unwrap();
    let mut client = connect((address, CLIENT).into(), (address, PUBLISHED).into()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    if seen == Seen::AtAnAnswer {
        track();
        accepted.write_all(b"a").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client.write_all(b"b").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }
    stop_tracking();
    if end == End::Reset {
        let accepted = Socket::from(accepted);
        accepted.set_linger(Some(Duration::ZERO)).unwrap();
        drop(accepted);
        assert!(client.read(&mut [0]).is_err());
    } else {
        drop(accepted);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

fn a_client_comes_from_the_same_port(address: &'static str, seen: Seen, end: End) {
    let here = Space::new();
    here.run(move || {
        let address: IpAddr = address.parse().unwrap();
        a_connection_whose_end_is_not_seen(address, seen, end);
        let stale = lines_with(&format!("sport={CLIENT} "));
        assert!(stale.len() == 1 && stale[0].contains("ESTABLISHED"), "{stale:?}");
        let backend = publish();
        assert_eq!(lines_with(&format!("sport={CLIENT} ")), [""; 0]);
        let mut client = connect((address, CLIENT).into(), (address, PUBLISHED).into()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("new"), "{answer}");
        drop(backend);
    });
}

#[test]
fn a_client_is_not_led_to_where_one_from_the_same_port_was_days_ago() {
    a_client_comes_from_the_same_port("127.0.0.1", Seen::AtItsBegin, End::Reset);
}

#[test]
fn nor_one_by_ipv6() {
    a_client_comes_from_the_same_port("::1", Seen::AtItsBegin, End::Reset);
}

#[test]
fn nor_one_whose_connection_was_first_seen_when_it_was_answered() {
    a_client_comes_from_the_same_port("127.0.0.1", Seen::AtAnAnswer, End::Reset);
}

#[test]
fn nor_one_of_which_the_server_only_waits_for_stray_packets() {
    a_client_comes_from_the_same_port("127.0.0.1", Seen::AtItsBegin, End::ByTheServer);
}

#[test]
fn connections_that_are_not_over_and_those_to_others_are_not_forgotten() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let elsewhere = there.run(|| Backend::start(([10, 9, 0, 2], PUBLISHED).into(), "elsewhere").unwrap());
    here.run(|| {
        track();
        let before = Backend::start(([127, 0, 0, 1], PUBLISHED).into(), "before").unwrap();
        let mut clients = [([127, 0, 0, 1], PUBLISHED), ([10, 9, 0, 2], PUBLISHED)].map(stay);
        assert_eq!(remembered(), 2);
        let backend = publish();
        assert_eq!(remembered(), 2);
        assert!(clients.iter_mut().all(|client| echoes(client, b"still here")));
        drop((before, backend));
    });
    drop(elsewhere);
}
