//! Renewal: a device that is enrolled gets its next certificate, also when the last one has expired.
//!
//! It asks for a challenge and signs it with its key. A challenge of the server and not the device's time makes the request fresh: what
//! devices think of the time may be wrong by decades, and that is when they need a certificate.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::id::DeviceId;

/// The answer to `GET /api/v1/renewal` (anybody).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalChallenge {
    /// Good for one renewal of any one device, for a short time. What it holds is the coordinator's affair.
    pub challenge: String,
}

/// `POST /api/v1/renewal` (no client certificate): a device asks for its next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    /// Which device.
    pub device: DeviceId,
    /// The challenge that it was given.
    pub challenge: String,
    /// Base64 of its key's signature over [`RenewalRequest::proof_message`].
    pub proof: String,
}

/// The next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalResponse {
    /// Its subject is that of the last one.
    pub certificate_pem: String,
}

impl RenewalRequest {
    /// What the device signs to prove that it holds its key. Of the challenge only the digest is in it, so that nothing else can be
    /// brought under the signature.
    pub fn proof_message(device: DeviceId, challenge: &str) -> Vec<u8> {
        format!("takt renewal 1\n{device}\n{}\n", Sha256Digest::of(challenge.as_bytes())).into_bytes()
    }
}
