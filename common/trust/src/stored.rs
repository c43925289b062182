//! What is kept on disk: the exact bytes of the documents, as text. They are verified again when they are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format of the stored forms.
pub const STORED_FORMAT: u32 = 1;

/// A [`crate::PackageTrust`] at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTrust {
    /// The format, [`STORED_FORMAT`].
    pub format: u32,
    /// The root.
    pub root: String,
    /// The timestamp, if one was accepted under this root.
    pub timestamp: Option<String>,
    /// The snapshot, if one was accepted under this root.
    pub snapshot: Option<String>,
    /// The targets, if they were accepted under this root.
    pub targets: Option<String>,
    /// The targets of delegated roles, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delegated: BTreeMap<String, String>,
}

/// A [`crate::DirectorTrust`] at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredDirector {
    /// The format, [`STORED_FORMAT`].
    pub format: u32,
    /// The director root.
    pub root: String,
}
