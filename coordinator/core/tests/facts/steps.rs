//! What a campaign does next.

use takt_common::Sha256Digest;
use takt_common::api::{CampaignEvent, CampaignState, DeviceStep, Lease};
use takt_common::order::{Action, AtDeadline, Mode};
use takt_common::report::{Outcome, Refused, Report};

use crate::site::{DEADLINE_SECS, SETTLE_SECS, START, Site, installed, report_of, rolled_back};

#[test]
fn a_rolling_campaign_takes_over_upgrades_hands_back_and_goes_on() {
    let mut site = Site::camera_upgrading();
    let takeover = &site.orders[1];
    assert_eq!(takeover.release.as_ref().unwrap().to_string(), "counter 1.0.0", "what the camera runs now");
    assert_eq!(takeover.policy.at_deadline, AtDeadline::GiveUp);
    let standby = site.id("camera-2");
    let install = site.orders[2].clone();
    assert_eq!(install.mode, Mode::Rolling { standby });
    assert_eq!(install.release.unwrap().to_string(), "counter 2.0.0");
    let lease = Lease { device: site.id("camera-1"), token: 1, since: START };
    assert_eq!(site.device("camera-2").lease, Some(lease));
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    assert_eq!(site.device("camera-2").lease, Some(lease), "until it has handed back");
    assert!(matches!(site.step("camera-1"), DeviceStep::HandingBack { .. }));
    assert_eq!(site.advance(), [""; 0], "nothing new, nothing asked");
    site.report_serving("camera-2", None);
    assert_eq!(site.device("camera-2").lease, None);
    assert_eq!(site.advance(), ["camera-1: take over for camera-2"]);
    site.report_serving("camera-1", Some("camera-2"));
    assert_eq!(site.advance(), ["camera-2: install"]);
    site.report("camera-2", Some(Outcome::Verified { strategy: None }));
    site.advance();
    site.report_serving("camera-1", None);
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Finished);
    assert_eq!(site.campaign().view().reason, "all 3 devices are verified");
}

#[test]
fn a_device_that_is_verified_with_a_warning_is_told_so_in_the_campaign() {
    let mut site = Site::begun();
    site.advance();
    let (now, gateway) = (site.now, site.device("gateway"));
    let text = "memory is 180 MiB, 90 MiB before";
    let report = Report {
        outcome: Some(Outcome::Verified { strategy: None }),
        warnings: vec![text.to_owned()],
        installed: vec![installed("2.0.0", 2)],
        ..report_of(gateway)
    };
    assert!(gateway.record_report(&report, None, now));
    site.advance();
    let view = site.campaign().view();
    assert_eq!(view.devices[0].warnings, [text]);
    let gateway = Some("gateway".parse().unwrap());
    let event = |event: &CampaignEvent| event.device == gateway && event.text == format!("warning: {text}");
    assert!(view.events.iter().any(event), "{:?}", view.events);
    assert_eq!(view.reason, "1 of 3 devices are verified, 1 of them with warnings; in work: camera-1");
}

#[test]
fn a_first_installation_is_in_place_although_there_is_a_standby() {
    let mut site = Site::new();
    for device in ["gateway", "camera-1", "camera-2"] {
        site.device(device).installed.clear();
        site.device(device).sequence = 1;
    }
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-1: install"], "not both: they stand in for each other");
    assert_eq!(site.orders[1].mode, Mode::InPlace);
}

#[test]
fn a_device_with_a_standby_that_has_not_said_what_it_runs_is_not_taken_for_empty() {
    let mut site = Site::new();
    for device in ["camera-1", "camera-2"] {
        site.device(device).installed.clear();
    }
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), [""; 0], "nobody knows what the cameras run");
    site.device("camera-1").sequence = 1;
    assert_eq!(site.advance(), ["camera-1: install"], "it has said that it runs nothing");
}

#[test]
fn a_rollback_brakes_and_the_standby_hands_back() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", Some(rolled_back()));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    assert_eq!(site.campaign().state(), CampaignState::Ongoing, "the hand-back is awaited");
    site.report_serving("camera-2", None);
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    assert_eq!(site.step("camera-2"), DeviceStep::Pending);
    let reason = site.campaign().view().reason;
    assert!(
        reason.starts_with(
            "camera-1: rolled back (with its memory): GET /healthz gave 500; 1 of 2 devices failed, and of all 3 at most 0 may"
        ),
        "{reason}"
    );
}

#[test]
fn the_standby_of_a_stranded_device_keeps_serving() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", Some(Outcome::Stranded { cause: "neither starts".to_owned() }));
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(reason.contains("camera-1: stranded: neither starts; 1 of 2 devices failed"), "{reason}");
    assert!(reason.contains("; camera-2 keeps serving for camera-1"), "{reason}");
    assert!(site.campaign().is_settled());
}

