//! Slots: when a device begins where its domain has a schedule.

use std::collections::BTreeMap;

use takt_common::api::{
    CampaignDevice, CampaignRequest, DrmSpec, EdgeSpec, GatewaySpec, GraphSpec, HeldBy, ScheduleSpec,
    ServeSetSpec, StandbySpec, Takeover,
};
use takt_common::report::Outcome;
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};
use takt_coordinator_core::{Due, Ground, TimetableError, due, make_timetable};
use takt_planner::{DomainGraph, DomainSchedule, RedundancyMatrix, Sample, Series};

use crate::site::{START, Site, name};

const HOUR: u64 = 3_600;

/// Hours of one slot each.
fn hourly() -> ScheduleSpec {
    ScheduleSpec { slots: 12, ..ScheduleSpec::default() }
}

/// What was measured of a device in the hours before [`START`], the last one last; the forecast of such short histories is what
/// usually was at that time of the day, or what is.
fn series(device: &str, loads: &[f64]) -> Series {
    let first = START.as_secs() - HOUR * loads.len() as u64;
    let sample = |(hour, load): (u64, &f64)| {
        let (compute, memory, availability, response_ms, storage) = (*load, *load, 100.0, 0.0, 0.0);
        let at = i64::try_from(first + HOUR * hour).unwrap();
        Sample { at, offset: 0, compute, memory, availability, response_ms, storage, load: *load }
    };
    Series { device: device.to_owned(), samples: (0..).zip(loads).map(sample).collect() }
}

/// Two days with a load of 20, but for one hour of the day.
fn quiet_at(device: &str, hour: usize, load: f64) -> Series {
    // The hours before 08:00 begin at 08:00.
    let loads: Vec<f64> = (0..48).map(|passed| if (8 + passed) % 24 == hour { load } else { 20.0 }).collect();
    series(device, &loads)
}

impl Site {
    pub(crate) fn names(&self) -> BTreeMap<Name, DeviceId> {
        self.fleet.devices.values().map(|device| (device.name.clone(), device.id)).collect()
    }

    /// Chooses slots if that is due, and says why it was.
    fn plan(
        &mut self,
        spec: &ScheduleSpec,
        series: &[Series],
        known_until: UnixTime,
    ) -> Result<Option<Due>, TimetableError> {
        let schedule = &DomainSchedule::new(spec, &self.names()).unwrap();
        let digest = Sha256Digest::of(format!("{spec:?}").as_bytes());
        let Some(due) = due(self.campaign(), &digest, known_until, self.now) else { return Ok(None) };
        let (graph, drm) = (&self.graph, &self.drm);
        let ground = Ground { graph, drm, schedule, digest, series, known_until };
        let timetable =
            make_timetable(self.campaign(), &self.fleet, &ground, due, self.now, &|_| Box::new(|| false))?;
        self.campaign = Some(self.campaign().with_timetable(&timetable, self.now));
        Ok(Some(due))
    }

    fn member(&self, text: &str) -> CampaignDevice {
        let view = self.campaign().view();
        view.devices.into_iter().find(|device| device.name.as_str() == text).unwrap()
    }

    /// The hour of the day in which a device begins.
    fn hour(&self, text: &str) -> u64 {
        self.member(text).slot.unwrap().start.as_secs() / HOUR % 24
    }

    fn hours(&self) -> [u64; 3] {
        ["gateway", "camera-1", "camera-2"].map(|device| self.hour(device))
    }
}

#[test]
fn devices_get_their_least_busy_slots_in_order_with_reasons() {
    let mut site = Site::begun();
    let series =
        [quiet_at("camera-1", 12, 5.0), quiet_at("camera-2", 12, 10.0), quiet_at("gateway", 10, 3.0)];
    assert_eq!(site.plan(&hourly(), &series, START), Ok(Some(Due::First)));
    // Both would begin at 12:00, but one stands in for the other.
    assert_eq!(site.hour("gateway"), 10);
    assert_eq!(site.hour("camera-1"), 12);
    assert!(site.hour("camera-2") > 10 && site.hour("camera-2") != 12);
    let slot = site.member("camera-1").slot.unwrap();
    assert_eq!(slot.standby, Some(site.id("camera-2")));
    assert_eq!(slot.predicted_load, Some(5.0));
    assert!(
        slot.reason.starts_with("slot 12:00: lowest predicted load 5 %")
            && slot.reason.ends_with("after gateway; camera-2 stands in"),
        "{}",
        slot.reason
    );
    let view = site.campaign().view();
    let plan = view.plan.unwrap();
    assert!((plan.objective - 28.0).abs() < 0.2 && plan.gap < 0.01, "{plan:?}");
    assert!(view.events.iter().any(|event| event.text == slot.reason), "{:?}", view.events);
    // All is as it should be: nothing is due.
    assert_eq!(site.plan(&hourly(), &series, START), Ok(None));
}

