//! With whom a device talks, as the kernel tells it.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Space, nft, run, until};
use takt_traffic::{Flow, Sockets, addresses, flows, tracked_flows};

const PATIENCE: Duration = Duration::from_secs(2);
const SENT: usize = 10_000;
const ANSWERED: usize = 300;

/// Takes one connection, hears what it has to say, and answers.
fn serve(listener: &TcpListener) -> TcpStream {
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut vec![0; SENT]).unwrap();
    accepted.write_all(&[1; ANSWERED]).unwrap();
    accepted
}

fn say(to: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(to).unwrap();
    client.write_all(&[0; SENT]).unwrap();
    client.read_exact(&mut [0; ANSWERED]).unwrap();
    client
}

fn seen(sockets: Sockets) -> Vec<Flow> {
    let mut seen = Vec::new();
    flows(sockets, |flow| seen.push(flow)).unwrap();
    seen
}

/// Of the device and its container.
fn tracked() -> Vec<Flow> {
    let mut own = addresses().unwrap().all;
    own.insert([172, 17, 0, 2].into());
    tracked_of(&own)
}

fn tracked_of(own: &BTreeSet<IpAddr>) -> Vec<Flow> {
    let mut seen = Vec::new();
    tracked_flows(own, |flow| seen.push(flow)).unwrap();
    seen
}

/// The kernel tracks connections as long as somebody's rule asks about them.
const TRACK: &str = "table inet user { chain input { type filter hook input priority 0; ct state invalid counter; }; \
    chain pass { type filter hook forward priority 0; ct state invalid counter; }; }";

fn remembered() -> String {
    std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap()
}

/// What passed is told by the kernel once it is acknowledged.
fn all_passed(seen: &[Flow]) -> bool {
    seen.len() == 1 && seen[0].bytes >= (SENT + ANSWERED) as u64
}

#[test]
fn both_ends_see_a_connection_who_began_it_and_what_passed() {
    for address in ["10.9.0.2", "fd09::2"] {
        let (here, there) = (Space::new(), Space::new());
        here.cable(&there);
        let at = SocketAddr::new(address.parse().unwrap(), 7_000);
        let listener = there.run(move || TcpListener::bind(at).unwrap());
        let serving = std::thread::spawn(move || (serve(&listener), listener));
        let client = here.run(move || say(at));
        let served = serving.join().unwrap();
        here.run(move || {
            until("all is acknowledged", || all_passed(&seen(Sockets::OfDevice)));
            let flow = seen(Sockets::OfDevice)[0];
            assert!(flow.outgoing && flow.peer == at, "{flow:?}");
            assert!(addresses().unwrap().outside.contains(&flow.own.ip()), "{flow:?}");
        });
        let from = client.local_addr().unwrap();
        there.run(move || {
            until("all is acknowledged", || all_passed(&seen(Sockets::OfDevice)));
            let flow = seen(Sockets::OfDevice)[0];
            assert_eq!((flow.own, flow.peer, flow.outgoing), (at, from, false));
        });
        // The side that ends it remembers it for a minute, without what passed.
        drop(client);
        drop(served);
        here.run(move || {
            let expected = [Flow { own: from, peer: at, outgoing: true, bytes: 0 }];
            until("the connection is over", || seen(Sockets::OfDevice) == expected);
        });
    }
}

#[test]
fn ports_without_connections_and_calls_that_nobody_answers_are_none() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    there.run(|| {
        nft("table inet user { chain input { type filter hook input priority 0; tcp dport 7001 drop; }; }");
    });
    here.run(|| {
        nft(TRACK);
        let _listener = TcpListener::bind(("10.9.0.1", 7_000)).unwrap();
        let call =
            std::thread::spawn(|| TcpStream::connect_timeout(&([10, 9, 0, 2], 7_001).into(), PATIENCE));
        until("the call is under way", || remembered().contains("SYN_SENT"));
        assert_eq!((seen(Sockets::OfDevice), tracked()), (vec![], vec![]));
        assert!(call.join().unwrap().is_err());
    });
}

