//! The device's certificate in use: from when until when it holds, and how the next one takes its place.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use takt_common::{SigningKey, UnixTime};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, which may be left out.
const VERSION: u8 = 0xa0;

/// From when until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From here
    pub not_before: UnixTime,
    /// to here.
    pub not_after: UnixTime,
}

impl Validity {
    /// That of a certificate (RFC 5280, 4.1); `None` when it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = Element::read(certificate)?.into_a(SEQUENCE)?;
        let (content, _) = Element::read(certificate)?.into_a(SEQUENCE)?;
        let first = Element::read(content)?;
        let serial = if first.tag == VERSION { first.rest } else { content };
        let (_, signature) = Element::read(serial)?.into_a(INTEGER)?;
        let (_, issuer) = Element::read(signature)?.into_a(SEQUENCE)?;
        let (_, validity) = Element::read(issuer)?.into_a(SEQUENCE)?;
        let (validity, _) = Element::read(validity)?.into_a(SEQUENCE)?;
        let not_before = Element::read(validity)?;
        let not_after = Element::read(not_before.rest)?;
        let validity = Self { not_before: not_before.time()?, not_after: not_after.time()? };
        (validity.not_before < validity.not_after).then_some(validity)
    }

    /// When two thirds of its life are over.
    pub fn renew_at(self) -> UnixTime {
        self.not_before + self.life() / 3 * 2
    }

    /// How long it holds.
    pub fn life(self) -> std::time::Duration {
        self.not_after.since(self.not_before)
    }
}

/// A value in DER (X.690) and what comes after it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[tag, length], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81 => {
                let (&[length], rest) = rest.split_first_chunk()?;
                (usize::from(length), rest)
            }
            0x82 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            // No certificate of ours has a part of 64 KiB.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    /// Content and rest, if it is of this kind.
    fn into_a(self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        (self.tag == tag).then_some((self.content, self.rest))
    }

    /// A time with whole seconds in UTC, as certificates have it: two digits of the year before 2050, four from then on.
    fn time(&self) -> Option<UnixTime> {
        let text = std::str::from_utf8(self.content).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match (self.tag, text.len()) {
            (UTC_TIME, 12) => {
                let year: u64 = text.get(..2)?.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
            }
            (GENERALIZED_TIME, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
            _ => return None,
        };
        let part = |index: usize| rest.get(2 * index..2 * index + 2)?.parse::<u64>().ok();
        let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
        let valid =
            (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        if !valid || year < 1970 {
            return None;
        }
        let days = days_from_civil(year, month, day).checked_sub(DAYS_BEFORE_1970)?;
        Some(UnixTime::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
    }
}

const DAYS_BEFORE_1970: u64 = 719_468;

/// Days from 0000-03-01, by the proleptic Gregorian calendar; months and days count from 1.
const fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day - 1
}

/// What a device shows in TLS handshakes. All settings made with it show the next certificate once it is there; connections that
/// stand keep the one that they were made with.
pub struct OwnCertificate(RwLock<Held>);

struct Held {
    shown: Arc<CertifiedKey>,
    validity: Option<Validity>,
}

impl Held {
    fn new(certificate_pem: &str, key: &SigningKey) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let validity = chain.first().ok_or("it has no certificate of the device")?;
        let validity = Validity::of(validity);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
        let key = any_supported_type(&key).map_err(|error| error.to_string())?;
        let shown = CertifiedKey::new(chain, key);
        match shown.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(Self { shown: Arc::new(shown), validity })
    }
}

impl OwnCertificate {
    /// The certificate of the key; why not, where it is none.
    pub fn new(certificate_pem: &str, key: &SigningKey) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self(RwLock::new(Held::new(certificate_pem, key)?))))
    }

    /// From when until when it holds; nothing where that cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).validity
    }

    /// Shows another one from now on; `replacement` was made of the same key.
    pub fn replace(&self, replacement: &Self) {
        let next = replacement.0.read().unwrap_or_else(PoisonError::into_inner);
        let next = Held { shown: Arc::clone(&next.shown), validity: next.validity };
        // One assignment: a panic elsewhere leaves nothing half done.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnCertificate").field(&self.validity()).finish()
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let shown = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).shown);
        shown.key.choose_scheme(schemes).is_some().then_some(shown)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, date_time_ymd};
    use ring::rand::SystemRandom;

    use super::*;

    fn pem((from, until): (i32, i32), key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec!["device".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 2, 28);
        params.not_after = date_time_ymd(until, 3, 1);
        params.self_signed(key).unwrap().pem()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_says_from_when_until_when_it_holds() {
        let key = KeyPair::generate().unwrap();
        for years in [(1971, 1972), (2026, 2027), (2027, 2028), (2049, 2050), (2050, 2100), (2000, 2400)] {
            let secs = |year, month, day| {
                UnixTime::from_secs(u64::try_from(date_time_ymd(year, month, day).unix_timestamp()).unwrap())
            };
            let expected = Validity { not_before: secs(years.0, 2, 28), not_after: secs(years.1, 3, 1) };
            assert_eq!(Validity::of(&der(&pem(years, &key))), Some(expected), "{years:?}");
        }
    }

    #[test]
    fn what_is_cut_or_no_certificate_says_nothing_and_never_panics() {
        let key = KeyPair::generate().unwrap();
        let whole = der(&pem((2026, 2027), &key));
        for length in 0..whole.len() {
            let _ = Validity::of(&whole[..length]);
        }
        for at in 0..whole.len().min(200) {
            for value in [0, 0x7f, 0x80, 0x81, 0x82, 0x83, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                let _ = Validity::of(&bytes);
            }
        }
        assert_eq!(Validity::of(b""), None);
        assert_eq!(Validity::of(&whole[..40]), None);
        assert_eq!(Validity::of(&der(&pem((2027, 2026), &key))), None, "it ends before it begins");
    }

    #[test]
    fn it_is_due_at_two_thirds_of_its_life() {
        let from = UnixTime::from_secs(1_795_248_000);
        let life = std::time::Duration::from_hours(90 * 24);
        let validity = Validity { not_before: from, not_after: from + life };
        assert_eq!(validity.renew_at(), from + std::time::Duration::from_hours(60 * 24));
    }

    #[test]
    fn only_a_certificate_of_the_device_s_key_is_its_own() {
        let own = SigningKey::generate(&SystemRandom::new()).unwrap();
        let pair = KeyPair::from_pem_and_sign_algo(&own.to_pem(), &PKCS_ED25519).unwrap();
        let first = OwnCertificate::new(&pem((2026, 2027), &pair), &own).unwrap();
        let next = OwnCertificate::new(&pem((2027, 2028), &pair), &own).unwrap();
        let before = first.validity().unwrap();
        first.replace(&next);
        assert!(first.validity() == next.validity() && first.validity() != Some(before));
        let foreign = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        assert!(OwnCertificate::new(&pem((2026, 2027), &foreign), &own).is_err());
        assert!(OwnCertificate::new("", &own).is_err());
    }
}
