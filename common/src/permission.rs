//! Permissions: what people allow beyond what a coordinator may order by itself (DESIGN: trust, orders).
//!
//! Orders are made one by one by a machine that is always there, so no person can sign each. A person signs a permission instead:
//! which actions, with which release, on which devices and until when. It travels in every order that needs it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::envelope::{EnvelopeError, PayloadType, Signers};
use crate::id::{DeviceId, Name};
use crate::release::ReleaseId;
use crate::strict_json;
use crate::time::UnixTime;
use crate::{Envelope, order};

/// The format this code writes and reads.
pub const PERMISSION_FORMAT: u32 = 1;

/// The longest envelope of a permission, which stands in an order: room for 128 devices and 16 signatures.
pub const PERMISSION_LENGTH_MAX: usize = 12 * 1024;

/// What an order may do with a permission only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Marked {
    /// Install a release that is older than one which the device has verified, and that it has never verified itself.
    Downgrade,
    /// Switch in spite of soft blockers once the deadline has passed; where the director root names counter-signers.
    GoAhead,
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downgrade => "downgrade",
            Self::GoAhead => "go-ahead",
        })
    }
}

/// What people allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// [`PERMISSION_FORMAT`].
    pub format: u32,
    /// What is allowed.
    pub actions: BTreeSet<Marked>,
    /// With which release.
    pub release: ReleaseId,
    /// In which domain.
    pub domain: Name,
    /// On which devices of it; on all of them if empty.
    pub devices: BTreeSet<DeviceId>,
    /// Until when.
    pub not_after: UnixTime,
    /// Why, for people.
    pub why: String,
}

/// A permission does not allow what it is shown for.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// Nobody may give one.
    #[error("the director root names nobody who may counter-sign")]
    NoRole,
    /// It is too long.
    #[error("it has {length} bytes, at most {PERMISSION_LENGTH_MAX} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Not signed as it must be.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Signed, but no permission.
    #[error("it is unreadable: {0}")]
    Unreadable(String),
    /// Of another format.
    #[error("it has format {found}, this version reads {PERMISSION_FORMAT}")]
    Format {
        /// In it.
        found: u32,
    },
    /// For something else.
    #[error("it is for {field} {allowed}, not for {asked}")]
    Other {
        /// `action`, `release` or `domain`.
        field: &'static str,
        /// What it allows.
        allowed: String,
        /// What it is shown for.
        asked: String,
    },
    /// For other devices.
    #[error("it is for {count} other devices, not for {asked}")]
    OtherDevices {
        /// How many.
        count: usize,
        /// For which it is shown.
        asked: DeviceId,
    },
    /// Its time has passed.
    #[error("it ended at {not_after}, and it is at least {now}")]
    Ended {
        /// Until when it was.
        not_after: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
}

/// What somebody wants to do with a permission.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The action.
    pub action: Marked,
    /// The release.
    pub release: &'a ReleaseId,
    /// The domain.
    pub domain: &'a Name,
    /// The device, where it is about one.
    pub device: Option<DeviceId>,
    /// The time.
    pub now: UnixTime,
}

impl Permission {
    /// The payload that is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a permission has only text keys")
    }

    /// Reads one in its envelope that enough of `signers` have signed.
    pub fn open(envelope: &str, signers: Option<&Signers>) -> Result<Self, PermissionError> {
        let signers = signers.ok_or(PermissionError::NoRole)?;
        if envelope.len() > PERMISSION_LENGTH_MAX {
            return Err(PermissionError::TooLong { length: envelope.len() });
        }
        let payload = Envelope::from_bytes(envelope.as_bytes())?.open(PayloadType::Permission, signers)?;
        Self::read(&payload)
    }

    /// Reads the payload. Signatures are checked elsewhere.
    pub fn read(payload: &[u8]) -> Result<Self, PermissionError> {
        let permission: Self = strict_json::from_slice(payload, PERMISSION_LENGTH_MAX)
            .map_err(|error| PermissionError::Unreadable(error.to_string()))?;
        if permission.format == PERMISSION_FORMAT {
            Ok(permission)
        } else {
            Err(PermissionError::Format { found: permission.format })
        }
    }

    /// Whether it allows this.
    pub fn check(&self, wanted: &Use) -> Result<(), PermissionError> {
        let other = |field, allowed: String, asked: String| PermissionError::Other { field, allowed, asked };
        if !self.actions.contains(&wanted.action) {
            let allowed = self.actions.iter().map(Marked::to_string).collect::<Vec<_>>().join(", ");
            return Err(other("action", allowed, wanted.action.to_string()));
        }
        if self.release != *wanted.release {
            return Err(other("release", self.release.to_string(), wanted.release.to_string()));
        }
        if self.domain != *wanted.domain {
            return Err(other("domain", self.domain.to_string(), wanted.domain.to_string()));
        }
        if let Some(device) = wanted.device
            && !self.devices.is_empty()
            && !self.devices.contains(&device)
        {
            return Err(PermissionError::OtherDevices { count: self.devices.len(), asked: device });
        }
        if self.not_after <= wanted.now {
            return Err(PermissionError::Ended { not_after: self.not_after, now: wanted.now });
        }
        Ok(())
    }
}