/// A device with a container on a bridge, and somebody else.
fn site() -> (Space, Space, Space) {
    let (device, container, other) = (Space::new(), Space::new(), Space::new());
    device.bridge();
    device.contain(&container, 2);
    device.cable(&other);
    (device, container, other)
}

#[test]
fn what_a_container_calls_is_seen_in_its_network_and_tracked_on_the_device() {
    let (device, container, other) = site();
    device.run(|| {
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "1").unwrap();
        nft("table ip user { chain out { type nat hook postrouting priority 100; \
             ip saddr 172.17.0.0/16 oifname cable masquerade; }; }");
    });
    let at = SocketAddr::from(([10, 9, 0, 2], 7_000));
    let listener = other.run(move || TcpListener::bind(at).unwrap());
    let serving = std::thread::spawn(move || (serve(&listener), listener));
    let client = container.run(move || say(at));
    let served = serving.join().unwrap();
    let own = client.local_addr().unwrap();
    let of_process = container.process();
    until("all is acknowledged", move || all_passed(&seen(Sockets::OfProcess(of_process))));
    let flow = seen(Sockets::OfProcess(of_process))[0];
    assert_eq!((flow.own, flow.peer, flow.outgoing), (own, at, true));
    // It is one of the container's even for somebody who only asks the kernel of the device, also when it is over.
    drop((client, served));
    device.run(move || {
        assert_eq!(seen(Sockets::OfDevice), []);
        let flows = tracked();
        assert!(all_passed(&flows), "{flows:?}");
        assert_eq!((flows[0].own, flows[0].peer, flows[0].outgoing), (own, at, true));
    });
}

#[test]
fn who_calls_a_published_port_is_tracked_to_the_container_that_answers() {
    let (device, container, other) = site();
    device.run(|| {
        nft("table ip user { chain in { type nat hook prerouting priority -100; \
             tcp dport 8080 dnat to 172.17.0.2:7000; }; }");
    });
    let at = SocketAddr::from(([172, 17, 0, 2], 7_000));
    let listener = container.run(move || TcpListener::bind(at).unwrap());
    let serving = std::thread::spawn(move || (serve(&listener), listener));
    let client = other.run(|| say(([10, 9, 0, 1], 8_080).into()));
    let served = serving.join().unwrap();
    let peer = client.local_addr().unwrap();
    device.run(move || {
        let flows = tracked();
        assert_eq!(flows.len(), 1, "{flows:?}");
        assert_eq!((flows[0].own, flows[0].peer, flows[0].outgoing), (at, peer, false));
    });
    drop((client, served));
}

#[test]
fn what_only_passes_through_is_none_of_the_devices_connections() {
    // As it is, and with the address of the device, as that of a gateway that hides who is behind it.
    for hidden in [false, true] {
        let (device, container, other) = site();
        device.run(move || {
            nft(TRACK);
            if hidden {
                nft("table ip hide { chain out { type nat hook postrouting priority 100; oifname docker0 masquerade; }; }");
            }
        });
        other.run(|| run("ip route add 172.17.0.0/16 via 10.9.0.1"));
        let at = SocketAddr::from(([172, 17, 0, 2], 7_000));
        let listener = container.run(move || TcpListener::bind(at).unwrap());
        let serving = std::thread::spawn(move || (serve(&listener), listener));
        let client = other.run(move || say(at));
        let served = serving.join().unwrap();
        device.run(move || {
            assert!(remembered().contains("dport=7000"), "{}", remembered());
            assert_eq!(tracked_of(&addresses().unwrap().all), []);
            // It is one of those of the device that begins it.
            let flows = tracked_of(&BTreeSet::from([IpAddr::from([10, 9, 0, 2])]));
            assert!(flows.len() == 1 && flows[0].outgoing && flows[0].peer == at, "{flows:?}");
        });
        drop((client, served));
    }
}
