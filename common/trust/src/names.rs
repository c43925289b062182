//! File names of documents, as TUF clients expect them with consistent snapshots.

/// The only document whose name has no version in it.
pub const TIMESTAMP_FILE: &str = "timestamp.json";

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

/// The director root of `epoch`: `3.director.root.json`.
pub fn director_file(epoch: u64) -> String {
    format!("{epoch}.director.root.json")
}
