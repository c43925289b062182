//! Who may order: the director root and its successors.

use takt_common::UnixTime;
use takt_common::envelope::Signers;

use crate::error::TrustError;
use crate::refresh::Need;
use crate::rules::{Purpose, RoleSpec, Rules};
use crate::stored::{STORED_FORMAT, StoredDirector};
use crate::walk::{ROOT_LENGTH_MAX, RootWalk};

/// A verified director root.
#[derive(Debug, Clone)]
pub struct DirectorTrust {
    walk: RootWalk,
    order: RoleSpec,
}

/// A walk to the newest director root.
#[derive(Debug)]
pub struct DirectorRefresh {
    walk: RootWalk,
    state: Walking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walking {
    On,
    Done,
    Failed,
}

impl DirectorTrust {
    /// Trust in this root. Where the bytes come from must be trusted: enrolment, or a person.
    pub fn from_root(bytes: &[u8]) -> Result<Self, TrustError> {
        Self::of_walk(RootWalk::begin(Rules::Takt(Purpose::Director), bytes)?)
    }

    /// Reads the stored form back, and checks its signatures again.
    pub fn from_stored(stored: &StoredDirector) -> Result<Self, TrustError> {
        if stored.format != STORED_FORMAT {
            return Err(TrustError::StoredFormat { found: stored.format, expected: STORED_FORMAT });
        }
        Self::from_root(stored.root.as_bytes())
    }

    /// The form for the disk: the exact signed bytes.
    pub fn to_stored(&self) -> StoredDirector {
        let root = String::from_utf8_lossy(self.walk.root_bytes()).into_owned();
        StoredDirector { format: STORED_FORMAT, root }
    }

    /// Begins to look for newer roots. A newer root is taken whatever the time is.
    #[must_use]
    pub fn begin_refresh(&self) -> DirectorRefresh {
        DirectorRefresh { walk: self.walk.begin_visit(), state: Walking::On }
    }

    /// A whole refresh from a source that answers at once; `None` means that there is no such file.
    pub fn refreshed(&self, mut fetch: impl FnMut(&Need) -> Option<Vec<u8>>) -> Result<Self, TrustError> {
        let mut refresh = self.begin_refresh();
        while let Some(need) = refresh.need() {
            refresh.provide(fetch(&need))?;
        }
        refresh.finish()
    }

    /// The version of the root, which is the epoch of orders under it.
    pub fn epoch(&self) -> u64 {
        self.walk.facts().version
    }

    /// The exact bytes of the root.
    pub fn root_bytes(&self) -> &[u8] {
        self.walk.root_bytes()
    }

    /// When it expires: until then its order keys say what time it is, and not beyond.
    pub fn expires(&self) -> UnixTime {
        self.walk.facts().expires
    }

    /// Whether every order key of `earlier` may still order. One that may not has been taken away, perhaps from a thief.
    pub fn keeps_order_keys_of(&self, earlier: &Self) -> bool {
        earlier.order.keys.iter().all(|key| self.order.keys.contains(key))
    }

    /// Who may sign orders.
    pub fn order_signers(&self) -> Signers {
        let RoleSpec { keys, threshold } = self.order.clone();
        Signers { role: format!("the order keys of director root {}", self.epoch()), keys, threshold }
    }

    /// Who may permit what the coordinator may not order by itself; `None` where nobody may.
    pub fn counter_signers(&self) -> Option<Signers> {
        let RoleSpec { keys, threshold } = self.walk.facts().counter.clone()?;
        Some(Signers {
            role: format!("the counter-signers of director root {}", self.epoch()),
            keys,
            threshold,
        })
    }

    /// Whether new orders may be accepted: the root has not expired.
    pub fn check_fresh(&self, now: UnixTime) -> Result<(), TrustError> {
        self.walk.check_expiry(now)
    }

    fn of_walk(walk: RootWalk) -> Result<Self, TrustError> {
        let order = walk.facts().order.clone().ok_or_else(|| TrustError::Rule {
            document: walk.file(),
            source: crate::rules::RootRule::OrderField { what: "missing" },
        })?;
        Ok(Self { walk, order })
    }
}

impl DirectorRefresh {
    /// The file that is needed next; `None` when the walk is at its end.
    pub fn need(&self) -> Option<Need> {
        (self.state == Walking::On).then(|| Need { name: self.walk.next_file(), length_max: ROOT_LENGTH_MAX })
    }

    /// Takes the file that was needed; `None` when the server says that there is no such file. After an error the walk
    /// is over; [`Self::keep_root`] still gives the newest root that was verified.
    pub fn provide(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TrustError> {
        match (self.state, bytes) {
            (Walking::On, None) => self.state = Walking::Done,
            (Walking::On, Some(bytes)) => {
                let step = self.walk.step(&bytes);
                if step.is_err() {
                    self.state = Walking::Failed;
                }
                return step;
            }
            (Walking::Done | Walking::Failed, _) => {}
        }
        Ok(())
    }

    /// The trust in the newest root.
    pub fn finish(self) -> Result<DirectorTrust, TrustError> {
        match self.state {
            Walking::Done => DirectorTrust::of_walk(self.walk),
            Walking::On | Walking::Failed => Err(TrustError::Unfinished { document: self.walk.next_file() }),
        }
    }

    /// The trust in the newest root that was verified before an error.
    pub fn keep_root(self) -> Result<DirectorTrust, TrustError> {
        DirectorTrust::of_walk(self.walk)
    }
}
