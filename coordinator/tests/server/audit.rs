//! The audit log: what stands in it, that it is whole after a kill, and that its heads come to devices.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use takt_common::Sha256Digest;
use takt_common::api::{CampaignState, CampaignView, CoordinatorKeys, OperatorResponse};
use takt_common::audit::{Control, End, Entry, Head, Walk, What, Who};
use takt_common::envelope::{PayloadType, Signers};
use takt_common::topic::{Down, Topic};

use crate::support::device::{FakeDevice, Online, token};
use crate::support::{World, client, until};

/// The whole log, which must be whole and end with its signed head.
async fn log(world: &World) -> Vec<Entry> {
    let keys: CoordinatorKeys = world.get("/api/v1/keys").await;
    let signers = Signers { role: "the order key".into(), keys: vec![keys.order], threshold: 1 };
    let bytes =
        |path: String| async move { world.operator("GET", &path).send().await.unwrap().bytes().await };
    let head = Head::open(&bytes("/api/v1/audit/head".to_owned()).await.unwrap(), &signers).unwrap();
    let (mut walk, mut entries) = (Walk::past(Vec::new()), Vec::new());
    while walk.end().number < head.end.number {
        let page = format!("/api/v1/audit?after={}&limit=3", walk.end().number);
        let page = bytes(page).await.unwrap();
        let lines = page.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
        for line in lines.take(usize::try_from(head.end.number - walk.end().number).unwrap()) {
            assert!(!String::from_utf8_lossy(line).contains(&world.token), "no secret stands in it");
            entries.push(walk.next(line).unwrap());
        }
    }
    assert_eq!(walk.finish(&head).unwrap(), head.end);
    entries
}

/// Who did what, in words.
fn told(entries: &[Entry]) -> BTreeSet<(String, String)> {
    let words = |entry: &Entry| {
        let what = serde_json::to_value(&entry.what).unwrap();
        let control = what["control"].as_str().unwrap_or_default().to_owned();
        (entry.who.to_string(), format!("{} {control}", what["do"].as_str().unwrap()).trim().to_owned())
    };
    entries.iter().map(words).collect()
}

