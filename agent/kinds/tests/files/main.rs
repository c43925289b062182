//! Sets of files, with real files in folders of their own.
//!
//! Needs root, and what `tests/env/install.sh` installs. Where that is missing the tests fail and say so.

mod file_cuts;
mod file_trouble;
mod files;
mod shot;
mod world;
