//! The devices of a scenario, and how each takes the release.

use crate::chance::Chance;
use crate::scenario::{Scenario, SiteOutages};

/// Seconds until a device shows that it has its order.
pub(crate) const ACCEPT_SECS: u64 = 2;
/// Seconds of download and switch, in the mean.
const INSTALL_SECS: f64 = 60.0;
/// By how much devices differ in their times, up and down.
const SPREAD: f64 = 0.2;

/// How a device takes the release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// It fails there.
    pub(crate) bad: bool,
    /// It is verified with a warning.
    pub(crate) warns: bool,
    /// It never answers.
    pub(crate) silent: bool,
    /// Where it is.
    pub(crate) site: u32,
    /// Seconds until it has switched, counted from its order.
    pub(crate) install_secs: u64,
    /// Seconds of its probation.
    pub(crate) verify_secs: u64,
}

/// The devices, and when their sites are cut off.
pub(crate) struct VirtualFleet {
    pub(crate) natures: Vec<Nature>,
    /// By site: from second, to second.
    pub(crate) outages: Vec<Vec<(u64, u64)>>,
}

impl VirtualFleet {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut chance = Chance::new(scenario.seed);
        let natures = (0..scenario.devices).map(|number| nature(scenario, number, &mut chance)).collect();
        let mut outages = vec![Vec::new(); scenario.sites as usize];
        match &scenario.site_outages {
            SiteOutages::Count(count) => {
                for _ in 0..*count {
                    let site = chance.between(0, u64::from(scenario.sites));
                    let (from, length) = (chance.between(0, 6 * 3_600), chance.between(600, 3_600));
                    outages[usize::try_from(site).unwrap_or(0)].push((from, from + length));
                }
            }
            SiteOutages::Each(each) => {
                for (site, from, length) in each {
                    outages[*site as usize].push((*from, from + length));
                }
            }
        }
        Self { natures, outages }
    }

    /// When a site that is cut off at this time is back; nothing where it is not.
    pub(crate) fn back_at(&self, site: u32, at: u64) -> Option<u64> {
        let mut back = None;
        // One outage may begin before another has ended.
        while let Some((_, to)) =
            self.outages[site as usize].iter().find(|(from, to)| (*from..*to).contains(&back.unwrap_or(at)))
        {
            back = Some(*to);
        }
        back
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 30 days"
)]
fn nature(scenario: &Scenario, number: u32, chance: &mut Chance) -> Nature {
    let (bad, warns) = (chance.happens(scenario.bad_fraction), chance.happens(scenario.warning_fraction));
    let silent = chance.happens(scenario.silent_fraction);
    let slowness = 1.0 - SPREAD + 2.0 * SPREAD * chance.part();
    Nature {
        bad,
        warns,
        silent,
        site: number % scenario.sites,
        install_secs: (INSTALL_SECS * slowness) as u64,
        verify_secs: (scenario.verify_s as f64 * slowness) as u64,
    }
}
