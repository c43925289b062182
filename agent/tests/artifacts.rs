//! The artifact store against a real TLS server that may misbehave.

#![allow(clippy::unwrap_used)] // A test fails by it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use takt_agent::artifacts::{ArtifactStore, RateMin};
use takt_agent::failure::failure;
use takt_agent::fetch::{Client, FetchError};
use takt_agent_core::{ActionFailure, Nature};
use takt_common::Sha256Digest;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// After an answer that begins so the connection stays open and nothing more comes.
const SILENT: &[u8] = b"HTTP/1.1 200 Wait\r\n";

/// What the server answers to the next request, given that request.
type Script = Box<dyn FnMut(&str) -> Vec<u8> + Send>;

/// A TLS server on a free port that answers as told and closes. It ends with the test's runtime.
struct Server {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(script: impl FnMut(&str) -> Vec<u8> + Send + 'static) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(server)),
            Box::new(script),
            Arc::clone(&requests),
        ));
        Self { address, tls: Arc::new(client), requests }
    }

    fn client(&self) -> Client {
        Client::new(&format!("https://{}", self.address), Arc::clone(&self.tls)).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    mut script: Script,
    requests: Arc<Mutex<Vec<String>>>,
) {
    let mut silent = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = tls.accept(stream).await else { continue };
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                _ => break,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let answer = script(&request);
        requests.lock().unwrap().push(request);
        // The client may have had enough and gone.
        let _gone = stream.write_all(&answer).await;
        let _gone = stream.flush().await;
        if answer.starts_with(SILENT) {
            silent.push(stream);
        } else {
            let _gone = stream.shutdown().await;
        }
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

/// A server as it should be: whole files, and the rest of them from where it is asked.
fn honest(bytes: Vec<u8>) -> impl FnMut(&str) -> Vec<u8> + Send {
    move |request| {
        let length = bytes.len();
        let from =
            request.split("bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse::<usize>().ok());
        match from {
            Some(from) if from >= length => answer("416 Range Not Satisfiable\r\nContent-Length: 0", b""),
            Some(from) => answer(
                &format!(
                    "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{length}",
                    length - from,
                    length - 1
                ),
                &bytes[from..],
            ),
            None => answer(&format!("200 OK\r\nContent-Length: {length}"), &bytes),
        }
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

struct Disk {
    folder: TempDir,
    store: ArtifactStore,
    sha256: Sha256Digest,
    length: u64,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        Self { folder, store, sha256: Sha256Digest::of(&content()), length: content().len() as u64 }
    }

    async fn fetch(&self, server: &Server) -> Result<(), ActionFailure> {
        self.store.fetch(&server.client(), &self.sha256, self.length).await.map_err(|error| failure(&error))
    }

    fn write_part(&self, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(format!("{}.part", self.sha256)), bytes).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.folder.path()).unwrap();
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn is_staged(&self) -> bool {
        self.store.is_staged(&self.sha256, self.length)
    }
}

#[tokio::test]
async fn a_whole_file_is_staged_and_not_fetched_again() {
    let server = Server::new(honest(content())).await;
    let disk = Disk::new();
    assert!(!disk.is_staged());
    disk.fetch(&server).await.unwrap();
    disk.fetch(&server).await.unwrap();
    assert!(disk.is_staged());
    assert_eq!(std::fs::read(disk.store.path(&disk.sha256)).unwrap(), content());
    assert_eq!(disk.files(), [disk.sha256.to_string()]);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with(&format!("GET /api/v1/artifacts/{} HTTP/1.1\r\n", disk.sha256)),
        "{}",
        requests[0]
    );
    assert!(requests[0].to_lowercase().contains(&format!("host: {}", server.address)), "{}", requests[0]);
}

#[tokio::test]
async fn a_broken_fetch_goes_on_where_it_broke_off() {
    let mut first = true;
    let mut rest = honest(content());
    let server = Server::new(move |request| {
        let mut bytes = rest(request);
        if std::mem::take(&mut first) {
            bytes.truncate(500_000);
        }
        bytes
    })
    .await;
    let disk = Disk::new();
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Transient, "{}", failed.text);
    let there = disk.store.partial(&disk.sha256).unwrap();
    assert!(there > 0 && there < 500_000, "{there}");
    assert!(!disk.is_staged());
    disk.fetch(&server).await.unwrap();
    assert!(disk.is_staged());
    let request = server.requests()[1].to_lowercase();
    assert!(request.contains(&format!("range: bytes={there}-")), "{request}");
    assert!(request.contains(&format!("if-range: \"{}\"", disk.sha256)), "{request}");
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_sends_all_and_that_is_taken() {
    let server =
        Server::new(|_| answer(&format!("200 OK\r\nContent-Length: {}", content().len()), &content())).await;
    let disk = Disk::new();
    disk.write_part(b"something else entirely");
    disk.fetch(&server).await.unwrap();
    assert!(disk.is_staged());
}

#[tokio::test]
async fn a_spoilt_part_is_found_out_and_fetched_anew() {
    let server = Server::new(honest(content())).await;
    let disk = Disk::new();
    disk.write_part(&[7; 1_000]);
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Corrupt, "{}", failed.text);
    assert!(failed.text.contains(&disk.sha256.to_string()), "{}", failed.text);
    assert_eq!(disk.files(), [""; 0]);
    disk.fetch(&server).await.unwrap();
    disk.write_part(&[]);
    assert!(disk.is_staged());
}

