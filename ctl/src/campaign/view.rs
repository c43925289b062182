//! Campaigns as lines for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use takt_common::api::{
    CampaignDevice, CampaignEvent, CampaignPreview, CampaignRequest, CampaignState, CampaignView, DeviceStep,
    DeviceView, ExcludedDevice, ResponseTimes,
};
use takt_common::order::Mode;
use takt_common::regulation::ElementView;
use takt_common::{DeviceId, UnixTime};

use crate::output::{Output, Tone};
use crate::span;
use crate::table::{Table, cell};

/// The state of a campaign in one word.
pub(super) const fn state(state: CampaignState) -> &'static str {
    match state {
        CampaignState::Pending => "pending",
        CampaignState::Ongoing => "ongoing",
        CampaignState::Paused => "paused",
        CampaignState::RollingBack => "rolling-back",
        CampaignState::Aborted => "aborted",
        CampaignState::Finished => "finished",
    }
}

const fn tone(state: CampaignState) -> Tone {
    match state {
        CampaignState::Pending | CampaignState::Ongoing | CampaignState::Paused => Tone::Busy,
        CampaignState::RollingBack | CampaignState::Aborted => Tone::Bad,
        CampaignState::Finished => Tone::Good,
    }
}

/// `takt campaign list`.
pub(super) fn list(campaigns: &[CampaignView]) -> Vec<String> {
    let mut table = Table::new(&["NAME", "STATE", "RELEASE", "DOMAIN", "DONE", "STARTED", "REASON"]);
    for campaign in campaigns {
        let release = &campaign.request.release;
        table.row(vec![
            campaign.request.name.to_string(),
            state(campaign.state).to_owned(),
            format!("{}@{}", release.name, release.version),
            campaign.request.domain.to_string(),
            format!("{}/{}", campaign.done, campaign.total),
            campaign.started.to_string(),
            campaign.reason.clone(),
        ]);
    }
    table.lines()
}

/// `takt campaign show`.
pub(super) fn show(campaign: &CampaignView, output: Output) -> Vec<String> {
    let mut lines = vec![heading(campaign, output)];
    lines.push(format!("started {}, ended {}", campaign.started, cell(campaign.ended)));
    lines.extend(campaign.plan.as_ref().map(|plan| {
        let (load, above) = (plan.objective, 100.0 * plan.gap);
        format!("slots chosen {}: {load:.1} percent points of load together, at most {above:.2} % more than need be", plan.made)
    }));
    lines.extend(campaign.upgraded_answer.map(|times| answers("upgraded", times)));
    lines.extend(campaign.pending_answer.map(|times| answers("not upgraded yet", times)));
    if !campaign.elements.is_empty() {
        lines.push(String::new());
        lines.extend(elements(&campaign.elements));
    }
    lines.push(String::new());
    lines.extend(devices(campaign, &BTreeMap::new(), campaign.ended));
    lines.extend(excluded(&campaign.excluded));
    lines.push(String::new());
    lines.extend(campaign.events.iter().map(event));
    lines
}

/// `takt campaign plan`.
pub(super) fn preview(request: &CampaignRequest, preview: &CampaignPreview, now: UnixTime) -> Vec<String> {
    let ends = match preview.ends {
        Some(ends) => {
            format!("would end at {ends}, {} from now, if all went well", span::short(ends.since(now)))
        }
        None => format!("would not end: {}", cell(preview.why_not.as_deref())),
    };
    let mut lines =
        vec![format!("campaign {} ({} to {}) {ends}", request.name, request.domain, request.release)];
    let (in_place, rolling, away) = (preview.in_place, preview.rolling, preview.away_secs);
    let mut disruption = format!(
        "disruption: {in_place} devices switch in place, which are away for {away} s together at the least; for {rolling} a standby serves"
    );
    if let Some(load) = preview.predicted_load {
        let _never_fails =
            write!(disruption, "; {load:.1} percent points of load are predicted for their slots together");
    }
    lines.push(disruption);
    if !preview.path.is_empty() {
        let path: Vec<String> = preview.path.iter().map(ToString::to_string).collect();
        lines.push(format!("devices that run too early a release go over {}", path.join(", ")));
    }
    let names: BTreeMap<DeviceId, &str> =
        preview.devices.iter().map(|device| (device.device, device.name.as_str())).collect();
    lines.push(String::new());
    let mut table = Table::new(&["DEVICE", "ELEMENT", "BEGINS", "ENDS", "STANDBY", "LOAD %", "NOTE"]);
    for device in &preview.devices {
        let standby =
            device.standby.map(|id| names.get(&id).map_or_else(|| id.to_string(), |&name| name.to_owned()));
        table.row(vec![
            device.name.to_string(),
            cell(device.element.map(|element| element + 1)),
            cell(device.begins),
            cell(device.ends),
            cell(standby),
            cell(device.predicted_load.map(|load| format!("{load:.1}"))),
            match (device.begins, device.offline) {
                (None, _) if device.ends.is_some() => "runs it already",
                (_, true) => "is offline now",
                _ => "",
            }
            .to_owned(),
        ]);
    }
    lines.extend(table.lines());
    lines.extend(excluded(&preview.excluded));
    lines
}

