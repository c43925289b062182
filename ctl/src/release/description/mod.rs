//! `takt release new --from RELEASE.toml`: a whole release, described in a file that people read and keep.
//!
//! `docs/releases.md` explains it. What a file can say of itself (a package's version, a module's kernel, an image's id)
//! is read from that file and stands nowhere else, so that it cannot be wrong.

mod error;
mod read;
mod steps;
mod text;

pub use error::{DescriptionError, FieldError};
pub(super) use read::read;
