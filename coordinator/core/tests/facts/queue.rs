//! Campaigns beside each other: severity, weight, room, expiry, approval, and another attempt.

use std::time::Duration;

use takt_common::api::{CampaignRequest, CampaignState, DeviceStep, RetryPolicy};
use takt_common::regulation::Regulation;
use takt_common::release::Severity;
use takt_common::report::Outcome;
use takt_coordinator_core::{
    Campaign, ControlError, Others, ReleaseFacts, abort, advance, after_outage, approve, retry,
};

use crate::regulated::Herd;
use crate::site::{DEADLINE_SECS, SETTLE_SECS, Site, facts, installed, name, request, rolled_back};

fn severe(severity: Severity) -> ReleaseFacts {
    let release = installed("5.0.0", 5);
    ReleaseFacts { severity, ..ReleaseFacts::plain(release.release, 5, release.manifest, SETTLE_SECS) }
}

fn other(severity: Severity) -> CampaignRequest {
    CampaignRequest { name: name("other"), release: severe(severity).id, ..request() }
}

#[test]
fn a_critical_campaign_takes_devices_that_have_not_begun_and_goes_first() {
    let mut site = Site::begun();
    let hotfix = site.campaign().clone();
    for severity in [Severity::Hotfix, Severity::Minor] {
        let refused = site.open_of(&other(severity), &severe(severity), std::slice::from_ref(&hotfix));
        assert!(refused.unwrap_err().to_string().contains("is in campaign to-two, which has not ended"));
    }
    let critical =
        site.open_of(&other(Severity::Critical), &severe(Severity::Critical), std::slice::from_ref(&hotfix));
    let critical = critical.unwrap();
    assert_eq!(critical.devices(), 3);
    // The one that was there begins no element, and says why.
    site.others = Others::of(&hotfix, &[&hotfix, &critical], usize::MAX);
    // Not begun itself, it does not hold others up for ever: it goes on as soon as it is advanced.
    assert_eq!(site.advance(), [""; 0]);
    let reason = site.campaign().reason().to_owned();
    assert!(reason.contains("campaign other, which is critical, goes first"), "{reason}");
    site.wait(10 * DEADLINE_SECS);
    assert_eq!(site.advance(), [""; 0], "and its devices are not late");
    let first = Others::of(&critical, &[&hotfix, &critical], usize::MAX);
    assert_eq!(first, Others::of(&critical, &[&critical, &hotfix], usize::MAX));
    let look = takt_coordinator_core::Look {
        fleet: &site.fleet,
        graph: &site.graph,
        drm: &site.drm,
        response: None,
        others: &first,
        identify: true,
        lease: 0,
        orders_max: usize::MAX,
        now: site.now,
    };
    assert_eq!(advance(&critical, &look).orders.len(), 1);
    // Once it has ended, the other one goes on.
    site.others = Others::of(&hotfix, &[&hotfix], usize::MAX);
    assert_eq!(site.advance(), ["gateway: install"]);
    // What it has in work joins the critical one later, and is not left behind by it.
    let hotfix = site.campaign().clone();
    let late =
        site.open_of(&other(Severity::Critical), &severe(Severity::Critical), std::slice::from_ref(&hotfix));
    let late = late.unwrap();
    let excluded = late.view().excluded;
    assert_eq!((excluded.len(), excluded[0].joins, late.devices()), (1, true, 2));
    assert_eq!(excluded[0].reason, "is in work in campaign to-two");
    for camera in ["camera-1", "camera-2"] {
        site.device(camera).installed = vec![installed("5.0.0", 5)];
    }
    site.campaign = Some(late);
    site.others = Others::of(site.campaign(), &[&hotfix, site.campaign()], usize::MAX);
    assert_eq!(site.advance(), [""; 0]);
    let view = site.campaign().view();
    assert_eq!((view.state, view.done), (CampaignState::Ongoing, 2), "{}", view.reason);
    assert!(view.reason.contains("it waits for 1 that other campaigns have in work"), "{}", view.reason);
    site.device("gateway").sequence = 1;
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.others = Others::default();
    assert_eq!(site.advance(), ["gateway: install"]);
}

#[test]
fn the_coordinator_takes_so_many_orders_at_a_time_and_weights_share_them() {
    let mut herd = Herd::of(1_000, Regulation { observe_secs: 0, ..Regulation::default() });
    herd.others = Others::of(herd.campaign(), &[herd.campaign()], 3);
    assert_eq!(herd.advance(), 3);
    herd.others = Others::of(herd.campaign(), &[herd.campaign()], 0);
    assert_eq!(herd.advance(), 0);
    let heavy = |weight| {
        let request = CampaignRequest { weight, name: name(&format!("w{weight}")), ..request() };
        Site::new().open(&request, &[]).unwrap()
    };
    let (one, three) = (heavy(1), heavy(3));
    let room = |campaign: &Campaign| Others::of(campaign, &[&one, &three], 100).room();
    assert_eq!((room(&one), room(&three)), (25, 75));
}

