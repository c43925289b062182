//! Queries, dry runs, further operators and releases that are out of date, by the API.

use std::collections::BTreeMap;

use takt_common::Name;
use takt_common::api::{
    CampaignPreview, CampaignRequest, CampaignState, CampaignView, DeviceView, FollowMode, FollowSpec,
    OperatorRequest, OperatorResponse,
};

use crate::order_round_trip::{campaign, start};
use crate::support::device::FakeDevice;
use crate::support::{World, client, problem, until};

async fn world() -> (World, takt_common::release::ReleaseId) {
    let mut world = World::start().await;
    world.init_trust().await;
    let release = world.publish_release("1.0.0", 1).await;
    (world, release)
}

fn asking(name: &str, release: &takt_common::release::ReleaseId, query: &str) -> CampaignRequest {
    CampaignRequest { query: Some(query.to_owned()), ..campaign(name, release.clone()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_asked_for_by_what_they_say_of_themselves() {
    let (mut world, release) = world().await;
    let first = FakeDevice::enrol(&world, "camera-1").await;
    FakeDevice::enrol(&world, "camera-2").await;
    let mut online = first.connect().await;
    online.has(&first.key, BTreeMap::from([("night".to_owned(), "on".to_owned())])).await;
    let query = "/api/v1/devices?where=feature.night%20%3D%20%22on%22";
    let found = until("what the device has told", || async {
        let found: Vec<DeviceView> = world.get(query).await;
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(online.live_until(found).await[0].name.as_str(), "camera-1");
    for (path, status, detail) in [
        ("/api/v1/devices?where=name%20%3D", 422, "field 'where': the query ends where a value"),
        ("/api/v1/devices?wear=name", 400, "wear"),
    ] {
        let answer = problem(world.operator("GET", path).send().await.unwrap()).await;
        assert!(answer.status == status && answer.detail.contains(detail), "{answer:?}");
    }
    let wrong = asking("wrong", &release, r#"modell = "demo""#);
    let answer =
        problem(world.operator("POST", "/api/v1/campaigns").json(&wrong).send().await.unwrap()).await;
    assert!(
        answer.detail.contains("there is no field 'modell'") && answer.detail.contains("at character 1"),
        "{answer:?}"
    );

    let asked = asking("night", &release, r#"feature.night = "on""#);
    let plan = world.operator("POST", "/api/v1/campaigns/plan").json(&asked).send().await.unwrap();
    let preview: CampaignPreview = plan.json().await.unwrap();
    assert_eq!(preview.devices.len(), 1);
    assert!(preview.ends.is_some() && preview.in_place == 1, "{preview:?}");
    assert_eq!(preview.excluded.len(), 1, "the other one has not said what it has");
    let none: Vec<CampaignView> = world.get("/api/v1/campaigns").await;
    assert_eq!(none, [], "a plan begins nothing");

    let begun = start(&world, &asked).await;
    assert_eq!((begun.total, begun.excluded.len()), (1, 1));
    let listed: Vec<CampaignView> = world.get("/api/v1/campaigns").await;
    assert_eq!((listed[0].total, listed[0].devices.len()), (1, 0), "a list has no devices");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_operator_approves_what_one_has_asked_for() {
    let (mut world, release) = world().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let name = |text: &str| text.parse::<Name>().unwrap();
    let add = |operator: &str| {
        world.operator("POST", "/api/v1/operators").json(&OperatorRequest { name: name(operator) })
    };
    let added = add("second").send().await.unwrap();
    assert_eq!(added.status(), 201);
    let second: OperatorResponse = added.json().await.unwrap();
    for taken in ["second", "operator"] {
        assert_eq!(add(taken).send().await.unwrap().status(), 409, "{taken}");
    }
    let asked = CampaignRequest { approval: true, ..campaign("careful", release) };
    let view = start(&world, &asked).await;
    assert_eq!(view.state, CampaignState::Pending);
    let approve = "/api/v1/campaigns/careful/approve";
    let own = problem(world.operator("POST", approve).send().await.unwrap()).await;
    assert!(own.status == 409 && own.detail.contains("another operator has to approve it"), "{own:?}");
    let as_second = |method: &str, path: &str| {
        let client = client(world.data(), None);
        client.request(method.parse().unwrap(), world.path(path)).bearer_auth(&second.token)
    };
    let more = as_second("POST", "/api/v1/operators").json(&OperatorRequest { name: name("third") });
    assert_eq!(more.send().await.unwrap().status(), 403, "only the first one adds others");
    assert_eq!(as_second("POST", approve).send().await.unwrap().status(), 200);
    until("the campaign to begin", || async {
        let view: CampaignView = world.get("/api/v1/campaigns/careful").await;
        (view.state == CampaignState::Ongoing).then_some(())
    })
    .await;
    let names: Vec<Name> = world.get("/api/v1/operators").await;
    assert_eq!(names, [name("second")]);
    assert_eq!(world.operator("DELETE", "/api/v1/operators/second").send().await.unwrap().status(), 204);
    assert_eq!(world.operator("DELETE", "/api/v1/operators/second").send().await.unwrap().status(), 404);
    assert_eq!(as_second("GET", "/api/v1/campaigns").send().await.unwrap().status(), 401);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_another_has_taken_the_place_of_is_refused_unless_it_is_asked_for_as_such() {
    let (mut world, first) = world().await;
    FakeDevice::enrol(&world, "camera-1").await;
    world.publish_release("2.0.0", 2).await;
    let mut asked = campaign("old", first);
    for path in ["/api/v1/campaigns", "/api/v1/campaigns/plan"] {
        let refused = problem(world.operator("POST", path).json(&asked).send().await.unwrap()).await;
        let said = "field 'release': counter 1.0.0 is superseded by counter 2.0.0, which is published; \
                    'superseded' allows it all the same";
        assert_eq!((refused.status, refused.detail.as_str()), (422, said), "{path}");
    }
    asked.superseded = true;
    let begun = start(&world, &asked).await;
    let said = &begun.events.iter().find(|event| event.device.is_none()).unwrap().text;
    assert_eq!(said, "counter 1.0.0 is superseded by counter 2.0.0, which is published");
    world.stop().await;
}

/// A campaign that begins by itself.
async fn begun(world: &World, name: &str) -> CampaignView {
    let path = format!("/api/v1/campaigns/{name}");
    until("a campaign to begin by itself", || async {
        let answer = world.operator("GET", &path).send().await.unwrap();
        if answer.status() == 200 { Some(answer.json().await.unwrap()) } else { None }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_release_begins_a_campaign_by_itself_or_proposes_one() {
    let (mut world, release) = world().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let follow = "/api/v1/domains/north/follow/counter";
    let spec = |mode| FollowSpec { mode, campaign: campaign("auto", release.clone()) };
    let put = |world: &World, spec: FollowSpec| world.operator("PUT", follow).json(&spec).send();
    assert_eq!(put(&world, spec(FollowMode::Propose)).await.unwrap().status(), 204);
    let kept: FollowSpec = world.get(follow).await;
    assert_eq!(kept, spec(FollowMode::Propose));
    // What is published already counts as well.
    let proposed = begun(&world, "auto-1.0.0").await;
    assert_eq!((proposed.state, proposed.request.release), (CampaignState::Pending, release.clone()));
    assert_eq!(
        world.operator("POST", "/api/v1/campaigns/auto-1.0.0/abort").send().await.unwrap().status(),
        200
    );
    assert_eq!(put(&world, spec(FollowMode::Start)).await.unwrap().status(), 204);
    let wrong = CampaignRequest { query: Some("name =".to_owned()), ..campaign("auto", release.clone()) };
    let wrong = put(&world, FollowSpec { mode: FollowMode::Propose, campaign: wrong }).await.unwrap();
    assert!(problem(wrong).await.detail.contains("field 'campaign.where'"));
    let second = world.publish_release("2.0.0", 2).await;
    let started = begun(&world, "auto-2.0.0").await;
    assert!(!started.request.approval && started.request.release == second, "{started:?}");
    assert_eq!(world.operator("DELETE", follow).send().await.unwrap().status(), 204);
    assert_eq!(world.operator("GET", follow).send().await.unwrap().status(), 404);
    world.stop().await;
}
