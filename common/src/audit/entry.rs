//! One entry of the log, and where a chain of them ends.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::what::What;
use crate::digest::Sha256Digest;
use crate::id::{DeviceId, Name};
use crate::strict_json::{self, StrictJsonError};
use crate::time::UnixTime;

/// The format this code writes and reads.
pub const AUDIT_FORMAT: u32 = 1;

/// The longest entry that is read, in bytes. The longest that is written tells of 128 documents in about 12 KiB.
pub const ENTRY_LENGTH_MAX: usize = 64 * 1024;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", deny_unknown_fields)]
pub enum Who {
    /// A person with a token.
    Operator {
        /// How the coordinator calls them; the first one is `operator`.
        name: Name,
    },
    /// A device, with its key.
    Device {
        /// Which.
        device: DeviceId,
    },
    /// The coordinator by itself.
    Coordinator,
}

/// An entry: who did what, and when, by the coordinator's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`AUDIT_FORMAT`].
    pub format: u32,
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When.
    pub time: UnixTime,
    /// Who.
    pub who: Who,
    /// What.
    pub what: What,
    /// Digest of the exact bytes of the entry before; of the first one that of nothing.
    pub previous: Sha256Digest,
}

/// The end of a chain: the number of its last entry and the digest of that entry's exact bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// 0 before the first entry.
    pub number: u64,
    /// That of nothing before the first entry.
    pub sha256: Sha256Digest,
}

impl Who {
    /// The operator of that name.
    pub const fn operator(name: Name) -> Self {
        Self::Operator { name }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { name } => write!(f, "{name}"),
            Self::Device { device } => write!(f, "device {device}"),
            Self::Coordinator => f.write_str("the coordinator"),
        }
    }
}

impl Entry {
    /// The entry that follows `end`.
    pub const fn after(end: End, time: UnixTime, who: Who, what: What) -> Self {
        Self { format: AUDIT_FORMAT, number: end.number + 1, time, who, what, previous: end.sha256 }
    }

    /// The exact bytes that are stored, exported and digested: one line of JSON without its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has only text keys")
    }

    /// Reads an entry; whether it belongs anywhere is for a [`Walk`](super::Walk) to say.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StrictJsonError> {
        strict_json::from_slice(bytes, ENTRY_LENGTH_MAX)
    }
}

impl End {
    /// Of a chain without entries.
    pub fn start() -> Self {
        Self { number: 0, sha256: Sha256Digest::of(b"") }
    }

    /// After the entry of these exact bytes, which has this number.
    pub fn at(number: u64, bytes: &[u8]) -> Self {
        Self { number, sha256: Sha256Digest::of(bytes) }
    }
}
