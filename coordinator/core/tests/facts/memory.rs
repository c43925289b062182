//! Takeover `restore`: memory is asked for when the standby has all else.

use takt_common::api::DeviceStep;
use takt_common::order::{Action, Takeover};
use takt_common::report::{Outcome, PhaseName, Report};

use crate::site::{DEADLINE_SECS, SETTLE_SECS, Site, report_of};

/// The standby reports its phase in the order in hand.
fn reports_phase(site: &mut Site, text: &str, phase: PhaseName) {
    let now = site.now;
    let device = site.device(text);
    let report = Report { phase, ..report_of(device) };
    assert!(device.record_report(&report, None, now));
}

/// The standby is ready for the memory, which has been asked for.
fn asked() -> Site {
    let mut site = Site::restoring();
    let takeover = site.orders.last().unwrap().action.clone();
    assert!(matches!(takeover, Action::TakeOver { how: Takeover::Restore, .. }), "{takeover:?}");
    for phase in [PhaseName::Fetching, PhaseName::Staged] {
        reports_phase(&mut site, "camera-2", phase);
        assert_eq!(site.advance(), [""; 0], "what the device does now is to be in it still");
    }
    reports_phase(&mut site, "camera-2", PhaseName::Switching);
    assert_eq!(site.advance(), ["camera-1: hand its memory to camera-2"]);
    assert_eq!(site.advance(), [""; 0], "once");
    let (takeover, asked) = (takeover, site.orders.last().unwrap());
    let (Action::TakeOver { lease, .. }, Action::Checkpoint { lease: same, standby, .. }) =
        (takeover, asked.action.clone())
    else {
        panic!("{asked:?}")
    };
    assert_eq!((lease, site.id("camera-2")), (same, standby));
    assert_eq!(asked.release.as_ref().unwrap().to_string(), "counter 1.0.0", "what runs now");
    site
}

#[test]
fn memory_is_asked_for_once_the_standby_is_ready_and_the_device_is_upgraded_when_it_serves() {
    let mut site = asked();
    site.report("camera-1", Some(Outcome::Checkpointed));
    assert_eq!(site.advance(), [""; 0], "its standby does not serve yet");
    assert!(matches!(site.step("camera-1"), DeviceStep::TakingOver { .. }));
    site.report_serving("camera-2", Some("camera-1"));
    assert_eq!(site.advance(), ["camera-1: install"]);
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: hand back to camera-1"]);
}

#[test]
fn a_standby_that_serves_without_the_memory_is_told_of_and_the_device_goes_on() {
    let mut site = asked();
    let warning = "it serves without the memory of the device, started afresh: criu is not installed";
    let (now, of) = (site.now, Some(site.id("camera-1")));
    let standby = site.device("camera-2");
    let report = Report {
        standing_in_for: of,
        outcome: Some(Outcome::Serving),
        warnings: vec![warning.to_owned()],
        ..report_of(standby)
    };
    assert!(standby.record_report(&report, None, now));
    // The device is still at handing it over: that is of no use any more.
    assert_eq!(site.advance(), ["camera-1: install"]);
    let events = site.campaign().view().events;
    let told = format!("camera-2 warns: {warning}");
    assert!(events.iter().any(|event| event.text == told), "{events:?}");
}

#[test]
fn a_standby_that_never_serves_is_called_back_whatever_became_of_the_memory() {
    for given in [true, false] {
        let mut site = asked();
        if given {
            site.report("camera-1", Some(Outcome::Checkpointed));
        }
        site.wait(DEADLINE_SECS + SETTLE_SECS);
        assert_eq!(site.advance(), ["camera-2: hand back to camera-1"], "given: {given}");
        assert!(matches!(site.step("camera-1"), DeviceStep::HandingBack { .. }));
    }
}
