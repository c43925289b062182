//! Takt's rules for roots, beyond what TUF asks: they hold when a root is written and again when one is read.
//!
//! * Keys are Ed25519, canonical, and not of small order (anyone can sign for such a key).
//! * A key id is the SHA-256 of the key's canonical JSON. TUF lets a repository choose ids freely, but then one key
//!   under two ids counts as two signers.
//! * Every root says what it is for. Package root and director root are signed by the same people with the same keys,
//!   so without this the director root could be replayed to devices as the next package root.
//! * A key that lives on a coordinator (timestamp, orders) has no other role.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sigstore_tuf::{Key, RoleKeys, Root};
use takt_common::{PublicKey, Sha256Digest, UnixTime};

/// The TUF version that all documents state.
pub const SPEC_VERSION: &str = "1.0.31";

/// More people than any threshold needs; bounds the work that a hostile root can cause.
pub const ROLE_KEYS_MAX: usize = 16;

/// The signed field that says what a root is for.
pub(crate) const PURPOSE_FIELD: &str = "x-takt-purpose";

/// The signed field of a director root that names the order keys.
pub(crate) const ORDER_FIELD: &str = "x-takt-order";

/// The signed field of a director root that names who counter-signs.
pub(crate) const COUNTER_FIELD: &str = "x-takt-counter";

/// The roles that a root names: exactly these, as TUF demands.
pub(crate) const ROLES: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// Who may sign in a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// The keys of the role's holders.
    pub keys: Vec<PublicKey>,
    /// How many different keys must have signed; at least 1.
    pub threshold: usize,
}

/// What a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// The root of the package repository.
    Packages,
    /// The root of those who order.
    Director,
}

impl Purpose {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Director => "director",
        }
    }
}

/// Which rules hold for the roots of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Takt's, for roots of this purpose.
    Takt(Purpose),
    /// Those of TUF alone, for repositories of others.
    Tuf,
}

/// A root breaks one of the rules above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootRule {
    /// A director root where a package root belongs, or the other way round, or a root of someone else.
    #[error("the root is for '{found}', one for '{expected}' was expected")]
    Purpose {
        /// What the root says it is for.
        found: String,
        /// What is needed here.
        expected: &'static str,
    },
    /// The roles are not those that belong in a root.
    #[error("the root's roles are '{found}', exactly '{expected}' were expected")]
    Roles {
        /// The roles in the document.
        found: String,
        /// The roles that belong there.
        expected: String,
    },
    /// The field with the order keys is missing, unreadable or misplaced.
    #[error("the root's field '{ORDER_FIELD}' is {what}")]
    OrderField {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The field with the counter-signers is unreadable or misplaced.
    #[error("the root's field '{COUNTER_FIELD}' is {what}")]
    CounterField {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Version 0.
    #[error("the root has version 0, versions count from 1")]
    VersionZero,
    /// File names without versions in them cannot be served safely while they change.
    #[error("the root does not ask for consistent snapshots")]
    NotConsistent,
    /// Nobody, or too few people for the threshold.
    #[error(
        "role '{role}' needs {threshold} signatures but has {keys} keys; at least 1 and at most all are possible"
    )]
    Threshold {
        /// The role.
        role: String,
        /// Its threshold.
        threshold: usize,
        /// How many keys it has.
        keys: usize,
    },
    /// More keys than are ever checked.
    #[error("role '{role}' has {keys} keys, at most {ROLE_KEYS_MAX} are allowed")]
    TooManyKeys {
        /// The role.
        role: String,
        /// How many keys it has.
        keys: usize,
    },
    /// One key twice in a role.
    #[error("role '{role}' names key {key_id} twice")]
    KeyTwice {
        /// The role.
        role: String,
        /// The key that stands there twice.
        key_id: String,
    },
    /// A key id without a key.
    #[error("role '{role}' names key {key_id}, which the root does not hold")]
    KeyMissing {
        /// The role.
        role: String,
        /// The id that leads nowhere.
        key_id: String,
    },
    /// Not Ed25519.
    #[error("key {key_id} of role '{role}' is of type '{scheme}', 'ed25519' was expected")]
    KeyScheme {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
        /// Its scheme.
        scheme: String,
    },
    /// Not 32 bytes in lower-case hex digits.
    #[error("key {key_id} of role '{role}' is not a raw Ed25519 public key in 64 lower-case hex digits")]
    KeyText {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// The id is not that of the key.
    #[error("key {key_id} of role '{role}' has the wrong id, its own is {computed}")]
    KeyId {
        /// The role.
        role: String,
        /// The declared id.
        key_id: String,
        /// The id that the key has.
        computed: String,
    },
    /// Anyone can sign for this key, or it has a second spelling.
    #[error("key {key_id} of role '{role}' is weak: a point of small order, or not in canonical form")]
    WeakKey {
        /// The role.
        role: String,
        /// The key.
        key_id: String,
    },
    /// A key of the coordinator stands in a role that must stay away from it.
    #[error(
        "key {key_id} of the online role '{online}' is in role '{role}' as well; an online key has one role"
    )]
    OnlineKeyShared {
        /// The online role.
        online: &'static str,
        /// The other role.
        role: &'static str,
        /// The key.
        key_id: String,
    },
}

