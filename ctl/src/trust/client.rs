//! `takt trust client`: the verification that devices use, against any TUF repository, on the command line that the public
//! conformance tests of TUF clients expect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::{Certificate, Client, StatusCode};
use takt_common::UnixTime;
use takt_trust::client::encoded_file;
use takt_trust::names::{SNAPSHOT_FILE, TARGETS_FILE, TIMESTAMP_FILE};
use takt_trust::refresh::{ROOT_LENGTH_MAX, TARGETS_LENGTH_MAX};
use takt_trust::{TrustError, TufDocuments, TufRefresh, TufTarget, TufTargets};

use crate::exit::Exit;
use crate::file::{self, FileError};
use crate::output::Output;

/// The newest root; names in the folder have no versions.
const ROOT_FILE: &str = "root.json";

/// A server that does not take the connection within this is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that says nothing for so long is gone.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// The largest target that is fetched; it is held in memory until it is verified.
const TARGET_LENGTH_MAX: u64 = 1024 * 1024 * 1024;

/// The authorities' file.
const CA_LENGTH_MAX: u64 = 1024 * 1024;

const INIT_EXAMPLE: &str = "Example:\n  takt trust client --metadata-dir metadata init root.json";

const REFRESH_EXAMPLE: &str = "Example:\n  \
    takt trust client --metadata-dir metadata --metadata-url https://example.org/metadata refresh";

const DOWNLOAD_EXAMPLE: &str = "Example:\n  \
    takt trust client --metadata-dir metadata --metadata-url https://example.org/metadata \
    --target-base-url https://example.org/targets --target-dir targets --target-name camera.tar download";

/// `takt trust client …`
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Where trusted metadata is kept
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    /// A target to download, by its path in the metadata; may be given several times
    #[arg(long = "target-name", value_name = "PATH")]
    target_names: Vec<String>,
    /// Where the repository's targets are
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,
    /// Where downloaded targets are kept
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: ClientCommand,
}

/// What the client is to do.
#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Trusts ROOT because of where it comes from; asks nobody
    #[command(after_help = INIT_EXAMPLE)]
    Init {
        /// The first root
        #[arg(value_name = "ROOT")]
        root: PathBuf,
    },
    /// Brings the metadata up to date
    #[command(after_help = REFRESH_EXAMPLE)]
    Refresh,
    /// Brings the metadata up to date and downloads targets that it names
    #[command(after_help = DOWNLOAD_EXAMPLE)]
    Download,
}

/// The client cannot do what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An option is missing.
    #[error("'{command}' needs --{option}")]
    Option {
        /// What was to be done.
        command: &'static str,
        /// Which.
        option: &'static str,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is stored or published cannot be trusted.
    #[error(transparent)]
    Trust(#[from] Box<TrustError>),
    /// No client can be made of the settings.
    #[error("prepare the connection")]
    Prepare(#[source] reqwest::Error),
    /// The server.
    #[error("fetch {url}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server answers with an error.
    #[error("{url} was answered with {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// How.
        status: StatusCode,
    },
    /// More than there may be.
    #[error("{url} has more than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// How much there may be.
        limit: u64,
    },
    /// No role that may speak of it does.
    #[error("the repository offers no target '{0}'")]
    NoTarget(String),
    /// Other bytes than are signed.
    #[error("what is at {url} is not the target that the metadata describes")]
    WrongTarget {
        /// Where.
        url: String,
    },
    /// A name that leads out of the folder.
    #[error("the target '{0}' has no place below a folder")]
    Path(String),
}

impl From<TrustError> for ClientError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}