impl Marked {
    /// Whether an order's policy asks to go ahead at the deadline with an install.
    pub fn goes_ahead(order: &order::Order) -> bool {
        order.action == order::Action::Install && order.policy.at_deadline == order::AtDeadline::GoAhead
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;
    use crate::SigningKey;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn permission() -> Permission {
        Permission {
            format: PERMISSION_FORMAT,
            actions: BTreeSet::from([Marked::Downgrade]),
            release: release("1.0"),
            domain: "north".parse().unwrap(),
            devices: BTreeSet::new(),
            not_after: UnixTime::from_secs(NOW.as_secs() + 60),
            why: "2.0 burns".to_owned(),
        }
    }

    fn release(version: &str) -> ReleaseId {
        ReleaseId { name: "counter".parse().unwrap(), version: version.parse().unwrap() }
    }

    #[test]
    fn it_allows_what_it_names_and_nothing_else() {
        let mut permission = permission();
        let (own, other) = (release("1.0"), release("1.1"));
        let (north, south) = ("north".parse().unwrap(), "south".parse().unwrap());
        let device = Some("00112233445566778899aabbccddeeff".parse().unwrap());
        let good = Use { action: Marked::Downgrade, release: &own, domain: &north, device, now: NOW };
        permission.check(&good).unwrap();
        let late = permission.not_after;
        for (wanted, needle) in [
            (Use { action: Marked::GoAhead, ..good }, "not for go-ahead"),
            (Use { release: &other, ..good }, "not for counter 1.1"),
            (Use { domain: &south, ..good }, "not for south"),
            (Use { now: late, ..good }, "it ended at"),
        ] {
            let error = permission.check(&wanted).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
        permission.devices.insert("ffeeddccbbaa99887766554433221100".parse().unwrap());
        let error = permission.check(&good).unwrap_err().to_string();
        assert!(error.contains("1 other devices, not for 0011"), "{error}");
        permission.check(&Use { device: None, ..good }).unwrap();
        permission.devices.extend(device);
        permission.check(&good).unwrap();
    }

    #[test]
    fn it_counts_with_enough_signatures_of_those_who_may_and_in_its_own_envelope_only() {
        let keys: Vec<SigningKey> =
            (0..3).map(|_| SigningKey::generate(&SystemRandom::new()).unwrap()).collect();
        let (payload, kind) = (permission().to_bytes(), PayloadType::Permission);
        let public = keys[..2].iter().map(SigningKey::public).collect();
        let signers = Signers { role: "the counter-signers".into(), keys: public, threshold: 2 };
        let sealed = |kind, by: &[&SigningKey]| {
            String::from_utf8(Envelope::seal(kind, &payload, by).to_bytes()).unwrap()
        };
        let good = sealed(kind, &[&keys[0], &keys[1]]);
        assert_eq!(Permission::open(&good, Some(&signers)).unwrap(), permission());
        assert!(matches!(Permission::open(&good, None), Err(PermissionError::NoRole)));
        for by in [&[&keys[0]][..], &[&keys[0], &keys[0]], &[&keys[0], &keys[2]], &[]] {
            let envelope = sealed(kind, by);
            assert!(matches!(
                Permission::open(&envelope, Some(&signers)),
                Err(PermissionError::Envelope(EnvelopeError::Threshold { .. }))
            ));
        }
        let order = sealed(PayloadType::Order, &[&keys[0], &keys[1]]);
        assert!(matches!(Permission::open(&order, Some(&signers)), Err(PermissionError::Envelope(_))));
        let long = format!("{good}{}", " ".repeat(PERMISSION_LENGTH_MAX));
        assert!(matches!(Permission::open(&long, Some(&signers)), Err(PermissionError::TooLong { .. })));
    }
}
