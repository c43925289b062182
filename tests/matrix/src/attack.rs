//! The attack matrix: which attack was tried with what in an attacker's hands, and what came of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kept;

/// The variable that names the folder of rows; without it they lie in the workspace's `target/attack-matrix`.
pub const FOLDER_VARIABLE: &str = "TAKT_ATTACK_MATRIX";

/// What is done, as TUF and Uptane name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Reading what is not one's own.
    Eavesdrop,
    /// Keeping messages from arriving.
    Drop,
    /// Sending as slowly as can be.
    SlowDrip,
    /// Sending without an end.
    EndlessData,
    /// Sending again what was true once.
    Replay,
    /// Showing an old state as the newest.
    Freeze,
    /// Bringing back something older.
    Rollback,
    /// Running ahead with numbers, so that what is true counts as old.
    FastForward,
    /// Parts of several releases in one order.
    MixedBundle,
    /// Documents of several states together.
    MixAndMatch,
    /// A part of a release only.
    PartialBundle,
    /// What is made for other hardware.
    WrongHardware,
    /// What is meant for another device.
    WrongDevice,
    /// What must not follow what runs.
    WrongPrecursor,
    /// What no publisher has signed.
    ArbitrarySoftware,
    /// Other bytes after they were judged.
    ChangeBetweenCheckAndUse,
}

/// What is in an attacker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attacker {
    /// The wire, and no key.
    Network,
    /// The broker with its TLS key, and all that has ever passed through it.
    Broker,
    /// The coordinator's order and timestamp keys, its broker and its HTTPS server.
    Coordinator,
    /// One of two publishers' keys and the snapshot key, beside all of the coordinator.
    OnePublisher,
    /// The key and certificate of the device that is attacked.
    DeviceKey,
    /// The root keys of before a rotation, beside broker and HTTPS server.
    OldRoots,
    /// Another device of the fleet.
    HostileDevice,
    /// What serves documents and artifacts.
    HostileCache,
    /// A token of an operator.
    OperatorToken,
}

impl Attack {
    /// All, in the order of the page.
    pub const ALL: [Self; 16] = [
        Self::Eavesdrop,
        Self::Drop,
        Self::SlowDrip,
        Self::EndlessData,
        Self::Replay,
        Self::Freeze,
        Self::Rollback,
        Self::FastForward,
        Self::MixedBundle,
        Self::MixAndMatch,
        Self::PartialBundle,
        Self::WrongHardware,
        Self::WrongDevice,
        Self::WrongPrecursor,
        Self::ArbitrarySoftware,
        Self::ChangeBetweenCheckAndUse,
    ];
}

impl Attack {
    /// The attackers to whom it is open by something that no weaker one has: who has the coordinator's keys has broker and HTTPS
    /// server too, and can do what the broker and the cache can.
    pub const fn open_to(self) -> &'static [Attacker] {
        use Attacker::{
            Broker, Coordinator, DeviceKey, HostileCache, HostileDevice, Network, OldRoots, OnePublisher,
            OperatorToken,
        };
        match self {
            Self::Eavesdrop => &[Network, Broker, DeviceKey, HostileDevice, HostileCache, OperatorToken],
            Self::Drop => &[Network, Broker, DeviceKey, HostileCache, OperatorToken],
            Self::SlowDrip => &[Network, HostileDevice, HostileCache],
            Self::EndlessData | Self::ChangeBetweenCheckAndUse => {
                &[Network, Broker, Coordinator, HostileDevice, HostileCache]
            }
            Self::Replay => &[Network, Broker, Coordinator, DeviceKey, HostileDevice, HostileCache],
            Self::Freeze => &[Network, Broker, Coordinator, OnePublisher, HostileCache, OperatorToken],
            Self::Rollback => &[Coordinator, OnePublisher, DeviceKey, OldRoots, HostileCache, OperatorToken],
            Self::FastForward => &[Coordinator, OnePublisher, DeviceKey, OldRoots],
            Self::MixedBundle | Self::PartialBundle => &[Coordinator, OnePublisher, HostileCache],
            Self::MixAndMatch => &[Coordinator, OnePublisher, OldRoots, HostileCache],
            Self::WrongHardware => &[Coordinator, OnePublisher, HostileDevice, OperatorToken],
            Self::WrongDevice => &[Broker, Coordinator, DeviceKey, HostileDevice, OperatorToken],
            Self::WrongPrecursor => &[Coordinator, OnePublisher, OperatorToken],
            Self::ArbitrarySoftware => &Attacker::ALL,
        }
    }
}

