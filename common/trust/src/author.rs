//! Writing the small documents: snapshot (what belongs together) and timestamp (what is current).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use takt_common::{Sha256Digest, UnixTime};

use crate::document::{Document, DocumentError};
use crate::rules::SPEC_VERSION;

/// How long a snapshot is good for: signed by a person, so a quarter.
pub const SNAPSHOT_LIFE: Duration = Duration::from_hours(90 * 24);

/// How long a timestamp is good for: signed by a machine that is always there, so a week. A device that is shown an old
/// state of the repository notices after at most this long.
pub const TIMESTAMP_LIFE: Duration = Duration::from_hours(7 * 24);

/// The signed field of a timestamp with the second of its signing.
pub(crate) const ISSUED_FIELD: &str = "x-takt-issued";

#[derive(Serialize)]
struct PinBody {
    #[serde(rename = "_type")]
    kind: &'static str,
    expires: String,
    meta: BTreeMap<&'static str, MetaBody>,
    spec_version: &'static str,
    version: u64,
    #[serde(rename = "x-takt-issued", skip_serializing_if = "Option::is_none")]
    issued: Option<UnixTime>,
}

#[derive(Serialize)]
struct MetaBody {
    hashes: Hashes,
    length: usize,
    version: u64,
}

#[derive(Serialize)]
struct Hashes {
    sha256: Sha256Digest,
}

/// The snapshot that names exactly these bytes of a targets document, so they must carry all signatures already.
pub fn snapshot_for(targets: &[u8], version: u64, now: UnixTime) -> Result<Document, DocumentError> {
    let meta = [("targets.json", pin("targets", targets)?)].into();
    let expires = (now + SNAPSHOT_LIFE).to_string();
    let body = PinBody { kind: "snapshot", expires, meta, spec_version: SPEC_VERSION, version, issued: None };
    Ok(Document::unsigned(&body))
}

/// The timestamp that names exactly these bytes of a snapshot as current, for [`TIMESTAMP_LIFE`] from `now`.
pub fn timestamp_for(snapshot: &[u8], version: u64, now: UnixTime) -> Result<Document, DocumentError> {
    let meta = [("snapshot.json", pin("snapshot", snapshot)?)].into();
    let expires = (now + TIMESTAMP_LIFE).to_string();
    let body =
        PinBody { kind: "timestamp", expires, meta, spec_version: SPEC_VERSION, version, issued: Some(now) };
    Ok(Document::unsigned(&body))
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
        let snapshot = snapshot_for(&targets, 4, now).unwrap();
        assert_eq!(snapshot.signed()["meta"]["targets.json"]["version"], 1);
        assert_eq!(snapshot.signed()["meta"]["targets.json"]["length"], targets.len());
        let timestamp = timestamp_for(&snapshot.to_bytes(), 9, now).unwrap();
        assert_eq!(timestamp.signed()["meta"]["snapshot.json"]["version"], 4);
        assert_eq!(timestamp.signed()["expires"], "2026-11-28T08:00:00Z");
        let error = timestamp_for(&targets, 9, now).unwrap_err().to_string();
        assert_eq!(error, "the document is of type 'targets', 'snapshot' was expected");
    }
}
