//! `takt campaign watch`: follows a campaign until it ends, also across a restart of the coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use takt_common::api::{CampaignEvent, CampaignState, CampaignView, DeviceStep, DeviceView};
use takt_common::{DeviceId, Name};

use super::live::Live;
use super::{news, path, view};
use crate::api::{Api, ApiError};
use crate::clock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Reader};

/// From one look to the next: a step of a device takes seconds, people read twice a second at best.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks in a row that may fail before the watch gives up: five minutes with [`LOOK_EVERY`], enough to replace a
/// coordinator.
const FAILED_LOOKS_MAX: u32 = 600;

/// Devices whose agents are asked about at each look; more do not fit a terminal.
const REPORTED_MAX: usize = 32;

/// A watch ended without the campaign having finished.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The campaign was aborted: it was watched to its end, and the end is no success.
    #[error("campaign {name} was aborted: {reason}")]
    Aborted {
        /// The campaign.
        name: Name,
        /// Why.
        reason: String,
    },
    /// The coordinator stayed away.
    #[error("watch campaign {name}: the coordinator stayed away for {} s", away.as_secs())]
    Away {
        /// The campaign.
        name: Name,
        /// For how long.
        away: Duration,
        /// What the last request met.
        source: Box<ApiError>,
    },
}

impl WatchError {
    /// What the shell gets.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Aborted { .. } => Exit::Aborted,
            Self::Away { .. } => Exit::Failed,
        }
    }
}

/// With `--json`: one of these a line.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    /// A decision of the campaign.
    Event(&'a CampaignEvent),
    /// The campaign as it ended; the last line.
    End { campaign: &'a CampaignView },
}

/// Where events and the picture go.
enum Screen {
    Live(Live),
    Lines,
}

/// Follows the campaign `name`.
pub(super) async fn run(name: &Name, api: &Api, output: Output) -> Result<(), Failure> {
    let screen = match output.reader() {
        Reader::Terminal => Screen::Live(Live::new()),
        Reader::Plain | Reader::Program => Screen::Lines,
    };
    let campaign = follow(name, api, output, &screen).await?;
    drop(screen);
    match output.reader() {
        Reader::Program => output.json_line(&Line::End { campaign: &campaign })?,
        Reader::Plain => output.line(&view::heading(&campaign, output))?,
        Reader::Terminal => {
            for line in view::devices(&campaign, &BTreeMap::new(), None) {
                output.line(&line)?;
            }
            output.line(&view::heading(&campaign, output))?;
        }
    }
    match campaign.state {
        CampaignState::Aborted => {
            Err(WatchError::Aborted { name: name.clone(), reason: campaign.reason }.into())
        }
        _ => Ok(()),
    }
}

/// Looks again and again until the campaign has ended, and gives its last state.
async fn follow(name: &Name, api: &Api, output: Output, screen: &Screen) -> Result<CampaignView, Failure> {
    let mut seen: Vec<CampaignEvent> = Vec::new();
    let mut last: Option<CampaignView> = None;
    let mut failed_looks = 0;
    loop {
        match api.get::<CampaignView>(&path(name)).await {
            Ok(mut campaign) => {
                failed_looks = 0;
                // The picture comes first: events push it down, and there is none to push before it was drawn.
                if let Screen::Live(live) = screen {
                    draw(live, &campaign, &reported(&campaign, api).await, "", output);
                }
                for event in news::since(&seen, &campaign.events) {
                    tell(event, output, screen)?;
                }
                if matches!(campaign.state, CampaignState::Aborted | CampaignState::Finished) {
                    return Ok(campaign);
                }
                seen = std::mem::take(&mut campaign.events);
                last = Some(campaign);
            }
            // A name that was wrong from the beginning, or a refused token, will not get better.
            Err(error) if !error.is_transient() || last.is_none() => return Err(error.into()),
            Err(error) => {
                failed_looks += 1;
                if failed_looks == FAILED_LOOKS_MAX {
                    let away = LOOK_EVERY * FAILED_LOOKS_MAX;
                    return Err(WatchError::Away { name: name.clone(), away, source: Box::new(error) }.into());
                }
                if let (Screen::Live(live), Some(campaign)) = (screen, &last) {
                    draw(live, campaign, &BTreeMap::new(), "the coordinator is away, waiting for it", output);
                }
            }
        }
        clock::pause(LOOK_EVERY).await;
    }
}

fn tell(event: &CampaignEvent, output: Output, screen: &Screen) -> Result<(), Failure> {
    match (output.reader(), screen) {
        (Reader::Program, _) => output.json_line(&Line::Event(event))?,
        (_, Screen::Live(live)) => live.line(&view::event(event)),
        (_, Screen::Lines) => output.line(&view::event(event))?,
    }
    Ok(())
}

fn draw(
    live: &Live,
    campaign: &CampaignView,
    reported: &BTreeMap<DeviceId, DeviceView>,
    note: &str,
    output: Output,
) {
    let mut table = vec![view::heading(campaign, output), String::new()];
    table.extend(view::devices(campaign, reported, Some(clock::now())));
    live.draw(&table, campaign.done, campaign.total, note);
}

/// What the agents of the devices under way say. It only adorns the table, so what cannot be had is left out.
async fn reported(campaign: &CampaignView, api: &Api) -> BTreeMap<DeviceId, DeviceView> {
    let busy = campaign.devices.iter().filter(|device| matches!(device.step, DeviceStep::Upgrading { .. }));
    let mut reported = BTreeMap::new();
    for device in busy.take(REPORTED_MAX) {
        if let Ok(view) = api.get(&format!("/api/v1/devices/{}", device.device)).await {
            reported.insert(device.device, view);
        }
    }
    reported
}
