//! Kind `live-patch` on a kernel that is played: its sysfs is a folder, and a thread behaves as a kernel does. This
//! machine's own has no live patching; the real thing is shown in the guest. Module files are real.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod device;
mod kernel;
mod kills;
mod module;
mod refusals;
mod settings;
mod ways;
