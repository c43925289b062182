//! A whole Debian 12 device in QEMU: two slots, GRUB that counts boots, RAUC, a kernel that takes live patches, and a power
//! switch. `tests/guest/` builds it; docs/guest.md says how it is made and why.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use takt_tests::guest::{Guest, GuestImage};
//! let image = GuestImage::ready()?;
//! let mut guest = Guest::new(&image, Vec::new())?;
//! guest.power_on()?;
//! guest.wait_booted()?;
//! guest.text("rauc status mark-good", Duration::from_mins(1))?;
//! guest.power_cut();
//! # Ok::<(), takt_tests::guest::GuestError>(())
//! ```

mod boot;
mod bundle;
mod channel;
mod error;
mod image;
mod machine;

pub use boot::{BootLoader, Slot};
pub use bundle::Bundles;
pub use error::{Console, GuestError};
pub use image::GuestImage;
pub use machine::{Forward, Guest};
