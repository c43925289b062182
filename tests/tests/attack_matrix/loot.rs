//! What an attacker has. Each has what it is said to have and cannot be made to sign by another key: what needs a key is a method
//! of the thing that holds it.

use std::fs;
use std::path::Path;

use takt_common::envelope::PayloadType;
use takt_common::order::Order;
use takt_common::{Envelope, SigningKey, UnixTime};
use takt_coordinator::identity::Identity;
use takt_tests::fleet::Ceremony;
use takt_trust::{Document, TargetsDocument, snapshot_for, timestamp_for};

/// The coordinator's keys.
pub(crate) struct CoordinatorKeys {
    order: SigningKey,
    timestamp: SigningKey,
}

/// One of the two publishers' keys and the snapshot key, and the coordinator's.
pub(crate) struct OnePublisher {
    pub(crate) coordinator: CoordinatorKeys,
    publisher: SigningKey,
    snapshot: SigningKey,
}

/// The root key of before a rotation, or of nobody.
pub(crate) struct Roots(pub(crate) SigningKey);

/// The three documents of a state of the repository, as they are served.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    pub(crate) targets: Vec<u8>,
    pub(crate) snapshot: Vec<u8>,
    pub(crate) timestamp: Vec<u8>,
}

impl Papers {
    pub(crate) fn targets_version(&self) -> u64 {
        version(&self.targets)
    }

    pub(crate) fn snapshot_version(&self) -> u64 {
        version(&self.snapshot)
    }

    pub(crate) fn read_targets(&self) -> TargetsDocument {
        TargetsDocument::from_document(&Document::from_bytes(&self.targets).unwrap()).unwrap()
    }
}

fn version(document: &[u8]) -> u64 {
    Document::from_bytes(document).unwrap().version()
}

pub(crate) fn key(file: &str) -> SigningKey {
    SigningKey::from_pem(&fs::read_to_string(file).unwrap()).unwrap()
}

impl CoordinatorKeys {
    pub(crate) fn of(coordinator: &Path) -> Self {
        let Identity { order_key, timestamp_key, .. } = Identity::load(coordinator).unwrap();
        Self { order: order_key, timestamp: timestamp_key }
    }

    pub(crate) fn order(&self, order: &Order) -> Vec<u8> {
        Envelope::seal(PayloadType::Order, &order.to_bytes(), &[&self.order]).to_bytes()
    }

    /// Anything as an order.
    pub(crate) fn payload(&self, bytes: &[u8]) -> Vec<u8> {
        Envelope::seal(PayloadType::Order, bytes, &[&self.order]).to_bytes()
    }

    /// Says that a snapshot is the newest.
    pub(crate) fn timestamp(&self, snapshot: &[u8], version: u64, now: UnixTime) -> Vec<u8> {
        let mut document = timestamp_for(snapshot, version, now).unwrap();
        document.add_signature(&self.timestamp);
        document.to_bytes()
    }

    /// Signs what only publishers may sign.
    pub(crate) fn snapshot(&self, targets: &[u8], version: u64, now: UnixTime) -> Vec<u8> {
        let mut document = snapshot_for(targets, [], None, version, now).unwrap();
        document.add_signature(&self.timestamp);
        document.to_bytes()
    }
}

impl OnePublisher {
    pub(crate) fn of(coordinator: &Path, ceremony: &Ceremony) -> Self {
        let [publisher, _] = ceremony.publisher_keys();
        Self {
            coordinator: CoordinatorKeys::of(coordinator),
            publisher: key(&publisher),
            snapshot: key(&ceremony.snapshot_key()),
        }
    }

    /// The targets with one signature of two.
    pub(crate) fn targets(&self, targets: &TargetsDocument) -> Vec<u8> {
        let mut document = targets.document();
        document.add_signature(&self.publisher);
        document.to_bytes()
    }

    /// A whole state of the repository around these targets.
    pub(crate) fn papers(&self, targets: Vec<u8>, snapshot: u64, timestamp: u64, now: UnixTime) -> Papers {
        let mut document = snapshot_for(&targets, [], None, snapshot, now).unwrap();
        document.add_signature(&self.snapshot);
        let snapshot = document.to_bytes();
        let timestamp = self.coordinator.timestamp(&snapshot, timestamp, now);
        Papers { targets, snapshot, timestamp }
    }
}

impl Roots {
    /// A text with another version and, if wanted, the thief's own key in the place of all others, signed by the key at hand.
    pub(crate) fn forge(&self, root: &[u8], version: u64, own: bool) -> Vec<u8> {
        let mut text: serde_json::Value = serde_json::from_slice(root).unwrap();
        text["signed"]["version"] = version.into();
        text["signatures"] = serde_json::json!([]);
        if own {
            // Whoever signs for the thief signs for all.
            let mut alone = Document::from_bytes(text.to_string().as_bytes()).unwrap();
            alone.add_signature(&self.0);
            let id = alone.signatures()[0].keyid.clone();
            let public = self.0.public().to_string();
            let key =
                serde_json::json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
            text["signed"]["keys"][&id] = key;
            text["signed"]["roles"]["root"]["keyids"] = serde_json::json!([id]);
        }
        let mut document = Document::from_bytes(text.to_string().as_bytes()).unwrap();
        document.add_signature(&self.0);
        document.to_bytes()
    }
}
