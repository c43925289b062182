//! Takeover `restore` (paper 1, rolling upgrade, step 1): a device gives the memory of what runs there, its standby takes
//! it. The coordinator carries it and can neither change it nor bring another: the device signs what it gives, and a
//! standby takes nothing but from devices that its own settings name.

mod archive;
mod error;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use http::header::HeaderMap;
use http_body_util::StreamBody;
use hyper::body::Frame;
use takt_agent_core::Workload;
use takt_common::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, Expected};
use takt_common::digest::Sha256Hasher;
use takt_common::envelope::ENVELOPE_LENGTH_MAX;
use takt_common::{DeviceId, Envelope, Sha256Digest, SigningKey, UnixTime};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

pub use self::error::MemoryError;
use self::error::disk;
use crate::engine::Engine;
use crate::fetch::{Answer, Client};

/// How long the memory is waited for in one try, and how often it is asked for in that time.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
const WAIT_PAUSE: Duration = Duration::from_millis(300);
/// A link that brings nothing for so long counts as broken.
const PIECE_LIMIT: Duration = Duration::from_secs(30);
/// Memory that comes slower than this is done without.
const BYTES_PER_SEC_MIN: u64 = 64 * 1024;
/// How much is read from the disk at a time.
const PIECE: usize = 256 * 1024;
/// Memory lies on the disk twice for a moment: as the engine writes it and packed, or packed and unpacked.
const COPIES: u64 = 2;
/// The engine's own files beside the pages.
const BESIDE_BYTES: u64 = 4 << 20;
/// The longest words of the coordinator that are shown.
const WORDS_MAX: usize = 4 * 1024;

/// What giving and taking need to know of this device.
pub struct MemoryTravel {
    /// Its id.
    pub device: DeviceId,
    /// Its key.
    pub key: SigningKey,
    /// Where memory lies on its way. Nothing stays there.
    pub folder: PathBuf,
    /// Devices whose memory is taken.
    pub restore_from: BTreeSet<DeviceId>,
    /// Bytes that stay free on the disk.
    pub reserve_bytes: u64,
    /// Memory has been written down and is on its way: to stop here leaves nothing half done.
    pub sending: AtomicBool,
}

/// Memory is on its way for as long as this is there.
struct Sending<'a>(&'a AtomicBool);

impl<'a> Sending<'a> {
    fn begin(sending: &'a AtomicBool) -> Self {
        sending.store(true, Ordering::Relaxed);
        Self(sending)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What is to be given.
pub struct Gift<'a> {
    /// Whose memory.
    pub workload: &'a Workload,
    /// For whom.
    pub standby: DeviceId,
    /// The fencing token of the takeover.
    pub lease: u64,
    /// The name of the checkpoint.
    pub checkpoint: &'a str,
    /// The device's trusted time.
    pub now: UnixTime,
}

/// What is to be taken.
pub struct Wish<'a> {
    /// For which.
    pub workload: &'a Workload,
    /// Whose memory.
    pub device: DeviceId,
    /// The fencing token of the takeover.
    pub lease: u64,
    /// The name of the checkpoint.
    pub checkpoint: &'a str,
    /// The device's trusted time.
    pub now: UnixTime,
}

/// The folder of what travels; it goes when this is dropped, also when the action is given up in the middle.
struct Spool<'a>(&'a Path);

