//! libFuzzer on the target `images`.
#![no_main]

use takt_fuzz_targets::{images, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("images"), |input: &[u8]| images::run(input));
