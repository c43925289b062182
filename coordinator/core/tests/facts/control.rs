//! What operators can do.

use takt_common::api::{CampaignState, DeviceStep};
use takt_common::report::Outcome;
use takt_coordinator_core::{ControlError, abort, pause, resume};

use crate::site::{DEADLINE_SECS, Site, name};

#[test]
fn a_paused_campaign_lets_devices_in_work_end_and_none_begin() {
    let mut site = Site::begun();
    site.advance();
    site.campaign = Some(pause(site.campaign(), site.now).unwrap());
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Paused);
    site.wait(10 * DEADLINE_SECS);
    assert_eq!(site.advance(), [""; 0], "a pause has no deadline");
    site.campaign = Some(resume(site.campaign(), site.now).unwrap());
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"]);
    assert_eq!(resume(site.campaign(), site.now), Err(ControlError::NotPaused(name("to-two"))));
}

#[test]
fn an_abort_withdraws_what_is_in_hand_and_the_standby_hands_back() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    site.campaign = Some(abort(site.campaign(), site.now).unwrap());
    assert_eq!(site.advance(), ["camera-1: withdraw"]);
    site.report("camera-1", Some(Outcome::Withdrawn));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    site.report_serving("camera-2", None);
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let reason = site.campaign().view().reason;
    assert!(reason.starts_with("aborted by an operator; 1 of 3 devices are verified"), "{reason}");
    assert_eq!(abort(site.campaign(), site.now), Err(ControlError::Over(name("to-two"))));
}

#[test]
fn an_abort_during_a_takeover_calls_the_standby_back() {
    let mut site = Site::gateway_verified();
    site.campaign = Some(abort(site.campaign(), site.now).unwrap());
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
    site.report_serving("camera-2", None);
    site.advance();
    assert!(matches!(site.step("camera-1"), DeviceStep::Done { outcome: Outcome::Withdrawn, .. }));
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
}

#[test]
fn a_withdrawal_that_comes_too_late_leaves_the_device_verified() {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    site.campaign = Some(abort(site.campaign(), site.now).unwrap());
    site.advance();
    site.device("camera-1").installed = vec![crate::site::installed("2.0.0", 2)];
    site.report("camera-1", Some(Outcome::Withdrawn));
    site.advance();
    let step = site.step("camera-1");
    assert!(matches!(step, DeviceStep::HandingBack { outcome: Outcome::Verified { .. }, .. }), "{step:?}");
}
