//! libFuzzer on the target `reports`.
#![no_main]

use takt_fuzz_targets::{reports, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("reports"), |input: &[u8]| reports::run(input));
