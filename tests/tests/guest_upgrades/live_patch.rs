//! Live patches of the guest's kernel.

use std::fs;

use takt_common::api::CampaignState;
use takt_common::release::{LivePatch, Manifest, Step};
use takt_common::report::Outcome;
use takt_tests::fleet::wait_until;
use takt_tests::guest::GuestImage;

use super::device::{Device, LIMIT, only, release};

/// What the patch lets the kernel say.
const PATCHED: &str = "takt live patch";
const MODULE: &str = "/sys/kernel/livepatch/takt_cmdline";

fn patch(manifest: &mut Manifest, kernel: String, probe: &[&str]) {
    let step = LivePatch {
        module: manifest.artifacts[1].sha256,
        name: "takt_cmdline".to_owned(),
        kernel,
        stands_for: "6.1.0-999-amd64".to_owned(),
        transition_secs: 60,
    };
    only(manifest, Step::LivePatch(step), probe);
}

fn kernel() -> String {
    GuestImage::ready().unwrap().kernel_release().unwrap()
}

fn good(manifest: &mut Manifest) {
    patch(manifest, kernel(), &["grep", "-q", PATCHED, "/proc/cmdline"]);
}

fn sick(manifest: &mut Manifest) {
    patch(manifest, kernel(), &["grep", "-q", "what it does not say", "/proc/cmdline"]);
}

fn of_another_kernel(manifest: &mut Manifest) {
    let other = format!("6.0.9-{:0width$}", 0, width = kernel().len() - "6.0.9-".len());
    patch(manifest, other, &["true"]);
}

#[test]
fn a_live_patch_is_verified_and_comes_again_after_a_power_cut_and_a_sick_one_is_reverted() {
    let image = GuestImage::ready().unwrap();
    let module = fs::read(image.live_patch()).unwrap();
    let mut device = Device::join();
    let before = device.text("cat /proc/cmdline");

    let other = fs::read(image.live_patch_of_another_release()).unwrap();
    let (end, outcome) = device.upgrade(&release("1.0.0", other, of_another_kernel));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let runs = format!("this device runs {}", kernel());
    assert!(matches!(&outcome, Outcome::Failed { cause } if cause.contains(&runs)), "{outcome}");

    let (end, outcome) = device.upgrade(&release("2.0.0", module.clone(), sick));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let why = "exec grep -q what it does not say";
    assert!(matches!(&outcome, Outcome::RolledBack { cause, .. } if cause.contains(why)), "{outcome}");
    assert_eq!(device.text(&format!("cat /proc/cmdline; ! test -e {MODULE}; ! lsmod | grep takt")), before);
    assert_eq!(device.installed(), [""; 0]);

    device.verify(&release("3.0.0", module, good));
    let state = format!("cat {MODULE}/enabled {MODULE}/transition /proc/cmdline");
    assert_eq!(device.text(&state), format!("1\n0\n{PATCHED}"));

    // A reboot takes it away; the agent brings it back until the corrected kernel runs.
    device.guest.power_cut();
    device.guest.power_on().unwrap();
    device.guest.wait_booted().unwrap();
    let applied = wait_until("the patch after the boot", LIMIT, || {
        let said = device.guest.text("cat /proc/cmdline", LIMIT).unwrap();
        Ok(if said == PATCHED { Ok(()) } else { Err(said) })
    });
    applied.unwrap_or_else(|error| panic!("{error}\n{}", device.last_words()));
    assert_eq!(device.installed(), ["counter@3.0.0"]);
    assert_eq!(device.outcomes().len(), 3, "one report for each order");
}
