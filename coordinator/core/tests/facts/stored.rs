//! The stored form of a campaign.

use takt_common::api::{CampaignDevice, CampaignEvent};
use takt_coordinator_core::{Campaign, CampaignFormatError};

use crate::site::{DEADLINE_SECS, SETTLE_SECS, Site};

/// A campaign with every kind of field in use: braked, withdrawn, owing a hand-back.
fn stored() -> Campaign {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    site.wait(DEADLINE_SECS + SETTLE_SECS);
    site.advance();
    site.campaign().clone()
}

#[test]
fn the_stored_form_is_the_golden_one() {
    let golden = include_str!("../golden/campaign-1.json");
    let campaign = stored();
    let value: serde_json::Value = serde_json::from_slice(&campaign.to_bytes()).unwrap();
    let expected: serde_json::Value = serde_json::from_str(golden).unwrap();
    assert_eq!(value, expected, "\n{value:#}");
    assert_eq!(Campaign::from_bytes(golden.as_bytes()).unwrap(), campaign);
}

#[test]
fn a_later_format_is_refused_and_garbage_too() {
    let later = br#"{"format": 2, "shape": "unknown"}"#;
    assert!(matches!(Campaign::from_bytes(later), Err(CampaignFormatError::Format(2))));
    assert!(matches!(Campaign::from_bytes(b"{}"), Err(CampaignFormatError::Unreadable(_))));
}

#[test]
fn the_view_says_what_the_campaign_says() {
    let view = stored().view();
    let names: Vec<_> = view.devices.iter().map(|device: &CampaignDevice| device.name.as_str()).collect();
    assert_eq!(names, ["gateway", "camera-1", "camera-2"]);
    assert_eq!(view.devices[0].element, Some(0));
    assert_eq!(view.devices[1].element, Some(1));
    assert_eq!(view.devices[2].element, None);
    assert!(view.events.iter().any(|event: &CampaignEvent| event.text.contains("is asked to take over")));
}
