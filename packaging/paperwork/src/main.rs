//! `takt-paperwork FOLDER`: writes `man/`, `completions/`, `third-party/` and `sbom/` into a folder. Run in the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use takt_paperwork::libraries::{self, Known};
use takt_paperwork::sbom::{self, Checksums};
use takt_paperwork::{Sheet, pages};

/// The crates whose programs are packaged.
const PACKAGES: [&str; 3] = ["takt-agent", "takt-coordinator", "takt-ctl"];

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).context("usage: takt-paperwork FOLDER")?;
    for program in pages::programs() {
        let sheets =
            pages::sheets(&program).with_context(|| format!("make the pages of {}", program.name))?;
        sheets.iter().try_for_each(|sheet| write(&folder, sheet))?;
    }
    let known = Known::ask()?;
    let checksums = Checksums::read(Path::new("Cargo.lock"))?;
    for package in PACKAGES {
        let linked = known.linked_into(package)?;
        let bytes = libraries::text(&linked)?.into_bytes();
        write(&folder, &Sheet { path: format!("third-party/{package}.txt"), bytes })?;
        let bytes = sbom::json(package, env!("CARGO_PKG_VERSION"), &linked, &checksums)?;
        write(&folder, &Sheet { path: format!("sbom/{package}.cdx.json"), bytes })?;
    }
    Ok(())
}

fn write(folder: &Path, sheet: &Sheet) -> anyhow::Result<()> {
    let path = folder.join(&sheet.path);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("make the folder '{}'", parent.display()))?;
    fs::write(&path, &sheet.bytes).with_context(|| format!("write '{}'", path.display()))
}
