//! Files and packages, with real files, a real dpkg and a real rpm in folders of their own.
//!
//! Needs root, and what `tests/env/install.sh` installs. Where that is missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod deb;
mod deb_cuts;
mod debs;
mod file_cuts;
mod file_trouble;
mod files;
mod own;
mod rpm;
mod rpms;
mod shot;
mod world;
