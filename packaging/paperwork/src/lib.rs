//! What packages ship beside the programs: manual pages, shell completions, the licences of the libraries in them, and
//! their bill of materials.
//!
//! Nothing of it is kept in the repository, so it cannot be out of date, and the programs need not carry it.

pub mod libraries;
pub mod pages;
pub mod sbom;

/// A file to be shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Where it belongs, below `man/`, `completions/`, `third-party/` or `sbom/`.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}
