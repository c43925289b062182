//! Notes of a step in its folder: each is one file, replaced as a whole and on disk before the call returns.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_agent_core::Nature;
use takt_agent_core::failure::Natured;

use crate::way_back::StepFolder;

/// A note cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Written.
    #[error("write the note '{}'", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Read.
    #[error("read the note '{}'", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Understood.
    #[error("understand the note '{}'", path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Natured for NoteError {
    fn nature(&self) -> Nature {
        match self {
            Self::Write { .. } | Self::Read { .. } => Nature::Transient,
            Self::Text { .. } => Nature::Fatal,
        }
    }
}

/// The note `name` of a step; `None` when there is none.
pub(crate) fn read<T: DeserializeOwned>(folder: &StepFolder, name: &str) -> Result<Option<T>, NoteError> {
    let path = folder.path().join(name);
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| NoteError::Text { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NoteError::Read { path, source }),
    }
}

/// Keeps the note `name` of a step; makes its folder.
pub(crate) fn write<T: Serialize>(folder: &StepFolder, name: &str, note: &T) -> Result<(), NoteError> {
    let path = folder.path().join(name);
    let bytes = serde_json::to_vec(note).map_err(|source| NoteError::Text { path: path.clone(), source })?;
    write_whole(&path, &bytes).map_err(|source| NoteError::Write { path, source })
}

/// Replaces a file as a whole, durably; makes the folders that lead to it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// A name that no note has: one call at a time writes it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use takt_agent_core::{StepKey, WorkloadName};

    use super::*;
    use crate::way_back::WayBack;

    #[test]
    fn a_note_is_whole_or_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = StepKey { workload: WorkloadName("takt-00-app.web-g1-7".to_owned()), index: 0 };
        let own = WayBack::new(folder.path().join("way/back")).of(&key);
        assert_eq!(read::<Vec<u32>>(&own, "n.json").unwrap(), None);
        write(&own, "n.json", &vec![1]).unwrap();
        // What a power cut in the middle of the next one leaves.
        fs::write(own.path().join("n.json.new"), "[1, 2").unwrap();
        assert_eq!(read::<Vec<u32>>(&own, "n.json").unwrap(), Some(vec![1]));
        write(&own, "n.json", &vec![1, 2, 3]).unwrap();
        assert_eq!(read::<Vec<u32>>(&own, "n.json").unwrap(), Some(vec![1, 2, 3]));
        fs::write(own.path().join("n.json"), "[1, 2").unwrap();
        assert!(matches!(read::<Vec<u32>>(&own, "n.json"), Err(NoteError::Text { .. })));
    }
}