#[tokio::test]
async fn a_part_that_is_whole_needs_no_server() {
    let server = Server::new(|_| answer("500 Internal Server Error\r\nContent-Length: 0", b"")).await;
    let disk = Disk::new();
    disk.write_part(&content());
    disk.fetch(&server).await.unwrap();
    assert!(disk.is_staged() && server.requests().is_empty());
}

#[tokio::test]
async fn more_than_stated_is_cut_and_refused_whether_announced_or_not() {
    let longer = [content(), vec![1]].concat();
    let announced = Server::new(honest(longer.clone())).await;
    let unannounced = Server::new(move |_| answer("200 OK\r\nConnection: close", &longer)).await;
    for server in [announced, unannounced] {
        let disk = Disk::new();
        let failed = disk.fetch(&server).await.unwrap_err();
        assert_eq!(failed.nature, Nature::Corrupt);
        assert!(failed.text.contains("artifact larger than stated (1200000 bytes)"), "{}", failed.text);
        assert_eq!(disk.files(), [""; 0]);
    }
}

#[tokio::test]
async fn less_than_stated_and_other_bytes_are_corrupt() {
    let disk = Disk::new();
    let server = Server::new(honest(content()[..1_000].to_vec())).await;
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Corrupt);
    assert!(failed.text.contains("smaller than stated (1000 of 1200000 bytes)"), "{}", failed.text);
    let mut other = content();
    other[1_199_999] ^= 1;
    let server = Server::new(honest(other.clone())).await;
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Corrupt);
    assert!(failed.text.contains(&Sha256Digest::of(&other).to_string()), "{}", failed.text);
    assert_eq!(disk.files(), [""; 0]);
}

