//! Forward, by itself back, and taken back.

use std::time::Duration;

use takt_agent_core::{Nature, StepState};
use takt_common::release::Step;
use takt_kinds::Kinds;

use super::agent::Call;
use super::boot::BootLoader::{self, Grub, Uboot};
use super::bundle::Spec;
use super::device::Device;
use super::settings::key;

fn text(stands: &StepState) -> &str {
    match stands {
        StepState::FellBack(text) | StepState::Half(text) | StepState::Unknown(text) => text,
        other => panic!("{other:?}"),
    }
}

async fn upgrades(loader: BootLoader) {
    let mut device = Device::start(loader).await;
    let step = device.step(&Spec::version("2.0"));
    assert_eq!(device.look(&step).await, StepState::Untouched);
    device.act(Call::Prepare, &step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Prepared);
    assert!(!device.holds("B", "2.0"), "nothing changes before it is applied");
    assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
    assert_eq!(device.runs, "B");
    assert!(device.holds("B", "2.0"));
    device.act(Call::Confirm, &step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Confirmed);
    device.act(Call::Confirm, &step).await.unwrap();
    let kinds = device.kinds();
    kinds.settle(&key()).unwrap();
    assert!(kinds.kept().is_empty());
    for _ in 0..5 {
        device.reboot().await;
        device.kinds().at_rest().await.unwrap();
        assert_eq!(device.runs, "B", "at rest the device stays where it is");
    }
    // Whoever orders the same again has nothing to do.
    assert_eq!(device.look(&step).await, StepState::Applied);
}

/// The way of a step to its confirmed end, and then the end of its order.
async fn verified(device: &mut Device, step: &Step) {
    assert_eq!(device.forward(step).await.unwrap(), StepState::Applied);
    device.act(Call::Confirm, step).await.unwrap();
    device.kinds().settle(&key()).unwrap();
}

#[tokio::test]
async fn a_bundle_of_the_version_that_runs_is_installed_unless_it_is_this_very_one() {
    let mut device = Device::start(Grub).await;
    // What runs claims version 2.0, but Takt has not put it there.
    let factory = device.step(&Spec::version("2.0").made_of("factory"));
    verified(&mut device, &factory).await;
    std::fs::remove_dir_all(device.path().join("way-back")).unwrap();
    let step = device.step(&Spec::version("2.0"));
    assert_eq!(device.look(&step).await, StepState::Untouched);
    verified(&mut device, &step).await;
    assert_eq!(device.runs, "A");
    assert!(device.holds("A", "2.0"));
    assert_eq!(device.look(&step).await, StepState::Applied, "this very bundle runs");
    // The same version with other content: Takt's own note says which runs.
    let other = device.step(&Spec::version("2.0").made_of("2.0 built anew"));
    assert_eq!(device.look(&other).await, StepState::Untouched);
    verified(&mut device, &other).await;
    assert_eq!(device.runs, "B");
    assert!(device.holds("B", "2.0 built anew"));
    assert_eq!(device.look(&step).await, StepState::Untouched);
    // And the way back from it leads to the other one.
    device.act(Call::Prepare, &step).await.unwrap();
    device.broken.insert("A");
    assert!(matches!(device.forward(&step).await.unwrap(), StepState::FellBack(_)));
    device.backward(&step).await.unwrap();
    device.kinds().settle(&key()).unwrap();
    assert_eq!(device.look(&other).await, StepState::Applied);
    assert_eq!(device.look(&step).await, StepState::Untouched);
}

#[tokio::test]
async fn a_system_is_upgraded_confirmed_and_stays_with_grub() {
    upgrades(Grub).await;
}

#[tokio::test]
async fn a_system_is_upgraded_confirmed_and_stays_with_uboot() {
    upgrades(Uboot).await;
}

async fn falls_back(loader: BootLoader) {
    let mut device = Device::start(loader).await;
    let step = device.step(&Spec::version("2.0"));
    device.broken.insert("B");
    let stands = device.forward(&step).await.unwrap();
    let expected = "the device came up with slot rootfs.0 (A) and not with version 2.0 in slot rootfs.1 (B), which the \
                    boot loader calls bad";
    assert_eq!(text(&stands), expected);
    assert_eq!(device.look(&step).await, stands, "it says so until it is taken back");
    for _ in 0..2 {
        device.act(Call::Revert, &step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Prepared, "the previous system is in force");
    }
    for _ in 0..8 {
        // Nobody marks anything here, so boot loaders run out of boots and begin again.
        device.reboot().await;
        assert_eq!(device.runs, "A", "the system that failed is never tried again");
    }
}

#[tokio::test]
async fn a_system_that_does_not_come_up_falls_back_and_is_told_so_with_grub() {
    falls_back(Grub).await;
}

