//! Schedules: slots for the devices of a campaign, and the forecasts that they stand on.

use takt_common::UnixTime;
use takt_common::api::{CampaignView, DeviceStep, ForecastView, ScheduleSpec, WhyView};
use takt_coordinator::clock;

use crate::order_round_trip::{campaign, order_key, start, world_with_release};
use crate::support::device::FakeDevice;
use crate::support::{World, problem, until};

const SCHEDULE: &str = "/api/v1/domains/north/schedule";

async fn set(world: &World, spec: &ScheduleSpec) {
    let response = world.operator("PUT", SCHEDULE).json(spec).send().await.unwrap();
    assert_eq!(response.status(), 204);
}

/// The campaign once `is_so`.
async fn seen(world: &World, name: &str, is_so: impl Fn(&CampaignView) -> bool) -> CampaignView {
    let path = format!("/api/v1/campaigns/{name}");
    until("the campaign as expected", || async {
        let view: CampaignView = world.get(&path).await;
        is_so(&view).then_some(view)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_kept_shown_refused_by_field_and_taken_away() {
    let mut world = World::start().await;
    world.init_trust().await;
    FakeDevice::enrol(&world, "camera-1").await;
    let none = problem(world.operator("GET", SCHEDULE).send().await.unwrap()).await;
    assert!(none.status == 404 && none.detail.contains("the domain north has no schedule"), "{none:?}");

    let spec = ScheduleSpec {
        windows: vec!["mon-fri 22:00-06:00".to_owned()],
        time_zone: Some("Europe/Berlin".to_owned()),
        ..ScheduleSpec::default()
    };
    set(&world, &spec).await;
    for (body, words) in [
        (serde_json::json!({"slot_secs": 0}), "field 'slot_secs': 0 is not between 1 and 86400"),
        (serde_json::json!({"windows": ["always"]}), "field 'windows': 'always' is not a window"),
        (serde_json::json!({"time_zone": "Berlin"}), "field 'time_zone': 'Berlin' is not a time zone"),
        (
            serde_json::json!({"gateways": [{"device": "g", "members": [], "max_in_flight": 1}]}),
            "the domain has no device 'g'",
        ),
    ] {
        let refused = world.operator("PUT", SCHEDULE).json(&body).send().await.unwrap();
        let refused = problem(refused).await;
        assert!(refused.status == 422 && refused.detail.contains(words), "{refused:?}");
    }
    let unknown = world.operator("PUT", SCHEDULE).json(&serde_json::json!({"slot": 1})).send().await.unwrap();
    assert_eq!(problem(unknown).await.status, 400);
    assert_eq!(world.get::<ScheduleSpec>(SCHEDULE).await, spec);

    let gone = world.operator("DELETE", SCHEDULE).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(problem(world.operator("GET", SCHEDULE).send().await.unwrap()).await.status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_get_slots_by_what_their_health_samples_say_and_begin_in_them() {
    let (mut world, release) = world_with_release().await;
    let device = FakeDevice::enrol(&world, "camera-1").await;
    let silent =
        problem(world.operator("GET", "/api/v1/devices/camera-1/forecast").send().await.unwrap()).await;
    assert!(silent.status == 404 && silent.detail.contains("camera-1"), "{silent:?}");
    let mut online = device.connect().await;
    online.feel(&device.key, 0.2).await;
    let forecast = until("a forecast", || async {
        let response = world.operator("GET", "/api/v1/devices/camera-1/forecast").send().await.unwrap();
        if response.status() == 200 { Some(response.json::<ForecastView>().await.unwrap()) } else { None }
    });
    let forecast = online.live_until(forecast).await;
    assert_eq!((forecast.model.as_str(), forecast.samples, forecast.slots.len()), ("persistence", 1, 24));
    assert!((forecast.slots[0].load - 30.0).abs() < 1e-9, "{forecast:?}");

    // Only the slot in two hours is open.
    let now = clock::now().as_secs();
    let from = UnixTime::from_secs(now - now % 3_600 + 7_200);
    let hour = from.as_secs() / 3_600 % 24;
    let windows = vec![format!("{hour:02}:00-{:02}:00", hour + 1)];
    set(&world, &ScheduleSpec { windows, slots: 12, ..ScheduleSpec::default() }).await;
    let request = campaign("night", release);
    start(&world, &request).await;
    let view = seen(&world, "night", |view| view.plan.is_some()).await;
    let slot = view.devices[0].slot.clone().unwrap();
    assert_eq!((slot.start, slot.sequence, slot.predicted_load), (from, 1, Some(30.0)));
    // An order may take ten minutes, and then the hour must not be over.
    assert_eq!(slot.end.since(slot.start).as_secs(), 3_001);
    assert!(slot.reason.contains("lowest predicted load 30 %"), "{slot:?}");
    let answer = view.pending_answer.unwrap();
    assert_eq!((answer.devices, answer.median_millis, view.upgraded_answer), (1, 12, None));
    let told = |view: &CampaignView| view.reason.contains(&format!("camera-1 and begins {from}"));
    seen(&world, "night", told).await;
    let why: WhyView = world.get("/api/v1/devices/camera-1/why").await;
    assert!(why.waiting && why.reasons[0].contains("its slot begins at"), "{why:?}");

    // A window that never comes holds the campaign, and says so.
    let far = (hour + 20) % 24;
    let windows = vec![format!("{far:02}:00-{:02}:00", far + 1)];
    set(&world, &ScheduleSpec { windows, slots: 2, ..ScheduleSpec::default() }).await;
    let held = seen(&world, "night", |view| view.reason.contains("held: none of the 2 slots until")).await;
    assert_eq!(held.devices[0].step, DeviceStep::Pending);

    // Slots of a second: it begins at once.
    set(&world, &ScheduleSpec { slot_secs: 1, ..ScheduleSpec::default() }).await;
    let order_key = order_key(&world).await;
    let (order, ..) = online.order(order_key).await;
    assert_eq!(order.device, device.id());
    let view = seen(&world, "night", |view| view.devices[0].step != DeviceStep::Pending).await;
    let DeviceStep::Upgrading { since, .. } = view.devices[0].step else { panic!("{view:?}") };
    let slot = view.devices[0].slot.clone().unwrap();
    assert!((slot.start..slot.end).contains(&since), "{slot:?}, but it began at {since}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_goes_lets_devices_begin() {
    let (mut world, release) = world_with_release().await;
    let device = FakeDevice::enrol(&world, "camera-1").await;
    let mut online = device.connect().await;
    let hour = (clock::now().as_secs() / 3_600 + 2) % 24;
    let windows = vec![format!("{hour:02}:00-{:02}:00", hour + 1)];
    set(&world, &ScheduleSpec { windows, ..ScheduleSpec::default() }).await;
    start(&world, &campaign("night", release)).await;
    let view = seen(&world, "night", |view| view.devices[0].slot.is_some()).await;
    // Nothing was ever heard of its load.
    let slot = view.devices[0].slot.clone().unwrap();
    assert!(
        slot.predicted_load.is_none() && slot.reason.contains("nothing is known of its load"),
        "{slot:?}"
    );
    assert_eq!(world.operator("DELETE", SCHEDULE).send().await.unwrap().status(), 204);
    let (order, ..) = online.order(order_key(&world).await).await;
    assert_eq!(order.device, device.id());
    world.stop().await;
}
