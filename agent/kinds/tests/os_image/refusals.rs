//! What is refused, in which words, and what stays untouched then.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use takt_agent_core::{ActionFailure, Nature, StepState};
use takt_common::release::Step;
use takt_kinds::{KindSettings, Kinds};

use super::agent::{Call, act};
use super::boot::BootLoader::Grub;
use super::bundle::{self, Keys, Spec};
use super::device::Device;
use super::settings::key;

/// Prepare is refused for good, in these words; and nothing is kept.
async fn assert_refused(device: &Device, settings: KindSettings, step: &Step, text: &str) {
    let kinds = Kinds::new(settings);
    let before = device.boot.variables();
    let refused = act(&kinds, &device.store(), Call::Prepare, step).await.unwrap_err();
    assert_eq!(refused, ActionFailure { nature: Nature::Fatal, text: text.to_owned() });
    assert_eq!(kinds.look(&key(), step).await, StepState::Untouched);
    assert_eq!(device.boot.variables(), before);
    assert!(kinds.kept().is_empty());
}

#[tokio::test]
async fn bundles_that_are_not_the_releases_are_refused() {
    let device = Device::start(Grub).await;
    let other = device.step(&Spec { compatible: "others", ..Spec::version("2.0") });
    let text = "the bundle is for 'others', but the release says 'takt-test'";
    assert_refused(&device, device.settings(), &other, text).await;

    let mut others = device.step(&Spec { compatible: "others", ..Spec::version("2.1") });
    let Step::OsImage(image) = &mut others else { unreachable!() };
    image.compatible = "others".to_owned();
    let text = "the bundle is for 'others', but this device's RAUC says 'takt-test'";
    assert_refused(&device, device.settings(), &others, text).await;

    let mut newer = device.step(&Spec::version("3.0"));
    let Step::OsImage(image) = &mut newer else { unreachable!() };
    image.version = "2.0".to_owned();
    let text = "the bundle says it is version '3.0', but the release says '2.0'";
    assert_refused(&device, device.settings(), &newer, text).await;
}

#[tokio::test]
async fn files_that_rauc_does_not_trust_are_refused() {
    let device = Device::start(Grub).await;
    let spec = Spec::version("2.0");
    let file = device.path().join("made.raucb");
    let text = "RAUC refuses the bundle (its journal says why): rauc info error";

    bundle::make(device.path(), &Keys::new(device.path(), "stranger"), &spec, &file);
    let stranger = device.step_of(&file, &spec);
    assert_refused(&device, device.settings(), &stranger, text).await;

    let Step::OsImage(good) = device.step(&spec) else { unreachable!() };
    let bytes = fs::read(takt_kinds::ArtifactFiles::file(&device.store(), &good.bundle)).unwrap();
    let mut turned = bytes.clone();
    turned[bytes.len() / 2] ^= 1;
    for bad in [Vec::new(), bytes[..bytes.len() - 100].to_vec(), turned] {
        fs::write(&file, &bad).unwrap();
        let step = device.step_of(&file, &spec);
        assert_refused(&device, device.settings(), &step, text).await;
    }
}

