//! libFuzzer on the target `envelopes`.
#![no_main]

use takt_fuzz_targets::{envelopes, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("envelopes"), |input: &[u8]| envelopes::run(input));