/// The TUF key object, in the field order of its canonical JSON.
#[derive(Serialize)]
struct KeyObject<'a> {
    keytype: &'a str,
    keyval: KeyValue<'a>,
    scheme: &'a str,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    public: &'a str,
}

/// The key as it stands in a root.
pub(crate) fn key_object(key: &PublicKey) -> serde_json::Value {
    let object =
        KeyObject { keytype: "ed25519", keyval: KeyValue { public: &key.to_string() }, scheme: "ed25519" };
    serde_json::to_value(object).expect("a key is only strings")
}

/// The TUF key id: the SHA-256 of the key object's canonical JSON, in hex digits.
pub fn key_id(key: &PublicKey) -> String {
    let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(&key_object(key))
        .expect("a key object holds no number");
    Sha256Digest::of(&canonical).to_string()
}

impl RoleSpec {
    /// True when `threshold` different keys of the role are among `signers`.
    #[must_use]
    pub fn satisfied_by(&self, signers: &[PublicKey]) -> bool {
        self.keys.iter().filter(|key| signers.contains(key)).count() >= self.threshold.max(1)
    }

    /// Checks the rules that concern one role by itself.
    pub(crate) fn check(&self, role: &str) -> Result<(), RootRule> {
        let (threshold, keys) = (self.threshold, self.keys.len());
        if keys > ROLE_KEYS_MAX {
            return Err(RootRule::TooManyKeys { role: role.to_owned(), keys });
        }
        if !(1..=keys).contains(&threshold) {
            return Err(RootRule::Threshold { role: role.to_owned(), threshold, keys });
        }
        for (at, key) in self.keys.iter().enumerate() {
            if is_weak(key) {
                return Err(RootRule::WeakKey { role: role.to_owned(), key_id: key_id(key) });
            }
            if self.keys[..at].contains(key) {
                return Err(RootRule::KeyTwice { role: role.to_owned(), key_id: key_id(key) });
            }
        }
        Ok(())
    }

    /// Reads the role `name` from a document's tables.
    pub(crate) fn read(name: &str, role: &RoleKeys, keys: &BTreeMap<String, Key>) -> Result<Self, RootRule> {
        if role.keyids.len() > ROLE_KEYS_MAX {
            return Err(RootRule::TooManyKeys { role: name.to_owned(), keys: role.keyids.len() });
        }
        let keys = role.keyids.iter().map(|id| read_key(name, id, keys)).collect::<Result<_, _>>()?;
        let spec = Self { keys, threshold: role.threshold };
        spec.check(name)?;
        Ok(spec)
    }
}

fn read_key(role: &str, id: &str, keys: &BTreeMap<String, Key>) -> Result<PublicKey, RootRule> {
    let (role, key_id) = (role.to_owned(), id.chars().take(80).collect::<String>());
    let Some(key) = keys.get(id) else {
        return Err(RootRule::KeyMissing { role, key_id });
    };
    if key.keytype != "ed25519" || key.scheme != "ed25519" {
        let scheme = key.scheme.chars().take(80).collect();
        return Err(RootRule::KeyScheme { role, key_id, scheme });
    }
    let Ok(public) = key.keyval.public.parse::<PublicKey>() else {
        return Err(RootRule::KeyText { role, key_id });
    };
    let computed = self::key_id(&public);
    if computed != id {
        return Err(RootRule::KeyId { role, key_id, computed });
    }
    Ok(public)
}

