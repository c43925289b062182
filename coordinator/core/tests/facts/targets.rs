//! Who is a target, who joins later, and over which releases devices go.

use takt_common::api::{CampaignRequest, CampaignState, DeviceStep};
use takt_common::digest::Sha256Digest;
use takt_common::health::Link;
use takt_common::order::Position;
use takt_common::release::Requirements;
use takt_common::report::{Outcome, Report};
use takt_coordinator_core::{DeviceState, Facts, ReleaseFacts, close};

use crate::site::{SETTLE_SECS, Site, facts, installed, name, report_of, request};

fn told() -> Facts {
    Facts {
        agent: Some("0.1.0".to_owned()),
        link: Some(Link::Wired),
        storage_free_bytes: Some(1 << 30),
        ..Facts::default()
    }
}

/// A device that enrols later.
fn newcomer(site: &mut Site, text: &str) {
    let id = format!("{:032x}", 100 + site.fleet.devices.len()).parse().unwrap();
    let next = Position { epoch: 1, generation: 1 };
    let mut state = DeviceState::enrolled(id, name(text), name("site"), name("pi-4"), next);
    (state.online, state.sequence, state.installed) = (true, 1, vec![installed("1.0.0", 1)]);
    site.fleet.devices.insert(id, state);
}

fn left_out(site: &Site) -> Vec<String> {
    let excluded = site.campaign().view().excluded;
    excluded.into_iter().map(|excluded| format!("{} {}", excluded.name, excluded.reason)).collect()
}

fn requiring(requires: Requirements) -> ReleaseFacts {
    ReleaseFacts { requires, ..facts(&[]) }
}

