//! What the tests of the packages share: machines with a real systemd, the packages that `make packages-test` has built,
//! and a fleet in one machine.
//!
//! What cannot be set up fails the test, with a sentence that says what is missing: these helpers panic.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod clock;
mod fleet;
mod machine;
mod packages;
pub mod rpms;

pub use clock::wait_until;
pub use fleet::Fleet;
pub use machine::{Machine, Said};
pub use packages::{Format, NEXT_VERSION, package, package_again, repository};
