//! Adding signatures, and the snapshot that follows once the targets have theirs.

use takt_common::{SigningKey, UnixTime};
use takt_trust::document::DOCUMENT_LENGTH_MAX;
use takt_trust::{Document, snapshot_for};

use super::dir::{Role, TrustDir, TrustDirError};
use crate::file;

/// Signs every newest document that misses signatures which `keys` may give, then makes the snapshot for complete
/// targets if a snapshot key is among them. Documents that are complete are never touched: other documents name
/// their exact bytes.
pub fn sign_pending(dir: &TrustDir, keys: &[SigningKey], now: UnixTime) -> Result<(), TrustDirError> {
    for role in dir.all()? {
        let Some(mut stored) = dir.newest(&role)? else { continue };
        let signers = dir.signers(&role)?;
        // A snapshot of earlier targets is published, and its exact bytes count.
        let past = role == Role::Snapshot && !is_current(dir, &stored.document)?;
        if past || signers.iter().all(|spec| stored.document.is_signed_by(spec)) {
            continue;
        }
        let holds = |key: &&SigningKey| signers.iter().any(|spec| spec.keys.contains(&key.public()));
        let holders: Vec<&SigningKey> = keys.iter().filter(holds).collect();
        if !holders.is_empty() {
            for key in holders {
                stored.document.add_signature(key);
            }
            dir.write(&role, &stored.document)?;
        }
    }
    snapshot_if_due(dir, keys, now)
}

/// Whether a snapshot names what is to be published. It does not while a role has nothing that is signed.
fn is_current(dir: &TrustDir, snapshot: &Document) -> Result<bool, TrustDirError> {
    match dir.pins_newest(snapshot) {
        Err(TrustDirError::Unsigned { .. }) => Ok(false),
        other => other,
    }
}

/// Makes the next snapshot when the newest targets are complete and in none yet, and a snapshot key is there.
fn snapshot_if_due(dir: &TrustDir, keys: &[SigningKey], now: UnixTime) -> Result<(), TrustDirError> {
    let holders = dir.role(&Role::Snapshot)?;
    let signers: Vec<&SigningKey> = keys.iter().filter(|key| holders.keys.contains(&key.public())).collect();
    let Some(targets) = dir.newest(&Role::Targets)? else { return Ok(()) };
    if signers.is_empty() || !targets.document.is_signed_by(&dir.role(&Role::Targets)?) {
        return Ok(());
    }
    let delegated = match dir.delegated() {
        // Devices would refuse a snapshot that names what their present holders have not signed.
        Err(TrustDirError::Unsigned { .. }) => return Ok(()),
        other => other?,
    };
    let path = targets.path;
    let bytes = file::read_bytes(&path, DOCUMENT_LENGTH_MAX as u64)?;
    let newest = dir.newest(&Role::Snapshot)?;
    if let Some(snapshot) = &newest
        && dir.pins_newest(&snapshot.document)?
    {
        return Ok(());
    }
    let version = newest.as_ref().map_or(0, |snapshot| snapshot.version) + 1;
    let before = newest.as_ref().map(|snapshot| &snapshot.document);
    let pinned = delegated.iter().map(|(role, bytes)| (role.as_str(), bytes.as_slice()));
    let mut snapshot = snapshot_for(&bytes, pinned, before, version, now)
        .map_err(|source| TrustDirError::Document { path, source })?;
    for key in signers {
        snapshot.add_signature(key);
    }
    dir.write(&Role::Snapshot, &snapshot)
}