impl Attacker {
    /// All, in the order of the page.
    pub const ALL: [Self; 9] = [
        Self::Network,
        Self::Broker,
        Self::Coordinator,
        Self::OnePublisher,
        Self::DeviceKey,
        Self::OldRoots,
        Self::HostileDevice,
        Self::HostileCache,
        Self::OperatorToken,
    ];
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eavesdrop => "eavesdrop",
            Self::Drop => "drop",
            Self::SlowDrip => "slow-drip",
            Self::EndlessData => "endless data",
            Self::Replay => "replay",
            Self::Freeze => "freeze",
            Self::Rollback => "rollback",
            Self::FastForward => "fast-forward",
            Self::MixedBundle => "mixed bundle",
            Self::MixAndMatch => "mix-and-match",
            Self::PartialBundle => "partial bundle",
            Self::WrongHardware => "wrong hardware",
            Self::WrongDevice => "wrong device",
            Self::WrongPrecursor => "wrong precursor",
            Self::ArbitrarySoftware => "arbitrary software",
            Self::ChangeBetweenCheckAndUse => "change between check and use",
        })
    }
}

impl fmt::Display for Attacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network only",
            Self::Broker => "broker stolen",
            Self::Coordinator => "coordinator keys stolen",
            Self::OnePublisher => "one publisher key of two",
            Self::DeviceKey => "device key stolen",
            Self::OldRoots => "old root keys",
            Self::HostileDevice => "hostile device",
            Self::HostileCache => "hostile gateway cache",
            Self::OperatorToken => "hostile operator token",
        })
    }
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened, in words that cases share.
    pub happened: String,
    /// The very words that the operator saw.
    pub saw: String,
}

/// An attack with what is in an attacker's hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub attack: Attack,
    /// With what.
    pub attacker: Attacker,
    /// How many variants were tried.
    pub tried: usize,
    /// What happened, how often, and an example of what the operator saw then.
    pub told: BTreeMap<String, (usize, String)>,
    /// What must not happen and has.
    pub faults: Vec<String>,
}

/// The most of an example that the page shows, in characters.
const SHOWN_MAX: usize = 240;

impl Row {
    /// A row in which nothing was tried yet.
    pub fn new(attack: Attack, attacker: Attacker) -> Self {
        Self { attack, attacker, tried: 0, told: BTreeMap::new(), faults: Vec::new() }
    }

    /// Counts a case.
    pub fn count(&mut self, came: Result<Told, String>) {
        self.tried += 1;
        match came {
            Ok(Told { happened, saw }) => self.told.entry(happened).or_insert((0, saw)).0 += 1,
            Err(fault) => self.faults.push(format!("{}, {}: {fault}", self.attack, self.attacker)),
        }
    }

    /// Keeps it for the page.
    pub fn write(&self) -> io::Result<()> {
        kept::keep(&folder(), &format!("{}, {}", self.attack, self.attacker), self)
    }
}

/// Where rows are kept.
pub fn folder() -> PathBuf {
    kept::folder(FOLDER_VARIABLE, "attack-matrix")
}

/// All rows that are kept, in the order of the page.
pub fn rows() -> io::Result<Vec<Row>> {
    let mut rows = kept::all::<Row>(&folder())?;
    rows.sort_by_key(|row| (row.attack, row.attacker));
    Ok(rows)
}

/// How many variants of each attack were tried, of all attackers together.
pub fn tried(rows: &[Row]) -> BTreeMap<Attack, usize> {
    let of = |attack| rows.iter().filter(|row| row.attack == attack).map(|row| row.tried).sum();
    Attack::ALL.into_iter().map(|attack| (attack, of(attack))).collect()
}

const HEAD: &str = "\
# Attack matrix

Made by `make attack-matrix`; the tests are in `tests/tests/attack_matrix`. Real agents, a real coordinator, a real broker, real
trust documents of which two publishers sign each. An attacker has what the table says and nothing else; where the broker or the
coordinator is stolen, a hostile one with its real keys and certificates stands in its place. What a device refuses and how its orders
end is read from reports that it has signed, what it waits on from its health samples. After each cell, and after about every twentieth case, a true order must still be done.

