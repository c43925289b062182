//! Memory from a device to its standby, with real orders: who may give it, who may have it, and when it goes.

use http::StatusCode;
use takt_common::api::CampaignRequest;
use takt_common::digest::Sha256Digest;
use takt_common::order::{Action, Order, Takeover};
use takt_common::report::{Installed, OrderRef, Outcome, PhaseName};

use crate::order_round_trip::{campaign, order_key, start, world_with_release};
use crate::support::device::{FakeDevice, Online};
use crate::support::{World, client, problem, until};

/// What a device reports of the order in hand.
fn said(
    device: &mut FakeDevice,
    (order, digest): &(Order, Sha256Digest),
    phase: PhaseName,
    outcome: Option<Outcome>,
    runs: &[Installed],
) -> Vec<u8> {
    let report = device.report(|report| {
        report.order = Some(OrderRef { position: order.position(), digest: *digest });
        (report.phase, report.outcome) = (phase, outcome);
        report.installed = runs.to_vec();
    });
    device.seal(&report)
}

async fn ordered(online: &mut Online, world: &World) -> (Order, Sha256Digest) {
    let (order, digest, _) = online.order(order_key(world).await).await;
    (order, digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_goes_from_a_device_that_was_asked_to_the_standby_that_takes_over_and_to_nobody_else() {
    let (mut world, first) = world_with_release().await;
    let second = world.publish_release("2.0.0", 2).await;
    let mut device = FakeDevice::enrol(&world, "camera-1").await;
    let mut standby = FakeDevice::enrol(&world, "camera-2").await;
    let stranger = FakeDevice::enrol(&world, "camera-3").await;
    let row = serde_json::json!({"device": "camera-1", "standbys": ["camera-2"], "takeover": "restore"});
    let drm = world.operator("PUT", "/api/v1/domains/north/drm").json(&serde_json::json!({"rows": [row]}));
    assert_eq!(drm.send().await.unwrap().status(), 204);
    let (mut one, mut two) = (device.connect().await, standby.connect().await);
    let of = |release: &takt_common::release::ReleaseId, name: &str| CampaignRequest {
        devices: vec!["camera-1".parse().unwrap()],
        superseded: true,
        ..campaign(name, release.clone())
    };

    // What a device with a standby runs must be known before it is upgraded.
    for (who, online) in [(&mut device, &mut one), (&mut standby, &mut two)] {
        let hello = who.report(|_| {});
        online.say(who.seal(&hello)).await;
        online.ack(order_key(&world).await).await;
    }
    // The device comes to run the first release; nobody asks for its memory.
    start(&world, &of(&first, "first")).await;
    let install = ordered(&mut one, &world).await;
    let path = world.path(&format!("/api/v1/devices/{}/checkpoint", device.id()));
    let [own, other, third] =
        [&device, &standby, &stranger].map(|who| client(world.data(), Some(&who.identity_pem())));
    let give = |who: &reqwest::Client, body: &'static str| who.put(&path).body(body).send();
    let refused = problem(give(&own, "memory").await.unwrap()).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.detail.contains("is not asked for"), "{refused:?}");
    let member = install.0.members[0].clone();
    let runs = [Installed { release: member.release, counter: 1, manifest: member.sha256 }];
    let verified = Some(Outcome::Verified { strategy: None });
    one.say(said(&mut device, &install, PhaseName::Ended, verified, &runs)).await;
    one.ack(order_key(&world).await).await;
    start(&world, &of(&second, "second")).await;
    let takeover = ordered(&mut two, &world).await;
    assert!(matches!(takeover.0.action, Action::TakeOver { how: Takeover::Restore, .. }), "{takeover:?}");
    // It has not come yet, which the standby may ask, and nobody else.
    assert_eq!(problem(other.get(&path).send().await.unwrap()).await.status, 404);
    for who in [&own, &third] {
        assert_eq!(problem(who.get(&path).send().await.unwrap()).await.status, 403);
    }
    let operator = world.operator("GET", &format!("/api/v1/devices/{}/checkpoint", device.id()));
    assert_eq!(problem(operator.send().await.unwrap()).await.status, 401);

    two.say(said(&mut standby, &takeover, PhaseName::Switching, None, &[])).await;
    two.ack(order_key(&world).await).await;
    let asked = ordered(&mut one, &world).await;
    let Action::Checkpoint { standby: whom, .. } = asked.0.action else { panic!("{asked:?}") };
    assert_eq!((whom, asked.0.members[0].release.clone()), (standby.id(), first));
    // Nobody gives it in the device's place, and what is cut off is not there.
    for who in [&other, &third] {
        assert_eq!(problem(give(who, "forged").await.unwrap()).await.status, 403);
    }
    let nobody = world.stranger("PUT", &format!("/api/v1/devices/{}/checkpoint", device.id()));
    assert_eq!(problem(nobody.body("forged").send().await.unwrap()).await.status, 401);
    assert_eq!(problem(other.get(&path).send().await.unwrap()).await.status, 404);

    assert_eq!(give(&own, "memory").await.unwrap().status(), StatusCode::CREATED);
    let taken = other.get(&path).send().await.unwrap();
    assert_eq!(
        (taken.status(), taken.headers()["cache-control"].to_str().unwrap()),
        (StatusCode::OK, "no-store")
    );
    assert_eq!(taken.bytes().await.unwrap(), "memory");
    assert_eq!(problem(third.get(&path).send().await.unwrap()).await.status, 403);

    // The takeover ends: it goes, and is not to be had any more.
    one.say(said(&mut device, &asked, PhaseName::Ended, Some(Outcome::Checkpointed), &runs)).await;
    let failed = Some(Outcome::Failed { cause: "the port is taken".to_owned() });
    two.say(said(&mut standby, &takeover, PhaseName::Ended, failed, &[])).await;
    let both = async {
        tokio::join!(
            one.live_until(std::future::pending::<()>()),
            two.live_until(std::future::pending::<()>())
        )
    };
    let gone = until("the memory to be gone", || async {
        let held = world.data().join("checkpoints").join(device.id().to_string());
        (!held.exists()).then_some(())
    });
    tokio::select! {
        _ = both => {}
        () = gone => {}
    }
    assert_eq!(problem(other.get(&path).send().await.unwrap()).await.status, 403);
    world.stop().await;
}
