//! The life of a trial on a working disk: what each call leaves, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use common::{Device, NEW, OLD, version, versions};
use takt_launcher::{OnTrial, Trial, TrialError, Versions};

fn begun() -> Trial {
    Trial::On(OnTrial { versions: versions(), starts: 0, forgiven: 0 })
}

#[test]
fn a_trial_keeps_the_agent_and_says_where_it_came_from() {
    let device = Device::new();
    let old = fs::read(device.installed()).unwrap();
    device.begin();
    assert_eq!(device.look(), begun());
    assert_eq!(device.names(), ["previous", "trial-v1,new=1.1.0,previous=1.0.0,starts=0,forgiven=0"]);
    let copy = device.trial().previous_agent();
    assert_eq!(fs::read(&copy).unwrap(), old);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(device.state().join("previous/origin")).unwrap(),
        format!("format=1\nversion=1.0.0\npath={}\n", device.installed().display())
    );
}

#[test]
fn a_running_agent_keeps_itself_whatever_lies_at_its_path_by_now() {
    let device = Device::new();
    let itself = std::env::current_exe().unwrap();
    device.trial().begin("/proc/self/exe".as_ref(), &versions()).unwrap();
    assert!(fs::read(device.trial().previous_agent()).unwrap() == fs::read(&itself).unwrap());
    let origin = fs::read_to_string(device.state().join("previous/origin")).unwrap();
    assert!(origin.ends_with(&format!("path={}\n", itself.display())), "{origin}");
}

#[test]
fn beginning_again_after_the_package_was_replaced_keeps_the_old_copy() {
    let device = Device::new();
    let old = fs::read(device.installed()).unwrap();
    device.begin();
    device.install_script(NEW, 0);
    assert_eq!(device.started().name, NEW);
    device.begin();
    assert_eq!(fs::read(device.trial().previous_agent()).unwrap(), old);
    assert_eq!(device.look().to_string(), "agent 1.1.0 is on trial over 1.0.0, 1 of 3 starts used");
}

#[test]
fn no_trial_begins_over_another() {
    let device = Device::new();
    device.begin();
    let other = Versions { new: version("1.2.0"), previous: version("1.0.0") };
    let error = device.trial().begin(&device.installed(), &other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "begin the trial of agent 1.2.0: agent 1.1.0 is on trial over 1.0.0, 0 of 3 starts used"
    );
    device.install(b"nonsense", 0o755);
    device.started();
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err();
    assert!(matches!(&error, TrialError::Unsettled { found: Trial::FellBack(_), .. }), "{error}");
    assert_eq!(device.started().name, OLD);
}

#[test]
fn only_the_agent_on_trial_is_confirmed_and_not_after_a_fall_back() {
    let device = Device::new();
    let confirm = |running: &str| device.trial().confirm(&device.installed(), &version(running));
    device.begin();
    let error = confirm("1.0.0").unwrap_err().to_string();
    assert_eq!(error, "confirm agent 1.0.0: agent 1.1.0 is on trial over 1.0.0, 0 of 3 starts used");
    device.install(b"nonsense", 0o755);
    device.started();
    let error = confirm("1.1.0").unwrap_err().to_string();
    assert!(error.starts_with("confirm agent 1.1.0: agent 1.1.0 was given up for 1.0.0"), "{error}");
    assert_eq!(device.started().name, OLD);
}

#[test]
fn every_call_can_be_made_again_and_none_needs_a_trial() {
    let device = Device::new();
    for _ in 0..2 {
        device.trial().confirm(&device.installed(), &version("1.1.0")).unwrap();
        device.trial().withdraw(&device.installed()).unwrap();
        assert_eq!(device.trial().alive(&version("1.1.0")).unwrap(), Trial::None);
    }
    for _ in 0..2 {
        device.begin();
        device.begin();
        device.trial().withdraw(&device.installed()).unwrap();
        device.trial().withdraw(&device.installed()).unwrap();
        assert_eq!((device.look(), device.names()), (Trial::None, Vec::new()));
    }
}

#[test]
fn what_an_earlier_trial_left_is_replaced_and_what_is_not_ours_stays() {
    let device = Device::new();
    let previous = device.state().join("previous");
    fs::create_dir_all(&previous).unwrap();
    for name in ["takt-agent", "takt-agent.part", "origin.part"] {
        fs::write(previous.join(name), "left").unwrap();
    }
    fs::write(previous.join("notes"), "of somebody else").unwrap();
    device.begin();
    assert_eq!(fs::read(device.trial().previous_agent()).unwrap(), fs::read(device.installed()).unwrap());
    device.trial().withdraw(&device.installed()).unwrap();
    assert_eq!(device.names(), ["previous"]);
    assert_eq!(fs::read_dir(previous).unwrap().count(), 1);
}

#[test]
fn what_is_no_agent_is_not_kept_and_no_trial_begins() {
    let device = Device::new();
    device.install(b"", 0o755);
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(error.ends_with("it has 0 bytes, 1 to 268435456 expected"), "{error}");
    // Sparse: it takes no room, and is refused before it is copied.
    File::create(device.installed()).unwrap().set_len((256 << 20) + 1).unwrap();
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(error.contains("it has 268435457 bytes"), "{error}");
    fs::remove_file(device.installed()).unwrap();
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert!(error.starts_with("open '") && error.contains("bin/takt-agent"), "{error}");
    assert_eq!(device.look(), Trial::None);
    assert_eq!(fs::read_dir(device.state().join("previous")).unwrap().count(), 0);
}

#[test]
fn the_folder_that_holds_the_trial_must_be_there() {
    let device = Device::with_state("/no/such/folder/launcher".as_ref());
    let error = device.trial().begin(&device.installed(), &versions()).unwrap_err().to_string();
    assert_eq!(error, "make folder '/no/such/folder/launcher'");
    assert_eq!(device.started().name, OLD);
}
