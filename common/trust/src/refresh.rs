//! A look at a Takt package repository, without any I/O: it says which file it needs, and is given it.
//!
//! The way through the repository is that of `visit`; on top, targets are read as Takt means them, and floors do
//! not fall.

use takt_common::UnixTime;

use crate::error::TrustError;
use crate::package::{PackageTrust, View};
use crate::visit::Visit;
pub use crate::walk::{ROOT_LENGTH_MAX, ROOTS_PER_VISIT_MAX};

/// The largest timestamp that is read.
pub const TIMESTAMP_LENGTH_MAX: usize = 16 * 1024;

/// The largest snapshot that is read: room for hundreds of delegated roles.
pub const SNAPSHOT_LENGTH_MAX: usize = 64 * 1024;

/// The largest targets document that is read: about 3,000 releases, and little enough for a small device.
pub const TARGETS_LENGTH_MAX: usize = 2 * 1024 * 1024;

/// A file that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its name in the repository's folder.
    pub name: String,
    /// Reading may stop with an error after so many bytes.
    pub length_max: usize,
}

/// A look at the repository that has begun.
#[derive(Debug)]
pub struct Refresh {
    old: PackageTrust,
    now: UnixTime,
    visit: Visit,
    /// What its documents say, at its end.
    view: Option<View>,
}

impl Refresh {
    pub(crate) fn begin(trust: &PackageTrust, now: UnixTime) -> Self {
        let visit = Visit::begin(&trust.walk, trust.held.clone(), trust.view.is_some(), now);
        Self { old: trust.clone(), now, visit, view: None }
    }

    /// The file that is needed next; `None` when nothing is needed any more, or nothing would help.
    pub fn need(&self) -> Option<Need> {
        self.visit.need()
    }

    /// Takes the file that was needed; `None` when the server says that there is no such file. (When the server says
    /// nothing, drop the refresh and try again later.) After an error the refresh is over.
    pub fn provide(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TrustError> {
        self.visit.provide(bytes)?;
        if self.visit.is_done() && self.view.is_none() {
            match self.look() {
                Ok(view) => self.view = Some(view),
                Err(error) => {
                    self.visit.fail();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The new trust, once nothing is needed any more.
    pub fn finish(self) -> Result<PackageTrust, TrustError> {
        let document = self.need().map_or_else(|| "a document that was refused".to_owned(), |need| need.name);
        let Some(view) = self.view else {
            return Err(TrustError::Unfinished { document });
        };
        let (walk, held, _) = self.visit.into_parts();
        let floors = view.floors();
        Ok(PackageTrust { walk, held, view: Some(view), floors })
    }

    /// The old trust under the newest root that was verified, for when the rest of the refresh failed: a root that takes
    /// a stolen key away counts at once. Documents that the new root does not vouch for are gone.
    pub fn keep_root(self) -> Result<PackageTrust, TrustError> {
        if !self.visit.root_is_new() {
            return Ok(self.old);
        }
        let (walk, ..) = self.visit.into_parts();
        let held = self.old.held.kept_under(&walk);
        PackageTrust::of_held(walk, held)
    }

    /// What the documents of the visit say.
    fn look(&self) -> Result<View, TrustError> {
        let none = || TrustError::NoMetadata { root: self.visit.walk().facts().version };
        let set = self.visit.set();
        if self.visit.is_unchanged() {
            let (old, timestamp) = self.old.view.as_ref().zip(set.timestamp()).ok_or_else(none)?;
            let view = old.under(timestamp);
            view.check_expiry(self.now)?;
            return Ok(view);
        }
        let snapshot = self.visit.verified().snapshot.as_deref().unwrap_or_default();
        let view = View::of(set, snapshot, &self.visit.walk().facts().timestamp)?.ok_or_else(none)?;
        self.check_floors(&view)?;
        Ok(view)
    }

    fn check_floors(&self, view: &View) -> Result<(), TrustError> {
        let floors = view.floors();
        for (component, trusted) in self.visit.kept().floors(&self.visit.walk().facts().timestamp)? {
            let found = floors.get(&component).copied().unwrap_or(0);
            if found < trusted {
                let document = self.visit.targets_name();
                return Err(TrustError::FloorLowered { document, component, trusted, found });
            }
        }
        Ok(())
    }
}