#[tokio::test]
async fn what_the_server_says_decides_whether_to_try_again() {
    for (status, nature) in [
        ("404 Not Found", Nature::Transient),
        ("503 Service Unavailable", Nature::Transient),
        ("429 Too Many Requests", Nature::Transient),
        ("403 Forbidden", Nature::Fatal),
        ("302 Found\r\nLocation: https://elsewhere", Nature::Fatal),
    ] {
        let head = format!("{status}\r\nContent-Length: 0");
        let server = Server::new(move |_| answer(&head, b"")).await;
        let disk = Disk::new();
        let failed = disk.fetch(&server).await.unwrap_err();
        assert_eq!(failed.nature, nature, "{status}");
        assert!(
            failed.text.contains(&status[..3]) && failed.text.contains(&server.address.to_string()),
            "{}",
            failed.text
        );
        assert_eq!(server.requests().len(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn a_partial_answer_from_elsewhere_is_not_written() {
    let head =
        format!("206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 3-7/{}", content().len());
    let server = Server::new(move |_| answer(&head, b"xxxxx")).await;
    let disk = Disk::new();
    disk.write_part(&content()[..1_000]);
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Transient);
    assert!(
        failed.text.contains("asked for the bytes from 1000, the server answered 'bytes 3-7/"),
        "{}",
        failed.text
    );
}

#[tokio::test]
async fn room_is_taken_before_the_first_byte() {
    let server = Server::new(honest(content())).await;
    let disk = Disk::new();
    let length = 1 << 60;
    let error = disk.store.fetch(&server.client(), &disk.sha256, length).await.unwrap_err();
    let failed = failure(&error);
    assert_eq!(failed.nature, Nature::Transient);
    let folder = disk.folder.path().display().to_string();
    assert!(failed.text.contains(&folder) && failed.text.contains(&length.to_string()), "{}", failed.text);
    assert!(server.requests().is_empty());
    assert_eq!(disk.files(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_rotted_is_noticed_after_a_restart_and_removed() {
    let server = Server::new(honest(content())).await;
    let disk = Disk::new();
    disk.fetch(&server).await.unwrap();
    let path = disk.store.path(&disk.sha256);
    let mut bytes = content();
    bytes[5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let restarted = ArtifactStore::open(disk.folder.path()).unwrap();
    assert!(!restarted.is_staged(&disk.sha256, disk.length));
    assert!(!path.exists());
    std::fs::write(&path, &bytes[..10]).unwrap();
    assert!(!disk.is_staged() && !path.exists(), "a wrong length is seen at once");
}

#[tokio::test]
async fn pruning_leaves_what_is_kept_and_what_is_not_ours() {
    let disk = Disk::new();
    let (kept, gone) = (Sha256Digest::of(b"kept"), Sha256Digest::of(b"gone"));
    for name in
        [kept.to_string(), format!("{kept}.part"), gone.to_string(), format!("{gone}.part"), "notes".into()]
    {
        std::fs::write(disk.folder.path().join(name), b"x").unwrap();
    }
    disk.store.prune(&[kept]).unwrap();
    disk.store.prune(&[kept]).unwrap();
    let mut left = disk.files();
    left.sort();
    let mut expected = vec![kept.to_string(), format!("{kept}.part"), "notes".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn small_documents_come_whole_not_at_all_or_as_an_error() {
    let server = Server::new(|request| match request.split(' ').nth(1).unwrap() {
        "/root" => answer("200 OK\r\nContent-Length: 4", b"root"),
        "/none" => answer("404 Not Found\r\nContent-Length: 0", b""),
        "/torn" => answer("200 OK\r\nContent-Length: 9", b"torn"),
        _ => answer("200 OK\r\nConnection: close", &[0; 5_000]),
    })
    .await;
    let client = server.client();
    assert_eq!(client.get_small("/root", 4).await.unwrap(), Some(b"root".to_vec()));
    assert_eq!(client.get_small("/none", 4).await.unwrap(), None);
    assert!(matches!(client.get_small("/root", 3).await, Err(FetchError::TooLong { length_max: 3, .. })));
    assert!(matches!(client.get_small("/long", 4_999).await, Err(FetchError::TooLong { .. })));
    assert!(matches!(client.get_small("/torn", 100).await, Err(FetchError::BrokenOff { .. })));
    assert!(matches!(client.get_small("/a b", 100).await, Err(FetchError::Path { .. })));
}

#[tokio::test]
async fn a_link_that_falls_silent_is_given_up_and_what_came_is_kept() {
    let head = format!("200 Wait\r\nContent-Length: {}", content().len());
    let server = Server::new(move |_| answer(&head, &content()[..50_000])).await;
    let mut disk = Disk::new();
    let rate_min = RateMin { window: Duration::from_millis(300), bytes: 30_000 };
    disk.store = ArtifactStore::open(disk.folder.path()).unwrap().with_rate_min(rate_min);
    let failed = disk.fetch(&server).await.unwrap_err();
    assert_eq!(failed.nature, Nature::Transient);
    assert!(failed.text.contains("bytes came within 0.3 s"), "{}", failed.text);
    assert_eq!(disk.store.partial(&disk.sha256), Some(50_000));
}

#[tokio::test]
async fn a_server_that_is_not_the_known_one_is_not_spoken_to() {
    let server = Server::new(honest(content())).await;
    let other = Server::new(honest(content())).await;
    let client = Client::new(&format!("https://{}", server.address), Arc::clone(&other.tls)).unwrap();
    let disk = Disk::new();
    let error = disk.store.fetch(&client, &disk.sha256, disk.length).await.unwrap_err();
    let failed = failure(&error);
    assert_eq!(failed.nature, Nature::Transient);
    assert!(failed.text.starts_with(&format!("connect to {}: ", server.address)), "{}", failed.text);
    assert!(server.requests().is_empty());
}
