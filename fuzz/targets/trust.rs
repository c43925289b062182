//! libFuzzer on the target `trust`.
#![no_main]

use takt_fuzz_targets::{seeds, trust};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("trust"), |input: &[u8]| trust::run(input));
