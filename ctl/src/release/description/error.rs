//! What may be wrong with a description: always with its file, and with line and field where it is one field's fault.

use std::path::PathBuf;

use takt_common::Sha256Digest;
use takt_common::digest::DigestError;
use takt_common::release::{ManifestError, PackageFormat};

use crate::file::{FileError, SyntaxError};
use crate::release::bundle::BundleError;
use crate::release::image::ImageError;
use crate::release::module::ModuleError;
use crate::release::package::PackageError;
use crate::release::port::PortError;
use crate::release::probe::ProbeError;

/// A description is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// Out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not the TOML that is expected.
    #[error("{}", path.display())]
    Malformed {
        /// The description.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
    /// A field is not usable.
    #[error("{} line {line}, field '{field}'", path.display())]
    Field {
        /// The description.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: Box<FieldError>,
    },
    /// Fields that do not fit together.
    #[error("{}", path.display())]
    Manifest {
        /// The description.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// Neither the file nor the command line has it.
    #[error("{} does not say the release's {field}: write it there, or give --{field}", path.display())]
    Missing {
        /// The description.
        path: PathBuf,
        /// `name` or `version`.
        field: &'static str,
    },
}

/// What is wrong with a field.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// A file out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image archive.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The archive holds another image than was said.
    #[error("{} holds the image {found}", path.display())]
    OtherImage {
        /// The archive.
        path: PathBuf,
        /// What it holds.
        found: Sha256Digest,
    },
    /// An image id that is none.
    #[error(transparent)]
    ImageId(#[from] DigestError),
    /// Nobody can say how much space the image takes.
    #[error("{} has compressed layers: say what all takes once unpacked with 'unpacked_bytes'", path.display())]
    CompressedLayers {
        /// The archive.
        path: PathBuf,
    },
    /// A package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Packages of two forms in one step.
    #[error("{} is another form of package than the one before it ({before:?}): they need a step each", path.display())]
    MixedPackages {
        /// The package.
        path: PathBuf,
        /// The form of the one before.
        before: PackageFormat,
    },
    /// A bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle says something else of itself.
    #[error("the bundle itself says '{found}'")]
    OtherBundle {
        /// What it says.
        found: String,
    },
    /// A live patch.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A health check.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A published port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A field of another kind of step.
    #[error("it belongs to steps of kind {belongs}, this one is of kind {kind}")]
    Foreign {
        /// Whose it is.
        belongs: &'static str,
        /// What this step is.
        kind: &'static str,
    },
    /// A field that is not there.
    #[error("a step of kind {kind} must have it")]
    Absent {
        /// What this step is.
        kind: &'static str,
    },
    /// A file that neither comes nor goes, or both.
    #[error("'{path}' needs either a 'source' or 'remove = true'")]
    ComesOrGoes {
        /// The file.
        path: String,
    },
    /// More seconds than the manifest can hold.
    #[error("{secs} is more than the {most} seconds that are possible")]
    TooLong {
        /// What was asked for.
        secs: u32,
        /// The most.
        most: u32,
    },
}
