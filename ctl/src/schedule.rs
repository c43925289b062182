//! `takt schedule`: when devices of a domain may be upgraded.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use takt_common::Name;
use takt_common::api::{ScheduleMethod, ScheduleSpec};

use crate::cli::{DomainArgs, Online};
use crate::document::{self, DocumentError};
use crate::failure::Failure;
use crate::output::Output;
use crate::span;

const SET_EXAMPLE: &str = "Example:\n  takt schedule set --domain line-7 --slot 1h --slots 48 --window 22:00-06:00 \
--time-zone Europe/Berlin\n  takt schedule set --domain line-7 --file schedule.toml";

/// `takt schedule …`
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Replaces the schedule of a domain: from now on each device gets a slot, the least busy one that can be
    #[command(after_help = SET_EXAMPLE)]
    Set(SetArgs),
    /// Shows the schedule of a domain
    #[command(after_help = "Example:\n  takt schedule show --domain line-7")]
    Show(DomainArgs),
    /// Takes the schedule of a domain away: devices begin as soon as they can
    #[command(after_help = "Example:\n  takt schedule clear --domain line-7")]
    Clear(DomainArgs),
}

/// `takt schedule set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Whose schedule
    #[arg(long)]
    domain: Name,
    /// The schedule as .json or .toml, with slot_secs, slots, max_in_flight, windows, time_zone, gateways, method, time_limit_ms
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How long a slot is: 30m, 1h [default: 1h]
    #[arg(long, value_name = "SPAN", value_parser = span::parse_secs)]
    slot: Option<u64>,
    /// How many slots ahead are planned [default: 48]
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// The most devices in one slot [default: as many as can surely be done in it]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// When devices may begin: 22:00-06:00, 'mon-fri 22:00-06:00'; may be given several times
    #[arg(long = "window", value_name = "WINDOW")]
    windows: Vec<String>,
    /// On whose clocks windows are read: an IANA name [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// How slots are chosen [default: optimal]
    #[arg(long, value_enum)]
    method: Option<ScheduleMethodArg>,
}

/// How slots are chosen.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ScheduleMethodArg {
    /// As paper 1 has it: the device whose least busy slot is the earliest first, then the least dependent
    Paper,
    /// Least predicted disruption, then soonest done
    Optimal,
}

/// Does what a `takt schedule` command asks for.
pub async fn run(command: ScheduleCommand, online: &Online, output: Output) -> Result<(), Failure> {
    match command {
        ScheduleCommand::Set(args) => {
            let schedule = schedule_of(&args)?;
            online.api()?.put(&path(&args.domain), &schedule).await?;
            Ok(output.give(&schedule, || {
                let mut lines = vec![format!("domain {} has a schedule now", args.domain)];
                lines.extend(self::lines(&schedule));
                lines
            })?)
        }
        ScheduleCommand::Show(args) => {
            let schedule: ScheduleSpec = online.api()?.get(&path(&args.domain)).await?;
            Ok(output.give(&schedule, || lines(&schedule))?)
        }
        ScheduleCommand::Clear(args) => {
            online.api()?.delete(&path(&args.domain)).await?;
            let domain = &args.domain;
            Ok(output.give(&serde_json::json!({ "domain": domain }), || {
                vec![format!("domain {domain} has no schedule: its devices begin as soon as they can")]
            })?)
        }
    }
}

fn path(domain: &Name) -> String {
    format!("/api/v1/domains/{domain}/schedule")
}

fn lines(schedule: &ScheduleSpec) -> Vec<String> {
    let method = match schedule.method {
        ScheduleMethod::Paper => "paper",
        ScheduleMethod::Optimal => "optimal",
    };
    let most =
        schedule.max_in_flight.map_or("as many as can surely be done".to_owned(), |most| most.to_string());
    let zone = schedule.time_zone.as_deref().unwrap_or("UTC");
    let windows = if schedule.windows.is_empty() { "always".to_owned() } else { schedule.windows.join("; ") };
    let mut lines = Vec::new();
    let mut say = |what: &str, text: String| lines.push(format!("{what:<16}{text}"));
    say("slots", format!("{} of {} s", schedule.slots, schedule.slot_secs));
    say("in one slot", most);
    say("open", format!("{windows} ({zone})"));
    say("method", format!("{method}, for at most {} ms", schedule.time_limit_ms));
    for gateway in &schedule.gateways {
        let members = gateway.members.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        say("gateway", format!("{} feeds {} of {members}", gateway.device, gateway.max_in_flight));
    }
    lines
}

/// What a file and arguments say together; arguments count more.
fn schedule_of(args: &SetArgs) -> Result<ScheduleSpec, DocumentError> {
    let file = args.file.as_deref().map(|file| document::read::<ScheduleSpec>("schedule", file));
    let mut schedule = file.transpose()?.unwrap_or_default();
    if let Some(slot) = args.slot {
        // A day is the most that is taken; what does not fit is refused there.
        schedule.slot_secs = u32::try_from(slot).unwrap_or(u32::MAX);
    }
    if let Some(slots) = args.slots {
        schedule.slots = slots;
    }
    if !args.windows.is_empty() {
        schedule.windows.clone_from(&args.windows);
    }
    if let Some(method) = args.method {
        schedule.method = match method {
            ScheduleMethodArg::Paper => ScheduleMethod::Paper,
            ScheduleMethodArg::Optimal => ScheduleMethod::Optimal,
        };
    }
    schedule.max_in_flight = args.max_in_flight.or(schedule.max_in_flight);
    schedule.time_zone = args.time_zone.clone().or(schedule.time_zone);
    Ok(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: Option<PathBuf>) -> SetArgs {
        SetArgs {
            domain: "line-7".parse().unwrap(),
            file,
            slot: None,
            slots: Some(5),
            max_in_flight: None,
            windows: vec![],
            time_zone: None,
            method: None,
        }
    }

    #[test]
    fn arguments_count_more_than_the_file_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            schedule_of(&args(Some(path)))
        };
        let json =
            read("s.json", r#"{"slot_secs":60,"slots":9,"max_in_flight":2,"method":"paper"}"#).unwrap();
        let toml = read("s.toml", "slot_secs=60\nslots=9\nmax_in_flight=2\nmethod='paper'\n").unwrap();
        assert_eq!(json, toml);
        let expected = ScheduleSpec {
            slot_secs: 60,
            slots: 5,
            max_in_flight: Some(2),
            method: ScheduleMethod::Paper,
            ..ScheduleSpec::default()
        };
        assert_eq!(json, expected);
        assert!(matches!(read("s.toml", "slot=60"), Err(DocumentError::Toml { .. })));
        assert!(matches!(read("s.json", "{\"slots\":\"5\"}"), Err(DocumentError::Json { .. })));
    }
}
