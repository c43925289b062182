//! `takt lock` and `takt unlock`, as a shell sees them.

#![allow(missing_docs, clippy::unwrap_used)] // In tests.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use takt_ctl::clock;

const LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn takt(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_takt"));
    command.env("TAKT_LOCKS_DIR", folder).args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether anybody holds it: what the agent of a device asks.
fn is_held(folder: &Path, name: &str) -> bool {
    std::fs::File::open(folder.join(name)).is_ok_and(|file| file.try_lock_shared().is_err())
}

#[test]
fn a_lock_outlives_the_command_that_took_it_and_goes_with_unlock() {
    let folder = tempfile::tempdir().unwrap();
    let taken = takt(folder.path(), &["lock", "surgery"]);
    assert!(taken.status.success(), "{}", said(&taken));
    assert!(is_held(folder.path(), "surgery"));

    let again = takt(folder.path(), &["lock", "surgery"]);
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    assert!(said(&again).starts_with("takt: take the update lock 'surgery': it is held, by process "));
    let listed = takt(folder.path(), &["lock", "--list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["lock"], "surgery", "{listed}");
    assert!(listed[0]["holders"][0]["pid"].is_u64(), "{listed}");

    let back = takt(folder.path(), &["unlock", "surgery"]);
    assert!(back.status.success(), "{}", said(&back));
    assert!(!is_held(folder.path(), "surgery"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file is left");
    let nobody = takt(folder.path(), &["unlock", "surgery"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", said(&nobody));
}

#[test]
fn a_lock_is_held_as_long_as_a_command_runs_and_passes_on_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let probe = "exec 9<\"$TAKT_LOCKS_DIR/surgery\"; flock -sn 9 && exit 1; exit 7";
    let ran = takt(folder.path(), &["lock", "surgery", "--", "sh", "-c", probe]);
    assert_eq!(ran.status.code(), Some(7), "{}", said(&ran));
    assert!(!is_held(folder.path(), "surgery"));
    // What a command leaves running holds nothing.
    let left = takt(folder.path(), &["lock", "surgery", "--", "sh", "-c", "sleep 5 >/dev/null 2>&1 &"]);
    assert!(left.status.success() && !is_held(folder.path(), "surgery"), "{}", said(&left));
    let missing = takt(folder.path(), &["lock", "surgery", "--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("run '/no/such/program' under the update lock"), "{}", said(&missing));
}

#[tokio::test]
async fn a_lock_with_a_limit_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    assert!(takt(folder.path(), &["lock", "--for", "1s", "surgery"]).status.success());
    assert!(is_held(folder.path(), "surgery"));
    let mut waited = Duration::ZERO;
    while is_held(folder.path(), "surgery") {
        assert!(waited < LIMIT, "it is still held");
        clock::pause(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

#[test]
fn a_lock_of_somebody_else_is_not_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let held = std::fs::File::create(folder.path().join("backup")).unwrap();
    held.lock().unwrap();
    let refused = takt(folder.path(), &["unlock", "backup"]);
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused));
    let expected = format!("it was not taken by 'takt lock', by process {} (", std::process::id());
    assert!(said(&refused).contains(&expected), "{}", said(&refused));
    assert!(is_held(folder.path(), "backup"));
    for name in ["../x", ".x", "a b"] {
        assert_eq!(takt(folder.path(), &["lock", name]).status.code(), Some(2), "{name}");
    }
    let file = folder.path().join("backup");
    let no_folder = takt(&file, &["lock", "surgery"]);
    assert_eq!(no_folder.status.code(), Some(1));
    assert!(said(&no_folder).contains(&format!("folder of update locks '{}'", file.display())));
}