impl<'a> Spool<'a> {
    fn make(folder: &'a Path) -> Result<Self, MemoryError> {
        clear(folder)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(disk("make", folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Spool<'_> {
    fn drop(&mut self) {
        if let Err(error) = clear(self.0) {
            tracing::warn!(error = crate::sentence(&error), "memory on its way was not removed");
        }
    }
}

fn clear(folder: &Path) -> Result<(), MemoryError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(disk("remove", folder)(error)),
        _ => Ok(()),
    }
}

impl MemoryTravel {
    /// Whether giving memory may be stopped: another order may come that makes it useless.
    pub fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed)
    }

    /// Removes what an agent that was killed has left on its way.
    pub fn tidy(&self) -> Result<(), MemoryError> {
        clear(&self.folder)
    }

    /// Writes the memory of all containers of a workload down while they run on, hands it to the coordinator, and deletes it
    /// here. It may be given again.
    pub async fn give(&self, engine: &Engine, client: &Client, gift: &Gift<'_>) -> Result<(), MemoryError> {
        let spool = Spool::make(&self.folder)?;
        let names: Vec<_> = gift.workload.containers().map(|(name, _)| name).collect();
        let mut bytes = BESIDE_BYTES;
        for name in &names {
            bytes += engine.usage(name).await?.memory_bytes.unwrap_or(0);
        }
        self.find_room(engine, bytes).await?;
        let mut folders = Vec::with_capacity(names.len());
        for name in &names {
            let folder = engine.checkpoint_running(name, gift.checkpoint).await?;
            fs::read_dir(&folder).map_err(|source| MemoryError::Unseen {
                name: name.clone(),
                folder: folder.clone(),
                source,
            })?;
            folders.push(folder);
        }
        let file = spool.0.join("given.tar");
        let at = file.clone();
        let packed = blocking(move || archive::pack(&folders, &at)).await;
        for name in &names {
            engine.delete_checkpoint(name, gift.checkpoint).await?;
        }
        let (length, sha256) = packed?;
        let statement = Checkpoint {
            format: CHECKPOINT_FORMAT,
            device: self.device,
            key: self.key.public(),
            standby: gift.standby,
            lease: gift.lease,
            manifest: gift.workload.manifest_sha256,
            length,
            sha256,
            made: gift.now,
        };
        let head = framed(&statement.seal(&self.key).to_bytes());
        let whole = head.len() as u64 + length;
        let _sending = Sending::begin(&self.sending);
        let source = tokio::fs::File::open(&file).await.map_err(disk("open", &file))?;
        let answer = client.put(&path(self.device), body(head, source), whole).await?;
        let status = answer.response.status();
        if !status.is_success() {
            let said = words(answer).await;
            return Err(MemoryError::NotCarried { status: status.as_u16(), said });
        }
        tracing::info!(standby = %gift.standby, bytes = length, "gave the memory of a workload to its standby");
        Ok(())
    }

    /// Brings the memory of a device and lays it beside the containers of a workload, which have been created from the same
    /// images. It may be taken again.
    pub async fn take(&self, engine: &Engine, client: &Client, wish: &Wish<'_>) -> Result<(), MemoryError> {
        let device = wish.device;
        if !self.restore_from.contains(&device) {
            return Err(MemoryError::NotAllowed { device });
        }
        let mut answer = Self::await_memory(client, device).await?;
        let spool = Spool::make(&self.folder)?;
        let mut pending = Pending { answer: &mut answer, device, rest: BytesMut::new() };
        let envelope = pending.head().await?;
        let expected = Expected {
            device,
            standby: self.device,
            lease: wish.lease,
            manifest: wish.workload.manifest_sha256,
            now: wish.now,
        };
        let foreign = |source| MemoryError::Foreign { device, source };
        let envelope = Envelope::from_bytes(&envelope).map_err(|error| foreign(error.into()))?;
        let said = Checkpoint::open(&envelope, &expected).map_err(foreign)?;
        self.find_room(engine, said.length).await?;
        let file = spool.0.join("taken.tar");
        let limit = PIECE_LIMIT + Duration::from_secs(said.length / BYTES_PER_SEC_MIN);
        let slow = |_elapsed| MemoryError::Broken {
            device,
            why: format!("{} bytes have not come within {} s", said.length, limit.as_secs()),
        };
        let found = timeout(limit, pending.save(&file, said.length)).await.map_err(slow)??;
        if found != said.sha256 {
            let why = format!("what came has the digest {found}, and {} was stated", said.sha256);
            return Err(MemoryError::Broken { device, why });
        }
        let mut folders = Vec::new();
        for (name, _) in wish.workload.containers() {
            folders.push(engine.checkpoint_to_come(&name, wish.checkpoint).await?);
        }
        blocking(move || archive::unpack(&file, &folders)).await?;
        tracing::info!(%device, bytes = said.length, "took the memory of a workload over");
        Ok(())
    }

    /// The coordinator has it once the device has given it, which begins when this standby is ready.
    async fn await_memory(client: &Client, device: DeviceId) -> Result<Answer, MemoryError> {
        let path = path(device);
        let wait = async {
            loop {
                let answer = client.get(&path, HeaderMap::new()).await?;
                match answer.response.status() {
                    StatusCode::OK => return Ok(answer),
                    StatusCode::NOT_FOUND => crate::clock::sleep(WAIT_PAUSE).await,
                    StatusCode::GONE => return Err(MemoryError::Never { device, why: words(answer).await }),
                    status => return Err(client.status(&path, status).into()),
                }
            }
        };
        let late = |_elapsed| MemoryError::NotYet { device, secs: WAIT_LIMIT.as_secs() };
        timeout(WAIT_LIMIT, wait).await.map_err(late)?
    }

    /// Memory lies here and with the engine, often on one disk.
    async fn find_room(&self, engine: &Engine, bytes: u64) -> Result<(), MemoryError> {
        let (bytes, reserve) = (bytes.saturating_mul(COPIES), self.reserve_bytes);
        for folder in [self.folder.clone(), PathBuf::from(engine.info().await?.root)] {
            let (_, free) = crate::host::space(&folder)
                .map_err(|error| disk("ask for the space of", &folder)(std::io::Error::other(error)))?;
            if free < bytes.saturating_add(reserve) {
                return Err(MemoryError::NoRoom { folder, bytes, free, reserve });
            }
        }
        Ok(())
    }
}

