//! What the proofs share: their size, the writer, and the text of a failure.

#![allow(dead_code, reason = "each proof uses its part")]

use std::path::PathBuf;

use takt_store_proof::disk::Image;
use takt_store_proof::trial::{Kind, Trial, Violation};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Power cuts.
    pub(crate) cuts: u64,
    /// Kills.
    pub(crate) kills: u64,
}

impl Size {
    /// 200 each; 2,000 each where `TAKT_SOAK` is `1`.
    pub(crate) fn of_run() -> Self {
        let soak = std::env::var_os("TAKT_SOAK").is_some_and(|value| value == "1");
        if soak { Self { cuts: 2000, kills: 2000 } } else { Self { cuts: 200, kills: 200 } }
    }
}

/// Runs the `store-writer` of this build.
pub(crate) fn trial(kind: Kind) -> Trial {
    Trial { writer: PathBuf::from(env!("CARGO_BIN_EXE_store-writer")), kind }
}

/// What failed, how to see it again, and where the disk is as the writer found it.
pub(crate) fn failure(seed: u64, place: &str, image: &Image, violation: &Violation) -> String {
    let kept = std::env::temp_dir().join(format!("takt-store-proof-{seed}"));
    let kept = match image.save(&kept) {
        Ok(()) => format!("the disk before it is kept in '{}'", kept.display()),
        Err(error) => format!("the disk before it could not be kept: {error}"),
    };
    let source = std::error::Error::source(violation).map_or(String::new(), |source| format!(": {source}"));
    format!("{place}: {violation}{source}; {kept}; TAKT_SEED={seed} makes the same cuts again")
}