/// Asks for something that must succeed.
async fn does(world: &World, method: &str, path: &str, body: Value) {
    let answer = world.operator(method, path).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_operator_action_leaves_an_entry_with_the_operator_s_name() {
    let mut world = World::start().await;
    world.init_trust().await;
    let added = world.operator("POST", "/api/v1/operators").json(&json!({"name": "anna"}));
    let anna: OperatorResponse = added.send().await.unwrap().json().await.unwrap();
    let first = std::mem::replace(&mut world.token, anna.token.clone());
    let device = FakeDevice::enrol(&world, "camera-1").await;
    let secret = token(&world, 2, 60).await;
    does(&world, "PUT", "/api/v1/domains/north/graph", json!({"edges": []})).await;
    does(&world, "PUT", "/api/v1/domains/north/drm", json!({"rows": []})).await;
    does(&world, "PUT", "/api/v1/domains/north/schedule", json!({"slot_secs": 3600, "slots": 24})).await;
    does(&world, "DELETE", "/api/v1/domains/north/schedule", json!({})).await;
    does(&world, "PUT", "/api/v1/devices/camera-1/quarantine", json!({"why": "it burns"})).await;
    does(&world, "DELETE", "/api/v1/devices/camera-1/quarantine", json!({})).await;
    // Nothing changes, so there is nothing to tell.
    does(&world, "DELETE", "/api/v1/devices/camera-1/quarantine", json!({})).await;
    world.publish_release("1.0.0", 1).await;
    let release = json!({"name": "counter", "version": "1.0.0"});
    let campaign = json!({
        "name": "week-1", "release": release, "domain": "north", "deadline_secs": 600, "approval": true, "stays_open": true
    });
    does(&world, "POST", "/api/v1/campaigns", campaign.clone()).await;
    for control in ["pause", "resume", "close"] {
        let request = world.operator("POST", &format!("/api/v1/campaigns/week-1/{control}"));
        assert_eq!(request.send().await.unwrap().status(), 200, "{control}");
    }
    // Another one approves.
    let approve = world.stranger("POST", "/api/v1/campaigns/week-1/approve").bearer_auth(&first);
    assert_eq!(approve.send().await.unwrap().status(), 200);
    let ordered = until("the order", || async {
        log(&world).await.into_iter().find_map(|entry| match entry.what {
            What::CampaignStepped(stepped) => stepped.orders,
            _ => None,
        })
    });
    let issued = ordered.await;
    assert_eq!((issued.count, issued.lowest, issued.highest), (1, issued.highest, issued.lowest));
    let own = client(world.data(), Some(&device.identity_pem()));
    let path = world.path(&format!("/api/v1/devices/{}/order", device.id()));
    let order = own.get(path).send().await.unwrap().bytes().await.unwrap();
    let payload = takt_common::Envelope::from_bytes(&order).unwrap().unverified_payload().unwrap();
    let line = format!("{} {}\n", device.id(), Sha256Digest::of(&payload));
    assert_eq!(
        issued.sha256,
        Sha256Digest::of(line.as_bytes()),
        "the entry binds the order that the device gets"
    );
    does(&world, "POST", "/api/v1/campaigns/week-1/abort", json!({})).await;
    let follow = json!({"mode": "propose", "campaign": campaign});
    does(&world, "PUT", "/api/v1/domains/north/follow/other", follow).await;
    does(&world, "DELETE", "/api/v1/domains/north/follow/other", json!({})).await;
    world.token = first;
    let removed = world.operator("DELETE", "/api/v1/operators/anna").send().await.unwrap();
    assert_eq!(removed.status(), 204);

    let entries = log(&world).await;
    let told = told(&entries);
    for what in [
        "token-made",
        "graph-set",
        "drm-set",
        "schedule-set",
        "schedule-cleared",
        "device-quarantined",
        "device-released",
        "published",
        "campaign-started",
        "campaign-controlled pause",
        "campaign-controlled resume",
        "campaign-controlled close",
        "campaign-controlled abort",
        "follow-set",
        "follow-ended",
    ] {
        assert!(told.contains(&("anna".to_owned(), what.to_owned())), "{what} is not in {told:?}");
    }
    for what in ["published", "operator-added", "operator-removed", "campaign-controlled approve"] {
        assert!(told.contains(&("operator".to_owned(), what.to_owned())), "{what} is not in {told:?}");
    }
    assert!(told.contains(&(format!("device {}", device.id()), "device-enrolled".to_owned())), "{told:?}");
    assert!(told.contains(&("the coordinator".to_owned(), "campaign-stepped".to_owned())), "{told:?}");
    let released = entries.iter().filter(|entry| matches!(entry.what, What::DeviceReleased { .. })).count();
    assert_eq!(released, 1);
    let texts: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    for held in [&secret, &anna.token, &world.token] {
        assert!(texts.iter().all(|text| !text.contains(held.as_str())), "a secret stands in the log");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_tried_again_leaves_an_entry_and_the_chain_goes_on_after_a_restart() {
    let mut world = World::start().await;
    world.init_trust().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let release = world.publish_release("1.0.0", 1).await;
    let request = json!({"name": "week-1", "release": release, "domain": "north", "deadline_secs": 600, "approval": true});
    let begun = world.operator("POST", "/api/v1/campaigns").json(&request).send().await.unwrap();
    assert_eq!(begun.status(), 201);
    let control = async |world: &World, what: &str| {
        let answer =
            world.operator("POST", &format!("/api/v1/campaigns/week-1/{what}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{what}");
    };
    control(&world, "abort").await;
    until("the end", || async {
        let view: CampaignView = world.get("/api/v1/campaigns/week-1").await;
        (view.state == CampaignState::Aborted).then_some(())
    })
    .await;
    let before = log(&world).await;
    let moved = before.iter().rev().find_map(|entry| match &entry.what {
        What::CampaignStepped(stepped) => Some(stepped),
        _ => None,
    });
    assert_eq!(moved.unwrap().state, CampaignState::Aborted);

    world.stop().await;
    world.go_on().await;
    control(&world, "retry").await;
    let after = log(&world).await;
    assert_eq!(after[..before.len()], before[..]);
    let retried = What::CampaignControlled { campaign: "week-1".parse().unwrap(), control: Control::Retry };
    let by = Who::operator("operator".parse().unwrap());
    assert!(after[before.len()..].iter().any(|entry| entry.what == retried && entry.who == by), "{after:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_there_is_no_change_without_its_entry_and_no_entry_without_its_change() {
    let mut world = World::start_process("");
    world.init_trust().await;
    for name in ["camera-1", "camera-2"] {
        FakeDevice::enrol(&world, name).await;
    }
    for round in 1..=3_u32 {
        // Weights that were never there before, one after the other until the process is gone.
        let graph = move |count: u32| {
            let weight = f64::from(1000 * round + count) / 10_000.0;
            json!({"edges": [{"source": "camera-1", "target": "camera-2", "requires": false, "weight": weight}]})
        };
        let request = world.operator("PUT", "/api/v1/domains/north/graph").json(&graph(0));
        assert_eq!(request.send().await.unwrap().status(), 204);
        let (caller, url) = (client(world.data(), None), world.path("/api/v1/domains/north/graph"));
        let token = world.token.clone();
        let writing = tokio::spawn(async move {
            let mut count = 1;
            loop {
                let request = caller.put(&url).bearer_auth(&token).json(&graph(count));
                if request.send().await.is_err() {
                    return count;
                }
                count += 1;
            }
        });
        let begun = log(&world).await.len();
        until("some changes", || async { (log(&world).await.len() > begun + 5).then_some(()) }).await;
        world.kill_and_go_on();
        assert!(writing.await.unwrap() > 5);

        let entries = log(&world).await;
        let last = entries.iter().rev().find_map(|entry| match &entry.what {
            What::GraphSet { sha256, .. } => Some(*sha256),
            _ => None,
        });
        let stored: takt_common::api::GraphSpec = world.get("/api/v1/domains/north/graph").await;
        assert_eq!(last, Some(Sha256Digest::of(&serde_json::to_vec(&stored).unwrap())), "round {round}");
    }
    world.stop().await;
}

async fn head(online: &mut Online, key: takt_common::PublicKey) -> Head {
    online.hear(Down::Audit, PayloadType::AuditHead, key).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_heads_come_to_every_device_that_listens_also_to_one_that_comes_later() {
    let mut world = World::start().await;
    world.init_trust().await;
    let keys: CoordinatorKeys = world.get("/api/v1/keys").await;
    let mut heads = Vec::new();
    for name in ["camera-1", "camera-2"] {
        let device = FakeDevice::enrol(&world, name).await;
        let mut online = device.connect().await;
        let topic = Topic::down(&device.enrolled.domain, device.id(), Down::Audit).to_string();
        online.client.subscribe(topic, rumqttc::QoS::AtMostOnce).await.unwrap();
        heads.push(head(&mut online, keys.order).await);
    }
    let entries = log(&world).await;
    for head in heads {
        let at = usize::try_from(head.end.number).unwrap();
        assert_eq!(head.end, End::at(head.end.number, &entries[at - 1].to_bytes()));
    }
    world.stop().await;
}
