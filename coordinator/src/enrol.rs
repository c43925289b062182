//! Enrolment: a one-time token and a proof of the key against a certificate.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use takt_common::api::{EnrolRequest, EnrolResponse, Revocation};
use takt_common::audit::{What, Who};
use takt_common::order::Position;
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};
use takt_coordinator_core::DeviceState;
use takt_store::Batch;

use crate::ca::{CaError, FleetCa};
use crate::registry::{
    CommitTogether, DeviceRecord, Happened, Registry, RegistryError, StoredToken, TokenRefusal,
};
use crate::repository::Published;

/// A device is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The device does not hold the key that it shows.
    #[error("device {0}: the proof is not a signature of its key over this request")]
    Proof(Name),
    /// The name belongs to another device.
    #[error("the name '{name}' in domain '{domain}' belongs to device {owner} already; choose another name")]
    NameTaken {
        /// The name.
        name: Name,
        /// The domain.
        domain: Name,
        /// Who has it.
        owner: DeviceId,
    },
    /// The key is known in another domain or under another name.
    #[error("device {device} is enrolled as '{name}' in domain '{domain}' already")]
    Known {
        /// The device.
        device: DeviceId,
        /// Its name.
        name: Name,
        /// Its domain.
        domain: Name,
    },
    /// An operator has revoked the device.
    #[error("device {device} {revocation}")]
    Revoked {
        /// The device.
        device: DeviceId,
        /// Since when and why.
        revocation: Revocation,
    },
    /// There is nothing yet that the device could trust.
    #[error("no {0} is published yet, so no device can be enrolled; run `takt trust init` and publish it")]
    NoRoot(&'static str),
    /// The certificate could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What enrolment stands on.
pub struct Enrolment<'a> {
    /// Knows devices and tokens.
    pub registry: &'a Registry,
    /// Signs certificates.
    pub ca: &'a FleetCa,
    /// The roots to begin from.
    pub published: &'a Published,
    /// Where the gate is.
    pub broker: &'a str,
}

impl Enrolment<'_> {
    /// Enrols a device, or gives a known one a new certificate. Uses up one use of the token, or
    /// none when the device has used it before: its answer was lost. Blocks.
    pub fn enrol(&self, request: &EnrolRequest, now: UnixTime) -> Result<EnrolResponse, EnrolError> {
        for _ in 0..crate::registry::CONFLICT_RETRIES_MAX {
            match self.attempt(request, now) {
                Err(EnrolError::Registry(error)) if error.is_conflict() => {}
                done => return done,
            }
        }
        Err(RegistryError::Contended { what: format!("the enrolment of {}", request.name) }.into())
    }

    fn attempt(&self, request: &EnrolRequest, now: UnixTime) -> Result<EnrolResponse, EnrolError> {
        let secret = Sha256Digest::of(request.secret.as_bytes());
        let device = DeviceId::of_key(&request.public_key);
        let token = self.registry.usable_token(&secret, device, now)??;
        check_proof(request)?;
        let packages = self.published.packages.as_ref().ok_or(EnrolError::NoRoot("package root"))?;
        let director = self.published.director.as_ref().ok_or(EnrolError::NoRoot("director root"))?;
        let together = CommitTogether::new(Batch::new()).with_use_of_token(&secret, &token, device);
        let together = self.stage(together, device, request, &token, director.epoch(), now)?;
        let together = self.told(together, device, request, &token, &secret, now);
        let certificate = self.ca.device_certificate(&request.public_key, &token.domain, now)?;
        self.registry.commit(together)?;
        tracing::info!(%device, name = %request.name, domain = %token.domain, "device enrolled");
        Ok(EnrolResponse {
            device,
            domain: token.domain,
            certificate_pem: certificate.pem(),
            ca_pem: self.ca.certificate_pem().to_owned(),
            package_root: String::from_utf8_lossy(packages.root_bytes()).into_owned(),
            director_root: String::from_utf8_lossy(director.root_bytes()).into_owned(),
            broker: self.broker.to_owned(),
        })
    }

    /// With the entries of the audit log that tell of it.
    fn told(
        &self,
        together: CommitTogether,
        device: DeviceId,
        request: &EnrolRequest,
        token: &StoredToken,
        secret: &Sha256Digest,
        now: UnixTime,
    ) -> CommitTogether {
        let known = self.registry.devices().get(device);
        let (name, domain) = (request.name.clone(), token.domain.clone());
        let (token, again) = (What::token_name(secret), known.is_some());
        let enrolled = What::DeviceEnrolled { device, name: name.clone(), domain, token, again };
        let together = together.with_entry(Happened::new(now, Who::Device { device }, enrolled));
        if known.is_some_and(|known| known.state.quarantine.is_some()) {
            let released = What::DeviceReleased { device, name };
            return together.with_entry(Happened::new(now, Who::Coordinator, released));
        }
        together
    }

    /// A new device, or a known one with its history.
    fn stage(
        &self,
        together: CommitTogether,
        device: DeviceId,
        request: &EnrolRequest,
        token: &StoredToken,
        epoch: u64,
        now: UnixTime,
    ) -> Result<CommitTogether, EnrolError> {
        let (name, domain) = (request.name.clone(), token.domain.clone());
        if let Some(known) = self.registry.devices().get(device) {
            let state = &known.state;
            if let Some(revocation) = state.revoked.clone() {
                return Err(EnrolError::Revoked { device, revocation });
            }
            if state.name != name || state.domain != domain {
                return Err(EnrolError::Known {
                    device,
                    name: state.name.clone(),
                    domain: state.domain.clone(),
                });
            }
            let mut changed = (*known).clone();
            changed.state.hardware = request.hardware.clone();
            // It is known with its history, and may have lost its own.
            (changed.enrolled_again, changed.state.quarantine) = (true, None);
            return Ok(self.registry.stage(together, &known, changed)?);
        }
        if let Some(owner) = self.registry.id_of_name(&domain, &name)? {
            return Err(EnrolError::NameTaken { name, domain, owner });
        }
        let first = Position { epoch, generation: 1 };
        let mut state = DeviceState::enrolled(device, name, domain, request.hardware.clone(), first);
        // It is about the key: whoever was approved, or waits, does so after enrolling again as well.
        state.unapproved = token.approval.then_some(now);
        let record = DeviceRecord {
            revision: 0,
            key: request.public_key,
            enrolled: now,
            state,
            head: None,
            issued: None,
            timing: None,
            warnings: Vec::new(),
            hooks: BTreeMap::new(),
            refused: None,
            enrolled_again: false,
        };
        Ok(self.registry.stage_new(together, record))
    }
}

fn check_proof(request: &EnrolRequest) -> Result<(), EnrolError> {
    let message =
        EnrolRequest::proof_message(&request.secret, &request.name, &request.hardware, &request.public_key);
    let proof = STANDARD.decode(&request.proof).unwrap_or_default();
    if request.public_key.verifies(&message, &proof) {
        Ok(())
    } else {
        Err(EnrolError::Proof(request.name.clone()))
    }
}
