//! Enrolment: once, with a one-time token, over a connection that the token itself vouches for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use takt_common::api::{EnrolRequest, EnrolResponse, Problem};
use takt_common::{DeviceId, Sha256Digest, UnixTime};

use crate::fetch::{Client, FetchError};
use crate::identity::{IdentityError, IdentityFolder, Membership};
use crate::pin;
use crate::settings::Settings;

/// The largest answer: a certificate, a CA and two roots.
const ANSWER_LENGTH_MAX: usize = 256 * 1024;

/// The device cannot enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Not a token.
    #[error("use the token: 'takt1.<secret>.<64 hex digits>' expected, as `takt enrol token` prints it")]
    Token,
    /// Key or membership file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The coordinator cannot be reached, or is not the one that the token is from.
    #[error("enrol at {coordinator}")]
    Unreachable {
        /// Its address.
        coordinator: String,
        /// Why.
        source: FetchError,
    },
    /// The coordinator said no.
    #[error("enrol at {coordinator}: {why}")]
    Refused {
        /// Its address.
        coordinator: String,
        /// What it said.
        why: String,
    },
    /// It is a member of another fleet, and its journal holds that fleet's orders and roots.
    #[error(
        "enrol: this device belongs to another fleet; to give it to this one, stop it and remove '{}', which forgets \
         what it runs",
        path.display()
    )]
    AnotherFleet {
        /// The state folder.
        path: std::path::PathBuf,
    },
    /// The answer makes no sense.
    #[error("enrol at {coordinator}: its answer is not one: {why}")]
    Answer {
        /// Its address.
        coordinator: String,
        /// What is wrong.
        why: String,
    },
}

/// Enrols the device and keeps what it is given. The same device may enrol again: it keeps its key.
pub async fn enrol(settings: &Settings, token: &str) -> Result<Membership, EnrolError> {
    let (secret, authority) = parse(token)?;
    let identity = IdentityFolder::open(&settings.state_dir)?;
    let key = identity.key_or_new()?;
    let public_key = key.public();
    let proof = EnrolRequest::proof_message(secret, &settings.name, &settings.hardware, &public_key);
    let request = EnrolRequest {
        secret: secret.to_owned(),
        name: settings.name.clone(),
        hardware: settings.hardware.clone(),
        public_key,
        proof: STANDARD.encode(key.sign(&proof)),
    };
    let coordinator = settings.coordinator.clone();
    let body = serde_json::to_vec(&request).expect("a request holds only texts");
    let unreachable = |source| EnrolError::Unreachable { coordinator: coordinator.clone(), source };
    let client = Client::new(&settings.coordinator, Arc::new(pin::tls(authority))).map_err(unreachable)?;
    let (status, answer) =
        client.post_json("/api/v1/enrol", body, ANSWER_LENGTH_MAX).await.map_err(unreachable)?;
    if !status.is_success() {
        let why = serde_json::from_slice::<Problem>(&answer)
            .map_or_else(|_| format!("it answered {status}"), |problem| problem.detail);
        return Err(EnrolError::Refused { coordinator, why });
    }
    let answer: EnrolResponse = serde_json::from_slice(&answer)
        .map_err(|error| EnrolError::Answer { coordinator: coordinator.clone(), why: error.to_string() })?;
    if answer.device != DeviceId::of_key(&public_key) {
        let why = format!("it names this device {}", answer.device);
        return Err(EnrolError::Answer { coordinator, why });
    }
    if identity.membership().is_ok_and(|known| known.ca_pem != answer.ca_pem) {
        let path = settings.state_dir.clone();
        return Err(EnrolError::AnotherFleet { path });
    }
    let membership = Membership {
        device: answer.device,
        domain: answer.domain,
        certificate_pem: answer.certificate_pem,
        ca_pem: answer.ca_pem,
        package_root: answer.package_root,
        director_root: answer.director_root,
        broker: answer.broker,
    };
    // Unusable certificates are found now and not at the first start.
    identity.tls(&membership, &key, UnixTime::default())?;
    identity.keep_membership(&membership)?;
    Ok(membership)
}

/// The secret and the digest of the fleet CA's certificate.
fn parse(token: &str) -> Result<(&str, Sha256Digest), EnrolError> {
    let rest = token.trim().strip_prefix("takt1.").ok_or(EnrolError::Token)?;
    let (secret, authority) = rest.split_once('.').ok_or(EnrolError::Token)?;
    let authority = authority.parse().map_err(|_| EnrolError::Token)?;
    if secret.is_empty() { Err(EnrolError::Token) } else { Ok((secret, authority)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_are_tokens() {
        let digest = "a".repeat(64);
        assert!(parse(&format!("takt1.c2VjcmV0.{digest}\n")).is_ok());
        for token in
            ["", "takt1", "takt1.x", "takt1..", &format!("takt1..{digest}"), &format!("takt2.x.{digest}")]
        {
            assert!(matches!(parse(token), Err(EnrolError::Token)), "{token}");
        }
    }
}
