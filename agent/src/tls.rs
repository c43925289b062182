//! TLS 1.3 with a coordinator, on a device whose wall clock may be wrong by decades.
//!
//! The time by which a certificate is judged is the device's sure time (what the coordinator's keys alone have said does not
//! count: a thief who says that it is 2099 must not cut devices off from the roots that take the key away), and at least that from
//! which the certificate holds: the fleet CA's signature says that it is not earlier. So a device that wakes in 1970, or after its
//! coordinator has renewed its certificate, comes back by itself.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as TlsTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use takt_common::UnixTime;

use crate::clock::Clock;
use crate::host;

/// A TLS 1.3 client by `ring`.
pub(crate) fn builder() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring's provider has suites for TLS 1.3")
}

/// Judges what a server shows.
#[derive(Debug)]
pub(crate) struct Server {
    usual: Arc<WebPkiServerVerifier>,
    clock: Clock,
}

impl Server {
    /// With no authority but these.
    pub(crate) fn new(roots: RootCertStore, clock: impl Into<Clock>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { usual, clock: clock.into() })
    }

    fn now(&self) -> TlsTime {
        // Without it only what has passed since the floor is not believed.
        time(self.clock.sure(host::uptime().unwrap_or_default()))
    }
}

const fn time(of: UnixTime) -> TlsTime {
    TlsTime::since_unix_epoch(std::time::Duration::from_secs(of.as_secs()))
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _: TlsTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            |now| self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verify(self.now()) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                verify(not_before)
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// What a server with a certificate of these years is told by a device whose time is at least `floor`.
    fn judge(years: std::ops::Range<i32>, floor: i32) -> Result<(), Error> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        server.not_before = date_time_ymd(years.start, 1, 1);
        server.not_after = date_time_ymd(years.end, 1, 1);
        let server = server.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let floor = date_time_ymd(floor, 6, 1).unix_timestamp();
        let floor = UnixTime::from_secs(u64::try_from(floor).unwrap());
        let device = Server::new(roots, floor).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        device.verify_server_cert(server.der(), &[], &name, &[], TlsTime::now()).map(|_| ())
    }

    #[test]
    fn a_certificate_is_judged_by_trusted_time_and_is_never_too_new() {
        // Decades from this machine's clock: it is not believed.
        assert_eq!(judge(2060..2061, 2060), Ok(()));
        assert_eq!(judge(2062..2063, 2060), Ok(()), "a coordinator's renewed certificate");
        assert!(judge(2058..2059, 2060).is_err(), "it has expired");
    }
}
