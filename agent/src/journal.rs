//! What the agent keeps across power cuts: its [`Record`] and the outbox of signed reports.
//!
//! A change of phase and the report that tells of it are one commit, so neither is ever there without the other.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use takt_agent_core::Record;
use takt_agent_core::record::RECORD_FORMAT;
use takt_common::audit::End;
use takt_common::digest::to_hex;
use takt_common::envelope::PayloadType;
use takt_common::release::MANIFEST_LENGTH_MAX;
use takt_common::report::Report;
use takt_common::{Envelope, Sha256Digest, SigningKey};
use takt_store::{Batch, Options, Origin, SledStore, Store, StoreError, StoreJson, VALUE_BYTES_MAX};

/// Where the journal lies in the state folder.
pub const FOLDER: &str = "journal";

const RECORD_KEY: &[u8] = b"record";
const CHAIN_KEY: &[u8] = b"chain";
const AUDIT_KEY: &[u8] = b"audit";
const OUTBOX_PREFIX: &[u8] = b"outbox/";

/// When this many reports wait, only those that end or refuse an order are added: the rest can be told later.
const OUTBOX_BUSY: usize = 256;

/// When this many reports wait, only those that end an order are added, and no order is taken in until some have been
/// acknowledged: so the outbox has a limit and every order is told of.
pub const OUTBOX_MAX: usize = 1024;

/// Above this size a record forgets retained releases: half of what the store takes for one value.
const RECORD_BYTES_FULL: usize = VALUE_BYTES_MAX / 2;

/// An order adds its manifest to the record as what comes, what is installed and what stands in.
const MANIFESTS_TO_COME: usize = 3;

/// How many of the latest nonces an answer may name.
const NONCES: usize = 8;

/// The page cache of the store; a journal is small.
const CACHE_BYTES: u64 = 1 << 20;

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store failed.
    #[error("keep the journal")]
    Store(#[from] StoreError),
    /// Written by a later version.
    #[error("read the journal: it has format {found}, this version reads {RECORD_FORMAT}")]
    Format {
        /// In the journal.
        found: u32,
    },
    /// No randomness.
    #[error("make a nonce: the system gave no random numbers")]
    NoRandom,
    /// The thread that writes has ended.
    #[error("write the journal: the writer has ended")]
    WriterGone,
}

/// Where the chain of reports stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chain {
    next_sequence: u64,
    previous: Option<Sha256Digest>,
    nonces: VecDeque<String>,
}

impl Default for Chain {
    /// Reports count from 1: a coordinator that has none of them stands at 0.
    fn default() -> Self {
        Self { next_sequence: 1, previous: None, nonces: VecDeque::new() }
    }
}

/// A sealed report that waits for its acknowledgement.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its sequence number.
    pub sequence: u64,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// The journal of one agent.
pub struct Journal {
    store: Arc<SledStore>,
    record: Record,
    chain: Chain,
    audit_end: Option<End>,
    outbox_length: usize,
    random: SystemRandom,
}

impl Journal {
    /// Opens the journal in `folder`. The text tells what was restored, when something had to be.
    pub fn open(folder: &Path) -> Result<(Self, Option<String>), JournalError> {
        let options = Options { cache_bytes: CACHE_BYTES, ..Options::default() };
        let opened = SledStore::open(folder, &options)?;
        let restored = matches!(opened.origin, Origin::Restored { .. }).then(|| opened.origin.to_string());
        let store = Arc::new(opened.store);
        let record: Record = store.get_json(RECORD_KEY)?.unwrap_or_default();
        if record.format != RECORD_FORMAT {
            return Err(JournalError::Format { found: record.format });
        }
        let chain = store.get_json(CHAIN_KEY)?.unwrap_or_default();
        let audit_end = store.get_json(AUDIT_KEY)?;
        let outbox_length = store.scan(OUTBOX_PREFIX, None, OUTBOX_MAX)?.len();
        let random = SystemRandom::new();
        Ok((Self { store, record, chain, audit_end, outbox_length, random }, restored))
    }

    /// What is on disk.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Nonces of the latest reports.
    pub fn nonces(&self) -> Vec<String> {
        self.chain.nonces.iter().cloned().collect()
    }

