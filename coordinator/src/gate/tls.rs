//! TLS for the gate: version 1.3 only, client certificates of the fleet CA required, the subject read.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, VerifierBuilderError, WebPkiClientVerifier};
use takt_common::id::IdError;
use takt_common::{DeviceId, Name};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

/// What a device's certificate says about it: common name = device id, organisational unit = domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The device.
    pub device: DeviceId,
    /// The domain the device was enrolled in.
    pub domain: Name,
}

/// A TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate of the fleet CA is not usable as a trust anchor.
    #[error("trust the certificate of the fleet CA")]
    Root(#[source] rustls::Error),
    /// No verifier can be made of the fleet CA's certificates, for example because there are none.
    #[error("verify client certificates by the fleet CA")]
    Verifier(#[source] VerifierBuilderError),
    /// The gate's own certificate and key do not fit, or TLS 1.3 is not available.
    #[error("use the gate's certificate and key")]
    Certificate(#[source] rustls::Error),
}

/// A verified certificate does not name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The certificate cannot be parsed.
    #[error("read a client certificate: not X.509")]
    NotX509,
    /// An attribute is missing, there more than once, or not text.
    #[error("read a client certificate: exactly one {0} as text expected in its subject")]
    Attribute(&'static str),
    /// The common name is not a device id, or the organisational unit not a domain.
    #[error("read a client certificate's subject")]
    Id(#[source] IdError),
}

/// A configuration that accepts only TLS 1.3 clients with a certificate by one of `fleet_cas`.
///
/// `chain` and `key` are the gate's own. Sessions are not resumed, so every connection proves its certificate,
/// against the clock and the CA of that moment.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fleet_cas: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in fleet_cas {
        roots.add(ca).map_err(TlsError::Root)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

impl Subject {
    /// Reads the subject of a certificate whose chain has been verified.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, SubjectError> {
        let (rest, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| SubjectError::NotX509)?;
        if !rest.is_empty() {
            return Err(SubjectError::NotX509);
        }
        let subject = certificate.subject();
        let device = only(subject.iter_common_name(), "common name")?;
        let domain = only(subject.iter_organizational_unit(), "organisational unit")?;
        Ok(Self {
            device: device.parse().map_err(SubjectError::Id)?,
            domain: domain.parse().map_err(SubjectError::Id)?,
        })
    }
}

fn only<'a>(
    mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
    name: &'static str,
) -> Result<&'a str, SubjectError> {
    let error = || SubjectError::Attribute(name);
    let first = attributes.next().ok_or_else(error)?;
    if attributes.next().is_some() {
        return Err(error());
    }
    first.as_str().map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    const DEVICE: &str = "00112233445566778899aabbccddeeff";

    fn certificate(attributes: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_subject_names_one_device_and_one_domain() {
        let good = certificate(&[(DnType::CommonName, DEVICE), (DnType::OrganizationalUnitName, "north")]);
        let subject = Subject::of_certificate(&good).unwrap();
        assert_eq!((subject.device.to_string().as_str(), subject.domain.as_str()), (DEVICE, "north"));
    }

    #[test]
    fn other_subjects_are_refused() {
        for attributes in [
            vec![],
            vec![(DnType::CommonName, DEVICE)],
            vec![(DnType::OrganizationalUnitName, "north")],
            vec![(DnType::CommonName, "camera-1"), (DnType::OrganizationalUnitName, "north")],
            vec![(DnType::CommonName, DEVICE), (DnType::OrganizationalUnitName, "north/+")],
        ] {
            assert!(Subject::of_certificate(&certificate(&attributes)).is_err(), "{attributes:?}");
        }
        assert_eq!(
            Subject::of_certificate(&CertificateDer::from(vec![0x30, 0x01])),
            Err(SubjectError::NotX509)
        );
    }

    #[test]
    fn a_configuration_needs_a_fleet_ca_and_a_fitting_key() {
        let key = || PrivateKeyDer::try_from(KeyPair::generate().unwrap().serialize_der()).unwrap();
        let chain = vec![certificate(&[])];
        assert!(matches!(server_config(chain.clone(), key(), []), Err(TlsError::Verifier(_))));
        assert!(matches!(server_config(chain, key(), [certificate(&[])]), Err(TlsError::Certificate(_))));
    }
}
