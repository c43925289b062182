//! The real server on free ports, as operators, devices and strangers meet it.

#![allow(unreachable_pub, reason = "one crate: nothing is seen from outside")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "these are tests: they unwrap, wait and measure"
)]

mod artifacts;
mod audit;
mod checkpoints;
mod enrolment;
mod observed;
mod operator;
mod order_round_trip;
mod process;
mod renewal;
mod repository;
mod slots;
mod standing;
mod support;
mod targeting;
