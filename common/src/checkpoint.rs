//! What a device says of its memory when it hands that to a standby (paper 1, rolling upgrade, step 1; takeover `restore`).
//!
//! A checkpoint is a program that runs: whoever may make one for a device, decides what runs there. So the device signs
//! it with its own key, of which its id is the digest; the coordinator only carries it.
//!
//! On its way it is one body: the length of the envelope in four bytes, the highest first, the envelope, and a tar
//! archive with a folder for each container.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::envelope::{Envelope, EnvelopeError, PayloadType, Signers};
use crate::id::DeviceId;
use crate::key::{PublicKey, SigningKey};
use crate::strict_json;
use crate::time::UnixTime;

/// The format this code writes and reads.
pub const CHECKPOINT_FORMAT: u32 = 1;
/// The largest statement that is read, in bytes.
const STATEMENT_LENGTH_MAX: usize = 16 * 1024;
/// Memory that is older than this is not taken over: whoever carries it must not be able to keep it for later.
pub const CHECKPOINT_AGE_MAX: Duration = Duration::from_hours(1);

/// The signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// [`CHECKPOINT_FORMAT`].
    pub format: u32,
    /// Whose memory.
    pub device: DeviceId,
    /// Its key, of which its id is the digest.
    pub key: PublicKey,
    /// For whom.
    pub standby: DeviceId,
    /// The fencing token of the takeover.
    pub lease: u64,
    /// Digest of the manifest of the release whose memory it is.
    pub manifest: Sha256Digest,
    /// Length of the archive in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// When it was made, by the device's trusted time.
    pub made: UnixTime,
}

/// What a standby was ordered to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Whose memory.
    pub device: DeviceId,
    /// For whom: the standby itself.
    pub standby: DeviceId,
    /// The fencing token of the takeover.
    pub lease: u64,
    /// Digest of the manifest of the release.
    pub manifest: Sha256Digest,
    /// The standby's trusted time.
    pub now: UnixTime,
}

/// The statement does not speak of what was ordered.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not a statement.
    #[error("the statement about the checkpoint is unreadable: {0}")]
    Unreadable(String),
    /// Another key, device, standby, takeover or release.
    #[error("the checkpoint is of {what} {found}, and {expected} was ordered")]
    Other {
        /// What differs.
        what: &'static str,
        /// What it says.
        found: String,
        /// What was ordered.
        expected: String,
    },
    /// From long ago, or from a time that has not come.
    #[error("the checkpoint was made {made}, and now it is {now}: they may be {} s apart", CHECKPOINT_AGE_MAX.as_secs())]
    Age {
        /// When it says it was made.
        made: UnixTime,
        /// The time here.
        now: UnixTime,
    },
}

impl Checkpoint {
    /// Signs it.
    pub fn seal(&self, key: &SigningKey) -> Envelope {
        let payload = serde_json::to_vec(self).expect("a statement has only text keys");
        Envelope::seal(PayloadType::Checkpoint, &payload, &[key])
    }

    /// The statement in `envelope`, if the device itself has signed it and it is what was `expected`.
    pub fn open(envelope: &Envelope, expected: &Expected) -> Result<Self, CheckpointError> {
        let read = |payload: &[u8]| -> Result<Self, CheckpointError> {
            strict_json::from_slice(payload, STATEMENT_LENGTH_MAX)
                .map_err(|error| CheckpointError::Unreadable(error.to_string()))
        };
        let other = |what, found: String, expected: String| -> Result<(), CheckpointError> {
            if found == expected { Ok(()) } else { Err(CheckpointError::Other { what, found, expected }) }
        };
        // Whose key it is, the key itself says: its digest is the id. Until then nothing in it is believed.
        let claimed = envelope.unverified_payload().unwrap_or_default();
        let key = read(&claimed)?.key;
        other("device", DeviceId::of_key(&key).to_string(), expected.device.to_string())?;
        let role = format!("device {}", expected.device);
        let signers = Signers { role, keys: vec![key], threshold: 1 };
        let said = read(&envelope.open(PayloadType::Checkpoint, &signers)?)?;
        other("format", said.format.to_string(), CHECKPOINT_FORMAT.to_string())?;
        other("device", said.device.to_string(), expected.device.to_string())?;
        other("a takeover by", said.standby.to_string(), expected.standby.to_string())?;
        other("lease", said.lease.to_string(), expected.lease.to_string())?;
        other("release manifest", said.manifest.to_string(), expected.manifest.to_string())?;
        let apart = said.made.as_secs().abs_diff(expected.now.as_secs());
        if apart > CHECKPOINT_AGE_MAX.as_secs() {
            return Err(CheckpointError::Age { made: said.made, now: expected.now });
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom::new()).unwrap()
    }

    fn statement(key: &SigningKey) -> (Checkpoint, Expected) {
        let device = DeviceId::of_key(&key.public());
        let standby = "ffeeddccbbaa99887766554433221100".parse().unwrap();
        let (manifest, made) = (Sha256Digest::of(b"manifest"), UnixTime::from_secs(2_000_000));
        let said = Checkpoint {
            format: CHECKPOINT_FORMAT,
            device,
            key: key.public(),
            standby,
            lease: 7,
            manifest,
            length: 3,
            sha256: Sha256Digest::of(b"tar"),
            made,
        };
        (said, Expected { device, standby, lease: 7, manifest, now: made + Duration::from_mins(5) })
    }

    #[test]
    fn only_the_device_itself_can_say_what_its_memory_is() {
        let (own, thief) = (key(), key());
        let (said, expected) = statement(&own);
        assert_eq!(Checkpoint::open(&said.seal(&own), &expected).unwrap(), said);
        // Whoever carries it has keys of his own: they are those of other ids.
        let forged = Checkpoint { key: thief.public(), ..said.clone() };
        let refused = Checkpoint::open(&forged.seal(&thief), &expected).unwrap_err();
        assert!(matches!(refused, CheckpointError::Other { what: "device", .. }), "{refused}");
        let refused = Checkpoint::open(&said.seal(&thief), &expected).unwrap_err();
        assert!(matches!(refused, CheckpointError::Envelope(EnvelopeError::Threshold { .. })), "{refused}");
    }

    #[test]
    fn memory_of_another_takeover_release_or_time_is_refused_with_what_differs() {
        let own = key();
        let (said, expected) = statement(&own);
        let other = "00112233445566778899aabbccddeeff".parse().unwrap();
        for (changed, what) in [
            (Checkpoint { standby: other, ..said.clone() }, "a takeover by"),
            (Checkpoint { lease: 6, ..said.clone() }, "lease 6, and 7 was ordered"),
            (Checkpoint { manifest: Sha256Digest::of(b"else"), ..said.clone() }, "release manifest"),
            (Checkpoint { device: other, ..said.clone() }, "device 0011"),
            (Checkpoint { format: 2, ..said.clone() }, "format 2"),
            (Checkpoint { made: UnixTime::from_secs(1_990_000), ..said.clone() }, "3600 s apart"),
            (Checkpoint { made: UnixTime::from_secs(2_010_000), ..said.clone() }, "3600 s apart"),
        ] {
            let refused = Checkpoint::open(&changed.seal(&own), &expected).unwrap_err().to_string();
            assert!(refused.contains(what), "{refused}");
        }
    }
}