#[test]
fn a_device_begins_in_its_slot_and_why_tells_when_that_is() {
    let mut site = Site::begun();
    let series = [quiet_at("gateway", 10, 3.0)];
    site.plan(&hourly(), &series, START).unwrap();
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(
        site.campaign().view().reason,
        "0 of 3 devices are verified; the next slot is that of gateway and begins 2026-11-21T10:00:00Z"
    );
    let why = site.why("gateway");
    assert!(
        why.reasons[0]
            .starts_with("campaign to-two: its slot begins at 2026-11-21T10:00:00Z: slot 10:00: lowest"),
        "{why:?}"
    );
    site.wait(2 * HOUR);
    assert_eq!(site.advance(), ["gateway: install"]);
}

#[test]
fn a_device_begins_outside_its_slot_only_when_the_time_of_the_campaign_is_up() {
    let mut site = Site::new();
    let asked = takt_common::api::CampaignRequest { complete_by_secs: Some(HOUR), ..crate::site::request() };
    site.campaign = Some(site.open(&asked, &[]).unwrap());
    site.plan(&hourly(), &[quiet_at("gateway", 10, 3.0)], START).unwrap();
    assert_eq!(site.advance(), [""; 0]);
    let hold = site.why("gateway").holds[0].clone();
    assert_eq!((hold.by, hold.released_by.as_str()), (HeldBy::Slot, "its slot at 2026-11-21T10:00:00Z"));
    assert_eq!(hold.campaign, Some(crate::site::name("to-two")));
    assert_eq!(site.campaign().wakes_at(site.now), Some(START + std::time::Duration::from_hours(1)));
    site.wait(HOUR);
    assert_eq!(site.advance(), ["gateway: install"]);
    assert_eq!(site.device("gateway").next.generation, 2);
}

#[test]
fn so_much_of_a_slot_is_left_that_a_device_can_take_its_deadline_in_it() {
    let mut site = Site::begun();
    site.plan(&hourly(), &[], START).unwrap();
    assert_eq!(site.hour("gateway"), 8);
    // An order may take a minute.
    site.wait(HOUR - 59);
    assert_eq!(site.advance(), [""; 0]);
    assert!(site.why("gateway").reasons[0].contains("has passed; it waits for another one"));
    assert_eq!(site.plan(&hourly(), &[], START), Ok(Some(Due::Missed)));
    assert_eq!(site.hour("gateway"), 9);
}

#[test]
fn a_missed_slot_moves_as_few_devices_as_can_be() {
    let mut site = Site::begun();
    let series = [quiet_at("camera-1", 12, 5.0), quiet_at("camera-2", 14, 5.0), quiet_at("gateway", 10, 3.0)];
    site.plan(&hourly(), &series, START).unwrap();
    assert_eq!(site.hours(), [10, 12, 14]);
    site.device("gateway").online = false;
    site.wait(3 * HOUR);
    assert_eq!(site.plan(&hourly(), &series, START), Ok(Some(Due::Missed)));
    assert_eq!(site.hours(), [11, 12, 14]);
    let moved = site.campaign().view().events.pop().unwrap();
    assert!(moved.text.starts_with("moved to slot 11:00: "), "{moved:?}");
}

#[test]
fn newer_loads_move_devices_where_that_is_worth_it() {
    let mut site = Site::begun();
    let before = [quiet_at("camera-1", 12, 5.0), quiet_at("camera-2", 14, 5.0), quiet_at("gateway", 10, 3.0)];
    site.plan(&hourly(), &before, START).unwrap();
    // One would gain five percent points, the other fifteen.
    let after = [quiet_at("camera-1", 13, 15.0), quiet_at("camera-2", 15, 5.0), quiet_at("gateway", 10, 3.0)];
    assert_eq!(site.plan(&hourly(), &after, START), Ok(None));
    site.wait(60);
    let newer = UnixTime::from_secs(START.as_secs() + 60);
    assert_eq!(site.plan(&hourly(), &after, newer), Ok(Some(Due::Loads)));
    assert_eq!(site.hours(), [10, 12, 15]);
    assert!(site.member("camera-1").slot.unwrap().reason.contains("kept from the plan before"));
}

