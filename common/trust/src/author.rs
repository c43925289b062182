//! Writing the small documents: snapshot (what belongs together) and timestamp (what is current).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use takt_common::{Sha256Digest, UnixTime};

use crate::document::{Document, DocumentError};
use crate::names::{SNAPSHOT_FILE, TARGETS_FILE};
use crate::rules::SPEC_VERSION;

/// How long a snapshot is good for: signed by a person, so a quarter.
pub const SNAPSHOT_LIFE: Duration = Duration::from_hours(90 * 24);

/// How long a timestamp is good for: signed by a machine that is always there, so a week. A device that is shown an old
/// state of the repository notices after at most this long.
pub const TIMESTAMP_LIFE: Duration = Duration::from_hours(7 * 24);

/// The signed field of a snapshot or timestamp with the second of its making.
pub(crate) const ISSUED_FIELD: &str = "x-takt-issued";

#[derive(Serialize)]
struct PinBody {
    #[serde(rename = "_type")]
    kind: &'static str,
    expires: String,
    meta: BTreeMap<String, MetaBody>,
    spec_version: &'static str,
    version: u64,
    #[serde(rename = "x-takt-issued", skip_serializing_if = "Option::is_none")]
    issued: Option<UnixTime>,
}

#[derive(Serialize, Deserialize)]
struct MetaBody {
    hashes: Hashes,
    length: usize,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Hashes {
    sha256: Sha256Digest,
}

/// The snapshot that names exactly these bytes of the publishers' targets and of those of delegated roles, by role; they must carry
/// all signatures already. What the snapshot `before` names stays, also when it is not delegated any more: devices take no snapshot in
/// which something is gone (TUF 1.0.31, 5.5.5).
pub fn snapshot_for<'a>(
    targets: &[u8],
    delegated: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    before: Option<&Document>,
    version: u64,
    now: UnixTime,
) -> Result<Document, DocumentError> {
    let mut meta = before.map(pins_of).unwrap_or_default();
    meta.insert(TARGETS_FILE.to_owned(), pin("targets", targets)?);
    for (role, bytes) in delegated {
        meta.insert(format!("{role}.json"), pin("targets", bytes)?);
    }
    let expires = (now + SNAPSHOT_LIFE).to_string();
    let body =
        PinBody { kind: "snapshot", expires, meta, spec_version: SPEC_VERSION, version, issued: Some(now) };
    Ok(Document::unsigned(&body))
}

/// The timestamp that names exactly these bytes of a snapshot as current, for [`TIMESTAMP_LIFE`] from `now`.
pub fn timestamp_for(snapshot: &[u8], version: u64, now: UnixTime) -> Result<Document, DocumentError> {
    let meta = [(SNAPSHOT_FILE.to_owned(), pin("snapshot", snapshot)?)].into();
    let expires = (now + TIMESTAMP_LIFE).to_string();
    let body =
        PinBody { kind: "timestamp", expires, meta, spec_version: SPEC_VERSION, version, issued: Some(now) };
    Ok(Document::unsigned(&body))
}

/// What a snapshot names.
fn pins_of(snapshot: &Document) -> BTreeMap<String, MetaBody> {
    let meta = snapshot.signed().get("meta").cloned();
    meta.and_then(|meta| serde_json::from_value(meta).ok()).unwrap_or_default()
}

/// The version of a role's document in a snapshot; none where it does not name one.
pub fn pinned_version(snapshot: &Document, role: &str) -> Option<u64> {
    pins_of(snapshot).get(&format!("{role}.json")).map(|pin| pin.version)
}

/// Whether a snapshot names exactly these bytes as the document of a role.
pub fn pins(snapshot: &Document, role: &str, bytes: &[u8]) -> bool {
    let pinned = pins_of(snapshot).remove(&format!("{role}.json"));
    pinned.is_some_and(|pin| pin.hashes.sha256 == Sha256Digest::of(bytes))
}

fn pin(kind: &'static str, bytes: &[u8]) -> Result<MetaBody, DocumentError> {
    let document = Document::from_bytes(bytes)?;
    if document.kind() != kind {
        return Err(DocumentError::WrongKind { found: document.kind().to_owned(), expected: kind });
    }
    let hashes = Hashes { sha256: Sha256Digest::of(bytes) };
    Ok(MetaBody { hashes, length: bytes.len(), version: document.version() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::TargetsDocument;

    #[test]
    fn only_the_right_kind_of_document_is_pinned() {
        let now = UnixTime::from_secs(1_795_248_000);
        let targets = TargetsDocument::new(now).document().to_bytes();
        let snapshot = snapshot_for(&targets, [], None, 4, now).unwrap();
        assert_eq!(snapshot.signed()["meta"]["targets.json"]["version"], 1);
        assert_eq!(snapshot.signed()["meta"]["targets.json"]["length"], targets.len());
        let timestamp = timestamp_for(&snapshot.to_bytes(), 9, now).unwrap();
        assert_eq!(timestamp.signed()["meta"]["snapshot.json"]["version"], 4);
        assert_eq!(timestamp.signed()["expires"], "2026-11-28T08:00:00Z");
        let error = timestamp_for(&targets, 9, now).unwrap_err().to_string();
        assert_eq!(error, "the document is of type 'targets', 'snapshot' was expected");
    }
}
