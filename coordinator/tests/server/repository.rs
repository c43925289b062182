//! What the repository takes and what it refuses.

use std::collections::BTreeMap;

use crate::support::{World, files_in, key, problem, role, signed};
use takt_common::api::CoordinatorKeys;
use takt_coordinator::clock;
use takt_trust::{DirectorSpec, PackageTrust, TargetsDocument, snapshot_for};

fn one(name: &str, text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), text.to_owned())])
}

async fn fetch(world: &World, name: &str) -> Option<Vec<u8>> {
    let response = world.stranger("GET", &format!("/api/v1/repository/{name}")).send().await.unwrap();
    match response.status().as_u16() {
        200 => Some(response.bytes().await.unwrap().to_vec()),
        404 => None,
        status => panic!("{name}: {status}"),
    }
}

/// As a device does it.
async fn refreshed(world: &World) -> PackageTrust {
    let root = fetch(world, "1.root.json").await.unwrap();
    let mut refresh = PackageTrust::from_root(&root).unwrap().begin_refresh(clock::now());
    while let Some(need) = refresh.need() {
        refresh.provide(fetch(world, &need.name).await).unwrap();
    }
    refresh.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_can_follow_what_is_published_also_after_a_restart() {
    let mut world = World::start().await;
    world.init_trust().await;
    let release = world.publish_release("1.0.0", 1).await;
    let before = refreshed(&world).await;
    assert!(before.target(&release.target_path()).is_some());
    world.stop().await;
    world.go_on().await;
    let after = refreshed(&world).await;
    assert_eq!(after.snapshot(), before.snapshot());
    assert!(after.issued() >= before.issued() && after.issued().is_some());
    assert!(fetch(&world, "..%2Fcoordinator.toml").await.is_none());
    assert!(fetch(&world, "order.key").await.is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_broke_off_before_its_timestamp_is_completed_by_the_same_one() {
    let mut world = World::start().await;
    world.init_trust().await;
    let folder = world.data().join("repository");
    world.publisher.targets.begin_next(clock::now());
    let documents = world.publisher.sign(clock::now());
    for (name, text) in &documents {
        std::fs::write(folder.join(name), text).unwrap();
    }
    // Also a new start does not complete it by itself: nothing points to it.
    world.stop().await;
    world.go_on().await;
    assert_eq!(refreshed(&world).await.snapshot().unwrap().version, 1);
    world.publish(documents.clone()).await.unwrap();
    assert_eq!(refreshed(&world).await.snapshot().unwrap().version, 2);
    // What is current already is not asked for again, and an older snapshot never becomes current.
    let first = String::from_utf8(fetch(&world, "1.snapshot.json").await.unwrap()).unwrap();
    world.publish(one("1.snapshot.json", &first)).await.unwrap();
    world.publish(documents).await.unwrap();
    assert_eq!(refreshed(&world).await.snapshot().unwrap().version, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_document_is_refused_by_name_and_leaves_no_trace() {
    let mut world = World::start().await;
    let now = clock::now();
    let folder = world.data().join("repository");

    let early = world.publisher.sign(now);
    world.publisher.snapshot = 0;
    let answer = world.publish(early).await.unwrap_err();
    assert!(answer.detail.contains("1.root.json"), "{answer:?}");
    assert_eq!(files_in(folder.clone()), Vec::<String>::new());

    world.init_trust().await;
    let published = files_in(folder.clone());
    let roots = world.roots().await;
    // The same again is no change.
    let twice = one("1.root.json", &String::from_utf8(fetch(&world, "1.root.json").await.unwrap()).unwrap());
    world.publish(twice).await.unwrap();

    let stranger = key();
    let mut targets = TargetsDocument::new(now);
    targets.begin_next(now);
    let forged = signed(targets.document(), &stranger);
    let mut forged_set = one("2.targets.json", &forged);
    let snapshot = snapshot_for(forged.as_bytes(), [], None, 2, now).unwrap();
    forged_set.insert("2.snapshot.json".into(), signed(snapshot.clone(), &world.publisher.key));
    let good_targets = signed(targets.document(), &world.publisher.key);
    let good_snapshot = snapshot_for(good_targets.as_bytes(), [], None, 2, now).unwrap();
    let mut forged_snapshot = one("2.targets.json", &good_targets);
    forged_snapshot.insert("2.snapshot.json".into(), signed(good_snapshot.clone(), &stranger));
    let keys: CoordinatorKeys = world.get("/api/v1/keys").await;
    let foreign_order = DirectorSpec {
        epoch: 2,
        expires: now + std::time::Duration::from_hours(24),
        root: role(&[&world.publisher.key]),
        order: role(&[&stranger]),
        counter: None,
    };
    for (documents, named) in [
        (forged_set, "2.targets.json"),
        (forged_snapshot, "2.snapshot.json"),
        (one("2.targets.json", &good_targets), "2.targets.json"),
        (one("2.snapshot.json", &signed(good_snapshot, &world.publisher.key)), "2.targets.json"),
        (one("timestamp.json", "{}"), "timestamp.json"),
        (one("../1.root.json", "{}"), "../1.root.json"),
        (one("3.root.json", &roots["1.root.json"]), "3.root.json"),
        (one("2.root.json", &roots["1.root.json"]), "2.root.json"),
        (one("2.root.json", "{"), "2.root.json"),
        (one("1.root.json", &roots["1.director.root.json"]), "1.root.json"),
        (
            one("2.director.root.json", &signed(foreign_order.document().unwrap(), &world.publisher.key)),
            "order key",
        ),
        (BTreeMap::new(), "documents"),
    ] {
        let shown = format!("{documents:?}").chars().take(120).collect::<String>();
        let answer = world.publish(documents).await.unwrap_err();
        assert!([409, 422].contains(&answer.status), "{answer:?}");
        assert!(answer.detail.contains(named), "{named} in {answer:?} for {shown}");
    }
    assert_eq!(files_in(folder), published);
    assert_eq!(refreshed(&world).await.snapshot().unwrap().version, 1);
    let _ = (keys, snapshot);

    let unsigned = world.stranger("PUT", "/api/v1/repository").json(&serde_json::json!({"documents": {}}));
    assert_eq!(problem(unsigned.send().await.unwrap()).await.status, 401);
    world.stop().await;
}
