//! The lines of an export: entries, then the signed head.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use takt_common::audit::ENTRY_LENGTH_MAX;

use super::AuditError;
use crate::file::FileError;

/// Longer lines are none of an export; entries and envelopes have the same limit.
const LINE_LENGTH_MAX: usize = ENTRY_LENGTH_MAX;

/// Gives every line of `file` but the last to `entry`, without its end, and then the last one back.
pub(super) fn read(
    file: &Path,
    mut entry: impl FnMut(&[u8]) -> Result<(), AuditError>,
) -> Result<Vec<u8>, AuditError> {
    let failed = |source| FileError::Read { path: file.to_owned(), source };
    let mut reader = BufReader::new(File::open(file).map_err(failed)?);
    let (mut last, mut number) = (None::<Vec<u8>>, 0);
    loop {
        let mut line = Vec::new();
        let limit = LINE_LENGTH_MAX as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        number += 1;
        let refused = |why| AuditError::Line { file: file.to_owned(), line: number, why };
        if line.pop() != Some(b'\n') {
            return Err(refused("it is too long for an entry, or the file breaks off in it"));
        }
        if let Some(before) = last.replace(line) {
            entry(&before)?;
        }
    }
    let empty =
        AuditError::Line { file: file.to_owned(), line: 1, why: "an exported audit log was expected" };
    last.ok_or(empty)
}
