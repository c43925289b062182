//! How the words of dpkg and rpm, and those of packages through these, are read: for `takt-fuzz-targets`, and for nobody else.

pub use super::deb::fuzz as deb;
pub use super::rpm::fuzz as rpm;