| attacker | has |
|---|---|
| network only | the wire: reads, cuts, delays, changes, repeats and adds bytes |
| broker stolen | the broker with its TLS key, and every message that has passed through it |
| coordinator keys stolen | the order and timestamp keys, the broker, the HTTPS server |
| one publisher key of two | one publisher's key and the snapshot key beside all of that |
| device key stolen | key and certificate of the device |
| old root keys | the root key of before a rotation, the broker, the HTTPS server |
| hostile device | key and certificate of another device |
| hostile gateway cache | what serves documents and artifacts |
| hostile operator token | the token of an operator |

";

/// The page.
pub fn page(rows: &[Row]) -> String {
    let cases: usize = rows.iter().map(|row| row.tried).sum();
    let faults: usize = rows.iter().map(|row| row.faults.len()).sum();
    let mut page = format!(
        "{HEAD}{cases} cases tried; {faults} of them ended with software that its publishers had not signed, a device lost, or \
         silence.\n\n| attack | attacker | variants | what happened | what the operator saw, for example |\n|---|---|---|---|---|\n"
    );
    for row in rows {
        let bad = (!row.faults.is_empty()).then(|| format!("**{} faults**", row.faults.len()));
        let happened = row.told.iter().map(|(what, (count, _))| format!("{what}: {count}")).chain(bad);
        let mut saw: Vec<String> =
            row.told.values().map(|(_, saw)| cell(saw)).filter(|saw| !saw.is_empty()).collect();
        saw.dedup();
        let (happened, saw) = (happened.collect::<Vec<_>>().join("<br>"), saw.join("<br>"));
        line(
            &mut page,
            format_args!("| {} | {} | {} | {happened} | {saw} |", row.attack, row.attacker, row.tried),
        );
    }
    line(
        &mut page,
        format_args!(
            "\n## Variants of each attack\n\nWhat a weaker attacker can do is tried with that one: who has the coordinator's keys has its broker and HTTPS server too.\n\n| attack | variants | open to, and not tried yet |\n|---|---|---|"
        ),
    );
    for (attack, tried) in tried(rows) {
        let missing = |attacker: &Attacker| {
            !rows.iter().any(|row| row.attack == attack && row.attacker == *attacker && row.tried > 0)
        };
        let missing: Vec<String> =
            attack.open_to().iter().filter(|attacker| missing(attacker)).map(ToString::to_string).collect();
        line(&mut page, format_args!("| {attack} | {tried} | {} |", missing.join(", ")));
    }
    page
}

fn line(page: &mut String, text: fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a text takes all that is written");
}

/// A text as it can stand in a cell: digests, ids, ports and folders differ from run to run and say nothing here.
fn cell(text: &str) -> String {
    let word = |word: &str| {
        let passing = ["127.0.0.1:", "/takt-fleet."].iter().any(|part| word.contains(part));
        if passing { "…".to_owned() } else { without_digests(word) }
    };
    let text = text.split_whitespace().map(word).collect::<Vec<_>>().join(" ").replace('|', "/");
    if text.chars().count() <= SHOWN_MAX {
        text
    } else {
        text.chars().take(SHOWN_MAX).chain(['…']).collect()
    }
}

/// The word with `…` for every run of hex digits that is as long as an id.
fn without_digests(word: &str) -> String {
    let mut rest = String::new();
    let mut run = String::new();
    for c in word.chars().map(Some).chain([None]) {
        if let Some(digit) = c.filter(char::is_ascii_hexdigit) {
            run.push(digit);
            continue;
        }
        rest.push_str(if run.len() >= 32 { "…" } else { &run });
        run.clear();
        rest.extend(c);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_cases_and_faults_and_says_what_was_not_tried() {
        let mut row = Row::new(Attack::Replay, Attacker::Broker);
        let told = |saw: &str| Told { happened: "refused (never-older)".to_owned(), saw: saw.to_owned() };
        row.count(Ok(told(&format!("position 1.2 of line-7/{}, at 127.0.0.1:40123", "ab".repeat(32)))));
        row.count(Ok(told("another")));
        row.count(Err("it ran".to_owned()));
        assert_eq!(row.faults, ["replay, broker stolen: it ran"]);
        let page = page(std::slice::from_ref(&row));
        let line = "| replay | broker stolen | 3 | refused (never-older): 2<br>**1 faults** | position 1.2 of line-7/…, at … |";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("3 cases tried; 1 of them ended with"), "{page}");
        assert!(page.contains("| replay | 3 | network only, coordinator keys stolen,"), "{page}");
        assert!(
            page.contains("| fast-forward | 0 | coordinator keys stolen, one publisher key of two,"),
            "{page}"
        );
        assert_eq!(tried(&[row])[&Attack::Replay], 3);
    }
}
