//! The stored form of a campaign.

use std::collections::BTreeMap;

use takt_common::api::{CampaignDevice, CampaignEvent, CampaignState};
use takt_common::regulation::Regulation;
use takt_coordinator_core::{Campaign, CampaignFormatError, Sheets};

use crate::regulated::Herd;
use crate::site::{DEADLINE_SECS, SETTLE_SECS, Site};

/// A campaign with every kind of field in use: braked, withdrawn, owing a hand-back.
fn stored() -> Campaign {
    let mut site = Site::camera_upgrading();
    site.report("camera-1", None);
    site.wait(DEADLINE_SECS + SETTLE_SECS);
    site.advance();
    site.campaign().clone()
}

/// What a store does: the head and the sheets are written, those that are not named any more go.
#[derive(Debug, Default)]
struct Shelf {
    head: Vec<u8>,
    sheets: BTreeMap<String, Vec<u8>>,
}

impl Shelf {
    /// Writes what has changed; how many sheets that were.
    fn write(&mut self, campaign: &Campaign, before: Option<&Campaign>) -> usize {
        let Sheets { head, changed, names } = campaign.sheets(before);
        let count = changed.len();
        self.head = head;
        self.sheets.extend(changed);
        self.sheets.retain(|sheet, _| names.contains(sheet));
        count
    }

    fn read(&self) -> Result<Campaign, CampaignFormatError> {
        Campaign::from_sheets(&self.head, |sheet| Ok(self.sheets.get(sheet).cloned()))
    }
}

/// As it is after it has been on disk.
pub(crate) fn stored_and_read(campaign: &Campaign) -> Campaign {
    let mut shelf = Shelf::default();
    shelf.write(campaign, None);
    shelf.read().unwrap()
}

#[test]
fn the_stored_form_is_the_golden_one() {
    let golden: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(include_str!("../golden/campaign-2.json")).unwrap();
    let campaign = stored();
    let sheets = campaign.sheets(None);
    let value = |bytes: &[u8]| -> serde_json::Value { serde_json::from_slice(bytes).unwrap() };
    let mut found = BTreeMap::from([("head".to_owned(), value(&sheets.head))]);
    found.extend(sheets.changed.iter().map(|(sheet, bytes)| (sheet.clone(), value(bytes))));
    assert_eq!(found, golden, "\n{:#}", serde_json::to_value(&found).unwrap());
    let bytes = |name: &str| golden.get(name).map(|value| value.to_string().into_bytes());
    let read: Result<Campaign, CampaignFormatError> =
        Campaign::from_sheets(&bytes("head").unwrap(), |sheet| Ok(bytes(sheet)));
    assert_eq!(read.unwrap(), campaign);
}

#[test]
fn another_format_is_refused_and_garbage_and_what_is_not_whole_too() {
    let other = br#"{"campaign": {"format": 3, "shape": "unknown"}}"#;
    let read = |head: &[u8]| Campaign::from_sheets(head, |_| Ok::<_, CampaignFormatError>(None));
    assert!(matches!(read(other), Err(CampaignFormatError::Format(3))));
    assert!(matches!(read(b"{}"), Err(CampaignFormatError::Unreadable(_))));
    let error = read(&stored().sheets(None).head).unwrap_err();
    assert_eq!(error.to_string(), "sheet 'devices-0' of the stored campaign is missing");
}

#[test]
fn a_step_of_a_large_campaign_writes_few_sheets() {
    let mut herd = Herd::of(1_000, Regulation { observe_secs: 0, ..Regulation::default() });
    let (mut shelf, mut before) = (Shelf::default(), herd.campaign().clone());
    assert_eq!(shelf.write(&before, None), 16 + 8, "devices and events");
    let mut most = 0;
    for _ in 0..200 {
        herd.advance();
        herd.end_well();
        most = most.max(shelf.write(herd.campaign(), Some(&before)));
        assert_eq!(shelf.read().unwrap(), *herd.campaign());
        before = herd.campaign().clone();
    }
    assert_eq!(before.state(), CampaignState::Finished, "{}", before.reason());
    // The largest element has a quarter of the devices; the last one ends while it begins, and each of them tells of that.
    assert!(most <= 5 + 5 + 9 + 1, "{most}");
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
