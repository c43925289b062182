//! Real agents and a real coordinator, with `takt` beside them: clocks that are wrong, keys that were stolen, orders that were withheld,
//! and what a coordinator may not order by itself.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests unwrap what cannot be set up, and they wait and measure"
)]

mod clocks;
mod orders;
mod site;
mod stolen_keys;
#[path = "../support/mod.rs"]
mod support;
