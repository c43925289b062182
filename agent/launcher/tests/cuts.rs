//! Power cuts at every change of the disk, in each call of the library and in the launcher itself, on a disk that
//! forgets what was not fsynced. The programs are the real ones and know nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Device, NEW, OLD, said, version, versions};
use takt_launcher::{FellBack, OnTrial, STARTS_MAX, Trial, Why};
use takt_store_proof::disk::{Disk, Image, Survival, Trouble};
use takt_store_proof::random::{Random, seed_of_run};
use tempfile::TempDir;

/// For each change: a kill, the worst cache, and so many random ones in between.
const RANDOM_SURVIVALS: u64 = 6;

/// No call makes so many changes; one that does never ends.
const CHANGES_MAX: u64 = 100;

/// A device whose trial folder is on a disk that forgets.
struct Lab {
    device: Device,
    mount: TempDir,
    seed: u64,
}

impl Lab {
    fn new() -> Self {
        let mount = tempfile::tempdir().unwrap();
        let device = Device::with_state(&mount.path().join("launcher"));
        Self { device, mount, seed: seed_of_run() }
    }

    /// Works with the disk until `work` is done or the power goes during change `cut_at`; what the disk is then, and
    /// whether the power went.
    fn run<T>(&self, image: Image, cut_at: Option<u64>, work: impl FnOnce(&Device) -> T) -> (Image, bool, T) {
        let disk = Disk::mount(image, self.mount.path(), cut_at).unwrap();
        let done = work(&self.device);
        let cut = disk.wait_for_cut(Duration::ZERO);
        (disk.take_out().unwrap(), cut, done)
    }

    /// An image with everything on it that `work` did.
    fn prepared(&self, work: impl FnOnce(&Device)) -> Image {
        self.run(Image::new(), None, work).0.after_cut(&mut Survival::All)
    }

    /// Cuts `work` at each of its changes in every way, and has what is found looked at by `check`, which is told
    /// what `work` returned. Uncut, `work` must have made everything durable: then the worst cache leaves all of it.
    /// Returns the number of changes.
    fn sweep<T>(&self, image: &Image, work: impl Fn(&Device) -> T, check: impl Fn(&Device, bool, T)) -> u64 {
        for change in 1..=CHANGES_MAX {
            let mut ended = false;
            for way in 0..2 + RANDOM_SURVIVALS {
                let (left, cut, done) = self.run(image.clone(), Some(change), &work);
                let mut survival = match way {
                    _ if !cut => Survival::Nothing,
                    0 => Survival::All,
                    1 => Survival::Nothing,
                    _ => Survival::Some(Random::of(self.seed, change * 100 + way)),
                };
                let found = left.after_cut(&mut survival);
                println!("seed {}, change {change}, way {way}, cut {cut}", self.seed);
                self.run(found, None, |device| check(device, cut, done));
                ended |= !cut;
            }
            if ended {
                return change - 1;
            }
        }
        panic!("it makes more than {CHANGES_MAX} changes");
    }
}

fn on(starts: u8, forgiven: u8) -> Trial {
    Trial::On(OnTrial { versions: versions(), starts, forgiven })
}

fn fell_back(why: Why) -> Trial {
    Trial::FellBack(FellBack { versions: versions(), why })
}

/// An old agent of several pages, so that a copy of it can be torn.
fn old_agent(device: &Device) -> Vec<u8> {
    let mut agent = device.script(OLD, "exit 0").into_bytes();
    agent.resize(20_000, b'#');
    agent
}

/// The way back is there, whole.
fn assert_copy(device: &Device) {
    assert!(fs::read(device.trial().previous_agent()).unwrap() == old_agent(device));
}

fn assert_nothing(device: &Device) {
    assert_eq!((device.look(), device.names()), (Trial::None, Vec::new()));
}

/// A trial after so many starts of a new agent that ends at once.
fn after_starts(device: &Device, starts: u8) {
    device.install(&old_agent(device), 0o755);
    device.begin();
    device.install_script(NEW, 0);
    for _ in 0..starts {
        device.start();
    }
}

