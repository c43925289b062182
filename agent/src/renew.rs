//! Renewal of the device's certificate: the device's key signs a challenge of the coordinator.
//!
//! No certificate of the device is shown: it may have expired, and then every handshake that it is part of fails.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use takt_common::api::{Problem, RenewalChallenge, RenewalRequest, RenewalResponse};
use takt_common::{DeviceId, SigningKey};

use crate::certificate::OwnCertificate;
use crate::clock::Clock;
use crate::fetch::{Client, FetchError};
use crate::identity::{IdentityError, IdentityFolder};

const PATH: &str = "/api/v1/renewal";
/// The longest challenge: a number, a time and a MAC in text.
const CHALLENGE_LENGTH_MAX: usize = 1024;
/// The longest answer: a certificate, or why there is none.
const ANSWER_LENGTH_MAX: usize = 64 * 1024;

/// The certificate was not renewed; the present one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The coordinator cannot be reached.
    #[error("renew this device's certificate")]
    Unreachable(#[from] FetchError),
    /// The coordinator said no.
    #[error("renew this device's certificate at {coordinator}: {why}")]
    Refused {
        /// Its address.
        coordinator: String,
        /// What it said.
        why: String,
    },
    /// The answer makes no sense.
    #[error("renew this device's certificate at {coordinator}: its answer is not one: {why}")]
    Answer {
        /// Its address.
        coordinator: String,
        /// What is wrong.
        why: String,
    },
    /// The membership cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What renewals need.
pub struct Renewal {
    identity: IdentityFolder,
    device: DeviceId,
    key: SigningKey,
    client: Client,
    own: Arc<OwnCertificate>,
}

impl Renewal {
    /// For the member kept in `identity`, whose settings of TLS show `own`. `clock` judges the server's certificate.
    pub fn new(
        identity: IdentityFolder,
        coordinator: &str,
        own: Arc<OwnCertificate>,
        clock: Clock,
    ) -> Result<Self, RenewError> {
        let (membership, key) = (identity.membership()?, identity.key()?);
        let client = Client::new(coordinator, identity.tls_of(&membership, None, clock)?)?;
        Ok(Self { identity, device: membership.device, key, client, own })
    }

    /// The certificate in use.
    pub fn own(&self) -> &OwnCertificate {
        &self.own
    }

    /// Gets the next certificate, keeps it, and shows it from now on. Until it is on disk nothing has changed.
    pub async fn renew(self: Arc<Self>) -> Result<(), RenewError> {
        let response = self.ask().await?;
        // Writing waits for the disk.
        let kept = tokio::task::spawn_blocking(move || self.keep(&response));
        kept.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn ask(&self) -> Result<RenewalResponse, RenewError> {
        let challenge = self.client.get_small(PATH, CHALLENGE_LENGTH_MAX).await?;
        let challenge = challenge.ok_or_else(|| self.refused("it renews no certificates"))?;
        let RenewalChallenge { challenge } =
            serde_json::from_slice(&challenge).map_err(|error| self.nonsense(error.to_string()))?;
        let proof = self.key.sign(&RenewalRequest::proof_message(self.device, &challenge));
        let request = RenewalRequest { device: self.device, challenge, proof: STANDARD.encode(proof) };
        let body = serde_json::to_vec(&request).expect("a request holds only texts");
        let (status, answer) = self.client.post_json(PATH, body, ANSWER_LENGTH_MAX).await?;
        if !status.is_success() {
            let why = serde_json::from_slice::<Problem>(&answer)
                .map_or_else(|_| format!("it answered {status}"), |problem| problem.detail);
            return Err(self.refused(&why));
        }
        serde_json::from_slice(&answer).map_err(|error| self.nonsense(error.to_string()))
    }

    fn keep(&self, response: &RenewalResponse) -> Result<(), RenewError> {
        let next =
            OwnCertificate::new(&response.certificate_pem, &self.key).map_err(|why| self.nonsense(why))?;
        if next.validity().is_none() {
            return Err(
                self.nonsense("it cannot be read from when until when the certificate holds".to_owned())
            );
        }
        // As it is on disk now: only the certificate is another one.
        let mut membership = self.identity.membership()?;
        if membership.device != self.device {
            return Err(self.nonsense(format!("this device is {} by now", membership.device)));
        }
        membership.certificate_pem.clone_from(&response.certificate_pem);
        self.identity.keep_membership(&membership)?;
        self.own.replace(&next);
        Ok(())
    }

    fn refused(&self, why: &str) -> RenewError {
        RenewError::Refused { coordinator: self.client.server(), why: why.to_owned() }
    }

    fn nonsense(&self, why: String) -> RenewError {
        RenewError::Answer { coordinator: self.client.server(), why }
    }
}
