//! Signed envelopes: read, written again, and opened by those who trust some keys.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use takt_common::envelope::{PayloadType, Signers};
use takt_common::{Envelope, SigningKey};

use crate::memory::bounded;

const TYPES: [PayloadType; 7] = [
    PayloadType::Order,
    PayloadType::Report,
    PayloadType::Health,
    PayloadType::Ack,
    PayloadType::Checkpoint,
    PayloadType::AuditHead,
    PayloadType::Permission,
];

/// An input that begins with this byte is a payload to be signed, and how to spoil the envelope.
const SPOIL: u8 = 0xff;

/// Three keys; nobody trusts the last.
pub(crate) static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| [7, 8, 9].map(key));

/// The key whose seed is 32 times this byte.
pub(crate) fn key(seed: u8) -> SigningKey {
    // PKCS#8 of Ed25519 (RFC 8410, 7).
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend([seed; 32]);
    SigningKey::from_pkcs8(&pkcs8).expect("a key of 32 bytes")
}

/// Whom it is opened for: one key of one, one of two, two of two.
fn signers() -> [Signers; 3] {
    let [first, second, _] = &*KEYS;
    let of = |keys: &[&SigningKey], threshold| Signers {
        role: "the keys".to_owned(),
        keys: keys.iter().map(|key| key.public()).collect(),
        threshold,
    };
    [of(&[first], 1), of(&[first, second], 1), of(&[first, second], 2)]
}

/// Reads an envelope, or makes one and spoils it.
pub fn run(input: &[u8]) {
    match input {
        [SPOIL, by, bits, high, low, payload @ ..] => {
            spoil(*by, *bits, u16::from_be_bytes([*high, *low]), payload);
        }
        _ => bounded(input, 64, || read(input)),
    }
}

fn read(input: &[u8]) {
    let Ok(envelope) = Envelope::from_bytes(input) else { return };
    let again = Envelope::from_bytes(&envelope.to_bytes()).expect("what was accepted is accepted again");
    assert_eq!(again, envelope);
    for payload_type in TYPES {
        for signers in signers() {
            if let Ok(payload) = envelope.open(payload_type, &signers) {
                let valid = signed_by(&envelope, payload_type, &payload);
                let trusted = signers.keys.iter().filter(|key| valid.contains(&key.to_string())).count();
                assert!(trusted >= signers.threshold, "opened for {trusted} of {signers:?}");
                assert_eq!(envelope.unverified_payload(), Some(payload));
            }
        }
    }
}

/// The keys whose signature is in it, told without opening it: an Ed25519 signature is a function of key and message.
fn signed_by(envelope: &Envelope, payload_type: PayloadType, payload: &[u8]) -> BTreeSet<String> {
    let signatures = |envelope: &Envelope| -> BTreeSet<(String, String)> {
        let value: serde_json::Value = serde_json::from_slice(&envelope.to_bytes()).expect("it is JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let list = value["signatures"].as_array().expect("a list").clone();
        list.iter().map(|signature| (text(&signature["keyid"]), text(&signature["sig"]))).collect()
    };
    let all: Vec<&SigningKey> = KEYS.iter().collect();
    let genuine = signatures(&Envelope::seal(payload_type, payload, &all));
    signatures(envelope).intersection(&genuine).map(|(key, _)| key.clone()).collect()
}

/// Signs `payload` by some of the keys, changes some bits of one byte of the envelope, and opens it: either nothing that counts has
/// changed, or it stays closed.
fn spoil(by: u8, bits: u8, at: u16, payload: &[u8]) {
    let payload = &payload[..payload.len().min(512)];
    let signing: Vec<&SigningKey> =
        KEYS.iter().enumerate().filter(|(place, _)| by & (1 << place) != 0).map(|(_, key)| key).collect();
    let payload_type = TYPES[usize::from(by >> 3) % TYPES.len()];
    let mut bytes = Envelope::seal(payload_type, payload, &signing).to_bytes();
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= bits;
    let Ok(envelope) = Envelope::from_bytes(&bytes) else {
        assert!(bits != 0, "an envelope that was made is read");
        return;
    };
    for signers in signers() {
        let trusted = signing.iter().filter(|key| signers.keys.contains(&key.public())).count();
        match envelope.open(payload_type, &signers) {
            Ok(opened) => {
                assert_eq!(opened, payload, "opened with another payload");
                assert!(trusted >= signers.threshold, "opened for {trusted} signatures of {signers:?}");
            }
            Err(error) => {
                assert!(bits != 0 || trusted < signers.threshold, "closed for its signers: {error}");
            }
        }
        for other in TYPES.into_iter().filter(|other| *other != payload_type) {
            assert!(envelope.open(other, &signers).is_err(), "opened as {other:?}");
        }
    }
}
