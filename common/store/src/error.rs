//! What can go wrong with a store, each with its subject.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// An error of a store. Cheap to clone: commits that share one flush share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A precondition of the batch does not hold; nothing was changed.
    #[error("commit: key '{}' does not hold the value the batch expects", .key.escape_ascii())]
    Conflict {
        /// The first key that holds something else.
        key: Vec<u8>,
    },
    /// A key no store takes.
    #[error("use key '{}': {why}", .key.escape_ascii())]
    KeyRefused {
        /// The key.
        key: Vec<u8>,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A value above [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX).
    #[error("commit: the value of key '{}' has {bytes} bytes, at most {bytes_max} are stored", .key.escape_ascii())]
    ValueTooLarge {
        /// Whose value it is.
        key: Vec<u8>,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A batch above [`Store::batch_bytes_max`](crate::Store::batch_bytes_max).
    #[error("commit: the batch has {bytes} bytes, at most {bytes_max} are stored at once")]
    BatchTooLarge {
        /// Keys and values together.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A value that is not the JSON the caller expects.
    #[error("read or write the JSON value of key '{}'", .key.escape_ascii())]
    Json {
        /// Whose value it is.
        key: Vec<u8>,
        /// What JSON says.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Another store, here or in another process, has the folder open.
    #[error("open store '{}': another process (or another part of this one) has it open", .path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The folder or a file in it cannot be made, read, synced, renamed or removed.
    #[error("{doing} '{}'", .path.display())]
    File {
        /// The operation, such as `"create folder"`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database does not open, for a reason other than damage (a full disk, a permission, a failing disk).
    #[error("open store '{}'", .path.display())]
    Open {
        /// The store's folder.
        path: PathBuf,
        /// What sled says.
        #[source]
        source: sled::Error,
    },
    /// The database is damaged and there is no sound export to restore it from.
    #[error(
        "open store '{}': it is damaged ({reason}) and no sound export stands beside it; \
         move the folder away to start with an empty one", .path.display()
    )]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A read failed.
    #[error("read from store '{}'", .path.display())]
    Read {
        /// The store's folder.
        path: PathBuf,
        /// What sled says.
        #[source]
        source: sled::Error,
    },
    /// A value's parts do not fit together; open the store again to have it restored.
    #[error("read from store '{}': the value of key '{}' is damaged ({reason})", .path.display(), .key.escape_ascii())]
    Value {
        /// The store's folder.
        path: PathBuf,
        /// Whose value it is.
        key: Vec<u8>,
        /// What does not fit.
        reason: &'static str,
    },
    /// A commit failed in sled: what is on disk is unknown.
    #[error("commit to store '{}'", .path.display())]
    Commit {
        /// The store's folder.
        path: PathBuf,
        /// What sled says.
        #[source]
        source: sled::Error,
    },
    /// sled panicked under the operation: what is on disk is unknown.
    #[error("{doing} store '{}': the database stopped with '{text}'", .path.display())]
    Panicked {
        /// The operation, such as `"commit to"`.
        doing: &'static str,
        /// The store's folder.
        path: PathBuf,
        /// The panic's text.
        text: String,
    },
    /// An earlier commit failed; nothing is committed until the store is opened again.
    #[error(
        "commit to store '{}': an earlier commit failed ({cause}), so what is on disk is unknown until it is \
         opened again", .path.display()
    )]
    Poisoned {
        /// The store's folder.
        path: PathBuf,
        /// The earlier failure.
        cause: String,
    },
    /// An export file is not one, or is damaged.
    #[error("read export '{}': {reason}", .path.display())]
    ExportUnsound {
        /// The export file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// For `map_err`: an error about a file or folder.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source: Arc::new(source) }
    }
}
