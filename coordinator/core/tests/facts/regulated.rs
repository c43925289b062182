//! Regulation in a campaign: how many devices begin, what holds the next element, what ends it all.

use std::collections::BTreeMap;
use std::time::Duration;

use takt_common::api::{
    CampaignEvent, CampaignRequest, CampaignState, CampaignView, DrmSpec, GatewaySpec, GraphSpec,
    ScheduleSpec,
};
use takt_common::order::Position;
use takt_common::regulation::{OnAbort, Regulation, Speed, Stage};
use takt_common::report::{Outcome, Report};
use takt_common::{DeviceId, Name, UnixTime};
use takt_coordinator_core::{
    Campaign, DeviceState, FleetView, Look, OpenError, Opening, Others, advance, open,
};
use takt_planner::{DomainGraph, DomainSchedule, RedundancyMatrix};

use crate::site::{DEADLINE_SECS, START, facts, installed, name, report_of, request, rolled_back};
use crate::stored::stored_and_read;

/// Devices that have nothing to do with each other.
pub(crate) struct Herd {
    pub(crate) now: UnixTime,
    pub(crate) fleet: FleetView,
    pub(crate) graph: DomainGraph,
    pub(crate) drm: RedundancyMatrix,
    pub(crate) others: Others,
    campaign: Campaign,
    response: Option<f64>,
}

pub(crate) fn regulated(regulation: Regulation) -> CampaignRequest {
    CampaignRequest { element_size: None, regulation, ..request() }
}

fn unwatched() -> Regulation {
    Regulation { observe_secs: 0, ..Regulation::default() }
}

impl Herd {
    pub(crate) fn opened(count: u32, request: &CampaignRequest) -> Result<Self, OpenError> {
        let id = |number: u32| -> DeviceId { format!("{number:032x}").parse().unwrap() };
        let names: BTreeMap<Name, DeviceId> =
            (1..=count).map(|number| (name(&format!("d-{number:04}")), id(number))).collect();
        let graph = DomainGraph::new(&GraphSpec::default(), &names).unwrap();
        let drm = RedundancyMatrix::new(&DrmSpec::default(), &names).unwrap();
        let mut fleet = FleetView::default();
        for (device, id) in names {
            let next = Position { epoch: 1, generation: 1 };
            let mut state = DeviceState::enrolled(id, device, name("site"), name("pi-4"), next);
            (state.online, state.last_seen, state.sequence) = (true, Some(START), 1);
            state.installed = vec![installed("1.0.0", 1)];
            fleet.devices.insert(id, state);
        }
        let campaign = open(&Opening {
            request,
            release: &facts(&[]),
            earlier: &[],
            fleet: &fleet,
            graph: &graph,
            drm: &drm,
            others: &[],
            operator: "operator",
            now: START,
        })?;
        Ok(Self { now: START, fleet, graph, drm, others: Others::default(), campaign, response: None })
    }

    pub(crate) fn of(count: u32, regulation: Regulation) -> Self {
        Self::opened(count, &regulated(regulation)).unwrap()
    }

    /// One round; how many devices got an order.
    pub(crate) fn advance(&mut self) -> usize {
        let (fleet, graph, drm) = (&self.fleet, &self.graph, &self.drm);
        let step = advance(
            &self.campaign,
            &Look {
                fleet,
                graph,
                drm,
                response: self.response,
                others: &self.others,
                identify: true,
                lease: 0,
                orders_max: usize::MAX,
                now: self.now,
            },
        );
        for order in &step.orders {
            self.fleet.record_order(order, self.now);
        }
        self.campaign = stored_and_read(&step.campaign);
        step.orders.len()
    }