#[tokio::test]
async fn a_device_that_marks_new_systems_good_by_itself_is_refused() {
    let device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    let units = device.path().join("root/etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
    let unit = "rauc-mark-good.service";
    let text = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    fs::write(units.join(unit), text).unwrap();
    let mut settings = device.settings();
    settings.os_image.systemctl =
        vec!["systemctl".to_owned(), format!("--root={}", device.path().join("root").display())];
    settings.os_image.mark_good_units = vec!["absent.service".to_owned(), unit.to_owned()];
    let enabled = units.join("multi-user.target.wants").join(unit);
    symlink(units.join(unit), &enabled).unwrap();
    let text = "rauc-mark-good.service would mark a new system good at its boot, before it is verified: disable it \
                ('systemctl disable rauc-mark-good.service'), Takt marks what is verified";
    assert_refused(&device, settings.clone(), &step, text).await;
    fs::remove_file(enabled).unwrap();
    let kinds = Kinds::new(settings);
    act(&kinds, &device.store(), Call::Prepare, &step).await.unwrap();
    assert_eq!(kinds.look(&key(), &step).await, StepState::Prepared);
}

#[tokio::test]
async fn an_agent_that_would_forget_the_order_in_the_other_slot_is_refused() {
    let device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    let mut settings = device.settings();
    settings.os_image.slot_root = Some(device.path().to_owned());
    let text = format!(
        "the agent's folder '{}' lies within the slot that runs: the system in the other slot would know nothing of \
         this order; put it on storage that all slots share",
        device.path().join("way-back").join(key().to_string()).display()
    );
    assert_refused(&device, settings.clone(), &step, &text).await;
    settings.os_image.slot_root = Some("/proc".into());
    let mut within = settings.clone();
    within.os_image.identity.path = "/proc/takt/identity".into();
    let text = "the identity file '/proc/takt/identity' would lie within the slot that runs: the system in the other slot \
                would not find it; put it on storage that all slots share";
    assert_refused(&device, within, &step, text).await;
    act(&Kinds::new(settings), &device.store(), Call::Prepare, &step).await.unwrap();
}

#[tokio::test]
async fn without_rauc_nothing_is_known_and_the_service_is_named() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.kill_rauc();
    let text = "RAUC is not there: no service 'de.pengutronix.rauc' on D-Bus, and none that could be started";
    assert_eq!(device.look(&step).await, StepState::Unknown(text.to_owned()));
    let failed = device.act(Call::Prepare, &step).await.unwrap_err();
    assert_eq!(failed, ActionFailure { nature: Nature::Transient, text: text.to_owned() });
    let mut settings = device.settings();
    let address = format!("unix:path={}/nothing", device.path().display());
    settings.os_image.bus = Some(address.clone());
    let StepState::Unknown(text) = Kinds::new(settings).look(&key(), &step).await else { panic!() };
    assert!(text.starts_with(&format!("connect to the D-Bus bus at '{address}': ")), "{text}");
}

#[tokio::test]
async fn while_others_install_an_order_waits() {
    let device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0").holds());
    device.hold("pre-install");
    let Step::OsImage(image) = &step else { unreachable!() };
    let file = takt_kinds::ArtifactFiles::file(&device.store(), &image.bundle);
    let asks = zbus::connection::Builder::address(device.bus_address().as_str()).build().await.unwrap();
    let interface = Some("de.pengutronix.rauc.Installer");
    asks.call_method(Some("de.pengutronix.rauc"), "/", interface, "Install", &file.to_str().unwrap())
        .await
        .unwrap();
    device.came_to("pre-install").await;
    let StepState::Unknown(text) = device.look(&step).await else { panic!() };
    assert!(text.starts_with("RAUC is at work for others: "), "{text}");
    let failed = device.act(Call::Prepare, &step).await.unwrap_err();
    assert_eq!((failed.nature, failed.text), (Nature::Transient, text));
    device.let_go("pre-install");
}

#[tokio::test]
async fn an_installation_that_stands_still_is_told_and_taken_back_once_it_ends() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0").holds());
    device.act(Call::Prepare, &step).await.unwrap();
    device.hold("post-install");
    let mut settings = device.settings();
    settings.os_image.stall_max = Duration::from_secs(1);
    let failed = act(&Kinds::new(settings), &device.store(), Call::Apply, &step).await.unwrap_err();
    assert!(failed.text.starts_with("the installation has not moved for 1 s: "), "{}", failed.text);
    assert_eq!(failed.nature, Nature::Transient);
    assert!(matches!(device.look(&step).await, StepState::Half(_)));
    device.let_go("post-install");
    assert_eq!(device.backward(&step).await.unwrap(), StepState::Prepared);
    device.reboot().await;
    assert_eq!(device.runs, "A");
}

#[tokio::test]
async fn what_rauc_cannot_write_is_told_in_its_words() {
    let mut device = Device::start(Grub).await;
    let step = device.step(&Spec::version("2.0"));
    device.act(Call::Prepare, &step).await.unwrap();
    fs::remove_file(device.path().join("slot-B")).unwrap();
    fs::create_dir(device.path().join("slot-B")).unwrap();
    let failed = device.act(Call::Apply, &step).await.unwrap_err();
    assert!(failed.text.starts_with("RAUC failed to install: Installation error: "), "{}", failed.text);
    assert_eq!(failed.nature, Nature::Transient);
    assert!(matches!(device.look(&step).await, StepState::Half(_)));
    assert_eq!(device.backward(&step).await.unwrap(), StepState::Prepared);
    device.reboot().await;
    assert_eq!(device.runs, "A");
}
