//! What shows late: failures after the end of a campaign, devices that come back after an abort, and steps that take too long.

use takt_common::api::{CampaignRequest, CampaignState, DeviceStep, StepLimits};
use takt_common::health::Unwell;
use takt_common::order::Action;
use takt_common::regulation::{OnAbort, Regulation};
use takt_common::report::{Outcome, PhaseName, Report};

use crate::regulated::{Herd, after_fifteen, back_too, regulated};
use crate::site::{SETTLE_SECS, Site, installed, report_of, request};

const OBSERVE_SECS: u64 = 3_600;

/// Nine devices that all run the release since a moment.
fn finished(on_abort: OnAbort) -> Herd {
    let mut herd = Herd::of(9, Regulation { on_abort, ..Regulation::default() });
    for _ in 0..50 {
        herd.advance();
        herd.end_well();
        if herd.view().state == CampaignState::Finished {
            return herd;
        }
        herd.wait(OBSERVE_SECS);
    }
    panic!("{}", herd.view().reason);
}

#[test]
fn what_fails_after_the_end_counts_still() {
    let mut herd = finished(OnAbort::Hold);
    assert!(!herd.campaign().is_settled());
    herd.wait(OBSERVE_SECS - 1);
    herd.tell(3, "1.0.0", 1);
    herd.advance();
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(view.reason.contains("and now reports that it runs counter 1.0.0"), "{}", view.reason);
    assert!(herd.campaign().is_settled());
}

#[test]
fn the_fleet_is_brought_back_for_what_fails_after_the_end() {
    let mut herd = finished(OnAbort::Rollback);
    herd.wait(60);
    herd.tell(3, "1.0.0", 1);
    herd.advance();
    assert_eq!(herd.view().state, CampaignState::RollingBack);
    let mut back = 0;
    while herd.view().state == CampaignState::RollingBack {
        back += herd.advance();
        herd.end_back(|_| true);
        assert!(back <= 8);
    }
    assert_eq!((back, herd.view().state), (8, CampaignState::Aborted));
    assert!(herd.fleet.devices.values().all(|device| device.installed[0].counter == 1));
}

#[test]
fn a_finished_campaign_is_watched_for_as_long_as_an_element_and_no_longer() {
    let mut herd = finished(OnAbort::Rollback);
    let ends = herd.campaign().wakes_at(herd.now).unwrap();
    assert_eq!(ends.since(herd.now).as_secs(), OBSERVE_SECS + SETTLE_SECS);
    herd.wait(OBSERVE_SECS + SETTLE_SECS);
    assert_eq!(herd.advance(), 0);
    assert!(herd.campaign().is_settled());
    herd.tell(3, "1.0.0", 1);
    assert_eq!(herd.advance(), 0);
    assert_eq!(herd.view().state, CampaignState::Finished);
}

#[test]
fn a_release_that_falls_ill_after_it_was_verified_counts() {
    let mut herd = finished(OnAbort::Hold);
    let unwell =
        |version| Unwell { release: installed(version, 0).release, why: "GET /healthz gave 500".into() };
    let tell = |herd: &mut Herd, version| {
        herd.fleet.devices.values_mut().next().unwrap().facts.unwell = vec![unwell(version)];
        herd.advance();
        herd.view()
    };
    // A sample from before its upgrade says nothing of the release.
    assert_eq!(tell(&mut herd, "1.0.0").state, CampaignState::Finished);
    let view = tell(&mut herd, "2.0.0");
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(view.reason.contains("and now its health checks fail: GET /healthz gave 500"), "{}", view.reason);
}

/// Fifteen devices run the release; of the next twenty one has fallen silent when the others fail. All are brought back but that one.
fn aborted_without_one() -> Herd {
    let mut herd = after_fifteen();
    let silent = herd.fleet.devices.values_mut().find(|device| device.order.is_some()).unwrap();
    silent.online = false;
    herd.end_with(19);
    assert_eq!(herd.advance(), 1, "the order of the silent one is withdrawn");
    herd.wait(SETTLE_SECS);
    for _ in 0..9 {
        herd.advance();
        herd.end_online_back();
    }
    assert_eq!(herd.view().state, CampaignState::Aborted);
    herd
}

/// The silent one is heard of, and runs `version`.
fn comes_back(herd: &mut Herd, version: &str, counter: u64) {
    let now = herd.now;
    let device = herd.fleet.devices.values_mut().find(|device| !device.online).unwrap();
    device.online = true;
    let report = Report {
        installed: vec![installed(version, counter)],
        outcome: Some(Outcome::Withdrawn),
        ..report_of(device)
    };
    assert!(device.record_report(&report, None, now));
}

