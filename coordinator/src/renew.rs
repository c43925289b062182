//! Renewal: an enrolled device proves its key against its next certificate.
//!
//! What makes a request fresh is a challenge of this process. A challenge is a number with a MAC over it, so nothing is kept of those that
//! are only asked for; of those that were used, the last number of each device is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use takt_common::api::{RenewalRequest, RenewalResponse, Revocation};
use takt_common::digest::to_hex;
use takt_common::{DeviceId, UnixTime};

use crate::ca::{CaError, FleetCa};
use crate::registry::Registry;
use crate::token::NoRandom;

/// A device answers at once; this leaves time for a link that is almost down.
const CHALLENGE_VALID: Duration = Duration::from_mins(2);

/// A certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Not one of this process, or too old.
    #[error("device {0}: the challenge is not known here or too old; ask for another one")]
    Challenge(DeviceId),
    /// This request, or a later one, has been answered.
    #[error("device {0}: the challenge has been used; ask for another one")]
    Used(DeviceId),
    /// Nobody with this id.
    #[error("device {0} is not enrolled here")]
    Unknown(DeviceId),
    /// The device does not hold the key that it was enrolled with.
    #[error("device {0}: the proof is not a signature of its enrolled key over this challenge")]
    Proof(DeviceId),
    /// An operator has revoked the device.
    #[error("device {device} {revocation}")]
    Revoked {
        /// The device.
        device: DeviceId,
        /// Since when and why.
        revocation: Revocation,
    },
    /// The certificate could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// The challenges of one process.
pub struct Challenges {
    key: hmac::Key,
    /// The number of the next one.
    next: AtomicU64,
    /// The number of the last one that a device has used; no larger than the registry.
    used: Mutex<HashMap<DeviceId, u64>>,
}

impl Challenges {
    /// Those of a new process: what another one has given is not known to it.
    pub fn new() -> Result<Self, NoRandom> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandom)?;
        Ok(Self { key, next: AtomicU64::new(1), used: Mutex::default() })
    }

    /// A new one: its number, when it was given, and the MAC over both.
    pub fn give(&self, now: UnixTime) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let said = format!("{number}.{}", now.as_secs());
        format!("{said}.{}", to_hex(hmac::sign(&self.key, said.as_bytes()).as_ref()))
    }

    /// The number of a challenge that was given here not long ago.
    fn number(&self, challenge: &str, now: UnixTime) -> Option<u64> {
        let (said, mac) = challenge.rsplit_once('.')?;
        let mac = takt_common::digest::from_hex::<32>(mac)?;
        hmac::verify(&self.key, said.as_bytes(), &mac).ok()?;
        let (number, given) = said.split_once('.')?;
        let given = UnixTime::from_secs(given.parse().ok()?);
        // A clock that was set back in between makes it look younger than it is, and it is used once all the same.
        (now.since(given) <= CHALLENGE_VALID).then_some(number.parse().ok()?)
    }

    /// Notes that the device has used this one; false when it has used it or a later one before.
    fn use_up(&self, device: DeviceId, number: u64) -> bool {
        // Every change is one insertion, so a panic elsewhere leaves nothing half done.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let last = used.entry(device).or_default();
        let fresh = number > *last;
        *last = number.max(*last);
        fresh
    }
}

/// Gives a device its next certificate. Nothing is stored: a device that did not hear the answer asks again.
pub fn renew(
    registry: &Registry,
    ca: &FleetCa,
    challenges: &Challenges,
    request: &RenewalRequest,
    now: UnixTime,
) -> Result<RenewalResponse, RenewError> {
    let device = request.device;
    let number = challenges.number(&request.challenge, now).ok_or(RenewError::Challenge(device))?;
    let record = registry.devices().get(device).ok_or(RenewError::Unknown(device))?;
    let message = RenewalRequest::proof_message(device, &request.challenge);
    let proof = STANDARD.decode(&request.proof).unwrap_or_default();
    if !record.key.verifies(&message, &proof) {
        return Err(RenewError::Proof(device));
    }
    if !challenges.use_up(device, number) {
        return Err(RenewError::Used(device));
    }
    if let Some(revocation) = record.state.revoked.clone() {
        return Err(RenewError::Revoked { device, revocation });
    }
    let certificate = ca.device_certificate(&record.key, &record.state.domain, now)?;
    tracing::info!(%device, name = %record.state.name, "device certificate renewed");
    Ok(RenewalResponse { certificate_pem: certificate.pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_248_000);

    #[test]
    fn a_challenge_is_good_for_a_short_time_in_the_process_that_gave_it() {
        let challenges = Challenges::new().unwrap();
        let (first, second) = (challenges.give(NOW), challenges.give(NOW));
        assert_eq!(challenges.number(&first, NOW + CHALLENGE_VALID), Some(1));
        assert_eq!(challenges.number(&second, NOW), Some(2));
        assert_eq!(challenges.number(&first, NOW + CHALLENGE_VALID + Duration::from_secs(1)), None);
        assert_eq!(Challenges::new().unwrap().number(&first, NOW), None);
        let altered = first.replacen('1', "9", 1);
        for other in ["", ".", "1", "1.2.3", altered.as_str(), &first[1..], &first[..first.len() - 2]] {
            assert_eq!(challenges.number(other, NOW), None, "{other}");
        }
    }

    #[test]
    fn a_device_uses_no_challenge_twice_and_none_that_is_older_than_its_last() {
        let challenges = Challenges::new().unwrap();
        let device: DeviceId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let other: DeviceId = "ff112233445566778899aabbccddeeff".parse().unwrap();
        assert!(challenges.use_up(device, 2));
        assert!(!challenges.use_up(device, 2));
        assert!(!challenges.use_up(device, 1));
        assert!(challenges.use_up(device, 3));
        assert!(challenges.use_up(other, 1));
    }
}
