//! Kind `os-image` against the real RAUC service: on a D-Bus of the test's own, with slots that are files, and with a boot
//! loader whose state is real: GRUB's environment by `grub-editenv`, or RAUC's `custom` backend with the rules of U-Boot.
//! Only the machine's reboot is played: the boot loader chooses a slot, and RAUC's service starts anew in it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod agent;
mod boot;
mod bundle;
mod device;
mod kills;
mod refusals;
mod settings;
mod ways;