    /// The devices in work that are online end; `how` gives the outcome and the warnings of the first, the second ….
    fn end(&mut self, how: impl Fn(usize) -> (Outcome, Vec<String>)) {
        let in_work =
            self.fleet.devices.values_mut().filter(|device| device.order.is_some() && device.online);
        for (number, device) in in_work.enumerate() {
            let (outcome, warnings) = how(number);
            let runs = if outcome.is_success() { installed("2.0.0", 2) } else { installed("1.0.0", 1) };
            let report =
                Report { installed: vec![runs], outcome: Some(outcome), warnings, ..report_of(device) };
            assert!(device.record_report(&report, None, self.now));
        }
    }

    pub(crate) fn end_well(&mut self) {
        self.end(|_| (Outcome::Verified { strategy: None }, Vec::new()));
    }

    /// The first `failures` of the devices in work fail.
    pub(crate) fn end_with(&mut self, failures: usize) {
        self.end(|number| if number < failures { (rolled_back(), vec![]) } else { verified() });
    }

    /// The devices in work are brought back, or not.
    pub(crate) fn end_back(&mut self, succeeds: impl Fn(usize) -> bool) {
        let in_work = self.fleet.devices.values_mut().filter(|device| device.order.is_some());
        for (number, device) in in_work.enumerate() {
            let (outcome, runs) = if succeeds(number) {
                (verified().0, installed("1.0.0", 1))
            } else {
                (rolled_back(), installed("2.0.0", 2))
            };
            let report = Report { installed: vec![runs], outcome: Some(outcome), ..report_of(device) };
            assert!(device.record_report(&report, None, self.now));
        }
    }

    /// Those that are online and have an order are brought back.
    pub(crate) fn end_online_back(&mut self) {
        let in_work =
            self.fleet.devices.values_mut().filter(|device| device.order.is_some() && device.online);
        for device in in_work {
            let report = Report {
                installed: vec![installed("1.0.0", 1)],
                outcome: Some(verified().0),
                ..report_of(device)
            };
            assert!(device.record_report(&report, None, self.now));
        }
    }

    pub(crate) const fn campaign(&self) -> &Campaign {
        &self.campaign
    }

    pub(crate) fn view(&self) -> CampaignView {
        self.campaign.view()
    }

    pub(crate) fn wait(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
    }

    /// A device says that it runs `version`, of its own accord.
    pub(crate) fn tell(&mut self, number: usize, version: &str, counter: u64) {
        let now = self.now;
        let device = self.fleet.devices.values_mut().nth(number).unwrap();
        let report = Report { installed: vec![installed(version, counter)], ..report_of(device) };
        assert!(device.record_report(&report, None, now));
    }
}

fn verified() -> (Outcome, Vec<String>) {
    (Outcome::Verified { strategy: None }, Vec::new())
}

#[test]
fn elements_grow_while_all_goes_well_and_every_decision_is_told() {
    let mut herd = Herd::of(200, unwatched());
    let mut sizes = Vec::new();
    while herd.view().state != CampaignState::Finished {
        sizes.push(herd.advance());
        herd.end_well();
        assert!(sizes.len() < 50, "{sizes:?}");
    }
    assert_eq!(sizes, [5, 10, 20, 50, 50, 50, 15, 0]);
    let view = herd.view();
    assert_eq!((view.stage, view.elements.len()), (Stage::Generalization, 7));
    assert_eq!(view.elements[0].reason, "5 → 10 devices, 0 errors and 0 warnings on 5 devices");
    assert_eq!((view.elements[1].stage, view.elements[1].decision), (Stage::Cautious, Speed::Faster));
}

#[test]
fn the_next_element_waits_until_the_last_one_was_watched() {
    let mut herd = Herd::of(200, Regulation::default());
    assert_eq!(herd.advance(), 5);
    herd.end_well();
    assert_eq!(herd.advance(), 0);
    herd.wait(3_599);
    assert_eq!(herd.advance(), 0);
    let reason = herd.view().reason;
    assert!(
        reason.ends_with(&format!("element 1 is observed until {}", START + Duration::from_hours(1))),
        "{reason}"
    );
    herd.wait(1);
    assert_eq!(herd.advance(), 10);
}