/// What a root says, with all rules checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootFacts {
    pub(crate) version: u64,
    pub(crate) expires: UnixTime,
    pub(crate) root: RoleSpec,
    pub(crate) targets: RoleSpec,
    pub(crate) snapshot: RoleSpec,
    pub(crate) timestamp: RoleSpec,
    /// Present in a director root only.
    pub(crate) order: Option<RoleSpec>,
    /// In a director root only, and not in every one.
    pub(crate) counter: Option<RoleSpec>,
}

impl RootFacts {
    /// Reads a root that must be for `expected`. Signatures are checked elsewhere.
    pub(crate) fn read(root: &Root, expected: Purpose) -> Result<Self, RootRule> {
        let purpose =
            root.extra.get(PURPOSE_FIELD).and_then(serde_json::Value::as_str).unwrap_or("nothing named");
        if purpose != expected.as_str() {
            let found = purpose.chars().take(80).collect();
            return Err(RootRule::Purpose { found, expected: expected.as_str() });
        }
        if root.roles.len() != ROLES.len() {
            return Err(unexpected_roles(root));
        }
        let role = |name: &str| {
            let role = root.roles.get(name).ok_or_else(|| unexpected_roles(root))?;
            RoleSpec::read(name, role, &root.keys)
        };
        let facts = Self {
            version: root.version,
            expires: instant_of(root.expires),
            root: role("root")?,
            targets: role("targets")?,
            snapshot: role("snapshot")?,
            timestamp: role("timestamp")?,
            order: read_order(root, expected)?,
            counter: read_counter(root, expected)?,
        };
        if !root.consistent_snapshot {
            return Err(RootRule::NotConsistent);
        }
        facts.check()?;
        Ok(facts)
    }

    /// What a root of any repository says; of the keys, those that are Ed25519 in the usual form.
    pub(crate) fn of_any(root: &Root) -> Self {
        let role = |name: &str| {
            let role = root.roles.get(name);
            let ids = role.map_or(&[][..], |role| &role.keyids);
            let keys = ids.iter().filter_map(|id| root.keys.get(id)?.keyval.public.parse().ok());
            RoleSpec { keys: keys.collect(), threshold: role.map_or(1, |role| role.threshold) }
        };
        Self {
            version: root.version,
            expires: instant_of(root.expires),
            root: role("root"),
            targets: role("targets"),
            snapshot: role("snapshot"),
            timestamp: role("timestamp"),
            order: None,
            counter: None,
        }
    }

    /// Checks every rule that does not depend on how the root is written.
    pub(crate) fn check(&self) -> Result<(), RootRule> {
        if self.version == 0 {
            return Err(RootRule::VersionZero);
        }
        let offline = [("root", &self.root), ("targets", &self.targets), ("snapshot", &self.snapshot)];
        for (name, role) in offline {
            role.check(name)?;
        }
        self.timestamp.check("timestamp")?;
        match &self.order {
            // In a director root only the order keys are online; its TUF roles are the root's own.
            Some(order) => {
                order.check("order")?;
                if let Some(counter) = &self.counter {
                    counter.check("counter")?;
                    keep_apart("order", order, "counter", counter)?;
                }
                offline.iter().try_for_each(|(name, role)| keep_apart("order", order, name, role))
            }
            None => offline
                .iter()
                .try_for_each(|(name, role)| keep_apart("timestamp", &self.timestamp, name, role)),
        }
    }
}

fn keep_apart(
    online: &'static str,
    online_role: &RoleSpec,
    name: &'static str,
    role: &RoleSpec,
) -> Result<(), RootRule> {
    match online_role.keys.iter().find(|key| role.keys.contains(key)) {
        Some(key) => Err(RootRule::OnlineKeyShared { online, role: name, key_id: key_id(key) }),
        None => Ok(()),
    }
}

fn read_order(root: &Root, purpose: Purpose) -> Result<Option<RoleSpec>, RootRule> {
    match (root.extra.get(ORDER_FIELD), purpose) {
        (None, Purpose::Packages) => Ok(None),
        (Some(_), Purpose::Packages) => Err(RootRule::OrderField { what: "not for a package root" }),
        (None, Purpose::Director) => Err(RootRule::OrderField { what: "missing" }),
        (Some(value), Purpose::Director) => {
            let role: RoleKeys = serde_json::from_value(value.clone())
                .map_err(|_| RootRule::OrderField { what: "not a role with keyids and threshold" })?;
            RoleSpec::read("order", &role, &root.keys).map(Some)
        }
    }
}

