//! Rows on disk, one file each: written by the tests, read by the programs that make the pages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The folder that `variable` names, else `name` in the workspace's `target`.
pub(crate) fn folder(variable: &str, name: &str) -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(name);
    std::env::var_os(variable).map_or_else(usual, PathBuf::from)
}

/// Keeps a row in the place of what was kept under the same name before.
pub(crate) fn keep(folder: &Path, name: &str, row: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let text = serde_json::to_string_pretty(row).map_err(io::Error::other)?;
    fs::write(folder.join(format!("{name}.json")), text)
}

/// All rows of a folder, in no order.
pub(crate) fn all<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<T>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        rows.push(serde_json::from_str(&text).map_err(io::Error::other)?);
    }
    Ok(rows)
}
