//! Power cuts at random moments of upgrades: each ends on a device that boots, runs what it reports, and has reported once.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use takt_common::api::CampaignState;
use takt_common::report::{Outcome, PhaseName};
use takt_tests::fleet::{FleetError, pause, wait_until};
use takt_tests::guest::Slot;

use super::device::{Device, ORDER_LIMIT};
use super::os_image::{Systems, system};
use super::package::{app_release, assert_installed, with_app};

/// Cuts of each kind; with `TAKT_SOAK=1`, which takes hours, so many that both kinds have 200.
const CUTS: usize = 4;
const CUTS_SOAK: usize = 100;
/// Sectors of a slot (tests/guest/parts.sh).
const SLOT_SECTORS: u64 = 168 * 2048;

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
    /// When so many sectors of the other slot were written.
    Written(u64),
    /// So long after the boot loader chose the other slot.
    Booting(Duration),
    /// So long after the other slot was up: on probation, confirming, or after the end.
    Up(Duration),
    /// So long after the first script of the package was seen: dpkg unpacks, configures, or has ended.
    Unpacking(Duration),
    /// So long into the probation.
    Probation(Duration),
}

impl Moment {
    fn of_image(number: usize, random: &mut Random) -> Self {
        match number % 4 {
            0 => Self::Written(random.below(SLOT_SECTORS)),
            1 => Self::Booting(random.millis(15_000)),
            2 => Self::Up(random.millis(12_000)),
            _ => Self::Ordered(random.millis(30_000)),
        }
    }

    fn of_package(number: usize, random: &mut Random) -> Self {
        match number % 4 {
            0 | 1 => Self::Unpacking(random.millis(5_000)),
            2 => Self::Probation(random.millis(5_000)),
            _ => Self::Ordered(random.millis(6_000)),
        }
    }

    /// Waits for it.
    fn reach(&self, device: &mut Device, console: usize, other: Slot) {
        match self {
            Self::Ordered(_) => {}
            Self::Written(sectors) => wait_written(device, other, *sectors),
            Self::Booting(_) => wait_console(device, console, &format!(": boots {other}")),
            Self::Up(_) => {
                wait_console(device, console, &format!(": boots {other}"));
                wait_console(device, console, "guest: booted");
            }
            Self::Unpacking(_) => {
                let seen =
                    "timeout 110 sh -c 'until grep -qsx preinst /proc/[0-9]*/comm; do sleep 0.05; done'";
                device.text(seen);
            }
            Self::Probation(_) => {
                device.wait_told("on probation", |view| view.phase == Some(PhaseName::Probation));
            }
        }
        match self {
            Self::Written(_) => {}
            Self::Ordered(span)
            | Self::Booting(span)
            | Self::Up(span)
            | Self::Unpacking(span)
            | Self::Probation(span) => pause(*span),
        }
    }
}

fn wait_console(device: &Device, from: usize, what: &str) {
    let serial = device.guest.serial();
    let seen = wait_until(&format!("'{what}' on the console"), ORDER_LIMIT, || {
        let said = fs::read(&serial).map_err(FleetError::file("read", &serial))?;
        let said = String::from_utf8_lossy(&said[from..]).into_owned();
        Ok(if said.contains(what) { Ok(()) } else { Err(format!("{:?}", device.told().phase)) })
    });
    seen.unwrap();
}

fn wait_written(device: &mut Device, slot: Slot, sectors: u64) {
    let part = if slot == Slot::A { 3 } else { 4 };
    let look = format!("awk '{{print $7}}' /sys/block/vda/vda{part}/stat");
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

fn other(slot: Slot) -> Slot {
    if slot == Slot::A { Slot::B } else { Slot::A }
}

#[test]
fn power_cuts_of_system_upgrades_end_on_a_device_that_boots_and_tells_the_truth_once() {
    let mut random = Random::new();
    let systems = Systems::make();
    let mut device = Device::join();
    let (mut slot, mut runs, mut release_runs) = (Slot::A, "1.0.0".to_owned(), Vec::new());
    for number in 0..cuts() {
        let moment = Moment::of_image(number, &mut random);
        let release = systems.release(&format!("{}.0.0", number + 2));
        let console = fs::metadata(device.guest.serial()).unwrap().len().try_into().unwrap();
        device.begin(&release);
        moment.reach(&mut device, console, other(slot));
        let phase = device.told().phase;
        cut(&mut device);
        let up = device.guest.slot().unwrap();
        let (end, outcome) = device.end(&release);
        eprintln!("cut {number}: {moment:?} ({phase:?}), came up in {up}: {outcome}");
        if verified(end.state, &outcome) {
            slot = other(slot);
            system(&release.version).clone_into(&mut runs);
            release_runs = vec![release.name()];
        }
        assert_eq!(device.guest.slot().unwrap(), slot, "{outcome}\n{}", device.last_words());
        assert_eq!(device.text("cat /etc/takt-os-version"), runs);
        let loader = device.guest.boot_loader().unwrap();
        let (ok, tries) =
            if slot == Slot::A { (loader.a_ok, loader.a_tries) } else { (loader.b_ok, loader.b_tries) };
        assert!(ok && tries == 0 && loader.order[0] == slot, "slot {slot} is not good: {loader:?}");
        assert_eq!(device.installed(), release_runs);
        assert_eq!(device.outcomes().len(), number + 1, "one report for each order");
    }
    cut(&mut device);
    assert_eq!(device.guest.slot().unwrap(), slot);
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
        moment.reach(&mut device, 0, Slot::B);
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
