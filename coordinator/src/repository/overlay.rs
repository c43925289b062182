//! New documents over the folder of published ones, until they are found good.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use takt_common::Sha256Digest;
use takt_trust::names::TIMESTAMP_FILE;

use super::names::DocumentName;
use super::{FileError, read_if_there, write};

/// What the repository would be.
pub(super) struct Overlay<'a> {
    folder: &'a Path,
    /// In the order in which they are written.
    added: BTreeMap<DocumentName, (String, Vec<u8>)>,
    timestamp: Option<Vec<u8>>,
    /// Names that somebody has asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Overlay<'a> {
    pub(super) const fn over(folder: &'a Path) -> Self {
        Self { folder, added: BTreeMap::new(), timestamp: None, asked: RefCell::new(BTreeSet::new()) }
    }

    pub(super) fn add(&mut self, parsed: DocumentName, name: &str, bytes: &[u8]) {
        self.added.insert(parsed, (name.to_owned(), bytes.to_vec()));
    }

    pub(super) fn set_timestamp(&mut self, bytes: Vec<u8>) {
        self.timestamp = Some(bytes);
    }

    /// A file as it would be served; one that cannot be read counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.asked.borrow_mut().insert(name.to_owned());
        if name == TIMESTAMP_FILE && self.timestamp.is_some() {
            return self.timestamp.clone();
        }
        let added = DocumentName::parse(name).and_then(|parsed| self.added.get(&parsed));
        match added {
            Some((_, bytes)) => Some(bytes.clone()),
            None => read_if_there(&self.folder.join(name)).ok().flatten(),
        }
    }

    pub(super) fn newest_snapshot(&self) -> Option<u64> {
        self.added.keys().rev().find_map(|name| match name {
            DocumentName::Snapshot(version) => Some(*version),
            _ => None,
        })
    }

    /// A new document that no check has asked for.
    pub(super) fn unused(&self) -> Option<String> {
        let asked = self.asked.borrow();
        self.added.values().map(|(name, _)| name).find(|name| !asked.contains(*name)).cloned()
    }

    /// The digests of what is new, by name.
    pub(super) fn digests(&self) -> BTreeMap<String, Sha256Digest> {
        self.added.values().map(|(name, bytes)| (name.clone(), Sha256Digest::of(bytes))).collect()
    }

    /// Writes what is new; what points to others comes after them.
    pub(super) fn write(&self) -> Result<(), FileError> {
        for (name, bytes) in self.added.values() {
            write(&self.folder.join(name), bytes)?;
        }
        self.timestamp.as_ref().map_or(Ok(()), |bytes| write(&self.folder.join(TIMESTAMP_FILE), bytes))
    }
}
