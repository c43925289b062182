//! libFuzzer on the target `topics`.
#![no_main]

use takt_fuzz_targets::{seeds, topics};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("topics"), |input: &[u8]| topics::run(input));