#[tokio::test]
async fn a_system_that_does_not_come_up_falls_back_and_is_told_so_with_uboot() {
    falls_back(Uboot).await;
}

#[tokio::test]
async fn a_system_that_is_never_confirmed_falls_back_after_its_boots() {
    for loader in [Grub, Uboot] {
        let mut device = Device::start(loader).await;
        let step = device.step(&Spec::version("2.0"));
        assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
        for _ in 0..2 {
            device.reboot().await;
            device.kinds().at_rest().await.unwrap();
            assert_eq!(device.runs, "B");
            assert_eq!(device.look(&step).await, StepState::Applied, "only `confirm` marks, and nobody has");
        }
        device.reboot().await;
        assert_eq!(device.runs, "A");
        assert!(matches!(device.look(&step).await, StepState::FellBack(_)));
    }
}

#[tokio::test]
async fn from_wherever_it_stands_the_old_system_comes_back() {
    for loader in [Grub, Uboot] {
        for upto in ["NewAfterReboot", "Applied", "Confirmed"] {
            let mut device = Device::start(loader).await;
            let step = device.step(&Spec::version("2.0"));
            device.act(Call::Prepare, &step).await.unwrap();
            device.act(Call::Apply, &step).await.unwrap();
            assert_eq!(device.look(&step).await, StepState::NewAfterReboot);
            if upto != "NewAfterReboot" {
                device.reboot().await;
            }
            if upto == "Confirmed" {
                device.act(Call::Confirm, &step).await.unwrap();
            }
            assert_eq!(format!("{:?}", device.look(&step).await), upto);
            device.act(Call::Revert, &step).await.unwrap();
            device.act(Call::Revert, &step).await.unwrap();
            let next = if upto == "NewAfterReboot" { StepState::Prepared } else { StepState::OldAfterReboot };
            assert_eq!(device.look(&step).await, next, "{loader:?} {upto}");
            device.reboot().await;
            assert_eq!(device.runs, "A", "{loader:?} {upto}");
            assert_eq!(device.look(&step).await, StepState::Prepared);
            assert!(!device.holds("A", "2.0"), "the old slot was never written");
        }
    }
}

#[tokio::test]
async fn a_slot_that_others_choose_is_seen() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.act(Call::Prepare, &step).await.unwrap();
    device.act(Call::Apply, &step).await.unwrap();
    device.mark("active", "rootfs.0").await;
    assert_eq!(text(&device.look(&step).await), "slot rootfs.1 (B) is written and does not boot next");
    device.act(Call::Apply, &step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::NewAfterReboot);
    let installed = device.rauc_log().matches("installing `").count();
    assert_eq!(installed, 1, "what is whole is not written again");
    device.reboot().await;
    assert_eq!(device.look(&step).await, StepState::Applied);
    device.mark("active", "rootfs.0").await;
    assert_eq!(device.look(&step).await, StepState::OldAfterReboot);
}