/// Where memory of a device is handed over.
fn path(device: DeviceId) -> String {
    format!("/api/v1/devices/{device}/checkpoint")
}

/// The envelope behind its length.
fn framed(envelope: &[u8]) -> Bytes {
    let length = u32::try_from(envelope.len()).expect("an envelope is short");
    [&length.to_be_bytes()[..], envelope].concat().into()
}

type Piece = std::io::Result<Frame<Bytes>>;

/// The head, then the file.
fn body(
    head: Bytes,
    file: tokio::fs::File,
) -> impl hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send {
    let pieces = stream::unfold((Some(head), file), |(head, mut file)| async move {
        if let Some(head) = head {
            return Some((Piece::Ok(Frame::data(head)), (None, file)));
        }
        let mut piece = BytesMut::with_capacity(PIECE);
        match file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(piece.freeze())), (None, file))),
            Err(error) => Some((Err(error), (None, file))),
        }
    });
    StreamBody::new(pieces)
}

/// A body that comes.
struct Pending<'a> {
    answer: &'a mut Answer,
    device: DeviceId,
    /// What has come and has not been taken.
    rest: BytesMut,
}

impl Pending<'_> {
    fn broken(&self, why: &str) -> MemoryError {
        MemoryError::Broken { device: self.device, why: why.to_owned() }
    }

    async fn next(&mut self) -> Result<Bytes, MemoryError> {
        let slow = |_elapsed| format!("nothing came for {} s", PIECE_LIMIT.as_secs());
        match timeout(PIECE_LIMIT, self.answer.next()).await.map_err(slow) {
            Ok(Some(Ok(bytes))) => Ok(bytes),
            Ok(Some(Err(error))) => Err(self.broken(&crate::sentence(&error))),
            Ok(None) => Err(self.broken("it ended in the middle")),
            Err(why) => Err(self.broken(&why)),
        }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, MemoryError> {
        while self.rest.len() < length {
            let more = self.next().await?;
            self.rest.extend_from_slice(&more);
        }
        Ok(self.rest.split_to(length).freeze())
    }

    /// The envelope.
    async fn head(&mut self) -> Result<Bytes, MemoryError> {
        let length = self.take(4).await?;
        let length = u32::from_be_bytes(length[..].try_into().expect("four bytes were taken")) as usize;
        if length > ENVELOPE_LENGTH_MAX {
            return Err(self.broken("the statement about it is too long"));
        }
        self.take(length).await
    }

    /// The archive, of exactly `length` bytes; gives its digest.
    async fn save(&mut self, file: &Path, length: u64) -> Result<Sha256Digest, MemoryError> {
        let made = File::options().write(true).create_new(true).mode(archive::FILE_MODE).open(file);
        let mut into = made.map_err(disk("make", file))?;
        let (mut hasher, mut found) = (Sha256Hasher::default(), 0_u64);
        let mut piece = self.rest.split().freeze();
        loop {
            found += piece.len() as u64;
            if found > length {
                return Err(self.broken("it is longer than stated"));
            }
            hasher.update(&piece);
            into.write_all(&piece).map_err(disk("write", file))?;
            if found == length {
                return Ok(hasher.finish());
            }
            piece = self.next().await?;
        }
    }
}

/// What the coordinator said beside its status: the detail of a problem document.
async fn words(mut answer: Answer) -> String {
    let mut body = Vec::new();
    while let Ok(Some(Ok(piece))) = timeout(PIECE_LIMIT, answer.next()).await {
        body.extend_from_slice(&piece);
        if body.len() > WORDS_MAX {
            break;
        }
    }
    let detail = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    detail.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MemoryError> + Send + 'static,
) -> Result<T, MemoryError> {
    tokio::task::spawn_blocking(work).await.expect("disk work neither panics nor is it cancelled")
}