#[test]
fn without_an_open_slot_nobody_begins_and_why_says_so() {
    let mut site = Site::begun();
    let night = ScheduleSpec { windows: vec!["22:00-24:00".to_owned()], ..hourly() };
    let error = site.plan(&night, &[], START).unwrap_err();
    assert_eq!(error.to_string(), "none of the 12 slots until 2026-11-21T20:00:00Z is open");
    site.campaign = Some(site.campaign().with_no_timetable(&error.to_string(), site.now));
    assert_eq!(site.advance(), [""; 0]);
    let why = site.why("gateway");
    assert!(why.reasons[0].contains("it has no slot: none of the 12 slots"), "{why:?}");
    // Later the window comes into sight.
    site.wait(4 * HOUR);
    assert_eq!(site.plan(&night, &[], START), Ok(Some(Due::First)));
    assert_eq!(site.hour("gateway"), 22);
    // Two hours are open, and three devices need three: the last one waits until more of the night is in sight.
    assert_eq!(site.hour("camera-1"), 23);
    assert!(site.member("camera-2").slot.is_none());
    assert!(site.why("camera-2").reasons.iter().any(|reason| reason.contains("it has no slot yet")));
}

#[test]
fn devices_that_require_each_other_in_a_line_need_as_many_slots() {
    let mut site = Site::begun();
    let short = ScheduleSpec { slots: 1, ..hourly() };
    assert_eq!(site.plan(&short, &[], START), Ok(Some(Due::First)));
    assert_eq!(site.hour("gateway"), 8);
    assert!(site.member("camera-1").slot.is_none() && site.member("camera-2").slot.is_none());
    // It is not tried again before something has changed.
    assert_eq!(site.plan(&short, &[], START), Ok(None));
    assert_eq!(site.advance(), ["gateway: install"]);
    // In the only slot ahead, the gateway is still in work.
    let error = site.plan(&short, &[], START).unwrap_err();
    assert!(error.to_string().contains("no slots"), "{error}");
    let conflict = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(conflict, "camera-1 can be upgraded in none of the 1 open slots");
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), [""; 0]);
    assert_eq!(site.plan(&short, &[], START), Ok(Some(Due::Missed)));
    assert_eq!(site.hour("camera-1"), 8);
}

#[test]
fn a_schedule_that_is_taken_away_lets_devices_begin() {
    let mut site = Site::begun();
    site.plan(&hourly(), &[quiet_at("gateway", 10, 3.0)], START).unwrap();
    assert_eq!(site.advance(), [""; 0]);
    site.campaign = Some(site.campaign().without_timetable(site.now));
    assert_eq!(site.advance(), ["gateway: install"]);
    assert!(!site.campaign().is_scheduled());
}

#[test]
fn no_more_devices_begin_in_a_slot_than_may_however_often_slots_are_chosen() {
    let mut site = Site::new();
    site.drm = RedundancyMatrix::default();
    site.graph = DomainGraph::new(&GraphSpec::default(), &site.names()).unwrap();
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    // One slot of an hour is in sight, and takes one device.
    let one = ScheduleSpec { slots: 1, max_in_flight: Some(1), ..hourly() };
    site.plan(&one, &[], START).unwrap();
    let first = site.advance();
    assert_eq!(first.len(), 1);
    let error = site.plan(&one, &[], START).unwrap_err();
    let conflict = std::error::Error::source(&error).unwrap().to_string();
    assert!(conflict.contains("can be upgraded in none of the 1 open slots"), "{conflict}");
    assert_eq!(site.advance(), [""; 0]);
    site.wait(HOUR);
    assert_eq!(site.plan(&one, &[], START), Ok(Some(Due::Missed)));
    assert_eq!(site.campaign().view().devices.iter().filter(|device| device.slot.is_some()).count(), 2);
}

#[test]
fn a_turn_ends_with_its_slot_and_others_go_on() {
    let mut site = Site::begun();
    site.plan(&ScheduleSpec { slot_secs: 60, ..hourly() }, &[], START).unwrap();
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.device("camera-2").online = false;
    site.wait(60);
    site.plan(&ScheduleSpec { slot_secs: 60, ..hourly() }, &[], START).unwrap();
    assert_eq!(site.advance(), [""; 0], "its standby is offline");
    assert!(site.member("camera-1").element.is_some());
    // No slot is open any more.
    let hour = START.as_secs() / HOUR % 24 + 2;
    let later = ScheduleSpec { windows: vec![format!("{hour:02}:00-{:02}:00", hour + 1)], ..hourly() };
    site.wait(30);
    site.plan(&later, &[], START).unwrap();
    assert_eq!(site.advance(), [""; 0]);
    assert!(site.member("camera-1").element.is_none(), "it does not hold the element until then");
    // Its wait has not gone on meanwhile.
    site.device("camera-2").online = true;
    site.wait(2 * HOUR - 90);
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"]);
}

