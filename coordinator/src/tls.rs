//! TLS of the API and the gate: TLS 1.3 by rustls on ring, a server certificate that is swapped while running.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use takt_common::UnixTime;

use crate::ca::{CaError, FleetCa};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server certificate could not be made.
    #[error("make the server certificate")]
    Certificate(#[from] CaError),
    /// The TLS library refuses the server's key.
    #[error("use the server's key")]
    ServerKey(#[source] rustls::Error),
    /// The fleet CA is no trust anchor.
    #[error("use the fleet CA as a trust anchor")]
    Anchor(#[source] rustls::Error),
    /// The verifier of client certificates refuses the CA.
    #[error("verify client certificates by the fleet CA")]
    Verifier(#[from] VerifierBuilderError),
    /// No TLS 1.3 in the provider.
    #[error("set up TLS 1.3")]
    Version(#[source] rustls::Error),
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It may: operators and devices that enrol have none.
    Optional,
    /// It must.
    Required,
}

/// The server certificate in use; all configurations made from it change with it.
pub struct ServerIdentity {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerIdentity {
    /// Makes the first certificate.
    pub fn new(ca: &FleetCa, hosts: &[String], now: UnixTime) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: RwLock::new(certified(ca, hosts, now)?) }))
    }

    /// Replaces the certificate; connections that stand keep theirs.
    pub fn renew(&self, ca: &FleetCa, hosts: &[String], now: UnixTime) -> Result<(), TlsError> {
        let next = certified(ca, hosts, now)?;
        // A poisoned lock holds a whole `Arc` all the same.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerIdentity")
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A server configuration that trusts clients of the fleet CA.
pub fn server_config(
    identity: &Arc<ServerIdentity>,
    ca: &CertificateDer<'static>,
    client: ClientCertificate,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let mut anchors = RootCertStore::empty();
    anchors.add(ca.clone()).map_err(TlsError::Anchor)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider.clone());
    let verifier = match client {
        ClientCertificate::Optional => verifier.allow_unauthenticated(),
        ClientCertificate::Required => verifier,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .with_client_cert_verifier(verifier.build()?)
        .with_cert_resolver(identity.clone());
    // No session is resumed, so every connection proves its certificate against the clock of that moment.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certified(ca: &FleetCa, hosts: &[String], now: UnixTime) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificate = ca.server_certificate(hosts, now)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.key_pkcs8));
    let key = any_supported_type(&key).map_err(TlsError::ServerKey)?;
    Ok(Arc::new(CertifiedKey::new(certificate.chain, key)))
}
