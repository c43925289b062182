//! Published ports lead to backends with addresses of their own on a bridge, as containers have.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{DEVICE, Rota, Space, answer, clients, echoes, nft, run, stay, to_host, told, until, wait};
use takt_load::Backend;
use takt_traffic::{Backend as To, Lead, Leads, Traffic, TrafficError};

const PUBLISHED: u16 = 8080;
const DIRECT: u16 = 61_000;
/// Where a backend listens in its container.
const INSIDE: u16 = 80;
const SWAPS: usize = 20;
const BETWEEN: u64 = 20;
const LOCALNET: &str = "/proc/sys/net/ipv4/conf/docker0/route_localnet";

fn traffic() -> Traffic {
    Traffic::new(DEVICE).unwrap()
}

fn container(last: u8) -> To {
    To::Bridge { address: Ipv4Addr::new(172, 17, 0, last), port: INSIDE }
}

fn to_container(last: u8) -> Leads {
    Leads::from([(PUBLISHED, Lead::everyone(container(last)))])
}

/// A device, a machine beside it, and containers from 172.17.0.2 on, each with a backend that is called by its number.
struct Scene {
    here: Space,
    there: Space,
    containers: Vec<(Space, Backend)>,
}

impl Scene {
    fn with_containers(count: u8) -> Self {
        let (here, there) = (Space::new(), Space::new());
        here.bridge();
        here.cable(&there);
        let start = |last: u8| {
            let space = Space::new();
            here.contain(&space, last);
            let backend =
                space.run(move || Backend::start(([0, 0, 0, 0], INSIDE).into(), &last.to_string()).unwrap());
            (space, backend)
        };
        let containers = (2..2 + count).map(start).collect();
        Self { here, there, containers }
    }
}

/// Swaps between 172.17.0.2 and .3 while all these clients come; none fails.
fn swap_under(scene: &Scene, sorts: [(&'static str, &Space, [u8; 4]); 3]) {
    let rota = Arc::new(Rota::default());
    let first = Arc::clone(&rota);
    scene.here.run(move || first.route(&to_container(2), "2"));
    let groups = sorts.map(|(what, space, ip)| {
        let rota = Arc::clone(&rota);
        (what, space.run(move || clients((ip, PUBLISHED).into(), &rota)))
    });
    let groups = scene.here.run(move || {
        for swap in 0..SWAPS {
            let before = groups.each_ref().map(|(_, clients)| clients.counts().0);
            until("clients of all sorts come", || {
                let all = || groups.iter().map(|(_, clients)| clients.counts());
                all().any(|counts| counts.1 > 0)
                    || all().zip(before).all(|(all, before)| all.0 >= before + BETWEEN)
            });
            let (last, name) = if swap % 2 == 0 { (3, "3") } else { (2, "2") };
            rota.route(&to_container(last), name);
        }
        groups
    });
    for (what, clients) in groups {
        told(what, &clients.stop());
    }
}

#[test]
fn clients_here_and_outside_reach_a_container_and_none_fails_while_it_is_swapped() {
    let scene = Scene::with_containers(2);
    let sorts = [
        ("from 127.0.0.1", &scene.here, [127, 0, 0, 1]),
        ("from an address of the device", &scene.here, [10, 9, 0, 1]),
        ("from outside", &scene.there, [10, 9, 0, 1]),
    ];
    swap_under(&scene, sorts);
}

/// Apart from those at 127.0.0.1: both come with the bridge's address, and where two use one port, one of them gets
/// another. Thousands of them a second are too much for that (decision 0005).
#[test]
fn clients_in_containers_of_the_bridge_reach_a_container_and_none_fails_while_it_is_swapped() {
    let scene = Scene::with_containers(3);
    let (third, _) = &scene.containers[2];
    let sorts = [
        ("from another container", third, [172, 17, 0, 1]),
        ("from an address of the device", &scene.here, [10, 9, 0, 1]),
        ("from outside", &scene.there, [10, 9, 0, 1]),
    ];
    swap_under(&scene, sorts);
}

#[test]
fn a_container_reaches_itself_by_the_published_port() {
    let scene = Scene::with_containers(1);
    scene.here.run(|| {
        // Where the bridge itself translates, it gives no packet back to where it came from: the engine must have set
        // the port of the container to do so (Docker without its userland proxy does).
        let translates = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if translates.exists() {
            std::fs::write(translates, "0").unwrap();
        }
        wait(traffic().route(&to_container(2))).unwrap();
    });
    scene.containers[0].0.run(|| assert_eq!(answer(([172, 17, 0, 1], PUBLISHED)).unwrap(), "2"));
}

#[test]
fn a_move_between_a_container_and_the_device_itself_breaks_nothing() {
    let scene = Scene::with_containers(1);
    let stays = scene.here.run(|| {
        let host = Backend::start(([0, 0, 0, 0], 0).into(), "host").unwrap();
        wait(traffic().route(&to_container(2))).unwrap();
        let mut in_container = stay(([127, 0, 0, 1], PUBLISHED));
        wait(traffic().route(&to_host(PUBLISHED, host.address().port()))).unwrap();
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "host");
        let mut on_host = stay(([127, 0, 0, 1], PUBLISHED));
        wait(traffic().route(&to_container(2))).unwrap();
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "2");
        wait(traffic().forget(&BTreeSet::from([PUBLISHED]))).unwrap();
        echoes(&mut in_container, b"still in the container") && echoes(&mut on_host, b"still here")
    });
    assert!(stays);
}