#[test]
fn only_devices_that_the_query_means_are_targets() {
    let mut site = Site::new();
    let query = |text: &str| CampaignRequest { query: Some(text.to_owned()), ..request() };
    let opened = site.open(&query(r#"name like "camera-*""#), &[]).unwrap();
    let names: Vec<_> = opened.view().devices.iter().map(|device| device.name.to_string()).collect();
    assert_eq!(names, ["camera-1", "camera-2"]);
    for (text, why) in [
        (r#"name = "nobody""#, "no device can take counter 2.0.0: the query means none"),
        ("name = ", "field 'where': the query ends where a value"),
        (r#"colour = "red""#, "field 'where': there is no field 'colour'"),
        ("battery > 5", "gateway has not said yet what the query asks for; camera-1"),
    ] {
        let error = site.open(&query(text), &[]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let both = CampaignRequest { devices: vec![name("gateway")], ..query("online = true") };
    assert!(site.open(&both, &[]).unwrap_err().to_string().contains("not for both"));
    // One whose facts are not known joins once they are.
    site.device("gateway").facts = told();
    site.campaign = Some(site.open(&query(r#"link = "wired""#), &[]).unwrap());
    assert_eq!(site.campaign().devices(), 1);
    site.device("camera-1").facts = told();
    assert_eq!(site.advance(), ["gateway: install"]);
    assert_eq!(left_out(&site)[0], "camera-1 has not said yet what it runs");
    site.device("camera-1").sequence = 1;
    site.advance();
    assert_eq!(site.campaign().devices(), 2);
    assert_eq!(left_out(&site), ["camera-2 has not said yet what the query asks for"]);
    let why = site.why("camera-2");
    assert!(why.waiting && why.reasons[0].contains("it is left out, because it has not said yet"), "{why:?}");
}

#[test]
fn what_a_release_requires_is_held_against_what_devices_say() {
    let mut site = Site::new();
    for device in ["gateway", "camera-1", "camera-2"] {
        site.device(device).facts = told();
    }
    site.device("camera-1").facts.battery_percent = Some(39);
    site.device("camera-2").facts.link = Some(Link::Cellular);
    let requires = Requirements {
        battery_percent_min: Some(40),
        links: [Link::Wired, Link::Wifi].into(),
        storage_free_bytes_min: Some(1 << 30),
        ..Requirements::default()
    };
    site.campaign = Some(site.open_of(&request(), &requiring(requires.clone()), &[]).unwrap());
    assert_eq!(
        left_out(&site),
        [
            "camera-1 runs on its battery, which is charged to 39 %; the release needs 40 %",
            "camera-2 is reached over cellular; the release is fetched over wired or wifi"
        ]
    );
    site.device("gateway").facts.storage_free_bytes = Some((1 << 30) - 1);
    let error = site.open_of(&request(), &requiring(requires), &[]).unwrap_err().to_string();
    assert!(error.contains("gateway has 1023 MiB of storage free; the release needs 1024 MiB"), "{error}");
    let features = [("night".to_owned(), "on".to_owned())].into();
    let night = requiring(Requirements { features, ..Requirements::default() });
    site.device("camera-1").facts.features = [("night".to_owned(), "on".to_owned())].into();
    site.device("camera-2").facts.features = [("night".to_owned(), "off".to_owned())].into();
    let opened = site.open_of(&request(), &night, &[]).unwrap().view();
    assert_eq!(opened.devices.len(), 1);
    let reasons: Vec<_> = opened.excluded.into_iter().map(|excluded| excluded.reason).collect();
    assert_eq!(reasons, ["has no feature night", "has feature night 'off'; the release is for 'on'"]);
    // It is charged meanwhile, and joins; the other one loses its link before its turn, and is left out.
    site.device("camera-1").facts.battery_percent = None;
    site.device("camera-1").sequence = 1;
    site.device("gateway").facts.storage_free_bytes = Some(1 << 30);
    assert_eq!(site.advance(), ["gateway: install"]);
    assert_eq!(site.campaign().devices(), 2);
    site.device("camera-1").facts.link = None;
    site.advance();
    assert_eq!(site.campaign().devices(), 1);
    assert!(
        left_out(&site)[0].contains("camera-1 is reached over no link that it knows of"),
        "{:?}",
        left_out(&site)
    );
}

#[test]
fn a_device_that_enrols_while_a_campaign_goes_on_joins_it() {
    let mut site = Site::begun();
    assert_eq!(site.advance(), ["gateway: install"]);
    newcomer(&mut site, "camera-3");
    site.device("camera-3").online = false;
    site.advance();
    assert_eq!(left_out(&site), ["camera-3 has never been heard of"]);
    site.device("camera-3").online = true;
    site.advance();
    assert_eq!((site.campaign().devices(), left_out(&site)), (4, vec![]));
    assert_eq!(site.step("camera-3"), DeviceStep::Pending);
    assert!(site.campaign().view().events.iter().any(|event| event.text == "joins; target: in place"));
}

#[test]
fn a_campaign_that_stays_open_goes_on_for_newcomers_until_it_is_closed() {
    let mut site = Site::new();
    site.campaign = Some(site.open(&CampaignRequest { stays_open: true, ..request() }, &[]).unwrap());
    for device in ["gateway", "camera-1", "camera-2"] {
        site.device(device).installed = vec![installed("2.0.0", 2)];
    }
    site.advance();
    let view = site.campaign().view();
    assert_eq!((view.state, view.done), (CampaignState::Ongoing, 3));
    assert!(view.reason.contains("it stays open for devices that join"), "{}", view.reason);
    newcomer(&mut site, "camera-3");
    assert_eq!(site.advance(), ["camera-3: install"]);
    site.report("camera-3", Some(Outcome::Verified { strategy: None }));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Ongoing);
    site.campaign = Some(close(site.campaign(), site.now).unwrap());
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Finished);
}

#[test]
fn a_device_that_runs_too_early_a_release_goes_over_one_between() {
    let mut site = Site::new();
    let between = installed("1.5.0", 2);
    site.earlier = vec![ReleaseFacts {
        settle_secs: 90,
        ..ReleaseFacts::plain(between.release.clone(), 2, between.manifest, SETTLE_SECS)
    }];
    let goal = installed("3.0.0", 3);
    let release = ReleaseFacts {
        requires: Requirements { counter_min: Some(2), ..Requirements::default() },
        ..ReleaseFacts::plain(goal.release.clone(), 3, goal.manifest, SETTLE_SECS)
    };
    let asked =
        CampaignRequest { release: goal.release.clone(), devices: vec![name("gateway")], ..request() };
    site.campaign = Some(site.open_of(&asked, &release, &[]).unwrap());
    assert_eq!(site.campaign().view().path, std::slice::from_ref(&between.release));
    assert_eq!(site.campaign().release().settle_secs, 90, "the longest of all that a device may stop at");
    site.advance();
    assert_eq!(site.orders.last().unwrap().release, Some(between.release.clone()));
    let now = site.now;
    let device = site.device("gateway");
    let outcome = Some(Outcome::Verified { strategy: None });
    let verified = Report { installed: vec![between], outcome: outcome.clone(), ..report_of(device) };
    assert!(device.record_report(&verified, None, now));
    site.advance();
    assert_eq!(site.orders.last().unwrap().release, Some(goal.release.clone()));
    assert_eq!(site.campaign().state(), CampaignState::Ongoing);
    let device = site.device("gateway");
    let verified = Report { installed: vec![goal], outcome, ..report_of(device) };
    assert!(device.record_report(&verified, None, now));
    site.advance();
    assert_eq!(site.campaign().state(), CampaignState::Finished);
    // Without the one between nobody gets there.
    site.earlier.clear();
    site.device("gateway").installed = vec![installed("1.0.0", 1)];
    let error = site.open_of(&asked, &release, &[]).unwrap_err().to_string();
    assert!(
        error.contains("gateway runs counter 1.0.0, and counter 3.0.0 needs release counter 2 or higher there; no published release leads to that"),
        "{error}"
    );
}

#[test]
fn a_device_that_something_else_has_brought_there_is_done() {
    let mut site = Site::begun();
    assert_eq!(site.advance(), ["gateway: install"]);
    site.device("camera-2").installed = vec![installed("2.0.0", 2)];
    site.device("camera-1").installed = vec![installed("9.0.0", 9)];
    site.advance();
    assert!(matches!(site.step("camera-2"), DeviceStep::Done { .. }));
    assert_eq!(left_out(&site), ["camera-1 runs counter 9.0.0 with the higher release counter 9"]);
    assert_eq!(Sha256Digest::of(b"2.0.0"), installed("2.0.0", 2).manifest);
}