#[test]
fn a_trial_begins_whole_or_not_at_all() {
    let lab = Lab::new();
    let image = lab.prepared(|device| device.install(&old_agent(device), 0o755));
    let begin = |device: &Device| device.trial().begin(&device.installed(), &versions());
    let changes = lab.sweep(&image, begin, |device, cut, result| {
        assert_eq!(result.is_ok(), !cut, "{result:?}");
        match device.look() {
            Trial::None => assert!(cut),
            found => {
                assert_eq!(found, on(0, 0));
                assert_copy(device);
            }
        }
        assert_eq!(device.started().name, OLD, "the package was not replaced");
        device.begin();
        assert_copy(device);
        device.trial().withdraw(&device.installed()).unwrap();
        assert_nothing(device);
    });
    assert!(changes >= 10, "only {changes} changes were cut");
}

#[test]
fn the_way_back_is_whole_until_the_confirmation_is_durable() {
    let lab = Lab::new();
    let image = lab.prepared(|device| after_starts(device, 2));
    let confirm = |device: &Device| device.trial().confirm(&device.installed(), &version("1.1.0"));
    let changes = lab.sweep(&image, confirm, |device, cut, result| {
        assert_eq!(result.is_ok(), !cut, "{result:?}");
        match device.look() {
            Trial::None if cut => {}
            Trial::None => assert_nothing(device),
            found => {
                assert!(cut);
                assert_eq!(found, on(2, 0));
                assert_copy(device);
            }
        }
        assert_eq!(device.started().name, NEW);
        device.trial().confirm(&device.installed(), &version("1.1.0")).unwrap();
        assert_nothing(device);
    });
    assert!(changes >= 5, "only {changes} changes were cut");
}

#[test]
fn the_old_agent_starts_at_every_point_of_a_withdrawal() {
    let lab = Lab::new();
    let image = lab.prepared(|device| after_starts(device, STARTS_MAX + 1));
    lab.device.install_script(OLD, 0);
    let withdraw = |device: &Device| device.trial().withdraw(&device.installed());
    let changes = lab.sweep(&image, withdraw, |device, cut, result| {
        assert_eq!(result.is_ok(), !cut, "{result:?}");
        match device.look() {
            Trial::None if cut => {}
            Trial::None => assert_nothing(device),
            found => {
                assert!(cut);
                assert_eq!(found, fell_back(Why::Starts));
                assert_copy(device);
            }
        }
        assert_eq!(device.started().name, OLD);
        device.trial().withdraw(&device.installed()).unwrap();
        assert_nothing(device);
    });
    assert!(changes >= 5, "only {changes} changes were cut");
}

#[test]
fn starts_are_forgiven_or_not_and_nothing_else() {
    let lab = Lab::new();
    let image = lab.prepared(|device| after_starts(device, 2));
    let alive = |device: &Device| device.trial().alive(&version("1.1.0"));
    let changes = lab.sweep(&image, alive, |device, cut, result| {
        assert_eq!(result.is_ok(), !cut, "{result:?}");
        let found = device.look();
        assert!(found == on(0, 1) || (cut && found == on(2, 0)), "{found}");
        assert_copy(device);
    });
    assert_eq!(changes, 2, "a rename and a sync");
}

/// Cuts a start of the launcher from `image` at each change. Some agent must start in spite of the dead disk, unless
/// the installed one cannot be run at all; and one must start when the power is back.
fn sweep_start(lab: &Lab, image: &Image, installed_runs: bool) -> u64 {
    let work = |device: &Device| {
        device.forget_log();
        (device.start(), device.log())
    };
    lab.sweep(image, work, |device, cut, (output, log)| {
        assert!(log.len() == 1 || (cut && !installed_runs && log.is_empty()), "{log:?}: {}", said(&output));
        // What it said of its count, it said after that was durable.
        let count =
            |text: &str| (0..=STARTS_MAX).rev().find(|n| text.contains(&format!("{n} of 3 starts used")));
        let (counted, found) = (count(&said(&output)), device.look());
        match &found {
            Trial::FellBack(_) => assert_copy(device),
            _ => assert!(count(&found.to_string()) >= counted, "{counted:?} was said, found: {found}"),
        }
        let started = device.started();
        assert!(installed_runs || started.name == OLD, "{started:?}");
        if matches!(found, Trial::FellBack(_)) {
            assert_eq!(started.name, OLD);
        }
    })
}

