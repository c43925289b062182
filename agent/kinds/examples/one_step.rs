//! One call of a kind in a process of its own, which tests let die within it:
//!
//!   one_step os-image|live-patch FOLDER prepare|apply|revert|confirm
//!
//! FOLDER holds the device of the tests and `step.json`. Built with failpoints; it goes to no device.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../tests/live_patch/settings.rs"]
mod live_patch;
#[path = "../tests/os_image/settings.rs"]
mod os_image;

use std::path::PathBuf;
use std::process::ExitCode;

use takt_common::release::Step;
use takt_kinds::{ArtifactFiles, Kinds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, folder, call] = words.as_slice() else { panic!("three words are expected") };
    let folder = PathBuf::from(folder);
    let step: Step = serde_json::from_slice(&std::fs::read(folder.join("step.json")).unwrap()).unwrap();
    let (settings, key, artifacts): (_, _, Box<dyn ArtifactFiles>) = if kind == "os-image" {
        let store = os_image::Store(folder.join("artifacts"));
        (os_image::settings(&folder), os_image::key(), Box::new(store))
    } else {
        let store = live_patch::Store(folder.join("artifacts"));
        (live_patch::settings(&folder), live_patch::key(), Box::new(store))
    };
    let kinds = Kinds::new(settings);
    let done = match call.as_str() {
        "prepare" => kinds.prepare(&key, &step, artifacts.as_ref()).await,
        "apply" => kinds.apply(&key, &step, artifacts.as_ref()).await,
        "revert" => kinds.revert(&key, &step).await,
        _ => kinds.confirm(&key, &step).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{:?}: {}", failure.nature, failure.text);
            ExitCode::FAILURE
        }
    }
}
