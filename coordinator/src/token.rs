//! Secret texts (operator tokens, enrolment secrets): made at random, kept as digests, compared in constant time.

use ring::rand::{SecureRandom, SystemRandom};
use takt_common::Sha256Digest;
use takt_common::digest::to_hex;

/// Random bytes in a secret: far beyond guessing, so one plain SHA-256 is enough to keep it.
const SECRET_BYTES: usize = 32;

/// The system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("make a secret: the system gave no random numbers")]
pub struct NoRandom;

/// A new secret of 64 hex digits.
pub fn make() -> Result<String, NoRandom> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(to_hex(&bytes))
}

/// True when `given` is the secret with this digest; the time it takes tells nothing.
pub fn is(given: &str, kept: &Sha256Digest) -> bool {
    let given = Sha256Digest::of(given.as_bytes());
    given.as_bytes().iter().zip(kept.as_bytes()).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognised_by_its_digest_alone() {
        let secret = make().unwrap();
        let kept = Sha256Digest::of(secret.as_bytes());
        assert!(is(&secret, &kept));
        assert!(!is(&secret[1..], &kept));
        assert!(!is(&make().unwrap(), &kept));
        assert!(!is("", &kept));
    }
}
