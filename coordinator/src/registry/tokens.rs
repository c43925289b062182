//! Enrolment tokens: hashed, limited by domain, uses and time.

use serde::{Deserialize, Serialize};
use takt_common::audit::{What, Who};
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};
use takt_store::{Batch, StoreJson as _};

use super::{CommitTogether, Happened, PAGE, Registry, RegistryError, keys};

/// How many devices a token remembers; the oldest go first. It is for answers that are lost on their way, which are
/// asked for again soon, and keeps a token for very many devices far below the longest value of the store.
const USED_BY_KEPT: usize = 1_024;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredToken {
    /// Devices that enrol with it belong here.
    pub domain: Name,
    /// How many more devices may use it.
    pub uses_left: u32,
    /// Until when.
    pub not_after: UnixTime,
    /// Who enrols with it waits for an operator's approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// Who has used it: they are answered again without another use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<DeviceId>,
}

/// Why a token does not admit a device. One answer for a wrong and an unknown secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token.
    #[error("the enrolment token is not known here")]
    Unknown,
    /// Its time is over.
    #[error("the enrolment token was good until {0}")]
    Expired(UnixTime),
    /// Its uses are used up.
    #[error("the enrolment token has been used as often as it may be")]
    UsedUp,
}

impl Registry {
    /// Keeps a new token under the digest of its secret, and forgets those whose time is over.
    pub fn add_token(
        &self,
        secret: &Sha256Digest,
        token: &StoredToken,
        by: Who,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let key = keys::token(secret);
        let mut batch = Batch::new().expect(key.as_str(), None).put_json(key, token)?;
        for (key, old) in self.store().scan_json::<StoredToken>(keys::TOKENS.as_bytes(), None, PAGE)? {
            if old.not_after < now {
                batch = batch.delete(key);
            }
        }
        let made = What::TokenMade {
            token: What::token_name(secret),
            domain: token.domain.clone(),
            uses: token.uses_left,
            not_after: token.not_after,
        };
        self.commit(CommitTogether::new(batch).with_entry(Happened::new(now, by, made)))
    }

    /// The token with this secret, if it admits `device` now.
    pub fn usable_token(
        &self,
        secret: &Sha256Digest,
        device: DeviceId,
        now: UnixTime,
    ) -> Result<Result<StoredToken, TokenRefusal>, RegistryError> {
        let token: Option<StoredToken> = self.store().get_json(keys::token(secret).as_bytes())?;
        Ok(match token {
            None => Err(TokenRefusal::Unknown),
            Some(token) if token.not_after < now => Err(TokenRefusal::Expired(token.not_after)),
            Some(token) if token.uses_left == 0 && !token.used_by.contains(&device) => {
                Err(TokenRefusal::UsedUp)
            }
            Some(token) => Ok(token),
        })
    }
}

impl StoredToken {
    /// After `device` has used it.
    fn used(&self, device: DeviceId) -> Self {
        let mut after = self.clone();
        if !after.used_by.contains(&device) {
            after.uses_left = after.uses_left.saturating_sub(1);
            after.used_by.push(device);
            if after.used_by.len() > USED_BY_KEPT {
                after.used_by.remove(0);
            }
        }
        after
    }
}

impl CommitTogether {
    /// Takes one use off a token, which must be as it was looked at; none for a device that has used it before.
    #[must_use]
    pub fn with_use_of_token(self, secret: &Sha256Digest, token: &StoredToken, device: DeviceId) -> Self {
        let key = keys::token(secret);
        let json = |token: &StoredToken| serde_json::to_vec(token).expect("a token has only text keys");
        let after = token.used(device);
        let (before, after) = (json(token), json(&after));
        self.with(|batch| batch.expect(key.as_str(), Some(&before)).put(key.as_str(), after))
    }
}