#[test]
fn few_failures_slow_a_campaign_down_and_more_end_it() {
    let mut herd = Herd::of(1_000, unwatched());
    for size in [5, 10, 20, 40] {
        assert_eq!(herd.advance(), size);
        herd.end_well();
    }
    assert_eq!(herd.advance(), 80);
    herd.end_with(3);
    assert_eq!(herd.advance(), 40, "{:?}", herd.view().elements.last());
    assert_eq!(herd.view().elements.last().unwrap().decision, Speed::Slower);
    herd.end_with(7);
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(
        view.reason.contains("10 of 195 devices failed: a release that fails on 1 % shows this"),
        "{}",
        view.reason
    );
}

#[test]
fn failures_end_a_campaign_before_their_element_has_ended() {
    let mut herd = Herd::of(1_000, unwatched());
    assert_eq!(herd.advance(), 5);
    // Two of five may be chance, three are not; what the others come to does not matter any more.
    let fail = |herd: &mut Herd, number| {
        let device = herd.fleet.devices.values_mut().nth(number).unwrap();
        let report = Report { outcome: Some(rolled_back()), ..report_of(device) };
        assert!(device.record_report(&report, None, START));
    };
    fail(&mut herd, 0);
    fail(&mut herd, 1);
    assert_eq!(herd.advance(), 0);
    assert_eq!(herd.view().state, CampaignState::Ongoing);
    fail(&mut herd, 2);
    // The two others have not switched yet: their orders are withdrawn.
    assert_eq!(herd.advance(), 2);
    assert!(herd.view().reason.starts_with("ending, because d-0003: rolled back"), "{}", herd.view().reason);
}

#[test]
fn warnings_slow_down_and_do_not_end() {
    let mut herd = Herd::of(1_000, unwatched());
    assert_eq!(herd.advance(), 5);
    herd.end_well();
    assert_eq!(herd.advance(), 10);
    herd.end(|_| (Outcome::Verified { strategy: None }, vec!["memory is 180 MiB, 90 MiB before".to_owned()]));
    assert_eq!(herd.advance(), 5);
    let reason = &herd.view().elements[1].reason;
    assert!(reason.contains("10 → 5 devices, warning rate 100 % (upper bound 100 %) over 2.5 %"), "{reason}");
}

#[test]
fn a_wrong_success_report_stops_a_small_campaign() {
    let mut herd = Herd::of(9, unwatched());
    assert_eq!(herd.advance(), 1);
    let device = herd.fleet.devices.values_mut().next().unwrap();
    // It booted back into the old system and says that all went well.
    let report = Report { outcome: Some(verified().0), ..report_of(device) };
    assert!(device.record_report(&report, None, START));
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(
        view.reason.contains("it said that it is verified, and reports that it runs counter 1.0.0"),
        "{}",
        view.reason
    );
}

#[test]
fn a_device_that_fails_after_it_was_verified_counts() {
    let mut herd = Herd::of(9, Regulation::default());
    assert_eq!(herd.advance(), 1);
    herd.end_well();
    assert_eq!(herd.advance(), 0);
    herd.wait(1_800);
    herd.tell(0, "1.0.0", 1);
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(view.reason.contains("it was verified at "), "{}", view.reason);
    assert!(
        view.devices[0].fault.as_deref().unwrap().ends_with("and now reports that it runs counter 1.0.0")
    );
}

#[test]
fn a_slow_coordinator_slows_the_next_element() {
    let mut herd = Herd::of(1_000, unwatched());
    let mut sizes = Vec::new();
    for response in [50.0, 50.0, 50.0, 100.0, 50.0] {
        herd.response = Some(response);
        sizes.push(herd.advance());
        herd.end_well();
    }
    assert_eq!(sizes, [5, 10, 20, 10, 20]);
}

#[test]
fn devices_that_are_offline_come_last() {
    let mut herd = Herd::of(200, unwatched());
    for device in herd.fleet.devices.values_mut().take(100) {
        device.online = false;
    }
    assert_eq!(herd.advance(), 5);
    let begun = herd.fleet.devices.values().filter(|device| device.order.is_some());
    assert!(begun.clone().count() == 5 && begun.clone().all(|device| device.online));
}

