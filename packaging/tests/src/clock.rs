//! The only place of these tests that reads a clock and sleeps.

use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);
/// From one look to the next; a look runs commands, and takes the processor from what it waits for.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until `look` finds something; what it says otherwise is told when it never does.
///
/// # Panics
/// When it is not found in time.
#[allow(clippy::disallowed_methods)] // This is the clock adapter.
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => {
                assert!(begin.elapsed() < LIMIT, "waited in vain for {what}: {state}");
            }
        }
        std::thread::sleep(PAUSE);
    }
}