#[test]
fn an_order_that_is_not_accepted_in_time_is_withdrawn_and_brakes() {
    let mut site = Site::begun();
    site.advance();
    site.device("gateway").online = false;
    site.wait(DEADLINE_SECS - 1);
    assert_eq!(site.advance(), [""; 0]);
    site.wait(1);
    assert_eq!(site.advance(), ["gateway: withdraw"]);
    assert_eq!(site.advance(), [""; 0], "once");
    site.device("gateway").online = true;
    site.report("gateway", Some(Outcome::Withdrawn));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(reason.starts_with("gateway: order 1.1 was not accepted by 2026-11-21T08:01:00Z"), "{reason}");
    assert!(reason.contains("offline since 2026-11-21T08:00:00Z"), "{reason}");
}

#[test]
fn a_silent_device_is_a_failure_and_its_standby_serves_until_it_is_heard_of() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    site.wait(DEADLINE_SECS + SETTLE_SECS - 1);
    assert_eq!(site.advance(), [""; 0], "an accepted switch may settle");
    site.wait(1);
    assert_eq!(site.advance(), ["camera-1: withdraw"]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(reason.contains("camera-2 keeps serving for camera-1"), "{reason}");
    assert!(!site.campaign().is_settled());
    assert_eq!(site.advance(), [""; 0]);
    site.report("camera-1", Some(Outcome::Withdrawn));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    assert!(site.campaign().is_settled());
}

#[test]
fn a_refused_order_is_withdrawn_at_once_and_says_which_rule() {
    let mut site = Site::begun();
    site.advance();
    let envelope = Sha256Digest::of(b"envelope");
    let now = site.now;
    let device = site.device("gateway");
    let mut report = report_of(device);
    report.order = None;
    let why = "310 MiB are free, 900 are needed".to_owned();
    report.refused = Some(Refused { envelope, rule: "space".to_owned(), why });
    assert!(device.record_report(&report, Some(&envelope), now));
    assert_eq!(site.advance(), ["gateway: withdraw"]);
    site.report("gateway", Some(Outcome::Withdrawn));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(reason.contains("refused (space): 310 MiB are free, 900 are needed"), "{reason}");
}

#[test]
fn a_device_whose_standby_cannot_serve_waits_and_is_never_touched() {
    let mut site = Site::begun();
    site.advance();
    site.device("camera-1").online = false;
    site.device("camera-2").online = false;
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), [""; 0]);
    site.wait(DEADLINE_SECS);
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(
        reason.starts_with("camera-1: not begun by 2026-11-21T08:01:00Z: no standby can take over"),
        "{reason}"
    );
    assert_eq!(
        site.orders.iter().filter(|order| order.action == Action::Install).count(),
        1,
        "the gateway only"
    );
}

#[test]
fn a_failed_takeover_brakes_before_the_device_is_touched() {
    let mut site = Site::gateway_verified();
    site.report("camera-2", Some(rolled_back()));
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(
        reason.contains("camera-1: ") && reason.contains("the takeover by camera-2 ended: rolled back"),
        "{reason}"
    );
}

#[test]
fn a_takeover_that_is_late_is_called_back() {
    let mut site = Site::gateway_verified();
    site.report("camera-2", None);
    site.wait(DEADLINE_SECS + SETTLE_SECS);
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    site.report_serving("camera-2", None);
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    assert!(matches!(site.step("camera-1"), DeviceStep::Done { outcome: Outcome::GivenUp { .. }, .. }));
}

#[test]
fn a_standby_that_does_not_hand_back_brakes_but_the_device_is_verified() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    site.advance();
    site.wait(DEADLINE_SECS + SETTLE_SECS);
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    assert!(matches!(site.step("camera-1"), DeviceStep::Done { outcome: Outcome::Verified { .. }, .. }));
    let reason = site.campaign().view().reason;
    assert!(reason.starts_with("camera-1: camera-2 has not handed back by"), "{reason}");
}

#[test]
fn the_standby_that_was_left_serving_is_used_by_the_next_campaign() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", Some(Outcome::Stranded { cause: "neither starts".to_owned() }));
    site.advance();
    let first = site.campaign().clone();
    let again =
        takt_common::api::CampaignRequest { name: crate::site::name("again"), ..crate::site::request() };
    site.campaign = Some(site.open(&again, &[first]).unwrap());
    assert_eq!(site.advance(), ["camera-1: install"], "camera-2 serves for it already");
    let standby = site.id("camera-2");
    assert_eq!(site.orders.last().unwrap().mode, Mode::Rolling { standby });
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
}
