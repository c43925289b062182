//! A whole Debian 12 device in QEMU: two slots, GRUB that counts boots, RAUC, a kernel that takes live patches, a
//! watchdog, and a power switch. `tests/guest/` builds it; docs/guest.md says how it is made and why.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use takt_tests::guest::{Guest, GuestImage, GuestSpec};
//! let image = GuestImage::ready()?;
//! let mut guest = Guest::booted(&image, GuestSpec::default())?;
//! guest.text("rauc status mark-good", Duration::from_mins(1))?;
//! guest.power_cut();
//! guest.power_on()?;
//! guest.wait_booted()?;
//! # Ok::<(), takt_tests::guest::GuestError>(())
//! ```

mod boot;
mod bundle;
mod channel;
mod error;
mod image;
mod machine;

pub use boot::{BootLoader, Slot};
pub use bundle::{BundleSpec, Nature};
pub use error::{Console, GuestError};
pub use image::GuestImage;
pub use machine::{BOOT_LIMIT, Forward, Guest, GuestSpec};
