//! `takt audit export`: the whole log, held against its head on its way to the file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use takt_common::audit::{End, Walk};

use super::{ExportArgs, answer, head, is_there, page};
use crate::api::Api;
use crate::failure::Failure;
use crate::file::FileError;
use crate::output::Output;

/// What was written.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    file: &'a Path,
    end: End,
    key: String,
}

pub(super) async fn run(args: ExportArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let path = args.file.as_path();
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => FileError::Write { path: path.to_owned(), source },
    });
    match write(path, opened?, api).await {
        Ok((end, key)) => Ok(output.give(&Exported { file: path, end, key: key.clone() }, || {
            vec![format!(
                "{} holds all {} entries of the audit log, and their head, signed by key {key}",
                path.display(),
                end.number
            )]
        })?),
        Err(failure) => {
            // A part of a log is none; whatever keeps it from being removed, it has no head.
            let _ = std::fs::remove_file(path);
            Err(failure)
        }
    }
}

async fn write(path: &Path, file: File, api: &Api) -> Result<(End, String), Failure> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let (bytes, signed) = head(api).await?;
    let (mut file, mut walk) = (BufWriter::new(file), Walk::after(End::start()));
    while !is_there(&walk, signed.head.end) {
        let page = page(api, walk.end().number).await?;
        if page.is_empty() {
            break;
        }
        for line in page {
            // What came after the head was signed belongs to the next export.
            if !is_there(&walk, signed.head.end) {
                walk.next(&line).map_err(|error| answer(api, error))?;
                file.write_all(&line).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
            }
        }
    }
    let end = walk.finish(&signed.head).map_err(|error| answer(api, error))?;
    file.write_all(&bytes).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok((end, signed.key.to_string()))
}
