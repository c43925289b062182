//! What a virtual fleet is made from.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// A fleet to be made.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// The coordinator's HTTPS address.
    pub url: String,
    /// A file with the certificate of the fleet CA.
    pub ca: PathBuf,
    /// Enrolment tokens of one domain, with as many uses together as there are devices; devices take them in turn. The
    /// coordinator counts the uses of one token one after the other: many devices that enrol at a time need many tokens.
    pub tokens: Vec<String>,
    /// How many devices.
    pub count: usize,
    /// Devices are called `<prefix>-<number>`.
    pub prefix: String,
    /// The number of the first one.
    pub first: usize,
    /// The hardware of all.
    pub hardware: String,
    /// From one health sample of a device to the next; half of it more or less by chance for the first.
    pub health_interval: Duration,
    /// How long a device takes to fetch an artifact, by chance within these bounds.
    pub fetch: Range<Duration>,
    /// How many devices enrol at a time.
    pub enrol_at_once: usize,
    /// How many agents begin to connect in a second.
    pub connect_per_sec: u32,
}

impl FleetSpec {
    /// A fleet of `count` devices with everything as usual.
    pub fn new(url: &str, ca: impl Into<PathBuf>, tokens: Vec<String>, count: usize) -> Self {
        Self {
            url: url.to_owned(),
            ca: ca.into(),
            tokens,
            count,
            prefix: "virtual".to_owned(),
            first: 1,
            hardware: "virtual".to_owned(),
            health_interval: Duration::from_secs(30),
            fetch: Duration::from_millis(50)..Duration::from_millis(300),
            enrol_at_once: 32,
            connect_per_sec: 400,
        }
    }
}
