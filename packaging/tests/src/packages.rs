//! The packages as `make test` has built them: the workspace's version, the same once more, and a newer one for upgrades.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that upgrades lead to; the Makefile builds it.
pub const NEXT_VERSION: &str = "99.0.0~test1";

/// A format of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debian's.
    Deb,
    /// Fedora's and RHEL's.
    Rpm,
}

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The package `name` of `version`: [`NEXT_VERSION`] or the workspace's.
///
/// # Panics
/// When it was not built.
pub fn package(name: &str, version: &str, format: Format) -> PathBuf {
    packed(if version == NEXT_VERSION { "next" } else { "this" }, name, version, format)
}

/// The package of the workspace's version, made once more from the same programs.
///
/// # Panics
/// When it was not built.
pub fn package_again(name: &str, version: &str, format: Format) -> PathBuf {
    packed("again", name, version, format)
}

fn packed(folder: &str, name: &str, version: &str, format: Format) -> PathBuf {
    let folder = repository().join("target/packages/tried").join(folder);
    let file = match format {
        Format::Deb => format!("{name}_{version}_{}.deb", first_line("dpkg", "--print-architecture")),
        Format::Rpm => format!("{name}-{version}-1.{}.rpm", first_line("uname", "-m")),
    };
    let path = folder.join(file);
    assert!(path.is_file(), "{} is missing: 'make test' and 'make packages-test' build it", path.display());
    path
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
