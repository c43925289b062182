//! Enrolment over the real API.

use crate::support::device::{FakeDevice, enrol, request, token};
use crate::support::{World, key, problem, until};
use takt_common::api::{CampaignRequest, DeviceView, EnrolResponse, TokenRequest, TokenResponse};
use takt_common::report::Outcome;
use takt_common::{DeviceId, Sha256Digest};

use crate::order_round_trip::{campaign, order_key, start, world_with_release};
use crate::support::agent::RealDevice;

async fn prepared() -> World {
    let mut world = World::start().await;
    world.init_trust().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_gets_a_certificate_and_a_second_one_does_not_get_its_name() {
    let mut world = prepared().await;
    let secret = token(&world, 5, 60).await;
    let key = key();
    let response = enrol(&world, &request(&secret, "camera-1", &key)).await;
    assert_eq!(response.status(), 200);
    let first: EnrolResponse = response.json().await.unwrap();
    assert_eq!((first.device, first.domain.as_str()), (DeviceId::of_key(&key.public()), "north"));
    assert_eq!(first.broker, format!("localhost:{}", world.gate.port()));
    assert!(first.package_root.contains("\"root\"") && first.director_root.contains("\"root\""));

    // The secret is not on the disk, not even in the store.
    let store = std::fs::read_dir(world.data().join("store")).unwrap();
    let files = store.flat_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect()
        } else {
            vec![path]
        }
    });
    for file in files.filter(|file| file.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", file.display());
    }

    // The same key again: a new certificate, the same device.
    let response = enrol(&world, &request(&secret, "camera-1", &key)).await;
    assert_eq!(response.status(), 200);
    let again: EnrolResponse = response.json().await.unwrap();
    assert_eq!(again.device, first.device);
    assert_ne!(again.certificate_pem, first.certificate_pem);
    let renamed = problem(enrol(&world, &request(&secret, "camera-7", &key)).await).await;
    assert!(renamed.status == 409 && renamed.detail.contains("camera-1"), "{renamed:?}");

    let other = crate::support::key();
    let taken = problem(enrol(&world, &request(&secret, "camera-1", &other)).await).await;
    assert_eq!(taken.status, 409);
    assert!(
        taken.detail.contains("camera-1") && taken.detail.contains(&first.device.to_string()),
        "{taken:?}"
    );
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert_eq!(devices.len(), 1);
    world.stop().await;
    world.go_on().await;
    let kept: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert_eq!((kept.id, kept.hardware.as_str(), kept.online), (first.device, "demo", false));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_up_expired_and_unknown_tokens_and_wrong_proofs_admit_nobody() {
    let mut world = prepared().await;
    let secret = token(&world, 1, 60).await;
    let key = key();

    let mut forged = request(&secret, "camera-1", &key);
    forged.proof = request(&secret, "camera-2", &key).proof;
    let answer = problem(enrol(&world, &forged).await).await;
    assert!(answer.status == 403 && answer.detail.contains("camera-1"), "{answer:?}");
    forged.proof = "no base64".into();
    assert_eq!(problem(enrol(&world, &forged).await).await.status, 403);

    // A refused request does not use the token up.
    assert_eq!(enrol(&world, &request(&secret, "camera-1", &key)).await.status(), 200);
    // The answer was lost: the same device is answered again, however often.
    for _ in 0..2 {
        let again = enrol(&world, &request(&secret, "camera-1", &key)).await;
        assert_eq!(again.status(), 200);
        assert_eq!(again.json::<EnrolResponse>().await.unwrap().device, DeviceId::of_key(&key.public()));
    }
    let answer = problem(enrol(&world, &request(&secret, "camera-2", &crate::support::key())).await).await;
    assert!(answer.status == 401 && answer.detail.contains("as often as it may"), "{answer:?}");

    let unknown = Sha256Digest::of(b"guess").to_string();
    assert_eq!(
        problem(enrol(&world, &request(&unknown, "camera-3", &crate::support::key())).await).await.status,
        401
    );

    let short = token(&world, 1, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let answer = problem(enrol(&world, &request(&short, "camera-4", &crate::support::key())).await).await;
    assert!(answer.status == 401 && answer.detail.contains("was good until"), "{answer:?}");

    for (uses, valid_secs, field) in [(0, 60, "uses"), (1, 0, "valid_secs"), (1, u64::MAX, "valid_secs")] {
        let body = serde_json::json!({"domain": "north", "uses": uses, "valid_secs": valid_secs});
        let response = world.operator("POST", "/api/v1/tokens").json(&body).send().await.unwrap();
        let answer = problem(response).await;
        assert!(answer.status == 422 && answer.detail.contains(field), "{answer:?}");
    }
    let body = r#"{"domain":"north","uses":1,"uses":2,"valid_secs":60}"#;
    let response = world.operator("POST", "/api/v1/tokens").body(body).send().await.unwrap();
    assert!(problem(response).await.detail.contains("duplicate"));
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert_eq!(devices.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_use_a_token_no_more_often_than_it_may_be_used() {
    let mut world = prepared().await;
    let secret = token(&world, 3, 60).await;
    let requests: Vec<_> = (0..8).map(|n| request(&secret, &format!("camera-{n}"), &key())).collect();
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let sent = world.stranger("POST", "/api/v1/enrol").json(&request).send();
            tokio::spawn(async move { sent.await.unwrap().status().as_u16() })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        let status = task.await.unwrap();
        assert!([200, 401].contains(&status), "{status}");
        admitted += u32::from(status == 200);
    }
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert_eq!((devices.len(), admitted), (3, 3));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_roots_nobody_is_enrolled_and_the_token_stays_good() {
    let mut world = World::start().await;
    let secret = token(&world, 1, 60).await;
    let key = key();
    let answer = problem(enrol(&world, &request(&secret, "camera-1", &key)).await).await;
    assert!(answer.status == 409 && answer.detail.contains("takt trust init"), "{answer:?}");
    world.init_trust().await;
    assert_eq!(enrol(&world, &request(&secret, "camera-1", &key)).await.status(), 200);
    FakeDevice::enrol(&world, "camera-2").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_devices_enrol_at_once_with_one_token() {
    let mut world = prepared().await;
    let secret = token(&world, 40, 60).await;
    let statuses = (0..40).map(|number| {
        let request = request(&secret, &format!("camera-{number}"), &key());
        let world = &world;
        async move { enrol(world, &request).await.status().as_u16() }
    });
    let statuses = futures_util::future::join_all(statuses).await;
    assert_eq!(statuses, [200; 40]);
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert_eq!(devices.len(), 40);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_admits_to_its_own_domain_and_a_known_key_to_no_other() {
    let mut world = prepared().await;
    let asked = TokenRequest { domain: "south".parse().unwrap(), uses: 3, valid_secs: 60, approval: false };
    let response = world.operator("POST", "/api/v1/tokens").json(&asked).send().await.unwrap();
    let answer: TokenResponse = response.json().await.unwrap();
    let south = answer.token.split('.').nth(1).unwrap();
    let north = FakeDevice::enrol(&world, "camera-1").await;

    // The same name in another domain is another device's.
    let response = enrol(&world, &request(south, "camera-1", &key())).await;
    assert_eq!(response.status(), 200);
    let admitted: EnrolResponse = response.json().await.unwrap();
    assert_eq!(admitted.domain.as_str(), "south");
    let known = problem(enrol(&world, &request(south, "camera-1", &north.key)).await).await;
    assert_eq!(known.status, 409);
    assert!(known.detail.contains(&north.id().to_string()) && known.detail.contains("north"), "{known:?}");
    // Somebody who has a token and the device's public key, but not its private one.
    let mut stolen = request(south, "camera-2", &key());
    stolen.public_key = north.key.public();
    assert_eq!(problem(enrol(&world, &stolen).await).await.status, 403);
    let devices: Vec<DeviceView> = world.get("/api/v1/devices").await;
    assert_eq!(devices.len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reinstalled_device_keeps_its_history() {
    let (mut world, release) = world_with_release().await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let order_key = order_key(&world).await;
    start(&world, &campaign("first", release.clone())).await;
    let mut online = device.connect().await;
    let (order, digest, _) = online.order(order_key).await;
    let report = device.verified(&order, digest);
    online.say_until_heard(&device.seal(&report), order_key).await;
    let before: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert!(matches!(before.last_outcome, Some(Outcome::Verified { .. })), "{before:?}");
    drop(online);

    // It has its key and nothing else: its reports begin again, and it runs nothing.
    let secret = token(&world, 1, 60).await;
    let again = enrol(&world, &request(&secret, "camera-1", &device.key)).await;
    device.enrolled = again.json().await.unwrap();
    (device.sequence, device.previous) = (0, None);
    let mut online = device.connect().await;
    let report = device.report(|_| ());
    assert_eq!(online.say_until_heard(&device.seal(&report), order_key).await.sequence, 1);
    let after: DeviceView = world.get("/api/v1/devices/camera-1").await;
    assert_eq!((after.id, after.enrolled), (before.id, before.enrolled));
    assert_eq!((after.quarantine, after.last_outcome), (None, before.last_outcome));
    assert!(after.installed.is_empty());
    // Its orders go on where they were: an old one is never valid again.
    start(
        &world,
        &CampaignRequest { devices: vec!["camera-1".parse().unwrap()], ..campaign("second", release) },
    )
    .await;
    let (next, _, _) = online.order(order_key).await;
    assert_eq!(next.position().generation, order.position().generation + 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_has_lost_its_journal_enrols_again_as_the_same_device() {
    let mut world = prepared().await;
    let device = RealDevice::enrol(&world, "camera-1").await;
    let agent = device.start();
    let heard = async || {
        let view: DeviceView = world.get("/api/v1/devices/camera-1").await;
        (view.online && view.phase.is_some()).then_some(view)
    };
    let before = until("the first report", heard).await;
    drop(agent);
    std::fs::remove_dir_all(device.state().join("journal")).unwrap();
    device.enrol_again(&world).await;
    until("the end of the session", async || {
        (!world.get::<DeviceView>("/api/v1/devices/camera-1").await.online).then_some(())
    })
    .await;
    let agent = device.start();
    let after = until("the agent again", heard).await;
    assert_eq!((after.id, after.enrolled, after.quarantine), (before.id, before.enrolled, None));
    drop(agent);
    world.stop().await;
}
