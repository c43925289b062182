//! A disk that forgets what was not fsynced.
//!
//! `image` holds two states of every file and folder, what a program sees and what is durable, and the changes
//! between them; `cut` decides which of those changes survive a power cut; `mount` shows an image to programs
//! through FUSE.
//!
//! It is stricter than real file systems are: a new or renamed file is durable only after its *folder* was
//! fsynced, changes to a folder survive in any subset, and writes tear at 512 bytes. `sync_file_range`, with which
//! stock sled flushes, starts a write but orders no barrier, so here it counts for nothing (the kernel does not
//! even tell a FUSE file system about it).

mod cut;
mod image;
mod mount;
mod service;

pub use cut::Survival;
pub use image::{Image, Trouble};
pub use mount::Disk;
