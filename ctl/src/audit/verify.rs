//! `takt audit verify`: an exported log against itself, against its signed head, and against heads that were kept from before.

use std::path::Path;

use serde::Serialize;
use takt_common::audit::{Head, HeadError, SignedHead, Walk};
use takt_common::envelope::Signers;
use takt_trust::DirectorTrust;

use super::{AuditError, VerifyArgs, lines};
use crate::failure::Failure;
use crate::file;
use crate::output::Output;

/// What was found whole.
#[derive(Debug, Serialize)]
struct Verified {
    entries: u64,
    head: Head,
    key: String,
    /// A director root vouches for the key.
    trusted: bool,
    older_heads: Vec<Head>,
}

pub(super) fn run(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let signers: Vec<Signers> =
        args.director_root.iter().map(|root| signers(root)).collect::<Result<_, _>>()?;
    let mut older = Vec::new();
    for kept in &args.head {
        let bytes = lines::read(kept, |_| Ok(()))?;
        older.push((kept, open(kept, &bytes, &signers)?));
    }
    let heads: Vec<Head> = older.iter().map(|(_, signed)| signed.head).collect();
    let mut walk = Walk::past(heads.clone());
    let broken = |source| AuditError::Chain { file: args.file.clone(), source: Box::new(source) };
    let last = lines::read(&args.file, |line| walk.next(line).map(drop).map_err(broken))?;
    let signed = open(&args.file, &last, &signers)?;
    if let Some((kept, other)) = older.iter().find(|(_, kept)| signers.is_empty() && kept.key != signed.key) {
        return Err(AuditError::OtherKey {
            older_file: (*kept).clone(),
            older: other.key.to_string(),
            newer_file: args.file.clone(),
            newer: signed.key.to_string(),
        }
        .into());
    }
    let end = walk.finish(&signed.head).map_err(broken)?;
    let verified = Verified {
        entries: end.number,
        head: signed.head,
        key: signed.key.to_string(),
        trusted: !signers.is_empty(),
        older_heads: heads,
    };
    Ok(output.give(&verified, || vec![sentence(args, &verified)])?)
}

fn sentence(args: &VerifyArgs, verified: &Verified) -> String {
    let Verified { entries, head, key, trusted, older_heads } = verified;
    let whose = if *trusted {
        "an order key of the director root"
    } else {
        "a key that nobody vouches for here (--director-root)"
    };
    let since = older_heads.iter().max_by_key(|older| older.end.number).map_or_else(String::new, |older| {
        format!(", and up to entry {} it is what it was at {}", older.end.number, older.time)
    });
    format!(
        "{} is whole: {entries} entries under the head of {}, signed by {key}, {whose}{since}",
        args.file.display(),
        head.time
    )
}

fn signers(root: &Path) -> Result<Signers, AuditError> {
    let bytes = file::read_bytes(root, file::TEXT_LENGTH_MAX)?;
    let trust = DirectorTrust::from_root(&bytes)
        .map_err(|source| AuditError::Root { file: root.to_owned(), source: Box::new(source) })?;
    Ok(trust.order_signers())
}

/// A head that the order keys of one of the roots have signed; without any root, that its own key has.
fn open(file: &Path, bytes: &[u8], signers: &[Signers]) -> Result<SignedHead, AuditError> {
    let refused = |source: HeadError| AuditError::Head { file: file.to_owned(), source: Box::new(source) };
    let own = SignedHead::open(bytes).map_err(refused)?;
    let mut refusal = None;
    for signers in signers {
        match Head::open(bytes, signers) {
            Ok(_) => return Ok(own),
            Err(error) => refusal = Some(error),
        }
    }
    refusal.map_or(Ok(own), |error| Err(refused(error)))
}
