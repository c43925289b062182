//! What a campaign would do if all went well.

use takt_common::api::CampaignState;
use takt_common::regulation::Regulation;
use takt_coordinator_core::{Look, Others, preview};

use crate::regulated::Herd;
use crate::site::Site;

#[test]
fn a_preview_says_who_begins_when_and_with_which_standby_and_begins_nothing() {
    let mut site = Site::begun();
    site.device("camera-2").online = false;
    let others = Others::default();
    let look = Look {
        fleet: &site.fleet,
        graph: &site.graph,
        drm: &site.drm,
        response: None,
        others: &others,
        identify: true,
        lease: 0,
        orders_max: usize::MAX,
        now: site.now,
    };
    let seen = preview(site.campaign(), &look, &mut |_, _, _| None);
    let names: Vec<_> = seen.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["gateway", "camera-1", "camera-2"]);
    assert_eq!((seen.in_place, seen.rolling), (1, 2));
    assert_eq!(seen.devices[1].standby, Some(site.id("camera-2")));
    assert!(seen.devices[2].offline && !seen.devices[0].offline);
    let begins: Vec<_> = seen.devices.iter().map(|device| device.begins.unwrap()).collect();
    assert!(begins.is_sorted());
    assert!(seen.ends.unwrap() >= *begins.last().unwrap());
    assert_eq!(site.campaign().state(), CampaignState::Pending);
}

#[test]
fn the_preview_of_a_large_campaign_has_the_elements_that_it_would_have() {
    let mut herd = Herd::of(1_000, Regulation { observe_secs: 3_600, ..Regulation::default() });
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
    let seen = preview(herd.campaign(), &look, &mut |_, _, _| None);
    let foreseen: Vec<u32> = seen.elements.iter().map(|element| element.size).collect();
    let hours = seen.ends.unwrap().since(herd.now).as_secs() / 3_600;
    assert!(hours >= 2, "each element is observed: {hours} h");
    for _ in 0..400 {
        herd.advance();
        herd.end_well();
        herd.now = herd.now + std::time::Duration::from_hours(1);
    }
    let real: Vec<u32> = herd.campaign().view().elements.iter().map(|element| element.size).collect();
    assert_eq!(foreseen, real);
}
