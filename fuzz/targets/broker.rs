//! libFuzzer on the target `broker`.
#![no_main]

use takt_fuzz_targets::{broker, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("broker"), |input: &[u8]| broker::run(input));