fn answers(which: &str, times: ResponseTimes) -> String {
    let ResponseTimes { devices, median_millis, p95_millis } = times;
    format!(
        "health checks of {devices} devices {which}: {median_millis} ms in the median, {p95_millis} ms at 95 %"
    )
}

/// Devices that are no targets.
fn excluded(excluded: &[ExcludedDevice]) -> Vec<String> {
    if excluded.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&["LEFT OUT", "BECAUSE IT"]);
    for device in excluded {
        table.row(vec![device.name.to_string(), device.reason.clone()]);
    }
    [vec![String::new()], table.lines()].concat()
}

/// So many names stand in an upgrade order.
const ORDER_NAMES_MAX: usize = 20;

/// `a, b, c and 4 more`.
pub(super) fn first_of(names: &[&str]) -> String {
    let first = names.iter().take(ORDER_NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(ORDER_NAMES_MAX) {
        Some(more) if more > 0 => format!("{first} and {more} more"),
        _ => first,
    }
}

/// The elements that have ended, and what followed from each.
fn elements(elements: &[ElementView]) -> Vec<String> {
    let mut table = Table::new(&["ELEMENT", "STAGE", "DEVICES", "ERRORS", "WARNINGS", "NEXT", "REASON"]);
    for element in elements {
        table.row(vec![
            (element.index + 1).to_string(),
            element.stage.to_string(),
            element.size.to_string(),
            element.errors.to_string(),
            element.warnings.to_string(),
            element.decision.to_string(),
            element.reason.clone(),
        ]);
    }
    table.lines()
}

/// One line that says how a campaign stands.
pub(super) fn heading(campaign: &CampaignView, output: Output) -> String {
    let request = &campaign.request;
    let state = output.toned(tone(campaign.state), state(campaign.state));
    format!(
        "campaign {} ({} to {}) is {state}: {}",
        request.name, request.domain, request.release, campaign.reason
    )
}

/// An event as one line.
pub(super) fn event(event: &CampaignEvent) -> String {
    match &event.device {
        Some(device) => format!("{}  {device}: {}", event.at, event.text),
        None => format!("{}  {}", event.at, event.text),
    }
}

/// The devices of a campaign; `reported` adds what their agents say now, `now` how long a step has lasted.
pub(super) fn devices(
    campaign: &CampaignView,
    reported: &BTreeMap<DeviceId, DeviceView>,
    now: Option<UnixTime>,
) -> Vec<String> {
    let names: BTreeMap<DeviceId, &str> =
        campaign.devices.iter().map(|device| (device.device, device.name.as_str())).collect();
    let mut table = Table::new(&["DEVICE", "ELEMENT", "STEP", "FOR", "NOTE"]);
    for device in &campaign.devices {
        let since = step_since(device);
        table.row(vec![
            device.name.to_string(),
            cell(device.element.map(|element| element + 1)),
            step(device).to_owned(),
            cell(since.zip(now).map(|(since, now)| span::short(now.since(since)))),
            note(device, reported.get(&device.device), &names),
        ]);
    }
    table.lines()
}

const fn step(device: &CampaignDevice) -> &'static str {
    match &device.step {
        DeviceStep::Pending => "pending",
        DeviceStep::TakingOver { .. } => "taking-over",
        DeviceStep::Upgrading { .. } => "upgrading",
        DeviceStep::HandingBack { .. } => "handing-back",
        DeviceStep::Done { .. } => "done",
    }
}

const fn step_since(device: &CampaignDevice) -> Option<UnixTime> {
    match &device.step {
        DeviceStep::TakingOver { since, .. }
        | DeviceStep::Upgrading { since, .. }
        | DeviceStep::HandingBack { since, .. } => Some(*since),
        DeviceStep::Pending | DeviceStep::Done { .. } => None,
    }
}

fn note(device: &CampaignDevice, reported: Option<&DeviceView>, names: &BTreeMap<DeviceId, &str>) -> String {
    let name = |id: &DeviceId| names.get(id).map_or_else(|| id.to_string(), |&name| name.to_owned());
    match &device.step {
        DeviceStep::Pending => {
            cell(device.slot.as_ref().map(|slot| format!("begins at {}; {}", slot.start, slot.reason)))
        }
        DeviceStep::TakingOver { standby, .. } => format!("{} is taking over", name(standby)),
        DeviceStep::Upgrading { mode, .. } => {
            let mut note = match mode {
                Mode::InPlace => "in place".to_owned(),
                Mode::Rolling { standby } => format!("{} serves meanwhile", name(standby)),
            };
            if let Some(phase) = reported.and_then(|device| device.phase) {
                note = format!("{phase}, {note}");
            }
            if let Some(reason) = reported.and_then(|device| device.waiting_on.as_deref()) {
                note = format!("{note}; waits on {reason}");
            }
            note
        }
        DeviceStep::HandingBack { standby, outcome, .. } => {
            format!("{outcome}; {} hands back", name(standby))
        }
        DeviceStep::Done { outcome, .. } if device.fault.is_some() => {
            format!("{outcome}; {}", cell(device.fault.as_deref()))
        }
        DeviceStep::Done { outcome, .. } if device.warnings.is_empty() => outcome.to_string(),
        DeviceStep::Done { outcome, .. } => format!("{outcome}; warning: {}", device.warnings.join("; ")),
    }
}

#[cfg(test)]
mod tests;
