//! What is refused, and in which words.

use std::fs;

use nix::errno::Errno;
use takt_agent_core::{ActionFailure, Nature as How, StepState};
use takt_common::release::Step;
use takt_kinds::ArtifactFiles as _;

use super::device::Device;
use super::kernel::Nature;
use super::module::{self, Says};
use super::settings::key;

/// Prepare and apply refuse it for good, in these words; and nothing is loaded.
async fn assert_refused(device: &Device, step: &Step, text: &str) {
    let refused = Err(ActionFailure { nature: How::Fatal, text: text.to_owned() });
    assert_eq!(device.prepare(step).await, refused);
    assert_eq!(device.look(step).await, StepState::Untouched);
    assert_eq!(device.apply(step).await, refused);
    assert!(device.calls().is_empty());
    assert!(device.kinds.kept().is_empty());
}

#[tokio::test]
async fn a_kernel_that_the_patch_has_nothing_to_do_with_is_named() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.runs("6.1.0-3-amd64");
    let text = "patch mend is for kernel 6.1.0-1-amd64 and stands for kernel 6.1.0-2-amd64, but this device runs \
                6.1.0-3-amd64";
    assert_refused(&device, &step, text).await;
}

#[tokio::test]
async fn a_kernel_without_live_patching_is_told() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    let patches = device.path().join("sys/kernel/livepatch");
    let aside = device.path().join("sys/kernel/aside");
    fs::rename(&patches, &aside).unwrap_or_else(|error| panic!("{error}"));
    fs::write(&patches, "no folder").unwrap();
    let text = format!(
        "kernel 6.1.0-1-amd64 cannot be patched while it runs: '{}' is not there (CONFIG_LIVEPATCH)",
        patches.display()
    );
    assert_refused(&device, &step, &text).await;
}

#[tokio::test]
async fn modules_that_are_not_the_releases_are_refused() {
    let device = Device::start(Nature::default());
    for (says, text) in [
        (
            Says { name: Some("other"), ..Says::default() },
            "the module says its name is 'other', but the release says 'mend'",
        ),
        (
            Says { kernel: Some("6.1.0-1-rt-amd64"), ..Says::default() },
            "the module says it is built for kernel '6.1.0-1-rt-amd64', but the release says '6.1.0-1-amd64'",
        ),
        (
            Says { livepatch: false, ..Says::default() },
            "module mend is no live patch: it does not say 'livepatch=Y'",
        ),
    ] {
        let step = device.step(&says);
        assert_refused(&device, &step, text).await;
    }
}

#[tokio::test]
async fn files_that_are_no_modules_are_refused_however_they_are_cut() {
    let device = Device::start(Nature::default());
    let whole = fs::read(module::make(device.path(), &Says::default())).unwrap();
    let mut turned = whole.clone();
    // The offset of the section headers: far outside.
    turned[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    let nameless = fs::read(module::make(device.path(), &Says { name: None, ..Says::default() })).unwrap();
    let homeless = fs::read(module::make(device.path(), &Says { kernel: None, ..Says::default() })).unwrap();
    let mut bad = vec![Vec::new(), b"\x7fELF".to_vec(), vec![0xff; 4096], turned, nameless, homeless];
    bad.extend((1..20).map(|part| whole[..whole.len() * part / 20].to_vec()));
    for bytes in bad {
        let step = device.step_of(&bytes);
        let Step::LivePatch(patch) = &step else { unreachable!() };
        let refused = device.prepare(&step).await.unwrap_err();
        let start = format!("'{}' is no kernel module: ", device.store().file(&patch.module).display());
        assert_eq!(refused.nature, How::Fatal);
        assert!(refused.text.starts_with(&start), "{} bytes: {}", bytes.len(), refused.text);
    }
    assert!(device.calls().is_empty());
}

#[tokio::test]
async fn another_module_of_the_same_name_is_left_alone() {
    let device = Device::start(Nature::default());
    let others = fs::read(module::make(device.path(), &Says { content: "two", ..Says::default() })).unwrap();
    fs::write(device.path().join("build-id"), build_id(&others)).unwrap();
    let theirs = device.step_of(&others);
    device.apply(&theirs).await.unwrap();
    device.apply(&theirs).await.unwrap();
    let step = device.step(&Says::default());
    let refused = device.apply(&step).await.unwrap_err();
    assert_eq!(refused.text, "another module with the name mend is loaded (its build id is another one)");
    assert_eq!(refused.nature, How::Fatal);
    assert_eq!(device.calls(), ["load"]);
}

/// The note with the build id, which the kernel shows of a loaded module as it is in the file.
fn build_id(module: &[u8]) -> Vec<u8> {
    let name = b"GNU\0";
    let at = module.windows(4).position(|window| window == name).expect("the linker writes a build id");
    // Length of the name, of the id, and the type lie before it; 20 bytes of SHA-1 after it.
    module[at - 12..at + 4 + 20].to_vec()
}

#[tokio::test]
async fn what_the_kernel_says_decides_whether_it_is_tried_again() {
    for (refusal, nature) in [
        (Errno::ENOEXEC, How::Fatal),
        (Errno::EKEYREJECTED, How::Fatal),
        (Errno::EBUSY, How::Transient),
        (Errno::ENOMEM, How::Transient),
    ] {
        let device = Device::start(Nature { refuses: Some(refusal), ..Nature::default() });
        let step = device.step(&Says::default());
        device.prepare(&step).await.unwrap();
        let failed = device.apply(&step).await.unwrap_err();
        assert_eq!(failed.nature, nature, "{refusal}");
        assert!(failed.text.starts_with("load module mend: "), "{}", failed.text);
        assert_eq!(device.look(&step).await, StepState::Prepared);
        device.assert_nothing_loaded();
    }
}

#[tokio::test]
async fn a_note_that_is_damaged_is_told_and_nothing_is_done() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    let note = device.path().join("way-back").join(key().to_string()).join("live-patch.json");
    fs::write(&note, "{").unwrap();
    let StepState::Unknown(text) = device.look(&step).await else { panic!() };
    assert!(text.starts_with(&format!("understand the note '{}': ", note.display())), "{text}");
    assert_eq!(device.revert(&step).await.unwrap_err().nature, How::Fatal);
}
