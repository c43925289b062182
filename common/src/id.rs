//! Device ids and the names people give to devices, domains, releases and campaigns.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Sha256Digest, from_hex, to_hex};
use crate::key::PublicKey;

/// The id of a device: the first 32 hex digits of the SHA-256 of its raw Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId([u8; 16]);

/// As its text is ordered; fleets are maps by id, so it is one comparison of numbers.
impl Ord for DeviceId {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for DeviceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A text that should have been an id or a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 32 lower-case hex digits.
    #[error("'{0}' is not a device id: 32 lower-case hex digits expected")]
    DeviceId(String),
    /// Not a name.
    #[error(
        "'{0}' is not a name: 1 to 63 of a-z, 0-9, '-', '.' and '_' expected, beginning with a letter or digit"
    )]
    Name(String),
}

impl DeviceId {
    /// The id that belongs to `key`.
    pub fn of_key(key: &PublicKey) -> Self {
        let digest = Sha256Digest::of(key.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Self(bytes)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex::<16>(text).map(Self).ok_or_else(|| IdError::DeviceId(text.chars().take(80).collect()))
    }
}

/// A name for people: of a device, a domain, a release, a component or a campaign.
///
/// 1 to 63 of `a-z`, `0-9`, `-`, `.` and `_`, beginning with a letter or digit; so it is safe as an MQTT topic
/// level, a file name and a part of a URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest name in bytes, chosen so that it fits a DNS label.
    pub const LENGTH_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = (1..=Self::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| allowed(byte) || b"-._".contains(&byte))
            && text.bytes().next().is_some_and(allowed);
        if good { Ok(Self(text.to_owned())) } else { Err(IdError::Name(text.chars().take(80).collect())) }
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(DeviceId);
serde_as_text!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_a_topic_or_a_folder_are_refused() {
        for text in ["", "..", ".a", "-a", "a/b", "a+", "#", "$share", "Ä", "a b", &"a".repeat(64)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        for text in ["a", "camera-1", "1.2.3", "line_7", &"a".repeat(63)] {
            assert!(text.parse::<Name>().is_ok(), "{text}");
        }
    }
}
