//! Devices that are revoked, not approved, in quarantine or decommissioned: over the API and at the gate.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use takt_common::api::{
    CampaignRequest, CampaignView, DeviceView, EnrolResponse, HeldBy, TokenRequest, TokenResponse, WhyView,
};

use crate::order_round_trip::{campaign, order_key, start, world_with_release};
use crate::renewal::{challenge, is_let_in, is_online, renew, request as renewal};
use crate::support::agent::RealDevice;
use crate::support::device::{FakeDevice, enrol, request, token};
use crate::support::{World, client, key, problem, until};

/// Asks for a change of how a device stands.
async fn stand(world: &World, method: &str, device: &str, what: &str, why: Option<&str>) -> StatusCode {
    let asked = world.operator(method, &format!("/api/v1/devices/{device}/{what}"));
    let asked = match why {
        Some(why) => asked.json(&serde_json::json!({ "why": why })),
        None => asked,
    };
    asked.send().await.unwrap().status()
}

async fn why(world: &World, device: &str) -> WhyView {
    world.get(&format!("/api/v1/devices/{device}/why")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_is_cut_off_at_once_and_everything_refuses_it_until_it_is_reinstated() {
    let (mut world, release) = world_with_release().await;
    let device = FakeDevice::enrol(&world, "camera-1").await;
    FakeDevice::enrol(&world, "camera-2").await;
    let mut online = device.connect().await;
    online.stand().await;
    assert!(is_let_in(&world, device.id(), &device.identity_pem()).await);

    let revoked_at = Instant::now();
    assert_eq!(stand(&world, "PUT", "camera-1", "revocation", Some("it was stolen")).await, 204);
    online.ended().await;
    assert!(revoked_at.elapsed() < Duration::from_secs(5), "far within a health interval");
    // The client tries again and is refused.
    online.ended().await;
    assert!(!is_online(&world, "camera-1").await);

    let refused = |detail: &str| {
        assert!(detail.contains(&format!("device {} is revoked since", device.id())), "{detail}");
        assert!(detail.ends_with("it was stolen"), "{detail}");
    };
    let own = client(world.data(), Some(&device.identity_pem()));
    let artifact = world.upload(b"an artifact").await;
    for path in
        [format!("/api/v1/devices/{}/order", device.id()), format!("/api/v1/artifacts/{}", artifact.sha256)]
    {
        let answer = problem(own.get(world.path(&path)).send().await.unwrap()).await;
        assert_eq!(answer.status, 403, "{path}");
        refused(&answer.detail);
    }
    let asked = renewal(device.id(), &challenge(&world).await, &device.key);
    let answer = problem(renew(&world, &asked).await).await;
    assert_eq!(answer.status, 403);
    refused(&answer.detail);
    let secret = token(&world, 1, 60).await;
    let answer = problem(enrol(&world, &request(&secret, "camera-1", &device.key)).await).await;
    assert_eq!(answer.status, 403);
    refused(&answer.detail);

    // Campaigns leave it out, and everybody hears why. It stays so after a restart, for the first reason.
    let begun: CampaignView = start(&world, &campaign("first", release)).await;
    assert_eq!(begun.devices.len(), 1);
    assert!(begun.excluded[0].reason.contains("is revoked since"), "{:?}", begun.excluded);
    world.stop().await;
    world.go_on().await;
    assert_eq!(stand(&world, "PUT", "camera-1", "revocation", Some("again")).await, 204);
    let answer = why(&world, "camera-1").await;
    assert!(answer.waiting && answer.reasons[0].ends_with("it was stolen"), "{answer:?}");
    assert_eq!(answer.holds[0].by, HeldBy::Revocation);
    assert!(answer.holds[0].released_by.contains("takt device reinstate camera-1"));
    assert!(!is_let_in(&world, device.id(), &device.identity_pem()).await);

    // Only an operator ends it. The token that was refused is still good.
    assert_eq!(stand(&world, "DELETE", "camera-1", "revocation", None).await, 204);
    assert_eq!(world.get::<DeviceView>("/api/v1/devices/camera-1").await.revoked, None);
    assert!(is_let_in(&world, device.id(), &device.identity_pem()).await);
    let asked = renewal(device.id(), &challenge(&world).await, &device.key);
    assert_eq!(renew(&world, &asked).await.status(), 200);
    assert_eq!(enrol(&world, &request(&secret, "camera-1", &device.key)).await.status(), 200);

    for (body, status) in [(r#"{"why":" "}"#, 422), ("{}", 400), (r#"{"why":"x","y":1}"#, 400)] {
        let asked = world.operator("PUT", "/api/v1/devices/camera-1/revocation").body(body);
        assert_eq!(problem(asked.send().await.unwrap()).await.status, status, "{body}");
    }
    assert_eq!(stand(&world, "PUT", "camera-7", "revocation", Some("x")).await, 404);
    for method in ["PUT", "DELETE"] {
        let path = "/api/v1/devices/camera-1/revocation";
        let stranger = world.stranger(method, path).body(r#"{"why":"x"}"#).send().await.unwrap();
        assert_eq!(problem(stranger).await.status, 401);
        let other = own.request(method.parse().unwrap(), world.path(path)).body(r#"{"why":"x"}"#);
        assert_eq!(problem(other.send().await.unwrap()).await.status, 401);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_revoked_comes_back_by_itself_once_it_is_reinstated() {
    let mut world = World::start().await;
    world.init_trust().await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    assert_eq!(stand(&world, "PUT", "camera-1", "revocation", Some("a drill")).await, 204);
    until("the cut", async || (!is_online(&world, "camera-1").await).then_some(())).await;
    assert_eq!(stand(&world, "DELETE", "camera-1", "revocation", None).await, 204);
    until("the agent again", async || is_online(&world, "camera-1").await.then_some(())).await;
    drop(agent);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_in_quarantine_stays_connected_and_reports_and_is_told_of_no_order() {
    let (mut world, release) = world_with_release().await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let order_key = order_key(&world).await;
    let only = |name: &str| CampaignRequest {
        devices: vec!["camera-1".parse().unwrap()],
        ..campaign(name, release.clone())
    };
    // The order is made while the device is away, and withheld when it is back.
    start(&world, &only("first")).await;
    until("the order", async || world.get::<DeviceView>("/api/v1/devices/camera-1").await.order).await;
    assert_eq!(stand(&world, "PUT", "camera-1", "quarantine", Some("its case was open")).await, 204);
    let mut online = device.connect().await;
    assert_eq!(online.orders_within(Duration::from_secs(3)).await, 0);
    let own = client(world.data(), Some(&device.identity_pem()));
    let path = world.path(&format!("/api/v1/devices/{}/order", device.id()));
    assert_eq!(own.get(&path).send().await.unwrap().status(), 204);
    let report = device.report(|_| ());
    let ack = online.say_until_heard(&device.seal(&report), order_key).await;
    assert_eq!(ack.sequence, 1);
    assert!(is_online(&world, "camera-1").await);
    let answer = why(&world, "camera-1").await;
    assert_eq!(answer.holds[0].by, HeldBy::Quarantine);

    assert_eq!(stand(&world, "DELETE", "camera-1", "quarantine", None).await, 204);
    assert_eq!(online.order(order_key).await.0.device, device.id());
    world.stop().await;
}

/// Whether camera-1 waits for its approval.
async fn waits(world: &World) -> bool {
    world.get::<DeviceView>("/api/v1/devices/camera-1").await.unapproved.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_a_token_for_approval_is_known_and_reports_and_gets_orders_once_it_is_approved() {
    let (mut world, release) = world_with_release().await;
    let asked = TokenRequest { domain: "north".parse().unwrap(), uses: 1, valid_secs: 60, approval: true };
    let response = world.operator("POST", "/api/v1/tokens").json(&asked).send().await.unwrap();
    let answer: TokenResponse = response.json().await.unwrap();
    let secret = answer.token.split('.').nth(1).unwrap().to_owned();
    let key = key();
    let enrolled: EnrolResponse =
        enrol(&world, &request(&secret, "camera-1", &key)).await.json().await.unwrap();
    let mut device = FakeDevice { key, enrolled, sequence: 0, previous: None };
    FakeDevice::enrol(&world, "camera-2").await;
    let order_key = order_key(&world).await;

    // It is let in and reports, and campaigns leave it out.
    let mut online = device.connect().await;
    let report = device.report(|_| ());
    assert_eq!(online.say_until_heard(&device.seal(&report), order_key).await.sequence, 1);
    let begun = start(&world, &campaign("first", release.clone())).await;
    assert_eq!(begun.devices.len(), 1);
    assert!(begun.excluded[0].reason.ends_with("for an operator to approve its enrolment"), "{begun:?}");
    let aborted = world.operator("POST", "/api/v1/campaigns/first/abort").send().await.unwrap();
    assert!(aborted.status().is_success());
    let answer = why(&world, "camera-1").await;
    assert!(answer.waiting && answer.holds[0].by == HeldBy::Enrolment, "{answer:?}");
    assert!(answer.holds[0].released_by.contains("takt device approve camera-1"));

    // Enrolling again, with a token that asks for no approval, does not approve it; nor does a restart.
    let plain = token(&world, 1, 60).await;
    assert_eq!(enrol(&world, &request(&plain, "camera-1", &device.key)).await.status(), 200);
    assert!(waits(&world).await);
    world.stop().await;
    world.go_on().await;
    assert!(waits(&world).await);
    let stranger = world.stranger("PUT", "/api/v1/devices/camera-1/approval").send().await.unwrap();
    assert_eq!(problem(stranger).await.status, 401);

    assert_eq!(stand(&world, "PUT", "camera-1", "approval", None).await, 204);
    device.enrolled.broker = format!("localhost:{}", world.gate.port());
    let only =
        CampaignRequest { devices: vec!["camera-1".parse().unwrap()], ..campaign("second", release.clone()) };
    start(&world, &only).await;
    let mut online = device.connect().await;
    let (order, _, _) = online.order(order_key).await;
    assert_eq!((order.device, &order.members[0].path), (device.id(), &release.target_path()));
    // Who was approved stays so, also with a token for approval.
    let again = world.operator("POST", "/api/v1/tokens").json(&asked).send().await.unwrap();
    let again: TokenResponse = again.json().await.unwrap();
    let secret = again.token.split('.').nth(1).unwrap();
    assert_eq!(enrol(&world, &request(secret, "camera-1", &device.key)).await.status(), 200);
    assert!(!waits(&world).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decommissioned_device_stays_out_for_ever_keeps_its_history_and_gives_its_name_to_another() {
    let (mut world, release) = world_with_release().await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    FakeDevice::enrol(&world, "gateway").await;
    let graph = serde_json::json!({"edges": [{"source": "camera-1", "target": "gateway", "requires": true}]});
    let declared = world.operator("PUT", "/api/v1/domains/north/graph").json(&graph).send().await.unwrap();
    assert_eq!(declared.status(), 204);
    let order_key = order_key(&world).await;
    let mut online = device.connect().await;
    let report = device.report(|report| report.warnings.push("seen before".to_owned()));
    online.say_until_heard(&device.seal(&report), order_key).await;

    assert_eq!(stand(&world, "POST", "camera-1", "decommission", None).await, 204);
    online.ended().await;
    online.ended().await;
    assert!(!is_let_in(&world, device.id(), &device.identity_pem()).await);
    assert_eq!(stand(&world, "POST", "camera-1", "decommission", None).await, 204, "again");
    let asked = world.operator("DELETE", "/api/v1/devices/camera-1/revocation").send().await.unwrap();
    let answer = problem(asked).await;
    assert!(answer.status == 409 && answer.detail.contains("it does not come back"), "{answer:?}");
    let secret = token(&world, 2, 60).await;
    for name in ["camera-1", "camera-9"] {
        let answer = problem(enrol(&world, &request(&secret, name, &device.key)).await).await;
        assert!(answer.status == 403 && answer.detail.contains("is decommissioned since"), "{answer:?}");
    }
    let asked = renewal(device.id(), &challenge(&world).await, &device.key);
    assert!(problem(renew(&world, &asked).await).await.detail.contains("is decommissioned since"));
    let answer = why(&world, "camera-1").await;
    assert!(answer.waiting && answer.reasons[0].contains("is decommissioned since"), "{answer:?}");
    let answer = world.operator("POST", "/api/v1/campaigns").json(&CampaignRequest {
        devices: vec!["camera-1".parse().unwrap()],
        ..campaign("none", release.clone())
    });
    assert_eq!(problem(answer.send().await.unwrap()).await.status, 422, "for campaigns it is not there");

    // Another device with its name takes its place, also in what was declared.
    let next = FakeDevice::enrol(&world, "camera-1").await;
    let found: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert_eq!((found.id, found.revoked), (next.id(), None));
    world.stop().await;
    world.go_on().await;
    let begun = start(&world, &campaign("first", release)).await;
    assert_eq!(
        begun.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(),
        ["gateway", "camera-1"]
    );
    assert_eq!(begun.devices[1].device, next.id());
    let taken = problem(enrol(&world, &request(&secret, "camera-1", &key())).await).await;
    assert_eq!(taken.status, 409);
    let kept: DeviceView = world.get(&format!("/api/v1/devices/{}", device.id())).await;
    assert!(kept.revoked.unwrap().for_ever);
    assert_eq!(kept.warnings, ["seen before"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_has_wiped_its_keys_is_another_one_when_it_enrols_again() {
    let mut world = World::start().await;
    world.init_trust().await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let before = device.identity().membership().unwrap();
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    let refused = takt_agent::decommission::decommission(&device.state()).unwrap_err().to_string();
    assert!(refused.contains("its agent runs"), "{refused}");
    drop(agent);
    assert!(takt_agent::decommission::decommission(&device.state()).unwrap());
    assert!(!device.state().join("identity").exists());

    assert_eq!(stand(&world, "POST", "camera-1", "decommission", None).await, 204);
    let after = device.enrol_again(&world).await;
    assert_ne!(after.device, before.device);
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    let view: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert_eq!(view.id, after.device);
    drop(agent);
    world.stop().await;
}
