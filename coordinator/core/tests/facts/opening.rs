//! Who becomes a target, and which requests are refused.

use takt_common::api::{CampaignRequest, DeviceStep};
use takt_common::digest::Sha256Digest;
use takt_common::order::{Policy, Position};
use takt_common::release::ReleaseId;
use takt_common::report::{Installed, Outcome};
use takt_coordinator_core::DeviceState;

use crate::site::{Site, facts, installed, name, request};

fn refusal(site: &Site, request: &CampaignRequest) -> String {
    site.open(request, &[]).unwrap_err().to_string()
}

#[test]
fn all_devices_of_the_domain_are_targets_and_the_required_one_is_first() {
    let view = Site::begun().campaign().view();
    let names: Vec<_> = view.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["gateway", "camera-1", "camera-2"]);
    assert!(view.devices.iter().all(|device| device.step == DeviceStep::Pending && device.element.is_none()));
}

#[test]
fn requests_that_cannot_be_are_refused_with_the_field() {
    let site = Site::new();
    let devices = |names: &[&str]| CampaignRequest {
        devices: names.iter().map(|text| name(text)).collect(),
        ..request()
    };
    let other = ReleaseId { version: name("3.0.0"), ..request().release };
    let cases = [
        (devices(&["camera-9"]), "field 'devices': the domain site has no device 'camera-9'"),
        (devices(&["gateway", "gateway"]), "field 'devices': gateway is named twice"),
        (CampaignRequest { domain: name("desert"), ..request() }, "the domain desert has no devices"),
        (
            CampaignRequest { element_size: Some(0), ..request() },
            "field 'element_size': 0 is not between 1 and 1000",
        ),
        (
            CampaignRequest { deadline_secs: 0, ..request() },
            "field 'deadline_secs': 0 is not between 1 and 7776000",
        ),
        (
            CampaignRequest { release: other, ..request() },
            "field 'release': counter 3.0.0 was asked for, the repository has counter 2.0.0",
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(refusal(&site, &request), expected);
    }
}

#[test]
fn a_device_is_in_one_running_campaign_at_the_most_and_names_are_new() {
    let mut site = Site::begun();
    let first = site.campaign().clone();
    let second = CampaignRequest { name: name("second"), ..request() };
    let text = site.open(&second, std::slice::from_ref(&first)).unwrap_err().to_string();
    assert!(text.ends_with("is in campaign to-two, which has not ended"), "{text}");
    let text = site.open(&request(), &[first]).unwrap_err().to_string();
    assert_eq!(text, "there is a campaign 'to-two' already");
    for device in ["gateway", "camera-1", "camera-2"] {
        site.device(device).installed = vec![installed("2.0.0", 2)];
    }
    site.campaign = Some(site.open(&request(), &[]).unwrap());
    assert_eq!(site.advance(), [""; 0]);
    assert!(site.campaign().is_settled());
    assert!(site.open(&second, &[site.campaign().clone()]).is_ok(), "an ended campaign holds nobody");
}

#[test]
fn hardware_that_does_not_fit_and_later_releases_are_left_out_with_the_reason() {
    let mut site = Site::new();
    site.device("camera-1").hardware = name("pi-3");
    site.device("camera-2").installed = vec![installed("3.0.0", 3)];
    let opened = site.open_of(&request(), &facts(&["pi-4", "pi-5"]), &[]).unwrap();
    let view = opened.view();
    assert_eq!(view.devices.len(), 1);
    let texts: Vec<_> = view.events.iter().map(|event| event.text.as_str()).collect();
    assert!(texts.contains(&"left out: it has hardware pi-3, the release fits pi-4, pi-5"), "{texts:?}");
    assert!(
        texts.contains(&"left out: it runs counter 3.0.0 with the higher release counter 3"),
        "{texts:?}"
    );
    let text = site.open_of(&request(), &facts(&["x86"]), &[]);
    let text = text.unwrap_err().to_string();
    assert!(
        text.starts_with("no device can take counter 2.0.0: ") && text.contains("gateway has hardware"),
        "{text}"
    );
}

#[test]
fn a_downgrade_takes_in_devices_that_run_a_later_release() {
    let mut site = Site::new();
    site.device("camera-2").installed = vec![installed("3.0.0", 3)];
    assert_eq!(site.open(&request(), &[]).unwrap().view().devices.len(), 2);
    let policy = Policy { downgrade: true, ..Policy::default() };
    let opened = site.open(&CampaignRequest { policy, ..request() }, &[]).unwrap();
    assert_eq!(opened.view().devices.len(), 3);
}

#[test]
fn only_the_very_manifest_counts_as_done() {
    let mut site = Site::new();
    site.device("gateway").installed = vec![installed("2.0.0", 2)];
    let rebuilt = Installed { manifest: Sha256Digest::of(b"another build"), ..installed("2.0.0", 2) };
    site.device("camera-1").installed = vec![rebuilt];
    site.campaign = Some(site.open(&request(), &[]).unwrap());
    let verified = Outcome::Verified { strategy: None };
    assert_eq!(site.step("gateway"), DeviceStep::Done { outcome: verified, at: site.now });
    assert_eq!(site.step("camera-1"), DeviceStep::Pending);
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"], "the gateway counts as verified");
}

#[test]
fn devices_that_the_graph_does_not_know_yet_join_last_and_the_timeline_stays_bounded() {
    const LATE: u32 = 400;
    let mut site = Site::new();
    for number in 100..100 + LATE {
        let (id, next) = (format!("{number:032x}").parse().unwrap(), Position { epoch: 1, generation: 1 });
        let device = name(&format!("late-{number}"));
        site.fleet.devices.insert(id, DeviceState::enrolled(id, device, name("site"), name("pi-4"), next));
    }
    let opened = site.open(&request(), &[]).unwrap();
    let view = opened.view();
    assert_eq!(view.devices.len(), 3 + LATE as usize);
    assert_eq!(view.devices[0].name, name("gateway"));
    assert!(view.devices[3].name.as_str().starts_with("late-"));
    assert!((225..=256).contains(&view.events.len()), "{}", view.events.len());
    site.campaign = Some(opened);
    assert_eq!(site.advance(), ["gateway: install", "late-100: install"]);
}
