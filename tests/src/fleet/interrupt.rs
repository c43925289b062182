//! SIGTERM, SIGINT and SIGHUP end every wait, so that the fleet is taken down in order.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked for the end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits for the signals in a thread of its own; the second one ends the process at once. To be called once, before
/// other threads are started: they inherit that the signals are not theirs. Started programs do not.
pub fn heed_signals() {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    // It fails only for an operation that is not known.
    let _blocked = signals.thread_block();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal as i32);
            }
        }
    });
}
