//! `takt device`: the fleet as the coordinator knows it.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use takt_common::api::{DeviceView, ForecastView, QuarantineRequest, RevocationRequest};
use takt_common::id::IdError;
use takt_common::report::Installed;
use takt_common::{Name, UnixTime};

use crate::api::Api;
use crate::clock;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::span::ago;
use crate::table::{EMPTY, Table, cell};

/// Bytes in a MiB, for shown figures.
const MIB: u64 = 1024 * 1024;

/// `takt device …`
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Lists the devices
    #[command(after_help = "Example:\n  takt device list --domain line-7")]
    List(ListArgs),
    /// Shows all that is known of one device
    #[command(after_help = "Example:\n  takt device show camera-1")]
    Show(ShowArgs),
    /// Forecasts how busy a device will be on the next day
    #[command(after_help = "Example:\n  takt device forecast camera-1")]
    Forecast(ShowArgs),
    /// Puts a device into quarantine: it is asked to begin nothing until it is released
    #[command(after_help = "Example:\n  takt device quarantine camera-1 --why case-was-open")]
    Quarantine(QuarantineArgs),
    /// Ends the quarantine of a device
    #[command(after_help = "Example:\n  takt device release camera-1")]
    Release(ShowArgs),
    /// Revokes a device: its session is cut, and it is not let in until it is reinstated
    #[command(after_help = "Example:\n  takt device revoke camera-1 --reason stolen")]
    Revoke(RevokeArgs),
    /// Approves the enrolment of a device: from now on it gets orders
    #[command(after_help = "Example:\n  takt device approve camera-1")]
    Approve(ShowArgs),
    /// Takes a device out of the fleet for ever; its history stays, and its name is free for another one
    ///
    /// On the device itself, `takt-agent decommission --yes` wipes its keys.
    #[command(after_help = "Example:\n  takt device decommission camera-1")]
    Decommission(ShowArgs),
    /// Lets a revoked device in again
    #[command(after_help = "Example:\n  takt device reinstate camera-1")]
    Reinstate(ShowArgs),
}

/// `takt device quarantine`
#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// A device's name or id
    #[arg(value_name = "DEVICE")]
    device: DeviceArg,
    /// Why; whoever asks what the device waits for reads it
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// `takt device revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// A device's name or id
    #[arg(value_name = "DEVICE")]
    device: DeviceArg,
    /// Why; whoever asks what the device waits for reads it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// `takt device list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only devices of this domain
    #[arg(long)]
    domain: Option<Name>,
    /// Only devices that a query means: 'model = "cam-x" and online = true'; see docs/campaigns.md
    #[arg(long = "where", value_name = "QUERY")]
    query: Option<String>,
    /// Those that are decommissioned as well
    #[arg(long)]
    all: bool,
}

/// `takt device show`, `takt device forecast`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A device's name or id
    #[arg(value_name = "DEVICE")]
    device: DeviceArg,
}

/// A device by its name or id; an id has the form of a name too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceArg(Name);

