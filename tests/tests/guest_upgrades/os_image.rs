//! Systems of the guest, by RAUC.

use std::fs;
use std::path::Path;

use takt_common::api::CampaignState;
use takt_common::release::{Manifest, OsImage, Step};
use takt_common::report::{Outcome, PhaseName};
use takt_tests::fleet::ReleaseSpec;
use takt_tests::guest::{Bundles, Slot};

use super::device::{Device, only, release};
use super::kills::Kills;

/// Points at which the agent is killed.
const KILLS: usize = 1;

/// The system of a release: two take turns.
pub(crate) fn system(version: &str) -> &'static str {
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    if major.is_multiple_of(2) { "2.0.0" } else { "3.0.0" }
}

/// A release of a system that boots.
pub(crate) fn system_release(bundles: &Bundles, version: &str) -> ReleaseSpec {
    with(version, &bundles.system(system(version)), good)
}

fn with(version: &str, bundle: &Path, edit: fn(&mut Manifest)) -> ReleaseSpec {
    release(version, fs::read(bundle).unwrap(), edit)
}

fn image(manifest: &mut Manifest, version: &str) {
    let step = OsImage {
        bundle: manifest.artifacts[1].sha256,
        compatible: "takt-guest".to_owned(),
        version: version.to_owned(),
        boot_secs: 600,
    };
    only(manifest, Step::OsImage(step), &["grep", "-qx", version, "/etc/takt-os-version"]);
    // Long enough for a look at the boot loader meanwhile.
    manifest.health.probation_millis = 6_000;
}

fn good(manifest: &mut Manifest) {
    let version = system(&manifest.release.version.to_string());
    image(manifest, version);
}

/// The bundle with nothing to start.
fn no_init(manifest: &mut Manifest) {
    image(manifest, "2.0.0");
}

pub(crate) fn does_not_boot_falls_back_and_is_told_as_rolled_back(device: &mut Device, bundles: &Bundles) {
    let (end, outcome) = device.upgrade(&with("1.0.0", &bundles.no_init(), no_init));
    assert_eq!(end.state, CampaignState::Aborted, "{}: {outcome}", end.reason);
    assert!(
        matches!(&outcome, Outcome::RolledBack { cause, .. } if cause.contains("fell back")),
        "{outcome}\n{}",
        device.last_words()
    );
    assert_eq!(device.guest.slot().unwrap(), Slot::A);
    assert_eq!(device.text("cat /etc/takt-os-version"), "1.0.0");
    let loader = device.guest.boot_loader().unwrap();
    assert!(!loader.b_ok && loader.a_ok && loader.order[0] == Slot::A, "{loader:?}");
    let console = fs::read(device.guest.serial()).unwrap();
    assert_eq!(String::from_utf8_lossy(&console).matches(": boots B").count(), 3, "three boots that failed");
    assert_eq!(device.installed(), [""; 0]);
    assert_eq!(device.outcomes().len(), 1, "one report");
}

pub(crate) fn boots_on_trial_and_is_marked_good_only_once_it_is_verified(
    device: &mut Device,
    bundles: &Bundles,
) {
    let release = system_release(bundles, "2.0.0");
    device.begin(&release);
    device.wait_told("on probation", |view| view.phase == Some(PhaseName::Probation));
    assert_eq!(device.guest.slot().unwrap(), Slot::B);
    let loader = device.guest.boot_loader().unwrap();
    assert_eq!(device.told().phase, Some(PhaseName::Probation), "the look at the boot loader took too long");
    assert_eq!(loader.b_tries, 1, "it was marked good before it was verified: {loader:?}");
    assert!(loader.a_ok && loader.a_tries == 0, "no way back: {loader:?}");
    let (end, outcome) = device.end(&release);
    assert_eq!(end.state, CampaignState::Finished, "{}: {outcome}", end.reason);
    assert_eq!(outcome, Outcome::Verified { strategy: None });
    let loader = device.guest.boot_loader().unwrap();
    assert_eq!((loader.b_ok, loader.b_tries, loader.order[0]), (true, 0, Slot::B));
    assert_eq!(device.text("cat /etc/takt-os-version"), "2.0.0");
    assert_eq!(device.installed(), ["counter@2.0.0"]);
    assert_eq!(device.outcomes().len(), 2, "one report for each order");
}

/// The device runs 2.0.0 or 3.0.0. Releases are versions of 1000 and above: nothing older is ever installed again.
pub(crate) fn is_verified_wherever_the_agent_dies(device: &mut Device, bundles: &Bundles) {
    // Another system than the one that runs.
    let runs = device.text("cat /etc/takt-os-version");
    let first = if runs == "2.0.0" { 1001 } else { 1000 };
    Kills::of(device, "os-image: verified").at_points(
        KILLS,
        |number| system_release(bundles, &format!("{}.0.0", first + number - 1)),
        |device, release, state, outcome| {
            assert_eq!((state, outcome), (CampaignState::Finished, &Outcome::Verified { strategy: None }));
            assert_eq!(device.text("cat /etc/takt-os-version"), system(&release.version));
            assert_eq!(device.installed(), [release.name()]);
            let (slot, loader) = (device.guest.slot().unwrap(), device.guest.boot_loader().unwrap());
            let (ok, tries) =
                if slot == Slot::A { (loader.a_ok, loader.a_tries) } else { (loader.b_ok, loader.b_tries) };
            assert!(ok && tries == 0 && loader.order[0] == slot, "slot {slot} is not good: {loader:?}");
        },
    );
}
