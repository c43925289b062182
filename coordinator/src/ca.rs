//! The fleet CA: makes the server's and the devices' certificates.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use takt_common::{DeviceId, Name, PublicKey, Sha256Digest, UnixTime};

const DAY: Duration = Duration::from_hours(24);

/// Long, because devices pin it; its change is a matter of a new enrolment.
const CA_VALID: Duration = Duration::from_hours(20 * 365 * 24);

/// Life of a device certificate unless the settings say otherwise (DESIGN: trust, enrolment). Devices renew theirs at two thirds.
pub const DEVICE_VALID: Duration = Duration::from_hours(90 * 24);

/// Life of the server certificate, which is made anew at every start and every day.
pub const SERVER_VALID: Duration = Duration::from_hours(90 * 24);

/// Clocks that are this much behind still accept a new certificate. For one with a short life it is a tenth of that, so that two thirds of
/// its life are still to come when it is made.
const BACKDATED: Duration = DAY;

/// The CA with its key.
pub struct FleetCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    device_valid: Duration,
}

/// The CA cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The PEM text of the CA's certificate.
    #[error("read the fleet CA's certificate: a PEM block 'CERTIFICATE' was expected")]
    Certificate,
    /// The PEM text of the CA's key.
    #[error("read the fleet CA's key: a PEM block with a P-256 key in PKCS#8 form was expected")]
    Key(#[source] rcgen::Error),
    /// A certificate could not be made.
    #[error("make a certificate for {subject}")]
    Make {
        /// For whom.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// A CA or server key with its certificate, as PEM texts.
pub struct PemPair {
    /// The certificate.
    pub certificate: String,
    /// The key in PKCS#8 form.
    pub key: String,
}

/// A server certificate with its key.
pub struct ServerCertificate {
    /// The certificate and the CA's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key as a PKCS#8 document.
    pub key_pkcs8: Vec<u8>,
}

impl FleetCa {
    /// Makes a CA; P-256, because browsers know no Ed25519 certificates.
    pub fn create(name: &str, now: UnixTime) -> Result<PemPair, CaError> {
        let make = |source| CaError::Make { subject: name.to_owned(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = params(now, CA_VALID);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Takes a CA into use.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let key =
            KeyPair::from_pkcs8_pem_and_sign_algo(key_pem, &PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| CaError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| CaError::Certificate)?;
        let certificate_pem = certificate_pem.to_owned();
        Ok(Self { issuer, certificate, certificate_pem, device_valid: DEVICE_VALID })
    }

    /// The same CA, whose device certificates are good for so long.
    #[must_use]
    pub fn with_device_valid(self, device_valid: Duration) -> Self {
        Self { device_valid, ..self }
    }

    /// The CA's certificate as DER.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The digest that stands in enrolment tokens.
    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate)
    }

    /// A certificate for this server under all its names.
    pub fn server_certificate(&self, hosts: &[String], now: UnixTime) -> Result<ServerCertificate, CaError> {
        let subject = hosts.first().cloned().unwrap_or_default();
        let make = |source| CaError::Make { subject: subject.clone(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = params(now, SERVER_VALID);
        params.distinguished_name.push(DnType::CommonName, subject.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = CertificateParams::new(hosts.to_vec()).map_err(make)?.subject_alt_names;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(ServerCertificate {
            chain: vec![certificate.into(), self.certificate.clone()],
            key_pkcs8: key.serialize_der(),
        })
    }

    /// A device's certificate: subject CN = its id, OU = its domain, for its own key.
    pub fn device_certificate(
        &self,
        key: &PublicKey,
        domain: &Name,
        now: UnixTime,
    ) -> Result<Certificate, CaError> {
        let device = DeviceId::of_key(key);
        let mut params = params(now, self.device_valid);
        params.distinguished_name.push(DnType::CommonName, device.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, domain.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
            .signed_by(&RawEd25519(*key), &self.issuer)
            .map_err(|source| CaError::Make { subject: device.to_string(), source })
    }
}

fn params(now: UnixTime, valid: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    // `rcgen` takes the calendar type of a crate that is not ours: its value comes from its own constructor.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.as_secs()).saturating_sub(BACKDATED.min(valid / 10));
    params.not_after = epoch + Duration::from_secs(now.as_secs()) + valid;
    params
}

/// A device's public key, of which only the 32 raw bytes are known here.
struct RawEd25519(PublicKey);

impl PublicKeyData for RawEd25519 {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// True when `host` is an IP address rather than a name.
pub fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// `host:port`, with brackets around an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    if is_address(host) && host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
