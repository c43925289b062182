//! Campaigns as they are stored: cut into sheets, so that a step of a large one writes only what has changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use takt_common::Name;

use crate::campaign::{CAMPAIGN_FORMAT, Campaign};
use crate::members::Members;

/// So many devices stand on a sheet: with slots and their reasons, some 40 KiB.
const MEMBERS: usize = 64;

/// So many events stand on a sheet; the oldest go a sheet at a time.
pub(crate) const EVENTS: usize = 32;

/// So many devices that are no targets stand on a sheet.
const LEFT_OUT: usize = 128;

/// So many names of devices that were asked for stand on a sheet.
const ASKED: usize = 512;

/// The elements that have ended.
const ELEMENTS: &str = "elements";

/// What has changed on the way from one state of a campaign to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheets {
    /// The head, which changes always.
    pub head: Vec<u8>,
    /// Sheets that are new or have changed, by name.
    pub changed: Vec<(String, Vec<u8>)>,
    /// All sheets there are now.
    pub names: BTreeSet<String>,
}

/// A stored campaign is unreadable.
#[derive(Debug, thiserror::Error)]
pub enum CampaignFormatError {
    /// Not a campaign.
    #[error("the stored campaign is unreadable")]
    Unreadable(#[from] serde_json::Error),
    /// From another version of Takt.
    #[error("the stored campaign has format {0}, this version reads {CAMPAIGN_FORMAT}")]
    Format(u32),
    /// One of its sheets is missing.
    #[error("sheet '{0}' of the stored campaign is missing")]
    Missing(String),
}

/// What stands in front of the sheets: the campaign without what they hold, and how much that is.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    campaign: Campaign,
    members: usize,
    events: usize,
    asked: usize,
    elements: usize,
    #[serde(default)]
    left_out: usize,
}

impl Campaign {
    /// As it is stored; of the sheets only those that differ from `before`.
    pub fn sheets(&self, before: Option<&Self>) -> Sheets {
        let mut sheets = Sheets { head: to_bytes(&self.head()), changed: Vec::new(), names: BTreeSet::new() };
        let (asked, members, events): (&[Name], _, _) = before.map_or((&[], &[][..], &[][..]), |before| {
            (&before.request.devices, before.members.as_slice(), &before.events)
        });
        sheets.cut("asked", 0, ASKED, &self.request.devices, asked, 0);
        sheets.cut("devices", 0, MEMBERS, self.members.as_slice(), members, 0);
        let left_out = before.map_or(&[][..], |before| &before.excluded);
        sheets.cut("left-out", 0, LEFT_OUT, &self.excluded, left_out, 0);
        let gone = before.map_or(0, |before| before.events_gone);
        sheets.cut("events", self.events_gone / EVENTS, EVENTS, &self.events, events, gone / EVENTS);
        if !self.pace.elements.is_empty() {
            sheets.names.insert(ELEMENTS.to_owned());
            if before.is_none_or(|before| before.pace.elements != self.pace.elements) {
                sheets.changed.push((ELEMENTS.to_owned(), to_bytes(&self.pace.elements)));
            }
        }
        sheets
    }

    /// What the head says of a stored campaign: everything but its devices, events and elements.
    pub fn from_head(head: &[u8]) -> Result<Self, CampaignFormatError> {
        Ok(Head::read(head)?.campaign)
    }

    /// Puts a stored campaign together; `sheet` gives the sheet of a name.
    pub fn from_sheets<E: From<CampaignFormatError>>(
        head: &[u8],
        mut sheet: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let unreadable = |error| E::from(CampaignFormatError::Unreadable(error));
        let head = Head::read(head)?;
        let mut campaign = head.campaign;
        let mut read = |name: String| -> Result<Vec<u8>, E> {
            sheet(&name)?.ok_or_else(|| CampaignFormatError::Missing(name).into())
        };
        for index in 0..head.asked.div_ceil(ASKED) {
            let names: Vec<Name> =
                serde_json::from_slice(&read(named("asked", index))?).map_err(unreadable)?;
            campaign.request.devices.extend(names);
        }
        for index in 0..head.members.div_ceil(MEMBERS) {
            let members = read(named("devices", index))?;
            campaign.members.append(serde_json::from_slice(&members).map_err(unreadable)?);
        }
        for index in 0..head.left_out.div_ceil(LEFT_OUT) {
            let devices = read(named("left-out", index))?;
            campaign.excluded.append(&mut serde_json::from_slice(&devices).map_err(unreadable)?);
        }
        for index in 0..head.events.div_ceil(EVENTS) {
            let events = read(named("events", campaign.events_gone / EVENTS + index))?;
            campaign.events.append(&mut serde_json::from_slice(&events).map_err(unreadable)?);
        }
        if head.elements > 0 {
            campaign.pace.elements =
                serde_json::from_slice(&read(ELEMENTS.to_owned())?).map_err(unreadable)?;
        }
        Ok(campaign)
    }

    fn head(&self) -> Head {
        let Self {
            format,
            release,
            path,
            state,
            reason,
            started,
            ended,
            brake,
            elements,
            plan,
            unplanned,
            ..
        } = self;
        let mut request = self.request.clone();
        request.devices = Vec::new();
        let campaign = Self {
            format: *format,
            request,
            release: release.clone(),
            path: path.clone(),
            state: *state,
            reason: reason.clone(),
            started: *started,
            ended: *ended,
            brake: brake.clone(),
            elements: *elements,
            pace: self.pace.without_elements(),
            plan: plan.clone(),
            unplanned: unplanned.clone(),
            approved_by: self.approved_by.clone(),
            asked_by: self.asked_by.clone(),
            outage_until: self.outage_until,
            watched_until: self.watched_until,
            members: Members::default(),
            excluded: Vec::new(),
            events: Vec::new(),
            events_gone: self.events_gone,
        };
        Head {
            campaign,
            members: self.members.len(),
            events: self.events.len(),
            asked: self.request.devices.len(),
            elements: self.pace.elements.len(),
            left_out: self.excluded.len(),
        }
    }
}

impl Head {
    fn read(head: &[u8]) -> Result<Self, CampaignFormatError> {
        #[derive(Deserialize)]
        struct Format {
            campaign: FormatOf,
        }
        #[derive(Deserialize)]
        struct FormatOf {
            format: u32,
        }
        match serde_json::from_slice::<Format>(head)?.campaign.format {
            CAMPAIGN_FORMAT => Ok(serde_json::from_slice(head)?),
            other => Err(CampaignFormatError::Format(other)),
        }
    }
}

impl Sheets {
    /// Cuts `all` into sheets of `size`, the first of which is `first`; `before` was cut so from sheet `before_first` on.
    fn cut<T: Serialize + PartialEq>(
        &mut self,
        what: &str,
        first: usize,
        size: usize,
        all: &[T],
        before: &[T],
        before_first: usize,
    ) {
        for (offset, sheet) in all.chunks(size).enumerate() {
            let index = first + offset;
            let name = named(what, index);
            let old = index.checked_sub(before_first).and_then(|offset| before.chunks(size).nth(offset));
            if old != Some(sheet) {
                self.changed.push((name.clone(), to_bytes(&sheet)));
            }
            self.names.insert(name);
        }
    }
}

fn named(what: &str, index: usize) -> String {
    let mut name = what.to_owned();
    let _never_fails = write!(name, "-{index}");
    name
}

fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("a campaign has only text keys")
}
