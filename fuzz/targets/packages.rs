//! libFuzzer on the target `packages`.
#![no_main]

use takt_fuzz_targets::{packages, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("packages"), |input: &[u8]| packages::run(input));
