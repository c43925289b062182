//! Power cuts at random moments of package upgrades: each ends on a device that boots, runs what it reports, and has reported once.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use takt_common::api::CampaignState;
use takt_common::report::{Outcome, PhaseName};
use takt_tests::fleet::pause;

use super::device::Device;
use super::package::{app_release, assert_installed, with_app};

/// Cuts; with `TAKT_SOAK=1`, which takes hours, a hundred.
const CUTS: usize = 4;
const CUTS_SOAK: usize = 100;
fn cuts() -> usize {
    if std::env::var_os("TAKT_SOAK").is_some_and(|soak| soak == "1") { CUTS_SOAK } else { CUTS }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to draw moments, and the same ones again from the same seed.
struct Random(u64);

impl Random {
    /// From `TAKT_SEED`, or from the system; it is printed for the next try.
    fn new() -> Self {
        let own = || RandomState::new().hash_one("takt");
        let seed = std::env::var("TAKT_SEED").map_or_else(|_| own(), |seed| seed.parse().unwrap());
        eprintln!("the same moments again: TAKT_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// When the power is cut. Moments hang on what the device does, not on this machine's speed.
#[derive(Debug)]
enum Moment {
    /// So long after the order.
    Ordered(Duration),
    /// So long after a dpkg was seen: the first one is a dry run.
    Dpkg(Duration),
    /// So long into the probation.
    Probation(Duration),
}

impl Moment {
    fn of_package(number: usize, random: &mut Random) -> Self {
        match number % 4 {
            0 | 1 => Self::Dpkg(random.millis(6_000)),
            2 => Self::Probation(random.millis(5_000)),
            _ => Self::Ordered(random.millis(6_000)),
        }
    }

    /// Waits for it.
    fn reach(&self, device: &mut Device) {
        match self {
            Self::Ordered(_) => {}
            Self::Dpkg(_) => {
                let seen = "timeout 100 sh -c 'until grep -qsx dpkg /proc/[0-9]*/comm; do sleep 0.05; done'";
                device.text(seen);
            }
            Self::Probation(_) => {
                device.wait_told("on probation", |view| view.phase == Some(PhaseName::Probation));
            }
        }
        match self {
            Self::Ordered(span) | Self::Dpkg(span) | Self::Probation(span) => pause(*span),
        }
    }
}

/// Cuts the power, and waits until the guest is up again; no boot is helped.
fn cut(device: &mut Device) {
    device.guest.power_cut();
    device.guest.power_on().unwrap();
    device.guest.wait_booted().unwrap();
}

/// Whether the order succeeded, by both sides.
fn verified(state: CampaignState, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Verified { .. } => assert_eq!(state, CampaignState::Finished),
        Outcome::RolledBack { .. } | Outcome::Failed { .. } => assert_eq!(state, CampaignState::Aborted),
        other => panic!("ended as {other}"),
    }
    outcome.is_success()
}

#[test]
fn power_cuts_of_package_upgrades_end_on_a_device_that_boots_and_tells_the_truth_once() {
    let mut random = Random::new();
    let mut device = with_app();
    let (mut runs, mut release_runs) = ("1.0.0".to_owned(), Vec::new());
    for number in 0..cuts() {
        let moment = Moment::of_package(number, &mut random);
        let release = app_release(&format!("{}.0.0", number + 2), "well");
        device.begin(&release);
        moment.reach(&mut device);
        let phase = device.told().phase;
        cut(&mut device);
        let (end, outcome) = device.end(&release);
        eprintln!("cut {number}: {moment:?} ({phase:?}): {outcome}");
        if verified(end.state, &outcome) {
            release.version.clone_into(&mut runs);
            release_runs = vec![release.name()];
        }
        assert_installed(&mut device, &runs);
        assert_eq!(device.installed(), release_runs);
        assert_eq!(device.outcomes().len(), number + 1, "one report for each order");
    }
    assert_eq!(device.text("systemctl --failed --no-legend"), "");
}