#[test]
fn a_campaign_expires_and_lets_devices_in_work_end() {
    let mut site = Site::new();
    let asked = CampaignRequest { expires_secs: Some(30), ..request() };
    site.campaign = Some(site.open(&asked, &[]).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", None);
    site.wait(31);
    assert_eq!(site.advance(), [""; 0], "nothing is withdrawn");
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.advance();
    let view = site.campaign().view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(view.reason.contains("it has expired at") && view.reason.contains("1 of 3"), "{}", view.reason);
}

#[test]
fn a_campaign_that_must_be_approved_waits_for_a_second_person() {
    let mut site = Site::new();
    site.campaign = Some(site.open(&CampaignRequest { approval: true, ..request() }, &[]).unwrap());
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.campaign().state(), CampaignState::Pending);
    assert!(site.why("gateway").reasons[0].contains("waits until a second operator approves it"));
    let own = approve(site.campaign(), "operator", site.now).unwrap_err();
    assert_eq!(
        own.to_string(),
        "campaign to-two was asked for by operator; another operator has to approve it"
    );
    site.campaign = Some(approve(site.campaign(), "second", site.now).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    let again = approve(site.campaign(), "third", site.now);
    assert_eq!(again, Err(ControlError::NotAsked(name("to-two"))));
    // One that nobody approves can be aborted all the same.
    site.campaign = Some(site.open(&CampaignRequest { approval: true, ..request() }, &[]).unwrap());
    site.campaign = Some(abort(site.campaign(), site.now).unwrap());
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
}

#[test]
fn silence_while_the_coordinator_was_away_is_nobody_s_fault() {
    let mut site = Site::begun();
    assert_eq!(site.advance(), ["gateway: install"]);
    let (from, until) =
        (site.now + Duration::from_secs(5), site.now + Duration::from_secs(5 + 10 * DEADLINE_SECS));
    let after = after_outage(site.campaign(), from, until);
    assert_eq!(after_outage(&after, from, until), after, "an outage is noted once");
    let longer = after_outage(&after, from, until + Duration::from_secs(7));
    let DeviceStep::Upgrading { since, .. } = longer.view().devices[0].step.clone() else {
        panic!("{longer:?}")
    };
    assert_eq!(since.since(site.now).as_secs(), 10 * DEADLINE_SECS + 7, "of a longer one only what is new");
    site.campaign = Some(after);
    site.now = until;
    assert_eq!(site.advance(), [""; 0], "it may still answer");
    assert!(
        site.campaign()
            .view()
            .events
            .iter()
            .any(|event| event.text.contains("the coordinator was away for 600 s"))
    );
    site.wait(DEADLINE_SECS);
    assert_eq!(site.advance(), ["gateway: withdraw"], "but not for ever");
}

fn failed() -> Outcome {
    Outcome::Failed { cause: "the download was cut".to_owned() }
}

#[test]
fn a_device_that_failed_before_the_switch_is_tried_again_and_counts_only_at_the_end() {
    let mut site = Site::new();
    let policy = RetryPolicy { attempts: 3, backoff_secs: 10, bytes: None };
    site.campaign = Some(site.open(&CampaignRequest { retry: policy, ..request() }, &[]).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    assert!(!site.orders.last().unwrap().policy.retry);
    site.report("gateway", Some(failed()));
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.step("gateway"), DeviceStep::Pending);
    let why = site.why("gateway");
    assert!(why.reasons[0].contains("attempt 2 of 3 begins at"), "{why:?}");
    let wakes = site.campaign().wakes_at(site.now).unwrap();
    let wait = wakes.since(site.now).as_secs();
    assert!((5..=15).contains(&wait), "half of 10 s more or less: {wait}");
    site.now = wakes;
    assert_eq!(site.advance(), ["gateway: install"]);
    assert!(site.orders.last().unwrap().policy.retry, "what failed there may be tried");
    site.report("gateway", Some(failed()));
    site.advance();
    let wait = site.campaign().wakes_at(site.now).unwrap().since(site.now).as_secs();
    assert!((10..=30).contains(&wait), "twice as long: {wait}");
    site.wait(wait);
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", Some(failed()));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted, "the third one was the last");
}

#[test]
fn what_was_switched_is_not_tried_again_by_itself_and_bytes_are_not_spent_without_end() {
    let mut site = Site::new();
    let policy = RetryPolicy { attempts: 3, backoff_secs: 10, bytes: Some(2_500) };
    let release = ReleaseFacts { bytes: 1_000, ..facts(&[]) };
    let asked = CampaignRequest { retry: policy, ..request() };
    let opened = site.open_of(&asked, &release, &[]).unwrap();
    site.campaign = Some(opened.clone());
    site.advance();
    site.report("gateway", Some(rolled_back()));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);

    let mut site = Site::new();
    site.campaign = Some(opened);
    site.advance();
    site.report("gateway", Some(failed()));
    site.advance();
    site.wait(20);
    assert_eq!(site.advance(), ["gateway: install"], "2,000 bytes for two attempts");
    site.report("gateway", Some(failed()));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted, "3,000 would be too many");
}

#[test]
fn an_operator_tries_again_what_failed() {
    let mut site = Site::begun();
    site.advance();
    assert_eq!(retry(site.campaign(), &[], site.now), Err(ControlError::NothingToRetry(name("to-two"))));
    site.report("gateway", Some(rolled_back()));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Aborted);
    let elsewhere = site.open(&CampaignRequest { name: name("second"), ..request() }, &[]).unwrap();
    let busy = retry(site.campaign(), &[&elsewhere], site.now).unwrap_err();
    assert_eq!(busy.to_string(), "device gateway is in campaign second, which has not ended");
    site.campaign = Some(retry(site.campaign(), &[], site.now).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    assert!(site.orders.last().unwrap().policy.retry);
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"], "and it goes on with the others");
}
