//! Who can stand in for whom, and how many of a set must serve (paper 1, "Build Device Redundancy Matrix").

use serde::{Deserialize, Serialize};

/// How a standby takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// It is told, and does the rest by itself.
    Notify,
    /// It starts the device's current release as a stand-in.
    Launch,
    /// It goes on from a checkpoint of the device's memory.
    Restore,
}

/// The Device Redundancy Matrix of a [`crate::Network`], whose numbers it uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drm {
    /// Sets of which some must serve.
    pub sets: Vec<ServeSet>,
    /// Who stands in for whom; of one device the preferred first.
    pub standbys: Vec<Standby>,
}

/// A set of devices that do the same work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSet {
    /// Its name.
    pub name: String,
    /// Its members, each once.
    pub members: Vec<u32>,
    /// How many of them serve at any time.
    pub serve_min: usize,
}

/// A device that serves for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// For whom.
    pub device: u32,
    /// Who serves.
    pub by: u32,
    /// How it takes over.
    pub takeover: Takeover,
    /// What for.
    pub capability: Option<String>,
    /// For how many devices `by` can serve at once.
    pub capacity: usize,
}

impl Drm {
    /// Who may serve for `device`, the preferred first.
    pub fn standbys_of(&self, device: u32) -> impl Iterator<Item = &Standby> {
        self.standbys.iter().filter(move |standby| standby.device == device)
    }
}
