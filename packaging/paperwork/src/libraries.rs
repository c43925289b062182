//! The libraries in a program, with the texts of their licences: most licences ask that they go with every copy.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::Deserialize;

/// How the names of files with a licence begin.
const LICENCE_NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The libraries of a program cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// Cargo cannot be started.
    #[error("start cargo")]
    Start(#[source] io::Error),
    /// Cargo failed.
    #[error("run 'cargo {arguments}': {said}")]
    Cargo {
        /// With which arguments.
        arguments: String,
        /// What it said.
        said: String,
    },
    /// Cargo said something else than expected.
    #[error("understand what cargo says of the libraries")]
    Answer(#[source] serde_json::Error),
    /// A library is in the program but not in the list of all.
    #[error("find the library '{0}' in what cargo says of all libraries")]
    Unknown(String),
    /// A file with a licence.
    #[error("read the licence '{}'", path.display())]
    Licence {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What cargo knows of all libraries.
#[derive(Debug, Deserialize)]
pub struct Known {
    packages: Vec<Library>,
}

/// One of them.
#[derive(Debug, Clone, Deserialize)]
pub struct Library {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) manifest_path: PathBuf,
    /// Where it comes from; our own crates come from nowhere.
    pub(crate) source: Option<String>,
}

impl Known {
    /// Asks cargo.
    pub fn ask() -> Result<Self, LibraryError> {
        let answer = cargo(&["metadata", "--locked", "--format-version", "1"])?;
        serde_json::from_slice(&answer).map_err(LibraryError::Answer)
    }

    /// The libraries that are in a program of the crate `package`: no build scripts, no macros, no tests.
    pub fn linked_into(&self, package: &str) -> Result<Vec<Library>, LibraryError> {
        let edges = "normal,no-proc-macro";
        let answer =
            cargo(&["tree", "--locked", "-p", package, "-e", edges, "--prefix", "none", "-f", "{p}"])?;
        self.named(&String::from_utf8_lossy(&answer))
    }

    /// The libraries that `tree` names, a line each: `name v1.2.3`, and perhaps more.
    fn named(&self, tree: &str) -> Result<Vec<Library>, LibraryError> {
        let mut found = BTreeMap::new();
        for line in tree.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
            let version = version.trim_start_matches('v');
            let library = self.packages.iter().find(|known| known.name == name && known.version == version);
            let library = library.ok_or_else(|| LibraryError::Unknown(line.to_owned()))?;
            if library.source.is_some() {
                found.insert((name, version), library.clone());
            }
        }
        Ok(found.into_values().collect())
    }
}

fn cargo(arguments: &[&str]) -> Result<Vec<u8>, LibraryError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().map_err(LibraryError::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LibraryError::Cargo { arguments: arguments.join(" "), said })
}

/// One text on all of `libraries`: the list, then every licence's text once.
pub fn text(libraries: &[Library]) -> Result<String, LibraryError> {
    let mut list =
        String::from("Libraries of other people in this program, and the licences they are under.\n\n");
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for library in libraries {
        let mut texts = Vec::new();
        for text in library.licences()? {
            let next = numbers.len() + 1;
            texts.push(numbers.entry(text).or_insert(next).to_string());
        }
        let licence = library.license.as_deref().unwrap_or("see its texts");
        write(&mut list, format_args!("{} {}: {licence}", library.name, library.version));
        if let Some(repository) = &library.repository {
            write(&mut list, format_args!(", {repository}"));
        }
        if !texts.is_empty() {
            write(&mut list, format_args!(" (text {})", texts.join(", ")));
        }
        list.push('\n');
    }
    let mut texts: Vec<(usize, String)> = numbers.into_iter().map(|(text, number)| (number, text)).collect();
    texts.sort();
    for (number, text) in texts {
        write(&mut list, format_args!("\n======== text {number} ========\n\n{}\n", text.trim_end()));
    }
    Ok(list)
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a text takes all that is written");
}

impl Library {
    /// The texts of its licences, in the order of their files' names.
    fn licences(&self) -> Result<Vec<String>, LibraryError> {
        let folder = self.manifest_path.parent().unwrap_or(Path::new("/"));
        let error = |path: &Path| {
            let path = path.to_owned();
            |source| LibraryError::Licence { path, source }
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(error(folder))? {
            let path = entry.map_err(error(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && LICENCE_NAMES.iter().any(|begin| name.starts_with(begin)) {
                files.push(path);
            }
        }
        files.sort();
        let read = |path: &PathBuf| fs::read(path).map_err(error(path));
        let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(texts.iter().map(|bytes| String::from_utf8_lossy(bytes).replace('\r', "")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(folder: &Path, name: &str, licence: &str) -> Library {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("LICENSE-MIT"), licence).unwrap();
        fs::write(folder.join("README.md"), "no licence").unwrap();
        Library {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT".to_owned()),
            repository: None,
            manifest_path: folder.join("Cargo.toml"),
            source: Some("a registry".to_owned()),
        }
    }

    #[test]
    fn a_text_that_several_libraries_share_stands_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = [("a", "permission\r\n"), ("b", "permission\n"), ("c", "another permission\n")]
            .map(|(name, licence)| library(folder.path(), name, licence));
        let text = text(&libraries).unwrap();
        assert!(
            text.contains("a 1.0.0: MIT (text 1)\nb 1.0.0: MIT (text 1)\nc 1.0.0: MIT (text 2)\n"),
            "{text}"
        );
        assert_eq!(text.matches("permission").count(), 2, "{text}");
        assert!(!text.contains("no licence"), "{text}");
    }

    #[test]
    fn our_own_crates_and_repetitions_are_left_out_and_a_stranger_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = library(folder.path(), "theirs", "permission");
        let ours = Library { name: "ours".to_owned(), source: None, ..theirs.clone() };
        let known = Known { packages: vec![theirs, ours] };
        let named = known.named("ours v1.0.0 (/here)\ntheirs v1.0.0\n\ntheirs v1.0.0 (*)\n").unwrap();
        assert_eq!(named.iter().map(|library| library.name.as_str()).collect::<Vec<_>>(), ["theirs"]);
        assert!(known.named("stranger v1.0.0").unwrap_err().to_string().contains("stranger v1.0.0"));
    }
}