#[test]
fn a_device_that_comes_back_with_the_aborted_release_is_brought_back_too() {
    let mut herd = aborted_without_one();
    assert!(!herd.campaign().is_settled());
    let reason = herd.view().reason;
    assert!(
        reason.ends_with("1 silent devices are brought back once they are heard of, if they run it then"),
        "{reason}"
    );
    herd.wait(86_400);
    assert_eq!(herd.advance(), 0);
    comes_back(&mut herd, "2.0.0", 2);
    assert_eq!(herd.advance(), 1);
    assert_eq!(herd.view().state, CampaignState::RollingBack);
    let order = herd.fleet.devices.values().find_map(|device| device.order.as_ref()).unwrap();
    assert_eq!(
        (&order.action, order.release.as_ref().unwrap().version.as_str()),
        (&Action::Install, "1.0.0")
    );
    herd.end_online_back();
    herd.advance();
    assert_eq!(herd.view().state, CampaignState::Aborted);
    assert!(herd.campaign().is_settled());
    assert!(herd.fleet.devices.values().all(|device| device.installed[0].counter == 1));
}

#[test]
fn a_device_that_comes_back_as_it_was_is_let_alone() {
    let mut herd = aborted_without_one();
    comes_back(&mut herd, "1.0.0", 1);
    assert_eq!(herd.advance(), 0);
    assert_eq!(herd.view().state, CampaignState::Aborted);
    assert!(herd.campaign().is_settled());
}

#[test]
fn a_device_that_never_comes_back_is_awaited_for_ninety_days() {
    let mut herd = aborted_without_one();
    herd.wait(90 * 86_400 - 1);
    herd.advance();
    assert!(!herd.campaign().is_settled());
    herd.wait(1);
    herd.advance();
    assert!(herd.campaign().is_settled());
}

#[test]
fn a_device_that_fetches_for_too_long_loses_its_order() {
    let steps = StepLimits { fetch_secs: Some(10), ..StepLimits::default() };
    let mut herd = Herd::opened(9, &CampaignRequest { steps, ..regulated(back_too()) }).unwrap();
    assert_eq!(herd.advance(), 1);
    let now = herd.now;
    let device = herd.fleet.devices.values_mut().next().unwrap();
    let report = Report { phase: PhaseName::Fetching, ..report_of(device) };
    assert!(device.record_report(&report, None, now));
    assert_eq!(herd.campaign().wakes_at(now).unwrap().since(now).as_secs(), 10);
    herd.wait(9);
    assert_eq!(herd.advance(), 0);
    herd.wait(1);
    assert_eq!(herd.advance(), 1);
    let reason = herd.view().reason;
    assert!(reason.contains("d-0001: counter 2.0.0 was not fetched by"), "{reason}");
}

#[test]
fn steps_of_standbys_have_limits_of_their_own() {
    let steps = StepLimits { take_over_secs: Some(5), hand_back_secs: Some(7), fetch_secs: None };
    let limited = |mut site: Site| {
        site.campaign = Some(site.open(&CampaignRequest { steps, ..request() }, &[]).unwrap());
        site
    };
    let mut site = limited(Site::new());
    site.advance();
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"]);
    site.wait(4);
    assert_eq!(site.advance(), [""; 0]);
    site.wait(1);
    site.report("camera-2", None);
    site.advance();
    assert!(
        site.campaign().reason().contains("the standby camera-2 did not"),
        "{}",
        site.campaign().reason()
    );

    let mut site = limited(Site::new());
    site.advance();
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.advance();
    site.report_serving("camera-2", Some("camera-1"));
    site.advance();
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    site.wait(6);
    site.advance();
    assert!(matches!(site.step("camera-1"), DeviceStep::HandingBack { .. }));
    site.wait(1);
    site.advance();
    assert!(
        site.campaign().reason().contains("camera-2 has not handed back by"),
        "{}",
        site.campaign().reason()
    );
}

#[test]
fn a_limit_that_no_step_can_have_is_refused() {
    let steps = StepLimits { fetch_secs: Some(0), ..StepLimits::default() };
    let refused = Herd::opened(9, &CampaignRequest { steps, ..regulated(back_too()) }).err().unwrap();
    assert_eq!(refused.to_string(), "field 'steps.fetch_secs': 0 is not between 1 and 7776000");
}
