//! Opening, making and restoring: a database becomes visible under its name only when it is whole and durable.

use std::fs;
use std::path::Path;

use super::database::{Database, OpenFailure, Writes};
use super::export::{self, Exported};
use super::folder::{self, Folder};
use super::{Origin, Sizes};
use crate::StoreError;

/// An open database, where it came from, and the commit its newest sound export holds.
pub(super) struct Recovered {
    pub(super) database: Database,
    pub(super) origin: Origin,
    pub(super) exported_commit: Option<u64>,
}

/// Opens the database of `folder`; makes it when there is none; restores it when it is damaged.
pub(super) fn open_or_recover(folder: &Folder, sizes: Sizes) -> Result<Recovered, StoreError> {
    // Left by a start that was cut short: never used by anyone.
    folder::remove_tree(&folder.new_database())?;
    let export = export::newest_sound(folder);
    let exported_commit = export.as_ref().map(|(_, exported)| exported.commit);
    let recovered = |database, origin| Recovered { database, origin, exported_commit };

    let reason = if folder.database().exists() {
        match Database::open(&folder.database(), sizes) {
            Ok(database) if Some(database.commit_number()) >= exported_commit => {
                return Ok(recovered(database, Origin::Found));
            }
            // A damaged end of the log looks to sled like a write that was cut short.
            Ok(database) => format!(
                "its last commit is number {}, but its own export holds commit {}",
                database.commit_number(),
                exported_commit.unwrap_or_default(),
            ),
            Err(OpenFailure::Damaged(reason)) => reason,
            Err(OpenFailure::Other(error)) => return Err(error),
        }
    } else if export.is_none() && !folder.damaged_database().exists() {
        build(folder, sizes, None)?;
        let database = open_built(folder, sizes)?;
        return Ok(recovered(database, Origin::Created));
    } else {
        "the database is missing beside its export or its damaged predecessor".to_owned()
    };

    let Some((path, Exported { commit, pairs })) = export else {
        return Err(StoreError::Damaged { path: folder.path().to_path_buf(), reason });
    };
    tracing::error!(path = %folder.path().display(), %reason, commit, "store is damaged, it is being restored");
    build(folder, sizes, Some((&path, commit)))?;
    let database = open_built(folder, sizes)?;
    Ok(recovered(database, Origin::Restored { reason, pairs, commit }))
}

/// Builds a database aside, empty or from an export, and puts it in place when all of it is durable.
fn build(folder: &Folder, sizes: Sizes, export: Option<(&Path, u64)>) -> Result<(), StoreError> {
    let new = folder.new_database();
    {
        let database = Database::open(&new, sizes).map_err(|failure| of_new(folder, failure))?;
        if let Some((path, commit)) = export {
            import(&database, path, commit)?;
        }
    }
    folder::sync_tree(&new)?;
    if folder.database().exists() {
        folder::remove_tree(&folder.damaged_database())?;
        fs::rename(folder.database(), folder.damaged_database())
            .map_err(StoreError::file("rename", folder.database()))?;
    }
    fs::rename(&new, folder.database()).map_err(StoreError::file("rename", &new))?;
    folder.sync()
}

/// Fills `database` from an export that was found sound.
fn import(database: &Database, path: &Path, commit: u64) -> Result<(), StoreError> {
    let mut writes = Writes::new();
    let mut bytes = 0;
    export::read(path, |key, value| {
        bytes += key.len() + value.len();
        writes.insert(key, Some(value));
        if bytes >= database.batch_bytes_max() / 2 {
            database.apply_as(&std::mem::take(&mut writes), commit)?;
            bytes = 0;
        }
        Ok(())
    })?;
    database.apply_as(&writes, commit)
}

fn open_built(folder: &Folder, sizes: Sizes) -> Result<Database, StoreError> {
    Database::open(&folder.database(), sizes).map_err(|failure| of_new(folder, failure))
}

/// A database that was just built and does not open: an export does not help against that.
fn of_new(folder: &Folder, failure: OpenFailure) -> StoreError {
    match failure {
        OpenFailure::Other(error) => error,
        OpenFailure::Damaged(reason) => StoreError::Damaged { path: folder.path().to_path_buf(), reason },
    }
}