#[test]
fn a_direct_port_leads_from_this_device_only() {
    let scene = Scene::with_containers(1);
    let leads = Leads::from([(DIRECT, Lead::this_device(container(2)))]);
    scene.here.run({
        let leads = leads.clone();
        move || {
            wait(traffic().route(&leads)).unwrap();
            assert!(wait(traffic().look()).unwrap().leads_to(&leads));
            assert_eq!(answer(([127, 0, 0, 1], DIRECT)).unwrap(), "2");
            assert_eq!(answer(([10, 9, 0, 1], DIRECT)).unwrap(), "2");
        }
    });
    scene.there.run(|| assert!(answer(([10, 9, 0, 1], DIRECT)).is_err()));
}

#[test]
fn what_the_kernel_does_not_let_through_is_seen_and_put_right() {
    let scene = Scene::with_containers(1);
    scene.here.run(|| {
        let traffic = traffic();
        wait(traffic.route(&to_container(2))).unwrap();
        // As after a bridge that was made anew.
        std::fs::write(LOCALNET, "0").unwrap();
        let looked = wait(traffic.look()).unwrap();
        assert_eq!(looked.hindrance.as_deref(), Some("net.ipv4.conf.docker0.route_localnet is not 1"));
        assert!(!looked.leads_to(&to_container(2)));
        wait(traffic.route(&to_container(2))).unwrap();
        assert!(wait(traffic.look()).unwrap().leads_to(&to_container(2)));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert_eq!(wait(traffic.look()).unwrap().hindrance.as_deref(), Some("net.ipv4.ip_forward is 0"));
        let error = wait(traffic.route(&to_container(2))).unwrap_err();
        assert!(matches!(error, TrafficError::NotForwarding { .. }) && !error.is_transient());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        run("ip link del docker0");
        assert!(wait(traffic.look()).unwrap().hindrance.is_some());
        assert!(matches!(wait(traffic.route(&to_container(2))), Err(TrafficError::NoBridge { .. })));
        // What leads elsewhere does not have to wait for that bridge.
        wait(traffic.route(&to_host(9090, DIRECT))).unwrap();
        wait(traffic.remove()).unwrap();
    });
}

#[test]
fn the_door_for_clients_at_127_0_0_1_lets_no_container_in_and_is_shut_in_the_end() {
    let scene = Scene::with_containers(1);
    let intruder = Space::new();
    scene.here.contain(&intruder, 66);
    // What only this device may see, and a container that sends to 127.0.0.1 through the bridge.
    let secret = scene.here.run(|| Backend::start(([127, 0, 0, 1], 0).into(), "secret").unwrap());
    let port = secret.address().port();
    intruder.run(|| {
        run("ip addr del 127.0.0.1/8 dev lo");
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        run("ip route add 127.0.0.1/32 via 172.17.0.1 src 172.17.0.66");
    });
    let intrudes = || {
        intruder.run(move || {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok()
        })
    };
    scene.here.run(|| std::fs::write(LOCALNET, "1").unwrap());
    // A first packet may be lost while the neighbour is still looked for.
    assert!((0..5).any(|_| intrudes()), "this test would not notice an open door");
    scene.here.run(|| {
        std::fs::write(LOCALNET, "0").unwrap();
        wait(traffic().route(&to_container(2))).unwrap();
        assert_eq!(std::fs::read_to_string(LOCALNET).unwrap().trim(), "1");
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "2");
    });
    assert!(!intrudes());
    // The guard stays while the door is open, whether or not a port needs it.
    scene.here.run(|| wait(traffic().forget(&BTreeSet::from([PUBLISHED]))).unwrap());
    assert!(!intrudes());
    scene.here.run(|| {
        wait(traffic().remove()).unwrap();
        assert_eq!(std::fs::read_to_string(LOCALNET).unwrap().trim(), "0");
        // One that was open before is not Takt's to shut.
        std::fs::write(LOCALNET, "1").unwrap();
        wait(traffic().route(&to_container(2))).unwrap();
        wait(traffic().remove()).unwrap();
        assert_eq!(std::fs::read_to_string(LOCALNET).unwrap().trim(), "1");
    });
    drop(secret);
}

#[test]
fn a_rule_of_the_users_that_drops_what_is_forwarded_stays_in_force() {
    let scene = Scene::with_containers(1);
    scene.here.run(|| {
        nft("table ip mine { chain forward { type filter hook forward priority 0; policy drop; }; }");
        wait(traffic().route(&to_container(2))).unwrap();
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "2", "nothing is forwarded from here");
    });
    scene.there.run(|| assert!(answer(([10, 9, 0, 1], PUBLISHED)).is_err()));
    scene.here.run(|| nft("table ip mine { chain forward { ct status dnat accept; }; }"));
    scene.there.run(|| assert_eq!(answer(([10, 9, 0, 1], PUBLISHED)).unwrap(), "2"));
}
