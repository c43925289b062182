//! Files that are being uploaded: whole and synced under their name, or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::files::{self, FileError};

/// The folder of uploads that have not ended.
const INCOMING: &str = ".incoming";

/// Where uploads are written before they get their names.
pub struct Inbox {
    folder: PathBuf,
    uploads: AtomicU64,
}

impl Inbox {
    /// Within `folder`, on the disk on which files get their names; what interrupted uploads have left is removed.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        let folder = folder.join(INCOMING);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::of("empty folder", &folder)(error));
            }
            _ => {}
        }
        files::make_folder(&folder)?;
        Ok(Self { folder, uploads: AtomicU64::new(0) })
    }

    /// Begins a file of its own, whatever else comes under the same name.
    pub async fn begin(&self, name: &str) -> io::Result<Incoming> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        Incoming::begin(self.folder.join(format!("{number}-{name}"))).await
    }
}

/// A file that is being written. Nothing of it remains when it is dropped.
pub struct Incoming {
    file: File,
    path: Remains,
}

/// Removes the file when it is dropped: the request may be dropped at any await.
struct Remains(Option<PathBuf>);

impl Incoming {
    /// Begins a file at `path`, where none may be.
    async fn begin(path: PathBuf) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&path).await?;
        Ok(Self { file, path: Remains(Some(path)) })
    }

    /// The next piece.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await
    }

    /// It is whole: it gets its name.
    pub async fn keep(mut self, path: &Path) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        if let Some(incoming) = &self.path.0 {
            tokio::fs::rename(incoming, path).await?;
        }
        self.path.0 = None;
        Ok(())
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // What stays in spite of this is removed by the next start.
            let _ = fs::remove_file(path);
        }
    }
}
