//! TLS 1.3 of many devices: what they can share is read once.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use takt_common::SigningKey;

use crate::error::FleetError;

/// A device talks to one gate: more sessions to resume would only take memory.
const SESSIONS: usize = 1;

/// The fleet CA, and what verifies servers by it.
#[derive(Debug)]
pub(crate) struct Authority {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Authority {
    /// The one in the file `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, FleetError> {
        let unusable = |why: String| FleetError::Certificates { whose: path.display().to_string(), why };
        let pem =
            std::fs::read(path).map_err(|source| FleetError::Authority { path: path.to_owned(), source })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { provider, verifier })
    }

    /// For who has no certificate yet.
    pub(crate) fn stranger(&self) -> Arc<ClientConfig> {
        Arc::new(self.builder().with_webpki_verifier(Arc::clone(&self.verifier)).with_no_client_auth())
    }

    /// For the device `name` with this certificate and key.
    pub(crate) fn device(
        &self,
        name: &str,
        certificate: &str,
        key: &SigningKey,
    ) -> Result<Arc<ClientConfig>, FleetError> {
        let unusable = |why: String| FleetError::Certificates { whose: name.to_owned(), why };
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
        let mut config = self
            .builder()
            .with_webpki_verifier(Arc::clone(&self.verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(error.to_string()))?;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }

    fn builder(&self) -> ConfigBuilder<ClientConfig, WantsVerifier> {
        ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring's provider has suites for TLS 1.3")
    }
}
