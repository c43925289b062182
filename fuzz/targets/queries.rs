//! libFuzzer on the target `queries`.
#![no_main]

use takt_fuzz_targets::{queries, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("queries"), |input: &[u8]| queries::run(input));
