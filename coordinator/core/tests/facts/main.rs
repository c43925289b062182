//! Single facts about campaigns on a small site: a gateway and two cameras that stand in for each other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod control;
mod foreseen;
mod late;
mod memory;
mod opening;
mod queue;
mod reasons;
mod regulated;
mod reports;
mod site;
mod skew;
mod slots;
mod steps;
mod stored;
mod targets;
