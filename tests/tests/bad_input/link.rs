//! The way between device and coordinator: garbage, clones, silence and absence.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use takt_agent::identity::IdentityFolder;
use takt_agent::link::{Link, LinkEvent, LinkSettings};
use takt_common::Envelope;
use takt_common::api::CampaignState;
use takt_common::envelope::PayloadType;
use takt_common::report::{Outcome, PhaseName};
use takt_tests::fleet::{HttpClient, Stopwatch, pause, wait_until};
use tokio::sync::mpsc;

use super::world::{BASE, LIMIT, NEXT, World, release};

/// How long the coordinator is away. `TAKT_SOAK=1` takes the minute of the requirement.
fn outage() -> Duration {
    let soak = std::env::var_os("TAKT_SOAK").is_some_and(|soak| soak == "1");
    Duration::from_secs(if soak { 60 } else { 10 })
}

#[test]
fn a_coordinator_that_is_away_holds_no_order_up_and_hears_how_it_ended() {
    let mut world = World::running();
    let campaign = world.start(NEXT, "10m");
    world.wait_for("the new release on probation", |view| view.phase == Some(PhaseName::Probation));
    world.fleet.coordinator.kill();
    let gone = Stopwatch::start();
    let log = world.device.log();
    wait_until("the end of the order without a coordinator", LIMIT, || {
        world.device.check()?;
        let log = std::fs::read_to_string(&log).unwrap();
        let ended = log.rsplit_once("phase=probation").is_some_and(|(_, after)| after.contains("phase=idle"));
        Ok(if ended { Ok(()) } else { Err(String::new()) })
    })
    .unwrap();
    assert_eq!(HttpClient::new(world.device.port()).counter().unwrap().version, NEXT);
    pause(outage().saturating_sub(gone.elapsed()));
    world.device.check().unwrap();
    world.fleet.coordinator.restart().unwrap();
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert!(matches!(world.outcome(), Outcome::Verified { .. }));
    world.assert_runs(NEXT);
}

/// A second client with the device's certificate.
struct Clone {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
}

impl Clone {
    fn of(world: &World) -> Self {
        let identity = IdentityFolder::open(&world.state("")).unwrap();
        let (membership, key) = (identity.membership().unwrap(), identity.key().unwrap());
        let tls = identity.tls(&membership, &key, takt_common::UnixTime::default()).unwrap();
        let (host, port) = membership.broker.rsplit_once(':').unwrap();
        let (host, port) = (host.to_owned(), port.parse().unwrap());
        let (device, domain) = (membership.device, membership.domain.clone());
        let (link, events) = Link::start(LinkSettings { device, domain, host, port, tls });
        Self { link, events }
    }

    async fn up(&mut self) {
        let up = async { while !matches!(self.events.recv().await, Some(LinkEvent::Up)) {} };
        tokio::time::timeout(LIMIT, up).await.expect("the clone comes in in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_from_a_device_is_not_taken_and_its_reports_still_are() {
    let mut world = World::running();
    world.device.kill();
    let before = world.view();
    let mut clone = Clone::of(&world);
    clone.up().await;
    let key = IdentityFolder::open(&world.state("")).unwrap().key().unwrap();
    let mut garbage: Vec<Vec<u8>> =
        vec![Vec::new(), vec![0], vec![0xff; 60_000], b"{}".to_vec(), b"[".repeat(50_000)];
    for kind in [PayloadType::Report, PayloadType::Health, PayloadType::Order] {
        // Signed by the device, and still nonsense.
        for payload in [&b"{}"[..], b"null", b"{\"format\":1}", &[0xff, 0xfe]] {
            garbage.push(Envelope::seal(kind, payload, &[&key]).to_bytes());
        }
    }
    for bytes in &garbage {
        for send in [Link::send_report, Link::send_health] {
            let sent = wait_until("room in the client", LIMIT, || {
                Ok(if send(&clone.link, bytes.clone()) { Ok(()) } else { Err("not up".to_owned()) })
            });
            sent.unwrap();
        }
    }
    let log = world.fleet.coordinator.log();
    wait_until("the coordinator's warning", LIMIT, || {
        let log = std::fs::read_to_string(&log).unwrap();
        let warned = log.contains("message of a device ignored");
        Ok(if warned { Ok(()) } else { Err(String::new()) })
    })
    .unwrap();
    drop(clone);
    world.device.run().unwrap();
    world.fleet.wait_online(&mut world.device).unwrap();
    let after = world.view();
    assert_eq!((&after.installed, &after.last_outcome), (&before.installed, &before.last_outcome));
    world.assert_runs(BASE);
    world.install(NEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_a_device_and_silent_connections_keep_no_order_from_its_end() {
    let mut world = World::running();
    let url = world.fleet.coordinator.url();
    let api: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let gate = IdentityFolder::open(&world.state("")).unwrap().membership().unwrap().broker;
    let gate: u16 = gate.rsplit_once(':').unwrap().1.parse().unwrap();
    let silent: Vec<TcpStream> = [api, gate]
        .iter()
        .flat_map(|port| (0..30).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).unwrap()))
        .collect();
    let mut clone = Clone::of(&world);
    clone.up().await;
    let warned = world.wait_for("a warning of the clone", |view| {
        view.warnings.iter().any(|warning| warning.contains("two connections use this device's certificate"))
    });
    assert!(warned.warnings.iter().any(|warning| warning.contains("127.0.0.1")), "{:?}", warned.warnings);
    let campaign = world.start(NEXT, "10m");
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert!(matches!(world.outcome(), Outcome::Verified { .. }));
    world.assert_runs(NEXT);
    drop((silent, clone));
    world.publish(&release("3.0.0"));
    world.install("3.0.0");
}
