//! libFuzzer on the target `bodies`.
#![no_main]

use takt_fuzz_targets::{bodies, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("bodies"), |input: &[u8]| bodies::run(input));
