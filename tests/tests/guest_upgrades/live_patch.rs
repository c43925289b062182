//! Live patches of the guest's kernel.

use std::fs;

use takt_common::api::CampaignState;
use takt_common::release::{LivePatch, Manifest, Step};
use takt_common::report::Outcome;
use takt_tests::fleet::wait_until;
use takt_tests::guest::GuestImage;

use super::device::{Device, LIMIT, only, release};
use super::kills::Kills;

/// What the patch lets the kernel say.
const PATCHED: &str = "takt live patch";
/// Points at which the agent is killed.
const KILLS: usize = 8;
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

fn module() -> Vec<u8> {
    fs::read(GuestImage::ready().unwrap().live_patch()).unwrap()
}

/// Its releases, and those of all that follows, are versions of 1000 and above: nothing older is ever installed again.
pub(crate) fn of_another_kernel_is_refused_and_a_sick_one_is_reverted_wherever_the_agent_dies(
    device: &mut Device,
) {
    let image = GuestImage::ready().unwrap();
    let (before_it, before) = (device.installed(), device.text("cat /proc/cmdline"));
    let other = fs::read(image.live_patch_of_another_release()).unwrap();
    let (end, outcome) = device.upgrade(&release("1001.0.0", other, of_another_kernel));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let runs = format!("this device runs {}", kernel());
    assert!(matches!(&outcome, Outcome::Failed { cause } if cause.contains(&runs)), "{outcome}");

    Kills::of(device, "live-patch: rolled back").at_points(
        KILLS,
        |number| release(&format!("1002.{number}.0"), module(), sick),
        |device, _release, state, outcome| {
            assert_eq!(state, CampaignState::Aborted);
            let why = "exec grep -q what it does not say";
            assert!(matches!(outcome, Outcome::RolledBack { cause, .. } if cause.contains(why)), "{outcome}");
            let look = format!("cat /proc/cmdline && ! test -e {MODULE} && ! lsmod | grep takt");
            assert_eq!(device.text(&look), before, "{}", device.last_words());
            assert_eq!(device.installed(), before_it);
        },
    );
}

pub(crate) fn is_verified_and_comes_again_after_a_power_cut(device: &mut Device) {
    let told = device.outcomes().len();
    device.verify(&release("1003.0.0", module(), good));
    let state = format!("cat {MODULE}/enabled {MODULE}/transition /proc/cmdline");
    assert_eq!(device.text(&state), format!("1\n0\n{PATCHED}"));

    // A reboot takes it away; the agent brings it back until the corrected kernel runs. And the power cuts here are honest: what
    // the guest had flushed outlives one, what it had only written to its disk is lost.
    let console = device.guest.console_bytes();
    device.guest.begin(
        "kill -STOP $(pidof takt-agent); echo flushed >/data/flushed; sync; \
         dd if=/boot/vmlinuz of=/dev/vda4 bs=1M count=1 oflag=direct status=none; echo guest: written >/dev/console",
    ).unwrap();
    device.guest.wait_console(console, "guest: written", LIMIT).unwrap();
    device.power_cut();
    assert_eq!(device.text("cat /data/flushed"), "flushed");
    let same = device.guest.run("cmp -s -n 1048576 /dev/vda4 /boot/vmlinuz", LIMIT).unwrap();
    assert_eq!(same.code, 1, "the disk's own cache outlived the power cut");
    let applied = wait_until("the patch after the boot", LIMIT, || {
        let said = device.guest.text("cat /proc/cmdline", LIMIT).unwrap();
        Ok(if said == PATCHED { Ok(()) } else { Err(said) })
    });
    applied.unwrap_or_else(|error| panic!("{error}\n{}", device.last_words()));
    assert_eq!(device.installed(), ["counter@1003.0.0"]);
    assert_eq!(device.outcomes().len(), told + 1, "one report for each order");
}
