//! Why is this device waiting?

use takt_common::report::{Memory, Outcome, Report};

use crate::site::{Site, report_of};

fn first(site: &Site, device: &str) -> String {
    let answer = site.why(device);
    assert!(answer.waiting, "{answer:?}");
    answer.reasons[0].clone()
}

#[test]
fn a_device_in_no_campaign_is_not_waiting() {
    let answer = Site::new().why("gateway");
    assert!(!answer.waiting);
    assert_eq!(answer.reasons, ["it is not waiting: it is in no campaign and has no order"]);
}

#[test]
fn an_order_that_is_not_accepted_says_since_when_the_device_is_offline() {
    let mut site = Site::begun();
    site.advance();
    site.device("gateway").online = false;
    assert_eq!(
        first(&site, "gateway"),
        "order 1.1 (install counter 2.0.0) was issued at 2026-11-21T08:00:00Z and is not accepted: the device is \
         offline since 2026-11-21T08:00:00Z; it gets the order when it comes back"
    );
}

#[test]
fn the_agent_s_own_reason_comes_first() {
    let mut site = Site::begun();
    site.advance();
    let now = site.now;
    let device = site.device("gateway");
    let report = Report { waiting_on: Some("load average 3.2, at most 2.0".to_owned()), ..report_of(device) };
    device.record_report(&report, None, now);
    assert_eq!(
        first(&site, "gateway"),
        "its agent waits since 2026-11-21T08:00:00Z: load average 3.2, at most 2.0"
    );
}

#[test]
fn a_camera_waits_for_the_gateway_it_requires() {
    let mut site = Site::begun();
    site.advance();
    assert_eq!(first(&site, "camera-1"), "campaign to-two: it waits for gateway to be verified (requires)");
}

#[test]
fn a_camera_waits_for_its_standby_to_serve() {
    let site = Site::gateway_verified();
    assert_eq!(
        first(&site, "camera-1"),
        "campaign to-two: it waits since 2026-11-21T08:00:00Z for the standby camera-2 to serve (order 1.1), until \
         2026-11-21T08:01:20Z, by lease 1 since 2026-11-21T08:00:00Z; it has not accepted the order yet"
    );
}

#[test]
fn a_camera_waits_for_its_element_and_hears_who_is_in_work() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    let answer = site.why("camera-2");
    assert!(answer.waiting);
    assert_eq!(
        answer.reasons,
        [
            "campaign to-two: it waits for its element: camera-1 in work, 0 devices are before it",
            "campaign to-two: it could not begin now either: it stands in for camera-1",
            "it stands in for camera-1, by lease 1 since 2026-11-21T08:00:00Z",
        ]
    );
    let answer = site.why("camera-1");
    assert!(!answer.waiting, "{answer:?}");
    assert!(answer.reasons[1].contains("in upgrade since"), "{answer:?}");
    assert!(
        answer.reasons[1].contains("camera-2 serves, by lease 1 since 2026-11-21T08:00:00Z"),
        "{answer:?}"
    );
}

#[test]
fn a_device_whose_standby_is_away_hears_that() {
    let mut site = Site::begun();
    site.advance();
    site.device("camera-2").online = false;
    site.device("camera-1").online = false;
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.advance();
    let text = first(&site, "camera-1");
    assert!(
        text.contains("no standby can take over: camera-2 is offline since 2026-11-21T08:00:00Z"),
        "{text}"
    );
}

#[test]
fn a_device_of_an_aborted_campaign_hears_why() {
    let mut site = Site::camera_upgrading();
    site.report(
        "camera-1",
        Some(Outcome::RolledBack { cause: "GET /healthz gave 500".to_owned(), memory: Memory::Kept }),
    );
    site.advance();
    let text = site.why("camera-2").reasons.join("\n");
    assert!(
        text.contains("campaign to-two stops and begins no further device: camera-1: rolled back"),
        "{text}"
    );
    site.report_serving("camera-2", None);
    site.advance();
    let text = first(&site, "camera-2");
    assert!(text.starts_with("campaign to-two was aborted before its turn: camera-1: rolled back"), "{text}");
    assert!(text.ends_with("a new campaign would bring it to counter 2.0.0"), "{text}");
    let text = site.why("gateway").reasons.join("\n");
    assert!(text.contains("up to date, counter 2.0.0 is verified since"), "{text}");
}
