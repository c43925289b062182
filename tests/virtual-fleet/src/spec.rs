//! What a virtual fleet is made from.

use std::path::PathBuf;
use std::time::Duration;

/// A fleet to be made.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// The coordinator's HTTPS address.
    pub url: String,
    /// A file with the certificate of the fleet CA.
    pub ca: PathBuf,
    /// An enrolment token that may be used at least once for each device; a few more uses let an enrolment be tried
    /// again whose answer was lost.
    pub token: String,
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
    /// How many devices enrol at a time.
    pub enrol_at_once: usize,
    /// How many agents begin to connect in a second.
    pub connect_per_sec: u32,
}

impl FleetSpec {
    /// A fleet of `count` devices with everything as usual.
    pub fn new(url: &str, ca: impl Into<PathBuf>, token: &str, count: usize) -> Self {
        Self {
            url: url.to_owned(),
            ca: ca.into(),
            token: token.to_owned(),
            count,
            prefix: "virtual".to_owned(),
            first: 1,
            hardware: "virtual".to_owned(),
            health_interval: Duration::from_secs(30),
            enrol_at_once: 32,
            connect_per_sec: 400,
        }
    }
}