#[test]
fn a_start_cut_at_any_change_leaves_a_device_whose_next_start_has_an_agent() {
    let lab = Lab::new();
    for starts in 0..=STARTS_MAX {
        let image = lab.prepared(|device| after_starts(device, starts));
        assert_eq!(sweep_start(&lab, &image, true), 2, "a rename and a sync");
    }
    let image = lab.prepared(|device| after_starts(device, STARTS_MAX + 1));
    assert_eq!(sweep_start(&lab, &image, true), 0, "nothing is left to be remembered");
}

#[test]
fn a_fall_back_from_an_agent_that_cannot_be_run_may_be_cut_anywhere() {
    let lab = Lab::new();
    let image = lab.prepared(|device| after_starts(device, 1));
    lab.device.install(b"nonsense", 0o755);
    assert_eq!(sweep_start(&lab, &image, false), 4, "it is counted, and it falls back");
}

/// A power loop: the power goes at a random change of each start, again and again.
#[test]
fn a_power_loop_brings_the_old_agent_back_and_never_gives_a_start_back() {
    let lab = Lab::new();
    let mut image = lab.prepared(|device| after_starts(device, 0));
    let mut random = Random::new(lab.seed);
    let mut last = 0;
    for round in 0..60 {
        let cut_at = Some(random.between(1, 5));
        let (left, _, _) = lab.run(image, cut_at, Device::start);
        image = left.after_cut(&mut Survival::Some(Random::of(lab.seed, round)));
        let (left, _, found) = lab.run(image, None, Device::look);
        image = left.after_cut(&mut Survival::All);
        match found {
            Trial::On(on) => {
                assert!(
                    on.starts >= last,
                    "seed {}, round {round}: {last} starts, then {}",
                    lab.seed,
                    on.starts
                );
                last = on.starts;
            }
            Trial::FellBack(_) => last = u8::MAX,
            other => panic!("seed {}, round {round}: {other}", lab.seed),
        }
    }
    assert_eq!(last, u8::MAX, "seed {}: sixty starts did not use three up", lab.seed);
    lab.run(image, None, |device| assert_eq!(device.started().name, OLD));
}

/// The call before it was killed after it made the trial's name, and before that was durable.
#[test]
fn a_trial_that_begins_again_is_durable_before_it_says_so() {
    let lab = Lab::new();
    let name = |device: &Device| device.state().join("trial-v1,new=1.1.0,previous=1.0.0,starts=0,forgiven=0");
    let image = lab.prepared(|device| {
        device.begin();
        fs::remove_file(name(device)).unwrap();
    });
    let (image, ..) = lab.run(image, None, |device| {
        fs::write(name(device), "").unwrap();
        device.begin();
    });
    let found = image.after_cut(&mut Survival::Nothing);
    lab.run(found, None, |device| assert_eq!(device.look(), on(0, 0)));
}

#[test]
fn a_disk_that_cannot_keep_the_count_starts_the_old_agent_and_a_full_one_keeps_it() {
    let lab = Lab::new();
    let image = lab.prepared(|device| after_starts(device, 0));
    for trouble in [Trouble::Failing, Trouble::FailingSync, Trouble::Full] {
        let disk = Disk::mount(image.clone(), lab.mount.path(), None).unwrap();
        disk.set_trouble(trouble);
        let started = lab.device.started();
        disk.take_out().unwrap();
        let (name, fell_back) = if trouble == Trouble::Full { (NEW, None) } else { (OLD, Some("1.1.0")) };
        assert_eq!((started.name.as_str(), started.fell_back.as_deref()), (name, fell_back), "{trouble:?}");
    }
}
