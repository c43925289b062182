//! What happened, as a table: when, to which device, what, for how long its client was not served, and its counter.

use std::time::Duration;

use super::facts::{standby_of, switch_of};
use super::follow::Followed;
use super::scene::{CAMERAS, NAMES, Scene};
use super::story::{Acts, BAD, FIRST, GOOD};
use crate::fleet::Gap;

#[derive(Default)]
struct Row {
    at: Duration,
    device: String,
    what: String,
    downtime: String,
    before: String,
    after: String,
}

/// The table's lines.
pub(super) fn lines(scene: &Scene, acts: &Acts) -> Vec<String> {
    let mut rows = vec![event(acts.enrolled_at, "", "all devices enrolled and online".to_owned())];
    for followed in [&acts.first, &acts.good, &acts.bad] {
        rows.extend(campaign(followed));
    }
    for (name, clients) in NAMES.iter().zip(&scene.clients) {
        if let Some(spell) = clients.own.spells().into_iter().find(|spell| spell.version == FIRST) {
            rows.push(event(spell.from, name, format!("{FIRST} answers")));
        }
        let switches = [
            (FIRST, GOOD, format!("{FIRST} -> {GOOD}")),
            (GOOD, BAD, format!("{GOOD} -> {BAD}")),
            (BAD, GOOD, format!("{BAD} -> {GOOD}, rolled back")),
        ];
        for (from, to, what) in switches {
            rows.extend(switch_of(&clients.own, from, to).map(|gap| switch(name, what, &gap)));
        }
    }
    for camera in CAMERAS {
        let Some(standby) = standby_of(scene, acts, camera) else { continue };
        for spell in scene.of(standby).1.stand_in.spells() {
            rows.push(event(spell.from, standby, format!("answers for {camera}")));
            rows.push(event(spell.to, standby, format!("answered for {camera} until here")));
        }
    }
    rows.sort_by_key(|row| row.at);
    drawn(&rows)
}

/// What `takt why` said of devices while they waited, the nearest cause of each.
pub(super) fn whys(acts: &Acts) -> Vec<String> {
    let samples = acts.good.samples.iter().chain(&acts.bad.samples);
    let lines = samples.map(|sample| {
        let nearest = sample.why.reasons.first().map_or("", String::as_str);
        format!("{:8.3}  {:<9} {nearest}", sample.at.as_secs_f64(), sample.why.device)
    });
    std::iter::once("why devices waited, as `takt why` told it meanwhile:".to_owned()).chain(lines).collect()
}

fn event(at: Duration, device: &str, what: String) -> Row {
    Row { at, device: device.to_owned(), what, ..Row::default() }
}

fn campaign(followed: &Followed) -> [Row; 2] {
    let end = followed.end();
    let name = &end.request.name;
    let state = format!("{:?}", end.state).to_lowercase();
    [
        event(followed.from, "", format!("campaign {name} started: {}", end.request.release)),
        event(followed.to, "", format!("campaign {name} {state}: {}", end.reason)),
    ]
}

fn switch(device: &str, what: String, gap: &Gap) -> Row {
    Row {
        at: gap.before.to,
        device: device.to_owned(),
        what,
        downtime: format!("{:.1}", gap.downtime().as_secs_f64() * 1e3),
        before: gap.before.counter_last.to_string(),
        after: gap.after.counter_first.to_string(),
    }
}

/// `what` comes last: it may be long.
fn drawn(rows: &[Row]) -> Vec<String> {
    let line = |at: &str, device: &str, downtime: &str, before: &str, after: &str, what: &str| {
        format!("{at:>8}  {device:<9} {downtime:>11}  {before:>14}  {after:>13}  {what}")
    };
    let heading = line("TIME s", "DEVICE", "DOWNTIME ms", "COUNTER BEFORE", "COUNTER AFTER", "WHAT");
    let rows = rows.iter().map(|row| {
        let at = format!("{:.3}", row.at.as_secs_f64());
        line(&at, &row.device, &row.downtime, &row.before, &row.after, &row.what)
    });
    std::iter::once(heading).chain(rows).collect()
}
