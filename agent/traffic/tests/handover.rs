//! Published ports move between two real backends, while clients come.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::{DEVICE, Rota, Space, answer, clients, echoes, run, stay, to_host, told, until, wait};
use takt_load::{Backend, now};
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

#[test]
fn no_connection_fails_in_a_hundred_swaps_under_load_from_here_and_from_outside() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let rota = Arc::new(Rota::default());
    let ([old, new], inside) = here.run({
        let rota = Arc::clone(&rota);
        move || {
            let [old, new] = backends();
            rota.route(&to_host(PUBLISHED, old.address().port()), "old");
            let inside = clients(([127, 0, 0, 1], PUBLISHED).into(), &rota);
            ([old, new], inside)
        }
    });
    let outside = there.run({
        let rota = Arc::clone(&rota);
        move || clients(([10, 9, 0, 1], PUBLISHED).into(), &rota)
    });
    let (inside, outside, took) = here.run(move || {
        let mut took = Vec::new();
        for swap in 0..SWAPS {
            let before = [inside.counts().0, outside.counts().0];
            until("clients come to each backend", || {
                let failed = inside.counts().1 + outside.counts().1;
                failed > 0
                    || [&inside, &outside]
                        .iter()
                        .zip(before)
                        .all(|(all, before)| all.counts().0 >= before + BETWEEN)
            });
            let (to, name) = if swap % 2 == 0 { (&new, "new") } else { (&old, "old") };
            let begun = now();
            rota.route(&to_host(PUBLISHED, to.address().port()), name);
            took.push(begun.elapsed());
        }
        (inside.stop(), outside.stop(), took)
    });
    let longest = took.iter().max().unwrap().as_secs_f64() * 1_000.0;
    let mean = took.iter().sum::<Duration>().as_secs_f64() * 1_000.0 / took.len() as f64;
    println!("{SWAPS} swaps: {mean:.1} ms each, the longest took {longest:.1} ms");
    told("from 127.0.0.1", &inside);
    told("from outside", &outside);
}

#[test]
fn a_connection_stays_with_its_backend_and_is_counted_until_it_ends() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let (old, new, inside) = here.run(|| {
        let [old, new] = backends();
        route(PUBLISHED, &old);
        let inside = stay(([127, 0, 0, 1], PUBLISHED));
        (old, new, inside)
    });
    let outside = there.run(|| stay(([10, 9, 0, 1], PUBLISHED)));
    here.run(move || {
        let count = |backend: &Backend| connections(Sockets::OfDevice, backend.address().port()).unwrap();
        assert_eq!((count(&old), count(&new)), (2, 0));
        route(PUBLISHED, &new);
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "new");
        let (mut inside, mut outside) = (inside, outside);
        assert!(echoes(&mut inside, b"still here") && echoes(&mut outside, b"still there"));
        assert_eq!(count(&old), 2);
        // With its last port gone, the table is empty, but the connections that it has led go on.
        wait(traffic().forget(&BTreeSet::from([PUBLISHED]))).unwrap();
        assert!(answer(([127, 0, 0, 1], PUBLISHED)).is_err(), "it leads nowhere");
        assert!(echoes(&mut inside, b"still here") && echoes(&mut outside, b"still there"));
        drop(inside);
        until("one connection is left", || count(&old) == 1);
        drop(outside);
        until("no connection is left", || count(&old) == 0);
    });
}

#[test]
fn a_backend_of_another_network_is_counted_there() {
    let (here, there) = (Space::new(), Space::new());
    let (backend, mut client) = there.run(|| {
        let backend = Backend::start(([127, 0, 0, 1], 0).into(), "there").unwrap();
        let client = stay(backend.address());
        (backend, client)
    });
    let port = backend.address().port();
    // A process that lives in that network, as a container's does.
    let mut process = there.run(|| std::process::Command::new("sleep").arg("600").spawn().unwrap());
    let pid = process.id();
    let counted = here.run(move || {
        (connections(Sockets::OfProcess(pid), port).unwrap(), connections(Sockets::OfDevice, port).unwrap())
    });
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(counted, (1, 0));
    assert!(echoes(&mut client, b"x"));
    let gone = here.run(move || connections(Sockets::OfProcess(pid), port).unwrap_err().to_string());
    assert_eq!(gone, format!("enter the network of process {pid}"));
}

