//! A campaign from the request to the last report, with real MQTT, TLS and signatures.

use std::time::Duration;

use crate::support::device::FakeDevice;
use crate::support::{World, client, problem, until};
use takt_common::api::{CampaignRequest, CampaignState, CampaignView, CoordinatorKeys, DeviceView, WhyView};
use takt_common::order::{Action, Mode, Order};
use takt_common::regulation::Regulation;
use takt_common::release::ReleaseId;
use takt_common::report::{Outcome, Report};
use takt_common::{PublicKey, Sha256Digest};

pub fn campaign(name: &str, release: ReleaseId) -> CampaignRequest {
    CampaignRequest {
        element_size: Some(1),
        regulation: Regulation { observe_secs: 0, ..Regulation::default() },
        ..CampaignRequest::new(name.parse().unwrap(), release, "north".parse().unwrap())
    }
}

pub async fn start(world: &World, request: &CampaignRequest) -> CampaignView {
    let response = world.operator("POST", "/api/v1/campaigns").json(request).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

pub async fn order_key(world: &World) -> PublicKey {
    world.get::<CoordinatorKeys>("/api/v1/keys").await.order
}

async fn until_state(world: &World, name: &str, state: CampaignState) -> CampaignView {
    let path = format!("/api/v1/campaigns/{name}");
    until("the campaign's state", || async {
        let view: CampaignView = world.get(&path).await;
        (view.state == state).then_some(view)
    })
    .await
}

pub async fn world_with_release() -> (World, ReleaseId) {
    let mut world = World::start_with("[orders]\nresend_secs = 1\n").await;
    world.init_trust().await;
    let release = world.publish_release("1.0.0", 1).await;
    (world, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_campaigns_started_at_once_on_a_device_one_begins() {
    let (mut world, release) = world_with_release().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let starts: Vec<_> = (0..8)
        .map(|n| {
            let request = campaign(&format!("campaign-{n}"), release.clone());
            tokio::spawn(world.operator("POST", "/api/v1/campaigns").json(&request).send())
        })
        .collect();
    let mut statuses = Vec::new();
    for start in starts {
        statuses.push(start.await.unwrap().unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(world.get::<Vec<CampaignView>>("/api/v1/campaigns").await.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_sent_until_it_is_shown_and_its_end_finishes_the_campaign() {
    let (mut world, release) = world_with_release().await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let order_key = order_key(&world).await;
    // A device that enrols later would join a campaign over the whole domain.
    let asked =
        CampaignRequest { devices: vec!["camera-1".parse().unwrap()], ..campaign("first", release.clone()) };
    assert_eq!(start(&world, &asked).await.devices.len(), 1);

    // It was not connected when the order was made.
    let mut online = device.connect().await;
    let (order, digest, bytes) = online.order(order_key).await;
    assert_eq!(order.device, device.id());
    assert_eq!((order.action.clone(), order.mode.clone()), (Action::Install, Mode::InPlace));
    assert_eq!((order.epoch, order.generation, order.previous_order_digest), (1, 1, None));
    assert_eq!(order.members.len(), 2);
    assert_eq!(order.members[0].path, release.target_path());
    let (again, same, _) = online.order(order_key).await;
    assert_eq!((again.position(), same), (order.position(), digest));

    // The same bytes by the other way, for this device only.
    let path = world.path(&format!("/api/v1/devices/{}/order", device.id()));
    let own = client(world.data(), Some(&device.identity_pem()));
    let pulled = own.get(&path).send().await.unwrap();
    assert_eq!(pulled.status(), 200);
    assert_eq!(pulled.bytes().await.unwrap(), bytes);
    let other = FakeDevice::enrol(&world, "camera-2").await;
    let other_client = client(world.data(), Some(&other.identity_pem()));
    assert_eq!(problem(other_client.get(&path).send().await.unwrap()).await.status, 403);
    assert_eq!(
        problem(
            world.operator("GET", &format!("/api/v1/devices/{}/order", device.id())).send().await.unwrap()
        )
        .await
        .status,
        401
    );

    // A restarted coordinator goes on with the same order.
    world.stop().await;
    world.go_on().await;
    device.enrolled.broker = format!("localhost:{}", world.gate.port());
    let mut online = device.connect().await;
    let (kept, kept_digest, _) = online.order(order_key).await;
    assert_eq!((kept.position(), kept_digest), (order.position(), digest));

    let accepted = device.accepted(order.position(), digest);
    online.say(device.seal(&accepted)).await;
    let ack = online.ack(order_key).await;
    assert_eq!((ack.device, ack.sequence, ack.nonce), (device.id(), 1, accepted.nonce.clone()));
    // One more may have been under way.
    assert!(online.orders_within(Duration::from_secs(3)).await <= 1);

    // A repeated report is acknowledged again and changes nothing.
    online.say(device.seal(&accepted)).await;
    assert_eq!(online.ack(order_key).await.sequence, 1);

    let ended = device.verified(&order, digest);
    online.say(device.seal(&ended)).await;
    assert_eq!(online.ack(order_key).await.sequence, 2);
    let view = until_state(&world, "first", CampaignState::Finished).await;
    assert!(view.ended.is_some());
    let shown: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert_eq!(shown.last_outcome, Some(Outcome::Verified { strategy: None }));
    assert_eq!(shown.installed[0].release, release);
    assert!(shown.online && shown.order.is_none() && shown.warnings.is_empty(), "{shown:?}");

    // The next order names this one.
    let second = world.publish_release("2.0.0", 2).await;
    let request =
        CampaignRequest { devices: vec!["camera-1".parse().unwrap()], ..campaign("second", second) };
    start(&world, &request).await;
    let (next, _, _) = online.order(order_key).await;
    assert_eq!((next.generation, next.previous_order_digest), (2, Some(digest)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_stops_the_next_element_and_why_says_so() {
    let (mut world, release) = world_with_release().await;
    let mut first = FakeDevice::enrol(&world, "camera-1").await;
    let mut second = FakeDevice::enrol(&world, "camera-2").await;
    let order_key = order_key(&world).await;
    let (mut one, mut two) = (first.connect().await, second.connect().await);
    for (device, online) in [(&mut first, &mut one), (&mut second, &mut two)] {
        let hello = device.report(|_| {});
        online.say(device.seal(&hello)).await;
        assert_eq!(online.ack(order_key).await.sequence, 1);
    }
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert!(devices.len() == 2 && devices.iter().all(|device| device.online), "{devices:?}");
    let view = start(&world, &campaign("brake", release)).await;
    let turn = view.devices[0].device;
    let (device, online) = if turn == first.id() { (&mut first, &mut one) } else { (&mut second, &mut two) };
    let (order, digest, _): (Order, Sha256Digest, _) = online.order(order_key).await;
    let waiting = view.devices[1].name.clone();
    let why: WhyView = world.get(&format!("/api/v1/devices/{waiting}/why")).await;
    assert!(why.waiting && !why.reasons.is_empty(), "{why:?}");

    let failed: Report = {
        let mut report = device.verified(&order, digest);
        report.outcome = Some(Outcome::Failed { cause: "it does not start".into() });
        report.installed.clear();
        device.previous = Some(Sha256Digest::of(&report.to_bytes()));
        report
    };
    online.say(device.seal(&failed)).await;
    assert_eq!(online.ack(order_key).await.sequence, 2);
    let view = until_state(&world, "brake", CampaignState::Aborted).await;
    assert!(view.reason.contains("it does not start"), "{}", view.reason);
    let other = if turn == first.id() { &mut two } else { &mut one };
    assert_eq!(other.orders_within(Duration::from_secs(2)).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_forks_and_garbage_are_noted_and_nothing_stops() {
    let (mut world, _) = world_with_release().await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let order_key = order_key(&world).await;
    let mut online = device.connect().await;
    let first = device.report(|_| {});
    online.say(device.seal(&first)).await;
    assert_eq!(online.ack(order_key).await.sequence, 1);

    for garbage in [Vec::new(), b"{}".to_vec(), vec![0xff; 70_000 - 6_000], b"\x00\x01".to_vec()] {
        online.say(garbage).await;
    }
    // Signed by another key; and by the device for another one.
    let stranger = FakeDevice::enrol(&world, "camera-9").await;
    let lost = device.report(|_| {});
    online.say(stranger.seal(&lost)).await;
    let mut foreign = lost.clone();
    foreign.device = stranger.id();
    online.say(device.seal(&foreign)).await;

    let third = device.report(|_| {});
    online.say(device.seal(&third)).await;
    assert_eq!(online.ack(order_key).await.sequence, 3);
    let mut fork = third.clone();
    fork.boot_id = "another".into();
    online.say(device.seal(&fork)).await;
    assert_eq!(online.ack(order_key).await.sequence, 3);
    let mut anew = first.clone();
    anew.boot_id = "restored".into();
    online.say(device.seal(&anew)).await;
    assert_eq!(online.ack(order_key).await.sequence, 1);

    let shown: DeviceView = world.get("/api/v1/devices/camera-1").await;
    let warnings = shown.warnings.join("\n");
    for expected in ["reports 2 to 2 never arrived", "report 3 does not follow", "the device lost its state"]
    {
        assert!(warnings.contains(expected), "{warnings}");
    }
    let metrics = world.operator("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("takt_messages_refused_total 6\n"), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_not_whole_or_not_published_starts_no_campaign() {
    let (mut world, release) = world_with_release().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let refused = |request: CampaignRequest| {
        let request = world.operator("POST", "/api/v1/campaigns").json(&request);
        async move { problem(request.send().await.unwrap()).await }
    };
    let unknown = ReleaseId { version: "9.9.9".parse().unwrap(), ..release.clone() };
    let answer = refused(campaign("a", unknown)).await;
    assert!(answer.status == 422 && answer.detail.contains("counter 9.9.9"), "{answer:?}");
    let domain = CampaignRequest { domain: "south".parse().unwrap(), ..campaign("b", release.clone()) };
    let answer = refused(domain).await;
    assert!(answer.status == 422 && answer.detail.contains("south"), "{answer:?}");
    let device =
        CampaignRequest { devices: vec!["nobody".parse().unwrap()], ..campaign("c", release.clone()) };
    assert!(refused(device).await.detail.contains("nobody"));

    let image = Sha256Digest::of(b"image of 1.0.0");
    std::fs::remove_file(world.data().join("artifacts").join(image.to_string())).unwrap();
    let answer = refused(campaign("d", release)).await;
    assert!(answer.status == 422 && answer.detail.contains(&image.to_string()), "{answer:?}");
    world.stop().await;
}

/// Plays a whole campaign of three devices; the coordinator is killed wherever `kill` says so, by the number of the step.
async fn campaign_with_kills(kill: impl Fn(usize) -> bool) {
    let mut world = World::start_process("[orders]\nresend_secs = 1\n");
    world.init_trust().await;
    let release = world.publish_release("1.0.0", 1).await;
    let order_key = order_key(&world).await;
    let mut devices = Vec::new();
    for name in ["camera-1", "camera-2", "camera-3"] {
        devices.push(FakeDevice::enrol(&world, name).await);
    }
    let view = start(&world, &campaign("killed", release)).await;
    let mut step = 0;
    for turn in view.devices {
        let device = devices.iter_mut().find(|device| device.id() == turn.device).unwrap();
        let mut order: Option<(Order, Sha256Digest)> = None;
        for part in 0..3 {
            step += 1;
            if kill(step) {
                world.kill_and_go_on();
            }
            device.enrolled.broker = format!("localhost:{}", world.gate.port());
            let mut online = device.connect().await;
            if part == 0 {
                let (found, digest, _) = online.order(order_key).await;
                assert_eq!(
                    found.generation, 1,
                    "a device gets one order, however often the coordinator dies"
                );
                order = Some((found, digest));
                continue;
            }
            let (order, digest) = order.as_ref().unwrap();
            let report = match part {
                1 => device.accepted(order.position(), *digest),
                _ => device.verified(order, *digest),
            };
            let envelope = device.seal(&report);
            assert_eq!(online.say_until_heard(&envelope, order_key).await.sequence, report.sequence);
        }
    }
    if kill(0) {
        world.kill_and_go_on();
    }
    let view = until_state(&world, "killed", CampaignState::Finished).await;
    assert_eq!(view.devices.len(), 3);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_killed_before_every_step_finishes_the_campaign() {
    campaign_with_kills(|_| true).await;
}