#[test]
fn slots_of_a_clock_that_was_ahead_are_chosen_again() {
    let mut site = Site::begun();
    site.now = UnixTime::from_secs(START.as_secs() + 1_000 * HOUR);
    site.plan(&hourly(), &[], START).unwrap();
    site.now = START;
    assert_eq!(site.plan(&hourly(), &[], START), Ok(Some(Due::Ground)));
    assert_eq!(site.member("gateway").slot.unwrap().start, START);
}

#[test]
fn gateways_feed_no_more_than_they_can_whatever_the_plan_says() {
    let mut site = Site::new();
    site.graph = DomainGraph::new(&GraphSpec::default(), &site.names()).unwrap();
    let gateway = GatewaySpec {
        device: name("gateway"),
        members: vec![name("camera-1"), name("camera-2")],
        max_in_flight: 1,
        agreed: false,
    };
    let spec = ScheduleSpec { gateways: vec![gateway], max_in_flight: Some(3), ..hourly() };
    let schedule = DomainSchedule::new(&spec, &site.names()).unwrap();
    site.drm = RedundancyMatrix::default().with_limits(&schedule);
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    // Without slots an element of two would take both cameras, or the gateway and one of them.
    assert_eq!(site.advance().len(), 1);
    let why = ["gateway", "camera-1", "camera-2"].map(|device| site.why(device).reasons.join("; "));
    assert!(why.iter().any(|why| why.contains("in work")), "{why:?}");
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    site.fleet = Site::new().fleet;
    site.plan(&spec, &[], START).unwrap();
    let [gateway, one, other] = site.hours();
    assert!(
        gateway > one && gateway > other && one != other,
        "the gateway cuts them off: {:?}",
        site.hours()
    );
}

#[test]
fn a_standby_from_outside_of_the_campaign_serves_for_one_device_at_a_time() {
    let mut site = Site::new();
    let row = |device: &str| StandbySpec {
        device: name(device),
        standbys: vec![name("gateway")],
        takeover: Takeover::Launch,
    };
    let drm = DrmSpec { rows: vec![row("camera-1"), row("camera-2")], sets: vec![] };
    site.drm = RedundancyMatrix::new(&drm, &site.names()).unwrap();
    let request =
        CampaignRequest { devices: vec![name("camera-1"), name("camera-2")], ..crate::site::request() };
    site.campaign = Some(site.open(&request, &[]).unwrap());
    site.plan(&hourly(), &[], START).unwrap();
    assert_eq!([site.hour("camera-1"), site.hour("camera-2")], [8, 9]);
    let slot = site.member("camera-2").slot.unwrap();
    assert_eq!(slot.standby, Some(site.id("gateway")));
    assert!(slot.reason.ends_with("gateway stands in"), "{}", slot.reason);
}

#[test]
fn the_standby_that_a_slot_foresees_is_asked_first() {
    let mut site = Site::new();
    let row = |device: &str, standbys: &[&str]| StandbySpec {
        device: name(device),
        standbys: standbys.iter().map(|text| name(text)).collect(),
        takeover: Takeover::Launch,
    };
    // By preference both would ask the gateway; in one slot it serves for one of them.
    let rows = vec![row("camera-1", &["camera-2", "gateway"])];
    site.drm = RedundancyMatrix::new(&DrmSpec { rows, sets: vec![] }, &site.names()).unwrap();
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    site.plan(&hourly(), &[], START).unwrap();
    assert_eq!(site.advance(), ["gateway: install"]);
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    site.wait(HOUR);
    site.plan(&hourly(), &[], START).unwrap();
    let foreseen = site.member("camera-1").slot.unwrap().standby.unwrap();
    let label = site.fleet.devices[&foreseen].name.clone();
    let ordered = site.advance();
    assert!(ordered.contains(&format!("{label}: take over for camera-1")), "{label}: {ordered:?}");
}