#[test]
fn whoever_listened_at_a_port_before_it_is_published_keeps_the_clients_it_has() {
    let here = Space::new();
    here.run(|| {
        let before = Backend::start(([127, 0, 0, 1], PUBLISHED).into(), "before").unwrap();
        let mut client = stay(before.address());
        let [_, new] = backends();
        route(PUBLISHED, &new);
        assert!(echoes(&mut client, b"from before there was a table"));
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "new");
        wait(traffic().forget(&BTreeSet::from([PUBLISHED]))).unwrap();
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "before");
    });
}

#[test]
fn every_address_of_the_device_leads_there_and_no_other_does() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let backends = here.run(|| {
        let [old, new] = backends();
        route(PUBLISHED, &new);
        let own = ["127.0.0.1", "127.5.5.5", "10.9.0.1", "[::1]", "[fd09::1]"];
        for address in own.map(|ip| format!("{ip}:{PUBLISHED}").parse::<SocketAddr>().unwrap()) {
            assert_eq!(answer(address).unwrap(), "new", "{address} from here");
        }
        [old, new]
    });
    there.run(|| {
        for address in
            ["10.9.0.1", "[fd09::1]"].map(|ip| format!("{ip}:{PUBLISHED}").parse::<SocketAddr>().unwrap())
        {
            assert_eq!(answer(address).unwrap(), "new", "{address} from outside");
        }
    });
    // A service of another machine at the same port is nobody's business here.
    let elsewhere = there.run(|| Backend::start(([10, 9, 0, 2], PUBLISHED).into(), "elsewhere").unwrap());
    here.run(|| assert_eq!(answer(([10, 9, 0, 2], PUBLISHED)).unwrap(), "elsewhere"));
    drop((backends, elsewhere));
}

#[test]
fn a_backend_at_127_0_0_1_serves_this_device_only_as_it_would_without_takt() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let backend = here.run(|| {
        let port = allocate(1, &BTreeSet::new(), 2).unwrap()[0];
        let backend = Backend::start(([127, 0, 0, 1], port).into(), "private").unwrap();
        route(PUBLISHED, &backend);
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "private");
        backend
    });
    there.run(|| assert!(answer(([10, 9, 0, 1], PUBLISHED)).is_err()));
    drop(backend);
}

#[test]
fn two_devices_on_one_machine_do_not_touch_each_other() {
    let here = Space::new();
    here.run(|| {
        let [old, new] = backends();
        route(PUBLISHED, &old);
        let other = Traffic::new("ba9876543210").unwrap();
        wait(other.route(&to_host(9090, new.address().port()))).unwrap();
        wait(other.ability()).unwrap();
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "old");
        assert_eq!(answer(([127, 0, 0, 1], 9090)).unwrap(), "new");
        wait(other.remove()).unwrap();
        assert_eq!(run("nft list tables").trim(), format!("table inet takt-{DEVICE}"));
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "old");
    });
}

#[test]
fn a_port_of_a_listener_and_one_of_a_connection_just_over_are_no_direct_ports() {
    let here = Space::new();
    here.run(|| {
        let port = allocate(1, &BTreeSet::new(), 5).unwrap()[0];
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // This side closes first: its end of the connection stays for a minute.
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener));
        assert_ne!(allocate(1, &BTreeSet::new(), 5).unwrap()[0], port);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").unwrap();
        assert!(allocate(1, &BTreeSet::new(), 5).unwrap_err().to_string().contains("1024-65535"));
        std::fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "40000-40001").unwrap();
        assert_eq!(allocate(2, &BTreeSet::new(), 5).unwrap(), [40_000, 40_001]);
    });
}
