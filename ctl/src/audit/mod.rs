//! `takt audit`: what was decided and done, as the coordinator's log tells it, and whether that log is whole.

mod export;
mod lines;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use takt_common::audit::{ChainError, End, Entry, HeadError, SignedHead, Walk};
use takt_trust::TrustError;

use crate::api::{Api, ApiError};
use crate::cli::Online;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::file::FileError;
use crate::output::Output;
use crate::table::Table;

/// `takt audit ...`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Shows entries of the log: who did what, and what the coordinator decided
    #[command(after_help = "Example:\n  takt audit show --last 50")]
    Show(ShowArgs),
    /// Writes the whole log and its signed head to a file, one JSON document a line
    #[command(after_help = "Example:\n  takt audit export audit-2026-47.jsonl")]
    Export(ExportArgs),
    /// Verifies an exported log without a coordinator: finds every edit, removal, addition and change of order
    #[command(
        after_help = "Example:\n  takt audit verify audit-2026-47.jsonl --head audit-2026-46.jsonl --director-root 1.director.root.json"
    )]
    Verify(VerifyArgs),
}

/// `takt audit show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The last so many entries
    #[arg(long, value_name = "COUNT", default_value_t = 20, conflicts_with = "after")]
    last: u64,
    /// All entries behind the one with this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

/// `takt audit export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `takt audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The exported log
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A signed head that was kept, or an earlier export, which ends with one: finds a log that was cut and written anew since then
    #[arg(long, value_name = "OLDER_HEAD")]
    head: Vec<PathBuf>,
    /// A director root: its order keys must have signed the heads; several where the keys have changed in between
    #[arg(long, value_name = "ROOT")]
    director_root: Vec<PathBuf>,
}

/// A log is not whole, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The chain breaks.
    #[error("the audit log in {} is not whole", file.display())]
    Chain {
        /// Where it stands.
        file: PathBuf,
        /// Where and how.
        #[source]
        source: Box<ChainError>,
    },
    /// The head is not signed as it must be.
    #[error("the last line of {} is no head that counts", file.display())]
    Head {
        /// Where it stands.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<HeadError>,
    },
    /// Two heads are signed by different keys, and nobody says which of them may.
    #[error(
        "the head in {} is signed by key {older}, the one in {} by key {newer}; --director-root says which keys may sign",
        older_file.display(), newer_file.display()
    )]
    OtherKey {
        /// The older head's file.
        older_file: PathBuf,
        /// Its key.
        older: String,
        /// The newer head's file.
        newer_file: PathBuf,
        /// Its key.
        newer: String,
    },
    /// The file is no export, or not all of one.
    #[error("line {line} of {}: {why}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The root is none.
    #[error("read the director root {}", file.display())]
    Root {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<TrustError>,
    },
    /// The coordinator's answer is not what it should be.
    #[error("the audit log of the coordinator at {url} is not whole")]
    Answer {
        /// The coordinator.
        url: String,
        /// Where and how.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AuditError {
    /// What the shell gets.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Chain { .. }
            | Self::Head { .. }
            | Self::OtherKey { .. }
            | Self::Line { .. }
            | Self::Answer { .. }
            | Self::File(FileError::Exists { .. }) => Exit::Refused,
            Self::File(FileError::Write { .. }) => Exit::Failed,
            Self::Root { .. } | Self::File(_) => Exit::BadInput,
        }
    }
}

/// Does what a `takt audit` command asks for.
pub async fn run(command: AuditCommand, online: &Online, output: Output) -> Result<(), Failure> {
    match command {
        AuditCommand::Show(args) => show(&args, &online.api()?, output).await,
        AuditCommand::Export(args) => export::run(args, &online.api()?, output).await,
        AuditCommand::Verify(args) => verify::run(&args, output),
    }
}

async fn show(args: &ShowArgs, api: &Api, output: Output) -> Result<(), Failure> {
    let (_, head) = head(api).await?;
    let end = head.head.end.number;
    let mut after = args.after.unwrap_or_else(|| end.saturating_sub(args.last));
    let mut entries = Vec::new();
    while after < end {
        let page = page(api, after).await?;
        for line in &page {
            let entry = Entry::from_bytes(line).map_err(|error| answer(api, error))?;
            after = entry.number;
            entries.push(entry);
        }
        if page.is_empty() {
            break;
        }
    }
    Ok(output.give(&entries, || {
        let mut table = Table::new(&["NUMBER", "TIME", "WHO", "WHAT"]);
        for Entry { number, time, who, what, .. } in &entries {
            let what = what.to_string().replace(char::is_control, " ");
            table.row(vec![number.to_string(), time.to_string(), who.to_string(), what]);
        }
        table.lines()
    })?)
}

/// The coordinator's signed head, in its exact bytes.
async fn head(api: &Api) -> Result<(Vec<u8>, SignedHead), Failure> {
    let path = "/api/v1/audit/head";
    let bytes = api.get_bytes(path).await?.ok_or_else(|| ApiError::Unreadable {
        url: api.url().to_owned(),
        path: path.to_owned(),
        why: "this version keeps no audit log".to_owned(),
    })?;
    let head = SignedHead::open(&bytes).map_err(|error| answer(api, error))?;
    Ok((bytes, head))
}

/// The exact bytes of the entries behind the one with the number `after`, as many as come at once.
async fn page(api: &Api, after: u64) -> Result<Vec<Vec<u8>>, Failure> {
    let page = api.get_bytes(&format!("/api/v1/audit?after={after}")).await?.unwrap_or_default();
    let lines = page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(<[u8]>::to_vec).collect())
}

fn answer(api: &Api, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AuditError {
    AuditError::Answer { url: api.url().to_owned(), source: source.into() }
}

/// Whether the walk has come to the end that a head names.
fn is_there(walk: &Walk, end: End) -> bool {
    walk.end().number >= end.number
}
