//! libFuzzer on the target `orders`.
#![no_main]

use takt_fuzz_targets::{orders, seeds};

libfuzzer_sys::fuzz_target!(init: seeds::write_where_asked("orders"), |input: &[u8]| orders::run(input));
