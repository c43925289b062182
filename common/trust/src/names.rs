//! File names of documents, as TUF clients expect them with consistent snapshots.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The only document whose name has no version in it.
pub const TIMESTAMP_FILE: &str = "timestamp.json";

/// The name of the snapshot in pins, and of its file where names have no versions.
pub const SNAPSHOT_FILE: &str = "snapshot.json";

/// The same for the targets.
pub const TARGETS_FILE: &str = "targets.json";

/// The package root of `version`: `3.root.json`.
pub fn root_file(version: u64) -> String {
    format!("{version}.root.json")
}

/// The snapshot of `version`: `3.snapshot.json`.
pub fn snapshot_file(version: u64) -> String {
    format!("{version}.snapshot.json")
}

/// The targets of `version`: `3.targets.json`.
pub fn targets_file(version: u64) -> String {
    format!("{version}.targets.json")
}

/// A delegated targets document of `version`; its role may have any name, of which nothing reaches into another folder.
pub fn delegated_file(version: u64, role: &str) -> String {
    format!("{version}.{}.json", encoded_role(role))
}

/// The name of a role in file names and addresses.
pub fn encoded_role(role: &str) -> String {
    /// What stands for itself in an address (RFC 3986, 2.3).
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(role, ENCODED).to_string()
}

/// The director root of `epoch`: `3.director.root.json`.
pub fn director_file(epoch: u64) -> String {
    format!("{epoch}.director.root.json")
}