    /// Commits `record`, and `reports` with it. They get their numbers, links and nonces here.
    pub async fn commit(
        &mut self,
        record: Record,
        reports: Vec<Report>,
        key: &SigningKey,
    ) -> Result<(), JournalError> {
        let record = fitting(record);
        let mut batch = Batch::new().put_json(RECORD_KEY, &record)?;
        let mut chain = self.chain.clone();
        let mut outbox_length = self.outbox_length;
        for mut report in reports {
            // What cannot be said again later needs room.
            let once = report.refused.is_some() || report.skipped.is_some();
            let room = outbox_length < if once { OUTBOX_MAX } else { OUTBOX_BUSY };
            if report.outcome.is_none() && !room {
                continue;
            }
            report.sequence = chain.next_sequence;
            report.previous_report_digest = chain.previous;
            report.nonce = self.nonce()?;
            let payload = report.to_bytes();
            chain.next_sequence += 1;
            chain.previous = Some(Sha256Digest::of(&payload));
            chain.nonces.push_back(report.nonce.clone());
            while chain.nonces.len() > NONCES {
                chain.nonces.pop_front();
            }
            outbox_length += 1;
            let envelope = Envelope::seal(PayloadType::Report, &payload, &[key]);
            batch = batch.put(outbox_key(report.sequence), envelope.to_bytes());
        }
        self.write(batch.put_json(CHAIN_KEY, &chain)?).await?;
        self.record = record;
        self.chain = chain;
        self.outbox_length = outbox_length;
        Ok(())
    }

    /// The number of the last report that was made.
    pub const fn last_sequence(&self) -> Option<u64> {
        self.chain.next_sequence.checked_sub(1)
    }

    /// How many reports wait.
    pub const fn outbox_length(&self) -> usize {
        self.outbox_length
    }

    /// The reports that wait after `after`, oldest first, at most `limit`.
    pub fn waiting(&self, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, JournalError> {
        let after = after.map(outbox_key);
        let pairs = self.store.scan(OUTBOX_PREFIX, after.as_deref(), limit)?;
        Ok(pairs
            .into_iter()
            .filter_map(|(key, envelope)| {
                let number: [u8; 8] = key.get(OUTBOX_PREFIX.len()..)?.try_into().ok()?;
                Some(Waiting { sequence: u64::from_be_bytes(number), envelope })
            })
            .collect())
    }

    /// Forgets the reports up to and with `sequence`: the coordinator has them on disk.
    pub async fn acknowledged(&mut self, sequence: u64) -> Result<(), JournalError> {
        let done: Vec<Waiting> = self.waiting(None, OUTBOX_MAX)?;
        let done: Vec<u64> =
            done.iter().map(|report| report.sequence).filter(|number| *number <= sequence).collect();
        if done.is_empty() {
            return Ok(());
        }
        let batch = done.iter().fold(Batch::new(), |batch, number| batch.delete(outbox_key(*number)));
        self.write(batch).await?;
        self.outbox_length = self.outbox_length.saturating_sub(done.len());
        Ok(())
    }

    /// The furthest end of the coordinator's audit log that a signed head has named.
    pub const fn audit_end(&self) -> Option<End> {
        self.audit_end
    }

    /// Keeps it.
    pub async fn keep_audit_end(&mut self, end: End) -> Result<(), JournalError> {
        self.write(Batch::new().put_json(AUDIT_KEY, &end)?).await?;
        self.audit_end = Some(end);
        Ok(())
    }

    /// Writes the hourly export, if it is time; `uptime` is any clock that only goes forward.
    pub async fn export_if_due(&self, uptime: Duration) -> Result<(), JournalError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.export_if_due(uptime).map(drop)).await
    }

    async fn write(&self, batch: Batch) -> Result<(), JournalError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.commit(batch)).await
    }

    fn nonce(&self) -> Result<String, JournalError> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).map_err(|_| JournalError::NoRandom)?;
        Ok(to_hex(&bytes))
    }
}

/// Whether a record that has just taken in an order has room for the manifests that may still come into it.
pub fn has_room(record: &Record) -> bool {
    let length = serde_json::to_vec(&fitting(record.clone())).map_or(usize::MAX, |bytes| bytes.len());
    length + MANIFESTS_TO_COME * MANIFEST_LENGTH_MAX <= VALUE_BYTES_MAX
}

/// Forgets retained releases, oldest first, until the record is of a size that the store takes with room to grow. Their
/// images go at the next pruning.
fn fitting(mut record: Record) -> Record {
    while !record.retained.is_empty()
        && serde_json::to_vec(&record).is_ok_and(|bytes| bytes.len() > RECORD_BYTES_FULL)
    {
        record.retained.pop();
    }
    record
}

async fn blocking(
    work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), JournalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(JournalError::WriterGone),
    }
}

fn outbox_key(sequence: u64) -> Vec<u8> {
    [OUTBOX_PREFIX, &sequence.to_be_bytes()].concat()
}