impl FromStr for DeviceArg {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Does what a `takt device` command asks for.
pub async fn run(command: DeviceCommand, api: &Api, output: Output) -> Result<(), Failure> {
    match command {
        DeviceCommand::List(args) => {
            let mut devices = match &args.query {
                Some(query) => meant(query, None, api).await?,
                None => api.get("/api/v1/devices").await?,
            };
            devices.retain(|device| {
                let here = args.all || device.revoked.as_ref().is_none_or(|revocation| !revocation.for_ever);
                here && args.domain.as_ref().is_none_or(|domain| device.domain == *domain)
            });
            Ok(output.give(&devices, || list(&devices, clock::now()))?)
        }
        DeviceCommand::Show(args) => {
            let device: DeviceView = api.get(&format!("/api/v1/devices/{}", args.device)).await?;
            Ok(output.give(&device, || show(&device, clock::now(), output))?)
        }
        DeviceCommand::Quarantine(args) => {
            let path = format!("/api/v1/devices/{}/quarantine", args.device);
            api.put(&path, &QuarantineRequest { why: args.why }).await?;
            told(api, &args.device, output).await
        }
        DeviceCommand::Release(args) => {
            api.delete(&format!("/api/v1/devices/{}/quarantine", args.device)).await?;
            told(api, &args.device, output).await
        }
        DeviceCommand::Revoke(args) => {
            let path = format!("/api/v1/devices/{}/revocation", args.device);
            api.put(&path, &RevocationRequest { why: args.reason }).await?;
            told(api, &args.device, output).await
        }
        DeviceCommand::Approve(args) => {
            api.put(&format!("/api/v1/devices/{}/approval", args.device), &()).await?;
            told(api, &args.device, output).await
        }
        DeviceCommand::Decommission(args) => {
            // By its id: the name may be another device's a moment later.
            let device: DeviceView = api.get(&format!("/api/v1/devices/{}", args.device)).await?;
            let id = DeviceArg(device.id.to_string().parse().expect("an id has the form of a name"));
            api.ask(&format!("/api/v1/devices/{id}/decommission")).await?;
            told(api, &id, output).await
        }
        DeviceCommand::Reinstate(args) => {
            api.delete(&format!("/api/v1/devices/{}/revocation", args.device)).await?;
            told(api, &args.device, output).await
        }
        DeviceCommand::Forecast(args) => {
            let path = format!("/api/v1/devices/{}/forecast", args.device);
            let forecast: ForecastView = api.get(&path).await?;
            Ok(output.give(&forecast, || expected(&forecast))?)
        }
    }
}

/// How a device stands after a change.
async fn told(api: &Api, device: &DeviceArg, output: Output) -> Result<(), Failure> {
    let device: DeviceView = api.get(&format!("/api/v1/devices/{device}")).await?;
    Ok(output.give(&device, || {
        let standing = standing(&device);
        let text = standing.as_deref().unwrap_or("is approved, and neither revoked nor in quarantine");
        vec![format!("{} {text}", device.name)]
    })?)
}

/// What an operator, or what the device has said, holds it back with; as it goes on after its name.
fn standing(device: &DeviceView) -> Option<String> {
    if let Some(revocation) = &device.revoked {
        return Some(revocation.to_string());
    }
    if let Some(since) = device.unapproved {
        return Some(format!("waits since {since} for `takt device approve`"));
    }
    let quarantine = device.quarantine.as_ref()?;
    Some(format!("is in quarantine since {}: {}", quarantine.since, quarantine.why))
}

/// The devices that a query means; `component` is what it means by `version`.
pub(crate) async fn meant(
    query: &str,
    component: Option<&Name>,
    api: &Api,
) -> Result<Vec<DeviceView>, Failure> {
    let mut asked = form_urlencoded::Serializer::new(String::new());
    asked.append_pair("where", query);
    if let Some(component) = component {
        asked.append_pair("component", component.as_str());
    }
    Ok(api.get(&format!("/api/v1/devices?{}", asked.finish())).await?)
}

fn expected(forecast: &ForecastView) -> Vec<String> {
    let tested = forecast.backtest.map_or_else(
        || "too little history to test it".to_owned(),
        |test| {
            format!(
                "on held-out days it was {:.1} percent points wrong, persistence {:.1}",
                test.mae, test.persistence_mae
            )
        },
    );
    let mut lines =
        vec![format!("{}: {} on {} samples; {tested}", forecast.device, forecast.model, forecast.samples)];
    let mut table = Table::new(&["FROM", "LOAD %", "9 OF 10 CASES", ""]);
    for slot in &forecast.slots {
        table.row(vec![
            slot.start.to_string(),
            format!("{:.1}", slot.load),
            format!("{:.1}-{:.1}", slot.low, slot.high),
            if slot.start == forecast.best { "lowest" } else { "" }.to_owned(),
        ]);
    }
    lines.extend(table.lines());
    lines
}

fn list(devices: &[DeviceView], now: UnixTime) -> Vec<String> {
    let mut table = Table::new(&["NAME", "DOMAIN", "ONLINE", "RUNS", "PHASE", "LAST SEEN", "WAITS ON"]);
    for device in devices {
        table.row(vec![
            device.name.to_string(),
            device.domain.to_string(),
            if device.online { "yes" } else { "no" }.to_owned(),
            installed(&device.installed),
            cell(device.phase),
            cell(device.last_seen.map(|seen| ago(seen, now))),
            cell(standing(device).or_else(|| device.waiting_on.clone())),
        ]);
    }
    table.lines()
}

fn installed(installed: &[Installed]) -> String {
    if installed.is_empty() {
        return EMPTY.to_owned();
    }
    installed
        .iter()
        .map(|one| format!("{}@{}", one.release.name, one.release.version))
        .collect::<Vec<_>>()
        .join(",")
}

fn show(device: &DeviceView, now: UnixTime, output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |what: &str, text: String| lines.push(format!("{what:<16}{text}"));
    say("name", device.name.to_string());
    say("id", device.id.to_string());
    say("domain", device.domain.to_string());
    say("hardware", device.hardware.to_string());
    say("enrolled", device.enrolled.to_string());
    let online = if device.online { output.toned(Tone::Good, "yes") } else { output.toned(Tone::Bad, "no") };
    say("online", online);
    say("last seen", cell(device.last_seen.map(|seen| format!("{seen} ({})", ago(seen, now)))));
    for one in &device.installed {
        say("runs", format!("{} (counter {})", one.release, one.counter));
    }
    if let Some(whom) = device.standing_in_for {
        say("stands in for", whom.to_string());
    }
    if let Some(lease) = &device.lease {
        say("lease", format!("{} for {}, since {}", lease.token, lease.device, lease.since));
    }
    if let Some(revocation) = &device.revoked {
        let what = if revocation.for_ever { "decommissioned" } else { "revoked" };
        let text = format!("since {}: {}", revocation.since, revocation.why);
        say(what, output.toned(Tone::Bad, &text));
    }
    if let Some(since) = device.unapproved {
        say(
            "not approved",
            output.toned(Tone::Bad, &format!("since {since}: takt device approve {}", device.name)),
        );
    }
    if let Some(quarantine) = &device.quarantine {
        let text = format!("since {}: {}", quarantine.since, quarantine.why);
        say("quarantine", output.toned(Tone::Bad, &text));
    }
    say("phase", cell(device.phase));
    if let Some(reason) = &device.waiting_on {
        say("waits on", reason.clone());
    }
    if let Some(order) = &device.order {
        let release = order.release.as_ref().map(|release| format!(" {release}")).unwrap_or_default();
        let accepted = if order.accepted { "accepted" } else { "not accepted yet" };
        say(
            "order",
            format!("{} {}{release}, issued {}, {accepted}", order.position, order.action, order.issued),
        );
    }
    if let Some(outcome) = &device.last_outcome {
        let tone = if outcome.is_success() { Tone::Good } else { Tone::Bad };
        say("last outcome", output.toned(tone, &outcome.to_string()));
    }
    if let Some(timing) = device.timing {
        let back = timing.rollback_millis.map(|millis| format!(", back in {millis} ms")).unwrap_or_default();
        say("last switch", format!("{} ms{back}", timing.switch_millis));
    }
    for warning in &device.warnings {
        say("warning", output.toned(Tone::Busy, warning));
    }
    for (point, output) in &device.hooks {
        for (index, line) in output.lines().enumerate() {
            let what = if index == 0 { format!("hook {point}") } else { String::new() };
            say(&what, line.replace(char::is_control, " "));
        }
    }
    if let Some(refused) = &device.refused {
        say("refused", format!("rule {}: {}", refused.rule, refused.why));
    }
    if let Some(health) = &device.health {
        let host = &health.host;
        say("health", format!("of {} ({})", health.made, ago(health.made, now)));
        say("  agent", health.agent.clone());
        say("  cpu", format!("{:.0} % of {}, load {:.2}", host.cpu_busy * 100.0, host.cpus, host.load_1m));
        let (free, total) = (host.memory_available_bytes / MIB, host.memory_total_bytes / MIB);
        say("  memory", format!("{free} of {total} MiB available"));
        let (free, total) = (host.storage_free_bytes / MIB, host.storage_total_bytes / MIB);
        say("  storage", format!("{free} of {total} MiB free"));
        let checkpoint = match &health.checkpoint {
            Ok(()) => "able".to_owned(),
            Err(why) => format!("not able: {why}"),
        };
        say("  checkpoint", checkpoint);
        for (component, millis) in &health.response_millis {
            say("  answers", format!("{component} in {millis} ms"));
        }
        for unwell in &health.unwell {
            say("  not well", format!("{}: {}", unwell.release, unwell.why.replace(char::is_control, " ")));
        }
        for workload in &health.workloads {
            let state = if workload.running { "running" } else { "not running" };
            let memory =
                workload.memory_bytes.map(|bytes| format!(", {} MiB", bytes / MIB)).unwrap_or_default();
            say(
                "  workload",
                format!("{} {state}{memory}, {} restarts", workload.component, workload.restarts),
            );
        }
    }
    lines
}