#[tokio::test]
async fn when_no_slot_comes_up_the_rescue_system_says_so_and_starts_nothing() {
    let mut device = Device::start_with_rescue(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.act(Call::Prepare, &step).await.unwrap();
    device.act(Call::Apply, &step).await.unwrap();
    device.broken.extend(["A", "B"]);
    device.reboot().await;
    assert_eq!(device.runs, "R");
    let expected = "the device came up with the rescue system in slot rescue.0 (R) and not with version 2.0 in slot \
                    rootfs.1 (B), which the boot loader calls bad";
    assert_eq!(text(&device.look(&step).await), expected);
    let refused = device.act(Call::Apply, &step).await.unwrap_err();
    assert_eq!(refused.text, "slot rescue.0 runs, but the step is to be applied from slot rootfs.0");
    for _ in 0..2 {
        device.act(Call::Revert, &step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::OldAfterReboot);
    }
    let failed = device.backward(&step).await.unwrap_err();
    let expected = "slot rescue.0 runs again, although slot rootfs.0 was to boot: the old system does not come up either";
    assert_eq!(failed.text, expected);
    let half = "slot rescue.0 (R) runs, and not the old system in slot rootfs.0";
    assert_eq!(text(&device.look(&step).await), half, "nobody is told that the old system is back");
    assert!(device.backward(&step).await.is_err() && device.runs == "R", "one reboot is enough");
    device.kinds().settle(&key()).unwrap();
    let refused = device.act(Call::Prepare, &step).await.unwrap_err();
    assert_eq!(
        refused.text,
        "the device runs its rescue system in slot rescue.0: bring it into one of its slots first"
    );
    assert!(device.holds("B", "2.0") && !device.holds("R", "2.0"), "the rescue system was never written");
    let before = device.boot.variables();
    device.kinds().at_rest().await.unwrap();
    assert_eq!(device.boot.variables(), before, "a rescue system is never marked");
}

#[tokio::test]
async fn a_rescue_system_is_left_for_an_old_system_that_comes_up() {
    let mut device = Device::start_with_rescue(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.act(Call::Prepare, &step).await.unwrap();
    device.act(Call::Apply, &step).await.unwrap();
    device.broken.extend(["A", "B"]);
    device.reboot().await;
    assert_eq!(device.runs, "R");
    // It was a disk that was slow, or the power.
    device.broken.remove("A");
    assert_eq!(device.backward(&step).await.unwrap(), StepState::Prepared);
    assert_eq!(device.runs, "A");
}

#[tokio::test]
async fn a_verified_system_that_is_left_later_is_told_at_rest() {
    for loader in [Grub, Uboot] {
        let mut device = Device::start(loader).await;
        let step = device.step(&Spec::version("2.0"));
        let at_rest = async |device: &Device| device.kinds().look_at_rest(&key(), &step).await;
        let nothing = "RAUC has no record of what is in slot rootfs.0 (A), which runs";
        assert_eq!(at_rest(&device).await, StepState::Unknown(nothing.to_owned()));
        assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
        device.act(Call::Confirm, &step).await.unwrap();
        device.kinds().settle(&key()).unwrap();
        assert_eq!(at_rest(&device).await, StepState::Confirmed);
        device.broken.insert("B");
        device.reboot().await;
        assert_eq!(device.runs, "A");
        let left = "slot rootfs.0 (A) runs, and not version 2.0";
        assert_eq!(at_rest(&device).await, StepState::FellBack(left.to_owned()));
        assert_eq!(device.look(&step).await, StepState::Untouched, "whoever orders it again gets it again");
    }
}

#[tokio::test]
async fn at_rest_what_runs_is_marked_good_also_while_a_way_back_is_kept() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.broken.insert("B");
    assert!(matches!(device.forward(&step).await.unwrap(), StepState::FellBack(_)));
    device.act(Call::Revert, &step).await.unwrap();
    // The order ended stranded by another step, and its folders stay for people to look at.
    for _ in 0..5 {
        device.reboot().await;
        assert_eq!(device.runs, "A");
        assert_eq!(device.boot.variables()["A_TRY"], "1");
        device.kinds().at_rest().await.unwrap();
        assert_eq!(device.boot.variables()["A_TRY"], "0");
    }
    assert!(!device.kinds().kept().is_empty());
}

#[tokio::test]
async fn a_device_without_rauc_is_silent_at_rest() {
    let mut device = Device::start(Grub).await;
    device.kill_rauc();
    let mut settings = device.settings();
    let failed = Kinds::new(settings.clone()).at_rest().await.unwrap_err();
    assert!(
        failed.text.starts_with("RAUC is not there"),
        "a device with its settings tells: {}",
        failed.text
    );
    settings.os_image.rauc_settings = vec![device.path().join("absent.conf")];
    Kinds::new(settings).at_rest().await.unwrap();
}

#[tokio::test]
async fn at_rest_a_rauc_that_does_not_answer_is_left_after_its_time() {
    let device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.stop_rauc();
    let mut settings = device.settings();
    settings.os_image.at_rest_max = Duration::from_secs(1);
    let kinds = Kinds::new(settings);
    let failed = kinds.at_rest().await.unwrap_err();
    let text = "RAUC did not mark the slot that runs good within 1 s";
    assert_eq!((failed.nature, failed.text.as_str()), (Nature::Transient, text));
    let nothing = StepState::Unknown("RAUC did not tell of its slots within 1 s".to_owned());
    assert_eq!(kinds.look_at_rest(&key(), &step).await, nothing);
}

#[tokio::test]
async fn the_identity_outlives_the_slots_and_a_system_without_it_is_not_confirmed() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    assert_eq!(device.forward(&step).await.unwrap(), StepState::Applied);
    let identity = std::fs::read_to_string(device.path().join("identity")).unwrap();
    assert!(identity.contains("\nformat=1\n") && identity.contains("\nhostname=cam-7\n"), "{identity}");
    std::fs::write(device.path().join("hostname"), "localhost\n").unwrap();
    let refused = device.act(Call::Confirm, &step).await.unwrap_err();
    assert_eq!(
        refused.text,
        "the new system calls the device 'localhost', but its identity file says 'cam-7'"
    );
    assert_eq!(device.look(&step).await, StepState::Applied);
    std::fs::write(device.path().join("hostname"), "cam-7\n").unwrap();
    device.act(Call::Confirm, &step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Confirmed);
}
