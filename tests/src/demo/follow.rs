//! Following a campaign: its decisions as they come, what its devices are doing, and why the others wait.

use std::collections::BTreeSet;
use std::time::Duration;

use takt_common::api::{CampaignEvent, CampaignState, CampaignView, DeviceStep, WhyView};

use super::scene::Scene;
use crate::fleet::{FleetError, interrupted, pause};

/// From one look at the campaign to the next; `takt` is started for each.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long a campaign may take, many times what it takes on an idle machine.
const END_LIMIT: Duration = Duration::from_mins(4);

/// An answer of `takt why`.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) why: WhyView,
}

/// A campaign as it was seen from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    /// When it was started and when its end was seen.
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// How it looked at each look, the last one at its end.
    pub(super) looks: Vec<CampaignView>,
    /// What `takt why` said of devices while they waited; equal reasons once.
    pub(super) samples: Vec<Sample>,
}

impl Followed {
    /// How it ended.
    pub(super) fn end(&self) -> &CampaignView {
        self.looks.last().expect("a campaign is looked at before it is followed")
    }
}

/// Follows the campaign that `started` shows, until it has ended.
pub(super) fn follow(scene: &Scene, started: CampaignView) -> Result<Followed, FleetError> {
    let name = started.request.name.to_string();
    let from = scene.fleet.stopwatch.elapsed();
    let mut followed = Followed { from, to: from, looks: Vec::new(), samples: Vec::new() };
    let mut told: Vec<CampaignEvent> = Vec::new();
    let mut known = BTreeSet::new();
    let mut view = started;
    loop {
        tell(scene, &name, &view.events, &mut told);
        let over = matches!(view.state, CampaignState::Aborted | CampaignState::Finished);
        let waiting = waiting(&view, followed.looks.len());
        let state = format!(": {}", view.reason);
        followed.looks.push(view);
        followed.to = scene.fleet.stopwatch.elapsed();
        if over {
            return Ok(followed);
        }
        if let Some(device) = waiting {
            sample(scene, &device, &mut known, &mut followed.samples)?;
        }
        if interrupted() {
            return Err(FleetError::Interrupted);
        }
        if followed.to.saturating_sub(from) >= END_LIMIT {
            let what = format!("the end of campaign {name}");
            return Err(FleetError::NotInTime { what, limit: END_LIMIT, state });
        }
        pause(LOOK_EVERY);
        view = scene.fleet.campaign(&name)?;
    }
}

/// One device that does not work itself, another one at each look.
fn waiting(view: &CampaignView, look: usize) -> Option<String> {
    let devices = view
        .devices
        .iter()
        .filter(|device| !matches!(device.step, DeviceStep::Done { .. } | DeviceStep::Upgrading { .. }));
    let names: Vec<String> = devices.map(|device| device.name.to_string()).collect();
    (!names.is_empty()).then(|| names[look % names.len()].clone())
}

/// Prints the events that were not told yet. The list is bounded, so what was told is known by its content.
fn tell(scene: &Scene, campaign: &str, events: &[CampaignEvent], told: &mut Vec<CampaignEvent>) {
    for event in events {
        if told.contains(event) {
            continue;
        }
        told.push(event.clone());
        let device = event.device.as_ref().map_or_else(String::new, |device| format!("{device}: "));
        scene.say(&format!("{campaign}  {device}{}", event.text));
    }
}

/// Asks why the device waits; a reason that differs only in its numbers is the same.
fn sample(
    scene: &Scene,
    device: &str,
    known: &mut BTreeSet<String>,
    samples: &mut Vec<Sample>,
) -> Result<(), FleetError> {
    let at = scene.fleet.stopwatch.elapsed();
    let why = scene.fleet.why(device)?;
    let nearest = why.reasons.first().cloned().unwrap_or_default();
    let key: String = nearest.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    if why.waiting && known.insert(format!("{device} {key}")) {
        scene.say(&format!("    takt why {device}: {nearest}"));
        samples.push(Sample { at, why });
    }
    Ok(())
}