fn read_counter(root: &Root, purpose: Purpose) -> Result<Option<RoleSpec>, RootRule> {
    match (root.extra.get(COUNTER_FIELD), purpose) {
        (None, _) => Ok(None),
        (Some(_), Purpose::Packages) => Err(RootRule::CounterField { what: "not for a package root" }),
        (Some(value), Purpose::Director) => {
            let role: RoleKeys = serde_json::from_value(value.clone())
                .map_err(|_| RootRule::CounterField { what: "not a role with keyids and threshold" })?;
            RoleSpec::read("counter", &role, &root.keys).map(Some)
        }
    }
}

fn unexpected_roles(root: &Root) -> RootRule {
    let found: Vec<&str> = root.roles.keys().take(8).map(String::as_str).collect();
    RootRule::Roles { found: found.join(" "), expected: ROLES.join(" ") }
}

/// A document's instant in whole seconds; before 1970 counts as 1970.
pub(crate) fn instant_of(at: jiff::Timestamp) -> UnixTime {
    UnixTime::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
}

/// The points of order 1, 2, 4 and 8, canonical or not, without the sign bit.
///
/// Whoever knows the algorithm can make a signature that such a key accepts, so it would be everyone's key.
const SMALL_ORDER: [[u8; 32]; 4] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// True for points of small order and for encodings of 2^255 - 20 and above: `-1`, which has order 2, and everything
/// that has a smaller spelling, of which 0 and 1 are of small order too.
fn is_weak(key: &PublicKey) -> bool {
    let mut y = *key.as_bytes();
    y[31] &= 0x7f;
    let top = y[31] == 0x7f && y[1..31].iter().all(|byte| *byte == 0xff) && y[0] >= 0xec;
    top || SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests {
    use takt_common::digest::from_hex;

    use super::*;

    fn key(hex: &str) -> PublicKey {
        PublicKey::from_bytes(from_hex(hex).unwrap())
    }

    #[test]
    fn the_key_id_is_that_of_the_reference_implementation() {
        // From python-tuf 7.0.1: SSlibKey.from_crypto of the public key of RFC 8032, section 7.1, test 1.
        let rfc = key("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key_id(&rfc), "74c181c7ad8a0855d4b55e44d2ba87aabdddb196832571f15f92fece332e4916");
    }

    /// Signatures `(R, S) = (the neutral point, 0)` hold for a key of order n on one message in n: `ring` accepts them,
    /// so only the list stands between such a key and everyone.
    #[test]
    fn every_listed_key_accepts_signatures_that_nobody_made() {
        let mut forged = [0; 64];
        forged[0] = 1;
        let tops = [0xec, 0xed, 0xee].map(|low| {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (low, 0x7f);
            y
        });
        for y in SMALL_ORDER.iter().chain(&tops) {
            for sign in [0, 0x80] {
                let mut bytes = *y;
                bytes[31] |= sign;
                let weak = PublicKey::from_bytes(bytes);
                assert!(is_weak(&weak), "{weak}");
                // Some encodings `ring` refuses by itself: those of x = 0 with a sign.
                let accepted = (0..200_u32).any(|n| weak.verifies(&n.to_be_bytes(), &forged));
                let x_is_zero = tops.contains(y) && y[0] != 0xed || *y == SMALL_ORDER[1];
                assert!(accepted || (x_is_zero && sign == 0x80), "{weak}");
            }
        }
        assert!(!is_weak(&key("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")));
    }

    #[test]
    fn a_threshold_of_none_or_of_more_than_there_are_is_refused() {
        let rfc = key("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        for threshold in [0, 2] {
            let role = RoleSpec { keys: vec![rfc], threshold };
            assert!(matches!(role.check("targets"), Err(RootRule::Threshold { keys: 1, .. })));
        }
        let twice = RoleSpec { keys: vec![rfc, rfc], threshold: 2 };
        assert!(matches!(twice.check("targets"), Err(RootRule::KeyTwice { .. })));
        assert!(!RoleSpec { keys: vec![rfc], threshold: 0 }.satisfied_by(&[]));
    }
}