pub(crate) fn back_too() -> Regulation {
    Regulation { on_abort: OnAbort::Rollback, ..unwatched() }
}

/// Fifteen devices run the release, and the next twenty have their orders.
pub(crate) fn after_fifteen() -> Herd {
    let mut herd = Herd::of(1_000, back_too());
    for size in [5, 10] {
        assert_eq!(herd.advance(), size);
        herd.end_well();
    }
    assert_eq!(herd.advance(), 20);
    herd
}

/// The same, and it fails on these.
fn failing_after_fifteen() -> Herd {
    let mut herd = after_fifteen();
    herd.end_with(20);
    herd
}

#[test]
fn devices_that_run_a_release_that_failed_too_often_are_brought_back() {
    let mut herd = failing_after_fifteen();
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::RollingBack);
    assert!(
        view.reason.ends_with("15 devices are to be brought back to what they ran before"),
        "{}",
        view.reason
    );
    let mut sizes = Vec::new();
    while herd.view().state == CampaignState::RollingBack {
        sizes.push(herd.advance());
        for device in herd.fleet.devices.values().filter(|device| device.order.is_some()) {
            let order = device.order.as_ref().unwrap();
            assert_eq!(order.release.as_ref().unwrap().version.as_str(), "1.0.0");
        }
        herd.end_back(|_| true);
        assert!(sizes.len() < 20, "{sizes:?}");
    }
    assert_eq!(sizes, [7, 7, 1, 0]);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(
        view.reason.contains("15 of 15 devices are brought back to what they ran before"),
        "{}",
        view.reason
    );
    assert!(herd.fleet.devices.values().all(|device| device.installed[0].counter == 1));
    let back = view.devices.iter().filter(|device| device.back.is_some());
    assert!(
        back.clone().count() == 15
            && back.clone().all(|device| device.back == Some(installed("1.0.0", 1).release))
    );
}

#[test]
fn a_way_back_that_fails_as_well_leaves_the_others_as_they_are() {
    let mut herd = failing_after_fifteen();
    herd.advance();
    assert_eq!(herd.advance(), 7);
    herd.end_back(|number| number != 3);
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    assert_eq!(view.state, CampaignState::Aborted);
    assert!(
        view.reason.contains("6 of 15 devices are brought back to what they ran before, not d-0004;"),
        "{}",
        view.reason
    );
    assert!(
        view.reason.contains("the others are left as they are, for the way back fails: 1 of 7"),
        "{}",
        view.reason
    );
}

#[test]
fn an_operator_who_aborts_while_the_fleet_is_brought_back_changes_nothing() {
    let mut herd = failing_after_fifteen();
    herd.advance();
    herd.advance();
    herd.campaign = takt_coordinator_core::abort(&herd.campaign, herd.now).unwrap();
    herd.end_back(|_| true);
    assert_eq!(herd.advance(), 7);
    assert_eq!(herd.view().state, CampaignState::RollingBack);
}

#[test]
fn orders_back_allow_what_others_do_not() {
    let mut herd = failing_after_fifteen();
    herd.advance();
    let look = Look {
        fleet: &herd.fleet,
        graph: &herd.graph,
        drm: &herd.drm,
        response: None,
        others: &Others::default(),
        identify: true,
        lease: 0,
        orders_max: usize::MAX,
        now: herd.now,
    };
    let orders = advance(&herd.campaign, &look).orders;
    assert!(orders.len() == 7 && orders.iter().all(|order| order.policy.downgrade));
}

