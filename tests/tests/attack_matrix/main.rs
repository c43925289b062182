//! The attack matrix: the attacks of TUF and Uptane, tried for real by attackers who have stolen one thing or another. Each case must
//! end in a signed refusal, a reason to wait, the end of the order with its reason, or, where nothing can be noticed, in a true
//! order that is done all the same; the device runs what it ran. `docs/attack-matrix.md` is made of what these tests leave.
//!
//! Each test is a lane: one fleet with one device, and many cases one after the other. What an attacker has is in `loot`, `shelf`
//! and `wire`; the coordinator in its right mind goes on beside him in `scene`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of variants are small")]

mod artifacts;
mod documents;
#[path = "../crash_matrix/evidence.rs"]
#[allow(dead_code, reason = "the crash matrix uses all of it")]
mod evidence;
mod loot;
mod members;
mod network;
mod orders;
#[path = "../bad_input/own_gate.rs"]
#[allow(dead_code, reason = "other tests use all of it")]
mod own_gate;
#[path = "../crash_matrix/releases.rs"]
#[allow(dead_code, reason = "the crash matrix uses all of it")]
mod releases;
mod replays;
mod scene;
mod shelf;
mod wire;