impl ClientError {
    /// What the shell gets: the tests of TUF clients know success and failure.
    pub const fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Does what `takt trust client` asks for; `ca` is the only authority that is trusted, where it is given.
pub(super) async fn run(
    args: ClientArgs,
    ca: Option<&Path>,
    now: UnixTime,
    output: Output,
) -> Result<(), super::Failure> {
    let done = match &args.command {
        ClientCommand::Init { root } => init(&args.metadata_dir, root)?,
        ClientCommand::Refresh => {
            refresh(&args, "refresh", &Mirror::new(ca)?, now).await?;
            format!("the metadata in {} is up to date", args.metadata_dir.display())
        }
        ClientCommand::Download => download(&args, &Mirror::new(ca)?, now).await?,
    };
    Ok(output.give(&serde_json::json!({ "done": done }), || vec![done.clone()])?)
}

fn init(folder: &Path, root: &Path) -> Result<String, ClientError> {
    let bytes = file::read_bytes(root, ROOT_LENGTH_MAX as u64)?;
    // Whether it is a root is asked before it is trusted.
    let stored = TufDocuments { root: bytes, ..TufDocuments::default() };
    TufRefresh::begin(&stored, UnixTime::default())?;
    file::create_folder(folder)?;
    file::replace(&folder.join(ROOT_FILE), &stored.root)?;
    Ok(format!("{} is trusted", root.display()))
}

/// Brings the metadata up to date; what has been verified is kept even when the rest is refused.
async fn refresh(
    args: &ClientArgs,
    command: &'static str,
    mirror: &Mirror,
    now: UnixTime,
) -> Result<TufTargets, ClientError> {
    let base = option(args.metadata_url.as_ref(), command, "metadata-url")?;
    let folder = &args.metadata_dir;
    let mut stored = read_stored(folder)?;
    let mut refresh = TufRefresh::begin(&stored, now)?;
    while let Some(need) = refresh.need() {
        let bytes = mirror.get(&join(base, &need.name), need.length_max as u64).await?;
        let provided = refresh.provide(bytes);
        let verified = refresh.verified();
        write_verified(folder, &stored, &verified)?;
        stored = verified;
        provided?;
    }
    Ok(refresh.finish()?)
}

fn read_stored(folder: &Path) -> Result<TufDocuments, ClientError> {
    let limit = TARGETS_LENGTH_MAX as u64;
    let read = |name: &str| -> Result<Option<Vec<u8>>, FileError> {
        let path = folder.join(name);
        if path.exists() { file::read_bytes(&path, limit).map(Some) } else { Ok(None) }
    };
    Ok(TufDocuments {
        root: file::read_bytes(&folder.join(ROOT_FILE), limit)?,
        timestamp: read(TIMESTAMP_FILE)?,
        snapshot: read(SNAPSHOT_FILE)?,
        targets: read(TARGETS_FILE)?,
    })
}

/// Writes what has been verified and differs from what was there.
fn write_verified(folder: &Path, before: &TufDocuments, verified: &TufDocuments) -> Result<(), ClientError> {
    if before.root != verified.root {
        file::replace(&folder.join(ROOT_FILE), &verified.root)?;
    }
    let rest = [
        (TIMESTAMP_FILE, &before.timestamp, &verified.timestamp),
        (SNAPSHOT_FILE, &before.snapshot, &verified.snapshot),
        (TARGETS_FILE, &before.targets, &verified.targets),
    ];
    for (name, before, verified) in rest {
        if let Some(bytes) = verified.as_ref().filter(|_| before != verified) {
            file::replace(&folder.join(name), bytes)?;
        }
    }
    Ok(())
}

async fn download(args: &ClientArgs, mirror: &Mirror, now: UnixTime) -> Result<String, ClientError> {
    let metadata = option(args.metadata_url.as_ref(), "download", "metadata-url")?;
    let base = option(args.target_base_url.as_ref(), "download", "target-base-url")?;
    let folder = option(args.target_dir.as_ref(), "download", "target-dir")?;
    if args.target_names.is_empty() {
        return Err(ClientError::Option { command: "download", option: "target-name" });
    }
    let mut targets = refresh(args, "download", mirror, now).await?;
    for name in &args.target_names {
        let place = folder.join(below(name)?);
        let target = find(&args.metadata_dir, metadata, name, &mut targets, mirror).await?;
        // One that is there already is not fetched again.
        if place.is_file() && target.is(&file::read_bytes(&place, TARGET_LENGTH_MAX)?) {
            continue;
        }
        let url = join(base, &target.file);
        let bytes = mirror.get(&url, target.length.min(TARGET_LENGTH_MAX)).await?;
        let bytes = bytes.filter(|bytes| target.is(bytes)).ok_or(ClientError::WrongTarget { url })?;
        if let Some(parent) = place.parent() {
            file::create_folder(parent)?;
        }
        file::replace(&place, &bytes)?;
    }
    Ok(format!("{} verified in {}", args.target_names.join(", "), folder.display()))
}

/// Searches a target, with delegated roles that are stored or fetched.
async fn find(
    stored: &Path,
    base: &str,
    name: &str,
    targets: &mut TufTargets,
    mirror: &Mirror,
) -> Result<TufTarget, ClientError> {
    let mut search = targets.search(name)?;
    while let (Some(need), Some(role)) = (search.need(), search.role()) {
        let copy = stored.join(encoded_file(role));
        if copy.is_file() && search.offer(&file::read_bytes(&copy, TARGETS_LENGTH_MAX as u64)?)? {
            continue;
        }
        let bytes = mirror.get(&join(base, &need.name), need.length_max as u64).await?;
        search.provide(bytes.as_deref())?;
        if let Some(bytes) = bytes {
            file::replace(&copy, &bytes)?;
        }
    }
    search.finish().ok_or_else(|| ClientError::NoTarget(name.to_owned()))
}

fn option<'a, T>(
    given: Option<&'a T>,
    command: &'static str,
    option: &'static str,
) -> Result<&'a T, ClientError> {
    given.ok_or(ClientError::Option { command, option })
}

/// The place of a target below a folder.
fn below(name: &str) -> Result<PathBuf, ClientError> {
    let parts = name.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..") || part.contains('\0')) {
        return Err(ClientError::Path(name.to_owned()));
    }
    Ok(parts.iter().collect())
}

fn join(base: &str, name: &str) -> String {
    format!("{}/{name}", base.trim_end_matches('/'))
}

/// A web server with a repository; nothing that it says is trusted.
struct Mirror(Client);

impl Mirror {
    fn new(ca: Option<&Path>) -> Result<Self, ClientError> {
        // Only the first call of a process installs it; all calls install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("takt/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = ca {
            let pem = file::read_bytes(ca, CA_LENGTH_MAX)?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(ClientError::Prepare)?;
            client = client.tls_certs_only(authorities);
        }
        Ok(Self(client.build().map_err(ClientError::Prepare)?))
    }

    /// The file at `url`; `None` when the server says that there is none. Nothing above `limit` bytes is read.
    async fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, ClientError> {
        let fetch =
            |source: reqwest::Error| ClientError::Fetch { url: url.to_owned(), source: source.without_url() };
        let mut response = self.0.get(url).send().await.map_err(fetch)?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => return Ok(None),
            status => return Err(ClientError::Status { url: url.to_owned(), status }),
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(fetch)? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(ClientError::TooLong { url: url.to_owned(), limit });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_below_their_folder() {
        assert_eq!(below("/os/camera.img").unwrap(), Path::new("os/camera.img"));
        for name in ["", "/", "../root", "a/../../b", "a/./b"] {
            assert!(below(name).is_err(), "{name}");
        }
        assert_eq!(join("http://host/targets/", "a/b"), "http://host/targets/a/b");
    }
}