/// Five devices are in work, the first of them behind the gateway `d-0040` with seven others.
fn behind_a_gateway() -> Herd {
    let mut herd = Herd::of(60, unwatched());
    let names: BTreeMap<Name, DeviceId> =
        herd.fleet.devices.values().map(|state| (state.name.clone(), state.id)).collect();
    let gateway = GatewaySpec {
        device: name("d-0040"),
        members: [1, 2, 41, 42, 43, 44, 45, 46]
            .iter()
            .map(|number| name(&format!("d-{number:04}")))
            .collect(),
        max_in_flight: 9,
        agreed: true,
    };
    let schedule = ScheduleSpec { gateways: vec![gateway], ..ScheduleSpec::default() };
    herd.drm = herd.drm.with_limits(&DomainSchedule::new(&schedule, &names).unwrap());
    assert_eq!(herd.advance(), 5);
    herd
}

fn set_online(herd: &mut Herd, numbers: &[usize], online: bool) {
    for number in numbers {
        herd.fleet.devices.values_mut().nth(number - 1).unwrap().online = online;
    }
}

#[test]
fn a_silent_device_is_a_failure() {
    let mut herd = behind_a_gateway();
    set_online(&mut herd, &[1], false);
    herd.end_well();
    herd.wait(DEADLINE_SECS);
    assert_eq!(herd.advance(), 1, "its order is withdrawn");
    assert_eq!(herd.view().state, CampaignState::Ongoing, "one of 60 is tolerated");
}

#[test]
fn devices_behind_a_gateway_that_is_away_are_no_failures() {
    let mut herd = behind_a_gateway();
    set_online(&mut herd, &[1, 2, 40], false);
    herd.end_well();
    herd.advance();
    herd.wait(10 * DEADLINE_SECS);
    assert_eq!(herd.advance(), 0);
    let view = herd.view();
    let told = |event: &CampaignEvent| {
        event.text.starts_with("its silence does not count: its gateway d-0040 is offline")
    };
    assert_eq!(view.events.iter().filter(|event| told(event)).count(), 2, "{:?}", view.events);
    // They are back: the rest of their time is theirs.
    set_online(&mut herd, &[1, 2, 40], true);
    herd.advance();
    herd.wait(DEADLINE_SECS - 1);
    assert_eq!(herd.advance(), 0);
    herd.wait(1);
    assert_eq!(herd.advance(), 2);
}

#[test]
fn a_site_of_which_most_is_away_is_cut_off_although_its_gateway_is_not() {
    let mut herd = behind_a_gateway();
    set_online(&mut herd, &[1, 2, 41, 42, 43, 44, 45], false);
    herd.end_well();
    herd.advance();
    herd.wait(DEADLINE_SECS);
    let told = |event: &CampaignEvent| {
        event.text == "its silence does not count: 7 of 8 devices behind d-0040 are offline"
    };
    assert_eq!(herd.view().events.iter().filter(|event| told(event)).count(), 2, "{:?}", herd.view().events);
    assert_eq!(herd.advance(), 0);
}

#[test]
fn when_nobody_is_here_no_clock_runs() {
    let mut herd = behind_a_gateway();
    set_online(&mut herd, &(1..=60).collect::<Vec<_>>(), false);
    herd.advance();
    herd.wait(100 * DEADLINE_SECS);
    assert_eq!(herd.advance(), 0);
    assert_eq!(herd.view().state, CampaignState::Ongoing);
    assert!(herd.campaign.wakes_at(herd.now).is_none());
}

#[test]
fn tolerances_that_mean_nothing_are_refused() {
    let refusal = |regulation| Herd::opened(3, &regulated(regulation)).err().unwrap().to_string();
    let base = Regulation::default();
    for tolerance in [0.0, -0.1, 0.51, f64::NAN] {
        let text = refusal(Regulation { tolerance, ..base });
        assert!(text.starts_with("field 'regulation.tolerance': "), "{text}");
    }
    let text = refusal(Regulation { warning_tolerance: 0.0, ..base });
    assert!(text.starts_with("field 'regulation.warning_tolerance': 0 "), "{text}");
    let text = refusal(Regulation { observe_secs: u64::MAX, ..base });
    assert!(text.starts_with("field 'regulation.observe_secs': "), "{text}");
}
