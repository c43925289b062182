//! The agent's own package in the guest, under a coordinator on this machine, over MQTT with TLS: packages, live patches and
//! system images are upgraded, taken back when they are sick, and survive power cuts at any moment. Each test has one device,
//! which lives on from one upgrade to the next: to boot and to enrol one takes half a minute.
//!
//! It needs what `tests/env/install.sh` installs, root to build the guest, and the packages that `make test` packs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cuts;
mod device;
#[allow(dead_code, reason = "the crash matrix asks for more")]
#[path = "../crash_matrix/evidence.rs"]
mod evidence;
mod kills;
mod live_patch;
mod os_image;
mod package;

use device::{Device, agent_package};
use takt_tests::guest::{Bundles, GuestImage};

#[test]
fn packages_and_live_patches_are_upgraded_or_taken_back_and_power_cuts_end_on_a_device_that_tells_the_truth()
{
    let mut device = Device::join();
    package::is_upgraded_and_a_sick_one_comes_back(&mut device);
    cuts::of_package_upgrades(&mut device);
    live_patch::of_another_kernel_is_refused_and_a_sick_one_is_reverted_wherever_the_agent_dies(&mut device);
    live_patch::is_verified_and_comes_again_after_a_power_cut(&mut device);
}

#[test]
fn systems_are_upgraded_or_fall_back_and_power_cuts_end_on_a_device_that_boots_and_tells_the_truth() {
    let bundles = Bundles::make(&GuestImage::ready().unwrap(), &agent_package()).unwrap();
    let mut device = Device::join();
    os_image::does_not_boot_falls_back_and_is_told_as_rolled_back(&mut device, &bundles);
    os_image::boots_on_trial_and_is_marked_good_only_once_it_is_verified(&mut device, &bundles);
    cuts::of_system_upgrades(&mut device, &bundles);
    os_image::is_verified_wherever_the_agent_dies(&mut device, &bundles);
}
