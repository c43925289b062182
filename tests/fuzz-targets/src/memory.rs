//! How much memory an input may cost.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What may be spent on any input, however short: tables that are made once, texts of errors, buffers of a fixed size.
const ROOM: usize = 512 * 1024;

/// Runs `work` and panics when it ever held more than `per_byte` bytes for each byte of the input. Nothing else may run beside it.
pub(crate) fn bounded<T>(input: &[u8], per_byte: usize, work: impl FnOnce() -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    let spent = MEMORY.peak_usage().saturating_sub(before);
    let allowed = ROOM + per_byte * input.len();
    assert!(
        spent <= allowed,
        "{} bytes of input cost {spent} bytes of memory, {allowed} are allowed",
        input.len()
    );
    result
}
