//! Power cuts at random moments of upgrades: each ends on a device that boots, runs what it reports, and has reported once.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use takt_common::api::CampaignState;
use takt_common::report::{Outcome, PhaseName};
use takt_matrix::{POWER_CUT, Row};
use takt_tests::fleet::{pause, wait_until};
use takt_tests::guest::{Bundles, Slot};

use super::device::{Device, ORDER_LIMIT};
use super::os_image::{system, system_release};
use super::package::{app_release, assert_installed};

/// Cuts of packages and of systems, which take three times as long; with `TAKT_SOAK=1`, which takes hours, of each kind.
const PACKAGE_CUTS: usize = 6;
const SYSTEM_CUTS: usize = 2;
const SOAK_CUTS: usize = 100;
/// What is surely written of a system (tests/guest/bundle.sh): the moment of a cut must come.
const SYSTEM_SECTORS: u64 = 64 * 2048;

/// Whether the long version is wanted.
pub(crate) fn soak() -> bool {
    std::env::var_os("TAKT_SOAK").is_some_and(|soak| soak == "1")
}

fn cuts(usual: usize) -> usize {
    if soak() { SOAK_CUTS } else { usual }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to draw moments, and the same ones again from the same seed.
pub(crate) struct Random(u64);

impl Random {
    /// From `TAKT_SEED`, or from the system; the same for all of a test, and printed for the next try.
    pub(crate) fn new() -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        let own = || RandomState::new().hash_one("takt");
        let seed = *SEED.get_or_init(|| {
            let seed = std::env::var("TAKT_SEED").map_or_else(|_| own(), |seed| seed.parse().unwrap());
            eprintln!("the same moments again: TAKT_SEED={seed}");
            seed
        });
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
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
    /// When so many permille of the other slot's system were written.
    Written(u64),
    /// So long after the console said this: a script of a package began, a slot was chosen or is up.
    Said(String, Duration),
    /// So long into the probation.
    Probation(Duration),
}

impl Moment {
    fn of_system(number: usize, random: &mut Random, other: Slot) -> Self {
        match number % 4 {
            0 => Self::Written(random.below(1_000)),
            1 => Self::Said(format!(": boots {other}"), random.millis(10_000)),
            2 => Self::Probation(random.millis(5_000)),
            _ => Self::Ordered(random.millis(30_000)),
        }
    }

    fn of_package(number: usize, random: &mut Random) -> Self {
        match number % 4 {
            // Its script, unpacking, and the way to configuring.
            0 => Self::Said("app: preinst".to_owned(), random.millis(2_000)),
            // Its script, and dpkg's end.
            1 => Self::Said("app: postinst".to_owned(), random.millis(1_000)),
            2 => Self::Probation(random.millis(3_000)),
            _ => Self::Ordered(random.millis(6_000)),
        }
    }

    /// Waits for it, with what the console had said at the order.
    fn reach(&self, device: &mut Device, console: usize, other: Slot) {
        match self {
            Self::Ordered(_) => {}
            Self::Written(permille) => wait_written(device, other, *permille),
            Self::Said(what, _) => device
                .guest
                .wait_console(console, what, ORDER_LIMIT)
                .unwrap_or_else(|error| panic!("{error}\n{}", device.last_words())),
            Self::Probation(_) => {
                device.wait_told("on probation", |view| view.phase == Some(PhaseName::Probation));
            }
        }
        match self {
            Self::Written(_) => {}
            Self::Ordered(span) | Self::Said(_, span) | Self::Probation(span) => pause(*span),
        }
    }
}

/// Waits until a slot's counter of written sectors has risen by so many permille of [`SYSTEM_SECTORS`].
fn wait_written(device: &mut Device, slot: Slot, permille: u64) {
    let part = if slot == Slot::A { 3 } else { 4 };
    let look = format!("awk '{{print $7}}' /sys/block/vda/vda{part}/stat");
    let sectors = SYSTEM_SECTORS * permille / 1_000;
    let before: u64 = device.text(&look).parse().unwrap();
    let seen = wait_until("the moment of the power cut", ORDER_LIMIT, || {
        let now: u64 = device.text(&look).parse().unwrap();
        Ok(if now - before >= sectors {
            Ok(())
        } else {
            Err(format!("{} of {sectors} sectors", now - before))
        })
    });
    seen.unwrap_or_else(|error| panic!("{error}\n{}", device.last_words()));
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

fn other(slot: Slot) -> Slot {
    if slot == Slot::A { Slot::B } else { Slot::A }
}

/// The device runs the system of release 2.0.0, from B.
pub(crate) fn of_system_upgrades(device: &mut Device, bundles: &Bundles) {
    let mut random = Random::new();
    let told = device.outcomes().len();
    let mut row = Row::new("os-image: verified or rolled back", POWER_CUT);
    let (mut slot, mut runs, mut release_runs) = (Slot::B, "2.0.0", device.installed());
    // The sorts of moments go in turns from run to run too.
    let first = usize::try_from(random.below(4)).unwrap();
    for number in 0..cuts(SYSTEM_CUTS) {
        let moment = Moment::of_system(first + number, &mut random, other(slot));
        let release = system_release(bundles, &format!("{}.0.0", number + 3));
        let console = device.guest.console_bytes();
        device.begin(&release);
        moment.reach(device, console, other(slot));
        let phase = device.told().phase;
        let up = device.power_cut();
        let (end, outcome) = device.end(&release);
        eprintln!("cut {number}: {moment:?} ({phase:?}), came up in {up}: {outcome}");
        if verified(end.state, &outcome) {
            slot = other(slot);
            runs = system(&release.version);
            release_runs = vec![release.name()];
        }
        assert_eq!(device.guest.slot().unwrap(), slot, "{outcome}\n{}", device.last_words());
        assert_eq!(device.text("cat /etc/takt-os-version"), runs);
        let loader = device.guest.boot_loader().unwrap();
        let (ok, tries) =
            if slot == Slot::A { (loader.a_ok, loader.a_tries) } else { (loader.b_ok, loader.b_tries) };
        assert!(ok && tries == 0 && loader.order[0] == slot, "slot {slot} is not good: {loader:?}");
        assert_eq!(device.installed(), release_runs);
        assert_eq!(device.outcomes().len(), told + number + 1, "one report for each order");
        row.tried += 1;
    }
    row.write().unwrap();
}

/// The device has the application in version 2.0.0.
pub(crate) fn of_package_upgrades(device: &mut Device) {
    let mut random = Random::new();
    let told = device.outcomes().len();
    let mut row = Row::new("package: verified or rolled back", POWER_CUT);
    let (mut runs, mut release_runs) = ("2.0.0".to_owned(), device.installed());
    for number in 0..cuts(PACKAGE_CUTS) {
        let moment = Moment::of_package(number, &mut random);
        let release = app_release(&format!("{}.0.0", number + 3), "well");
        let console = device.guest.console_bytes();
        device.begin(&release);
        moment.reach(device, console, Slot::B);
        let phase = device.told().phase;
        device.power_cut();
        let (end, outcome) = device.end(&release);
        eprintln!("cut {number}: {moment:?} ({phase:?}): {outcome}");
        if verified(end.state, &outcome) {
            release.version.clone_into(&mut runs);
            release_runs = vec![release.name()];
        }
        assert_installed(device, &runs);
        assert_eq!(device.installed(), release_runs);
        assert_eq!(device.outcomes().len(), told + number + 1, "one report for each order");
        row.tried += 1;
    }
    row.write().unwrap();
    assert_eq!(device.text("systemctl --failed --no-legend"), "");
}