#[test]
fn of_a_set_as_many_serve_as_must() {
    let mut site = Site::new();
    let cells = ServeSetSpec {
        name: name("cells"),
        members: vec![name("camera-1"), name("camera-2"), name("gateway")],
        serve_min: 2,
    };
    site.drm = RedundancyMatrix::new(&DrmSpec { rows: vec![], sets: vec![cells] }, &site.names()).unwrap();
    site.graph = DomainGraph::new(&GraphSpec::default(), &site.names()).unwrap();
    let devices = vec![name("camera-1"), name("gateway")];
    let request = CampaignRequest { devices, ..crate::site::request() };
    site.campaign = Some(site.open(&request, &[]).unwrap());
    site.device("camera-2").online = false;
    site.device("camera-2").last_seen = None;
    assert_eq!(site.advance(), [""; 0]);
    let why = site.why("camera-1");
    assert!(
        why.reasons[0].ends_with("of set cells, 2 of 3 must serve: camera-2 has never been heard of"),
        "{why:?}"
    );
    let mut planned = Site { campaign: site.campaign.clone(), ..Site::new() };
    planned.drm = site.drm.clone();
    planned.plan(&hourly(), &[], START).unwrap();
    let [a, b] = ["camera-1", "gateway"].map(|device| planned.hour(device));
    assert_ne!(a, b, "in the plan, no two are away together");
    // An element of two would be allowed.
    site.device("camera-2").online = true;
    assert_eq!(site.advance().len(), 1);
}

/// Nobody requires anybody or stands in for anybody.
fn free(edges: Vec<EdgeSpec>) -> Site {
    let mut site = Site::new();
    site.drm = RedundancyMatrix::default();
    site.graph = DomainGraph::new(&GraphSpec { edges }, &site.names()).unwrap();
    site
}

#[test]
fn where_not_all_have_room_a_gateway_is_left_for_later_than_those_that_it_cuts_off() {
    let mut site = free(vec![]);
    // By name, camera-1 would be the first.
    let gateway = GatewaySpec {
        device: name("camera-1"),
        members: vec![name("camera-2"), name("gateway")],
        max_in_flight: 2,
        agreed: false,
    };
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    let mut spec = ScheduleSpec { slots: 2, max_in_flight: Some(1), gateways: vec![gateway], ..hourly() };
    site.plan(&spec, &[], START).unwrap();
    assert!(site.member("camera-1").slot.is_none());
    assert_ne!(site.hour("camera-2"), site.hour("gateway"));
    spec.gateways[0].agreed = true;
    let mut agreed = Site { campaign: site.campaign.clone(), ..free(vec![]) };
    agreed.plan(&spec, &[], START).unwrap();
    assert!(agreed.member("camera-1").slot.is_some());
}

#[test]
fn where_not_all_have_room_a_device_is_left_for_later_than_the_neighbour_that_it_would_leave_behind() {
    let edge = EdgeSpec {
        source: name("camera-1"),
        target: name("gateway"),
        requires: false,
        weight: None,
        skew_max: Some(1),
    };
    let mut site = free(vec![edge]);
    site.device("gateway").installed = vec![crate::site::installed("0.9.0", 0)];
    site.campaign = Some(site.open(&crate::site::request(), &[]).unwrap());
    let two = ScheduleSpec { slots: 2, max_in_flight: Some(1), ..hourly() };
    site.plan(&two, &[], START).unwrap();
    assert!(site.member("camera-1").slot.is_none());
    assert!(site.member("gateway").slot.is_some() && site.member("camera-2").slot.is_some());
}

#[test]
fn what_other_campaigns_have_in_work_counts_for_the_limit_of_the_domain() {
    let mut site = free(vec![]);
    let one =
        DomainSchedule::new(&ScheduleSpec { max_in_flight: Some(1), ..hourly() }, &site.names()).unwrap();
    site.drm = RedundancyMatrix::default().with_limits(&one);
    let of = |campaign: &str, device: &str| CampaignRequest {
        name: name(campaign),
        devices: vec![name(device)],
        ..crate::site::request()
    };
    let first = site.open(&of("first", "camera-1"), &[]).unwrap();
    let second = site.open(&of("second", "camera-2"), std::slice::from_ref(&first)).unwrap();
    site.campaign = Some(first);
    assert_eq!(site.advance(), ["camera-1: install"]);
    let first = site.campaign.replace(second);
    assert_eq!(site.advance(), [""; 0]);
    let why = site.why("camera-2");
    assert!(why.reasons[0].contains("1 devices of the domain are in work, at most 1 may be"), "{why:?}");
    let second = std::mem::replace(&mut site.campaign, first);
    site.report("camera-1", Some(Outcome::Verified { strategy: None }));
    site.advance();
    site.campaign = second;
    assert_eq!(site.advance(), ["camera-2: install"]);
}
