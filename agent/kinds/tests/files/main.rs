//! Sets of files, with real files in folders of their own.
//!
//! Needs root, and what `tests/env/install.sh` installs. Where that is missing the tests fail and say so.

// A test fails by it, and its worlds say more than a sentence.
#![allow(clippy::unwrap_used, clippy::unnecessary_debug_formatting, clippy::needless_for_each)]

mod file_cuts;
mod file_trouble;
mod files;
mod shot;
mod world;
