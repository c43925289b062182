//! In force, out of force, and everything between.

use std::fs;
use std::time::Duration;

use takt_agent_core::{Nature as How, StepState};

use super::device::{Device, KERNEL, MENDED};
use super::kernel::Nature;
use super::module::Says;
use super::settings::key;

#[tokio::test]
async fn a_patch_is_in_force_once_all_tasks_have_come_and_gone_once_all_have_left() {
    for old in [false, true] {
        let device = Device::start(Nature { old, ..Nature::default() });
        let step = device.step(&Says::default());
        assert_eq!(device.look(&step).await, StepState::Untouched);
        device.prepare(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Prepared);
        device.assert_nothing_loaded();
        device.apply(&step).await.unwrap();
        device.apply(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Applied);
        device.confirm(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Confirmed);
        device.revert(&step).await.unwrap();
        device.revert(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Prepared);
        device.assert_nothing_loaded();
        assert_eq!(device.calls(), ["load", "unload"]);
    }
}

#[tokio::test]
async fn a_transition_that_stalls_is_taken_back_at_its_deadline() {
    let device = Device::start(Nature { comes: None, ..Nature::default() });
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    let failed = device.apply(&step).await.unwrap_err();
    let text = "patch mend was not in force within 1 s and was taken back: some task never left the old code";
    assert_eq!((failed.nature, failed.text.as_str()), (How::Fatal, text));
    device.assert_nothing_loaded();
    assert_eq!(device.look(&step).await, StepState::Prepared);
}

#[tokio::test]
async fn a_transition_that_stalls_both_ways_is_told_as_half_until_it_moves_again() {
    let device = Device::start(Nature { comes: None, leaves: None, ..Nature::default() });
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    let failed = device.apply(&step).await.unwrap_err();
    let text = "patch mend was not in force within 1 s, and could not be taken back: patch mend is not gone after 2 s: \
                not all tasks have left the patched code";
    assert_eq!((failed.nature, failed.text.as_str()), (How::Transient, text));
    let half = StepState::Half("patch mend: not all tasks have left the patched code".to_owned());
    assert_eq!(device.look(&step).await, half);
    let failed = device.revert(&step).await.unwrap_err();
    assert_eq!(failed.text, "patch mend is not gone after 2 s: not all tasks have left the patched code");
    assert_eq!(device.look(&step).await, half);
    device.kernel.nature.lock().unwrap().leaves = Some(Duration::ZERO);
    device.revert(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Prepared);
    device.assert_nothing_loaded();
}

#[tokio::test]
async fn an_apply_that_was_cut_off_goes_on_where_the_kernel_is() {
    let device = Device::start(Nature { comes: None, ..Nature::default() });
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    let loaded = device.path().join("sys/kernel/livepatch/mend");
    let is_loaded = async {
        while !loaded.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        done = device.apply(&step) => panic!("{done:?}"),
        () = is_loaded => {}
    }
    let half = "patch mend: not all tasks have come to the patched code";
    assert_eq!(device.look(&step).await, StepState::Half(half.to_owned()));
    device.kernel.nature.lock().unwrap().comes = Some(Duration::ZERO);
    device.apply(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Applied);
    assert_eq!(device.calls(), ["load"]);
}

#[tokio::test]
async fn a_module_whose_patch_others_have_disabled_is_loaded_anew() {
    for old in [false, true] {
        let device = Device::start(Nature { old, ..Nature::default() });
        let step = device.step(&Says::default());
        device.prepare(&step).await.unwrap();
        device.apply(&step).await.unwrap();
        fs::write(device.path().join("sys/kernel/livepatch/mend/enabled"), "0").unwrap();
        let idle =
            StepState::Half("patch mend: its module is loaded, and the patch is not in force".to_owned());
        while device.look(&step).await != idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        device.apply(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Applied);
        let calls = device.calls();
        assert!(calls.starts_with(&["load".to_owned(), "unload".to_owned()]), "{calls:?}");
        assert_eq!(calls.last().map(String::as_str), Some("load"), "{calls:?}");
    }
}

#[tokio::test]
async fn a_module_in_use_is_waited_for() {
    let device = Device::start(Nature { in_use: 3, ..Nature::default() });
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    device.apply(&step).await.unwrap();
    device.revert(&step).await.unwrap();
    device.assert_nothing_loaded();
}

