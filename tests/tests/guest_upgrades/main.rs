//! The agent's own package in the guest, under a coordinator on this machine, over MQTT with TLS: live patches, system
//! images and packages are upgraded, taken back when they are sick, and survive power cuts at any moment.
//!
//! It needs what `tests/env/install.sh` installs, root to build the guest, and the packages that `make test` packs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cuts;
mod device;
#[path = "../kill_agent/evidence.rs"]
mod evidence;
mod live_patch;
mod os_image;
mod package;
