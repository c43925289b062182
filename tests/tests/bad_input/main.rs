//! Bad input against real processes: each gets one clear sentence that names the file, field or device, an exit code
//! or a refusing report, and nothing is lost or half done.
//!
//! | bad input | here | elsewhere, on the real program too |
//! |---|---|---|
//! | unknown or missing settings, broken TOML | `starts`: agent, profile | coordinator: `coordinator/tests/server/process.rs` `bad_settings_end_with_exit_code_2_and_one_sentence`; all of the command: `ctl/tests/bad_input.rs` |
//! | an unreadable key | `starts`: device key, publisher key | order key: `process.rs` `unreadable_keys_and_taken_ports_end_with_exit_code_1_and_one_sentence` |
//! | a port in use | | coordinator: the same; an agent has no port |
//! | no Docker | `engine` | |
//! | a full disk | `disk`: agent | coordinator: `process.rs` `a_full_disk_refuses_the_upload_with_507_and_keeps_nothing_of_it` |
//! | a wrong digest, an artifact larger than stated | `artifacts` | uploads: `coordinator/tests/server/artifacts.rs` |
//! | an order for another device, with a signature missing | `orders` | the rules one by one: `agent/core/tests/rules.rs`, `common/trust/tests/hostile` |
//! | garbage on every topic | `orders` downwards, `link` upwards | fuzzed packets: `coordinator/tests/gate/hostile.rs` |
//! | a broker that vanishes | `link` | |
//! | a silent TCP connection held open | `link`, beside an order | until its deadline: `hostile.rs`, and for HTTPS `coordinator/tests/server/operator.rs` |
//! | two clients with one id | `link` | `coordinator/tests/gate/identity.rs` |
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod artifacts;
mod disk;
mod engine;
#[path = "../crash_matrix/evidence.rs"]
mod evidence;
mod link;
mod orders;
mod own_gate;
mod starts;
mod world;