#[tokio::test]
async fn at_rest_a_patch_is_applied_again_after_each_boot_until_its_kernel_runs() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.prepare(&step).await.unwrap();
    device.apply(&step).await.unwrap();
    device.confirm(&step).await.unwrap();
    device.kinds.settle(&key()).unwrap();
    for _ in 0..2 {
        device.reboots_into(KERNEL);
        assert_eq!(device.look(&step).await, StepState::Untouched);
        device.apply(&step).await.unwrap();
        assert_eq!(device.look(&step).await, StepState::Applied);
        assert!(device.kinds.kept().is_empty(), "at rest nothing is kept");
    }
    let before = device.calls().len();
    device.reboots_into(MENDED);
    assert_eq!(device.look(&step).await, StepState::Confirmed);
    device.apply(&step).await.unwrap();
    device.assert_nothing_loaded();
    assert_eq!(device.calls().len(), before);
}

#[tokio::test]
async fn at_rest_nothing_is_done_on_a_kernel_that_the_patch_has_nothing_to_do_with() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    assert_eq!(device.kinds.look_at_rest(&key(), &step).await, StepState::Untouched, "it is to be applied");
    device.apply(&step).await.unwrap();
    assert_eq!(device.kinds.look_at_rest(&key(), &step).await, StepState::Applied);
    device.reboots_into("6.1.0-3-amd64");
    assert_eq!(device.kinds.look_at_rest(&key(), &step).await, StepState::Confirmed);
    assert_eq!(device.look(&step).await, StepState::Untouched, "an order is refused there");
    device.reboots_into(KERNEL);
    assert_eq!(device.kinds.look_at_rest(&key(), &step).await, StepState::Untouched);
}

#[tokio::test]
async fn on_the_kernel_that_it_stands_for_a_way_back_ends_too() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.runs(MENDED);
    assert_eq!(device.look(&step).await, StepState::Confirmed);
    device.revert(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Prepared);
    device.kinds.settle(&key()).unwrap();
    assert_eq!(device.look(&step).await, StepState::Confirmed);
}

#[tokio::test]
async fn a_patch_that_was_in_force_before_the_step_outlives_its_way_back() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.apply(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Applied);
    device.confirm(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Confirmed);
    device.revert(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Prepared);
    device.kinds.settle(&key()).unwrap();
    assert_eq!(device.look(&step).await, StepState::Applied);
    assert_eq!(device.calls(), ["load"]);
}

#[tokio::test]
async fn what_others_left_half_done_is_mended_before_the_step_begins() {
    let device = Device::start(Nature { comes: None, ..Nature::default() });
    let step = device.step(&Says::default());
    let loaded = device.path().join("sys/kernel/livepatch/mend");
    tokio::select! {
        done = device.apply(&step) => panic!("{done:?}"),
        () = async { while !loaded.exists() { tokio::time::sleep(Duration::from_millis(2)).await; } } => {}
    }
    assert!(matches!(device.look(&step).await, StepState::Half(_)));
    device.prepare(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Prepared);
    device.assert_nothing_loaded();
}

#[tokio::test]
async fn kpatch_loads_where_it_is_there() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.has_kpatch(
        "while grep -q 1 ../sys/kernel/livepatch/mend/transition 2>/dev/null; do sleep 0.01; done",
    );
    device.prepare(&step).await.unwrap();
    device.apply(&step).await.unwrap();
    assert_eq!(device.look(&step).await, StepState::Applied);
    let named = fs::read_to_string(device.path().join("calls/kpatch-loaded")).unwrap();
    assert_eq!(named.trim(), device.path().join("run/mend.ko").to_str().unwrap());
    device.revert(&step).await.unwrap();
    device.assert_nothing_loaded();
}

#[tokio::test]
async fn a_kpatch_that_never_ends_is_ended_at_the_deadline_and_its_patch_taken_back() {
    let device = Device::start(Nature { comes: None, ..Nature::default() });
    let step = device.step(&Says::default());
    device.has_kpatch("exec sleep 600");
    device.prepare(&step).await.unwrap();
    let failed = device.apply(&step).await.unwrap_err();
    assert!(
        failed.text.starts_with("patch mend was not in force within 1 s and was taken back"),
        "{}",
        failed.text
    );
    device.assert_nothing_loaded();
}

#[tokio::test]
async fn what_kpatch_says_of_its_failure_is_told() {
    let device = Device::start(Nature::default());
    let step = device.step(&Says::default());
    device.has_kpatch("yes 'kpatch: no' | head -c 1000000 >&2; exit 3");
    device.prepare(&step).await.unwrap();
    let failed = device.apply(&step).await.unwrap_err();
    let program = device.path().join("kpatch");
    let start = format!("'{} load' failed with exit status: 3: kpatch: no; kpatch: no", program.display());
    assert!(failed.text.starts_with(&start) && failed.text.len() < 20_000, "{}", &failed.text[..200]);
    device.assert_nothing_loaded();
}
