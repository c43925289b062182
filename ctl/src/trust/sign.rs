//! Adding signatures, and the snapshot that follows once the targets have theirs.

use serde_json::Value;
use takt_common::{Sha256Digest, SigningKey, UnixTime};
use takt_trust::document::DOCUMENT_LENGTH_MAX;
use takt_trust::{Document, snapshot_for};

use super::dir::{Role, TrustDir, TrustDirError};
use crate::file;

/// Signs every newest document that misses signatures which `keys` may give, then makes the snapshot for complete
/// targets if a snapshot key is among them. Documents that are complete are never touched: other documents name
/// their exact bytes.
pub fn sign_pending(dir: &TrustDir, keys: &[SigningKey], now: UnixTime) -> Result<(), TrustDirError> {
    for role in [Role::Root, Role::Director, Role::Targets, Role::Snapshot] {
        let Some(mut stored) = dir.newest(role)? else { continue };
        let signers = dir.signers(role)?;
        // A snapshot of earlier targets is published, and its exact bytes count.
        let past = role == Role::Snapshot && !pins_newest(dir, &stored.document)?;
        if past || signers.iter().all(|spec| stored.document.is_signed_by(spec)) {
            continue;
        }
        let holds = |key: &&SigningKey| signers.iter().any(|spec| spec.keys.contains(&key.public()));
        let holders: Vec<&SigningKey> = keys.iter().filter(holds).collect();
        if !holders.is_empty() {
            for key in holders {
                stored.document.add_signature(key);
            }
            dir.write(role, &stored.document)?;
        }
    }
    snapshot_if_due(dir, keys, now)
}

/// Whether a snapshot names the newest targets of the folder.
fn pins_newest(dir: &TrustDir, snapshot: &Document) -> Result<bool, TrustDirError> {
    let Some(targets) = dir.newest(Role::Targets)? else { return Ok(false) };
    Ok(snapshot_pins(snapshot, &file::read_bytes(&targets.path, DOCUMENT_LENGTH_MAX as u64)?))
}

/// Makes the next snapshot when the newest targets are complete and in none yet, and a snapshot key is there.
fn snapshot_if_due(dir: &TrustDir, keys: &[SigningKey], now: UnixTime) -> Result<(), TrustDirError> {
    let holders = dir.role(Role::Snapshot)?;
    let signers: Vec<&SigningKey> = keys.iter().filter(|key| holders.keys.contains(&key.public())).collect();
    let Some(targets) = dir.newest(Role::Targets)? else { return Ok(()) };
    if signers.is_empty() || !targets.document.is_signed_by(&dir.role(Role::Targets)?) {
        return Ok(());
    }
    let path = targets.path;
    let bytes = file::read_bytes(&path, DOCUMENT_LENGTH_MAX as u64)?;
    let newest = dir.newest(Role::Snapshot)?;
    if newest.as_ref().is_some_and(|snapshot| snapshot_pins(&snapshot.document, &bytes)) {
        return Ok(());
    }
    let version = newest.map_or(0, |snapshot| snapshot.version) + 1;
    let mut snapshot =
        snapshot_for(&bytes, version, now).map_err(|source| TrustDirError::Document { path, source })?;
    for key in signers {
        snapshot.add_signature(key);
    }
    dir.write(Role::Snapshot, &snapshot)
}

/// Whether a snapshot names exactly these bytes of a targets document.
pub fn snapshot_pins(snapshot: &Document, targets: &[u8]) -> bool {
    let whole: Value = serde_json::from_slice(&snapshot.to_bytes()).unwrap_or_default();
    let pin = &whole["signed"]["meta"]["targets.json"];
    pin["hashes"]["sha256"].as_str() == Some(&Sha256Digest::of(targets).to_string())
}
