//! libFuzzer on the target `settings`.
#![no_main]

use takt_fuzz_targets::{seeds, settings};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("settings"), |input: &[u8]| settings::run(input));
