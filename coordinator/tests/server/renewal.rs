//! Renewal of device certificates: over the API, and by the real agent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use takt_common::api::{DeviceView, RenewalChallenge, RenewalRequest, RenewalResponse};
use takt_common::{DeviceId, SigningKey};
use takt_coordinator::clock;

use crate::support::agent::RealDevice;
use crate::support::device::FakeDevice;
use crate::support::{World, client, key, problem, until};

async fn prepared(tables: &str) -> World {
    let mut world = World::start_with(tables).await;
    world.init_trust().await;
    world
}

pub async fn challenge(world: &World) -> String {
    let response = world.stranger("GET", "/api/v1/renewal").send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json::<RenewalChallenge>().await.unwrap().challenge
}

pub fn request(device: DeviceId, challenge: &str, key: &SigningKey) -> RenewalRequest {
    let proof = STANDARD.encode(key.sign(&RenewalRequest::proof_message(device, challenge)));
    RenewalRequest { device, challenge: challenge.to_owned(), proof }
}

pub async fn renew(world: &World, request: &RenewalRequest) -> Response {
    world.stranger("POST", "/api/v1/renewal").json(request).send().await.unwrap()
}

/// Whether the coordinator takes the device's certificate.
pub async fn is_let_in(world: &World, id: DeviceId, identity_pem: &str) -> bool {
    let own = client(world.data(), Some(identity_pem));
    let asked = own.get(world.path(&format!("/api/v1/devices/{id}/order"))).send().await;
    asked.is_ok_and(|response| response.status().is_success())
}

pub async fn is_online(world: &World, name: &str) -> bool {
    world.get::<DeviceView>(&format!("/api/v1/devices/{name}")).await.online
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_device_itself_renews_its_certificate_and_each_challenge_once() {
    let mut world = prepared("").await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let other = FakeDevice::enrol(&world, "camera-2").await;
    let id = device.id();

    let asked = request(id, &challenge(&world).await, &device.key);
    let response = renew(&world, &asked).await;
    assert_eq!(response.status(), 200);
    let next: RenewalResponse = response.json().await.unwrap();
    assert_ne!(next.certificate_pem, device.enrolled.certificate_pem);
    device.enrolled.certificate_pem = next.certificate_pem;
    assert!(is_let_in(&world, id, &device.identity_pem()).await);

    let refused = async |request: RenewalRequest| {
        let answer = problem(renew(&world, &request).await).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.detail.contains(&request.device.to_string()), "{answer:?}");
        answer.detail
    };
    assert!(refused(asked.clone()).await.contains("has been used"));
    let older = challenge(&world).await;
    assert_eq!(renew(&world, &request(id, &challenge(&world).await, &device.key)).await.status(), 200);
    assert!(refused(request(id, &older, &device.key)).await.contains("has been used"));
    // A wrong key, another device's key, and a proof over another challenge or for another device.
    for wrong in [&key(), &other.key] {
        let why = refused(request(id, &challenge(&world).await, wrong)).await;
        assert!(why.contains("not a signature of its enrolled key"), "{why}");
    }
    let fresh = challenge(&world).await;
    let moved = RenewalRequest { challenge: fresh.clone(), ..asked.clone() };
    assert!(refused(moved).await.contains("not a signature"));
    let moved = RenewalRequest { device: other.id(), ..request(id, &fresh, &device.key) };
    assert!(refused(moved).await.contains("not a signature"));
    let stranger = key();
    let unknown = request(DeviceId::of_key(&stranger.public()), &fresh, &stranger);
    assert!(refused(unknown).await.contains("is not enrolled here"));
    for made_up in ["", "1.1.00", fresh.trim_end_matches(|last| last == fresh.chars().last().unwrap())] {
        let why = refused(request(id, made_up, &device.key)).await;
        assert!(why.contains("not known here or too old"), "{why}");
    }
    // What was refused has used nothing up.
    assert_eq!(renew(&world, &request(id, &fresh, &device.key)).await.status(), 200);

    // Another process knows none of them.
    let before = challenge(&world).await;
    world.stop().await;
    world.go_on().await;
    let answer = problem(renew(&world, &request(id, &before, &device.key)).await).await;
    assert!(answer.status == 403 && answer.detail.contains("not known here"), "{answer:?}");
    let body = r#"{"device":"00112233445566778899aabbccddeeff","challenge":"","proof":"","more":1}"#;
    let answer = problem(world.stranger("POST", "/api/v1/renewal").body(body).send().await.unwrap()).await;
    assert!(answer.status == 400 && answer.detail.contains("more"), "{answer:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_renewed_and_lets_nobody_in_before() {
    let mut world = prepared("[certificates]\nvalid_secs = 2").await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let id = device.id();
    until("the end of the certificate", async || {
        (!is_let_in(&world, id, &device.identity_pem()).await).then_some(())
    })
    .await;
    let response = renew(&world, &request(id, &challenge(&world).await, &device.key)).await;
    let next: RenewalResponse = response.json().await.unwrap();
    device.enrolled.certificate_pem = next.certificate_pem;
    assert!(is_let_in(&world, id, &device.identity_pem()).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_renews_its_certificate_by_itself_and_connects_with_the_next_one() {
    let mut world = World::start_with_fixed_ports("[certificates]\nvalid_secs = 6").await;
    world.init_trust().await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let id = device.identity().membership().unwrap().device;
    let first = device.identity_pem();
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    until("the next certificate", async || (device.identity_pem() != first).then_some(())).await;
    until("the end of the first", async || (!is_let_in(&world, id, &first).await).then_some(())).await;
    // With a connection of before it would be no news.
    world.stop().await;
    world.go_on().await;
    until("the agent again", async || is_online(&world, "camera-1").await.then_some(())).await;
    let kept = device.identity().membership().unwrap();
    assert_eq!((kept.device, kept.domain.as_str()), (id, "north"));
    drop(agent);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_certificate_expires_while_nobody_is_there_comes_back_by_itself() {
    let mut world = World::start_with_fixed_ports("[certificates]\nvalid_secs = 4").await;
    world.init_trust().await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let first = device.identity_pem();
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    world.stop().await;
    // Meanwhile the agent fails to renew it.
    let expired =
        async || device.validity().is_none_or(|validity| clock::now() > validity.not_after).then_some(());
    until("the end of the certificate", expired).await;
    world.go_on().await;
    until("the agent again", async || is_online(&world, "camera-1").await.then_some(())).await;
    assert_ne!(device.identity_pem(), first);
    drop(agent);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_with_an_expired_certificate_renews_it_first() {
    let mut world = prepared("[certificates]\nvalid_secs = 3").await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let (id, first) = (device.identity().membership().unwrap().device, device.identity_pem());
    until("the end of the certificate", async || (!is_let_in(&world, id, &first).await).then_some(())).await;
    let agent = device.start();
    until("the agent", async || is_online(&world, "camera-1").await.then_some(())).await;
    assert_ne!(device.identity_pem(), first);
    drop(agent);
    world.stop().await;
}
