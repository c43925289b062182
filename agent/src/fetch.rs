//! HTTPS to the coordinator, or to the gateway in its place: one server, its certificate checked, no redirects, no
//! proxies, every wait with a limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use takt_agent_core::Nature;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::failure::Natured;

/// How long a TCP connection and its TLS handshake may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long the server may think before its answer begins.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What is put must go out this fast, beside the time for the answer.
const PUT_BYTES_PER_SEC_MIN: u64 = 16 * 1024;
/// How long a small document may take.
const SMALL_LIMIT: Duration = Duration::from_secs(30);
/// The port of `https://host`.
const HTTPS_PORT: u16 = 443;
const AGENT: &str = concat!("takt-agent/", env!("CARGO_PKG_VERSION"));

/// A request that did not bring what it should.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an address to ask at.
    #[error("use '{url}' as an address: 'https://host[:port]' expected")]
    Address {
        /// As written.
        url: String,
    },
    /// No connection.
    #[error("connect to {server}")]
    Connect {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A wait was too long.
    #[error("{what} {server}: not within {} s", limit.as_secs())]
    Silent {
        /// What was waited for.
        what: &'static str,
        /// The server.
        server: String,
        /// How long.
        limit: Duration,
    },
    /// The conversation broke off.
    #[error("get {path} from {server}")]
    Broken {
        /// What was asked for.
        path: String,
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The path is none.
    #[error("ask for '{path}'")]
    Path {
        /// As written.
        path: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The server said no.
    #[error("get {path} from {server}: it answered {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The server.
        server: String,
        /// Its answer.
        status: StatusCode,
    },
    /// More came than the caller takes.
    #[error("get {path} from {server}: more than {length_max} bytes")]
    TooLong {
        /// What was asked for.
        path: String,
        /// The server.
        server: String,
        /// The most that is taken.
        length_max: usize,
    },
    /// The answer broke off.
    #[error("get {path} from {server}: {why}")]
    BrokenOff {
        /// What was asked for.
        path: String,
        /// The server.
        server: String,
        /// Why.
        why: String,
    },
}

impl Natured for FetchError {
    fn nature(&self) -> Nature {
        match self {
            Self::Address { .. } | Self::Path { .. } => Nature::Fatal,
            Self::TooLong { .. } => Nature::Corrupt,
            // What is not there may yet come: uploads and caches lag behind orders. How often to ask is the
            // decision's limit. The rest of 4xx says that the question is wrong, and 3xx goes to unknown servers.
            Self::Status { status, .. } => match status.as_u16() {
                404 | 408 | 425 | 429 | 500..=599 => Nature::Transient,
                _ => Nature::Fatal,
            },
            _ => Nature::Transient,
        }
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    host: String,
    port: u16,
    name: ServerName<'static>,
    prefix: String,
    authority: Authority,
    tls: TlsConnector,
}

/// An answer whose body still comes. Dropping it closes the connection.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    driver: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    /// A client of the server at `https://host[:port][/prefix]`.
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Result<Self, FetchError> {
        let refuse = || FetchError::Address { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let authority = uri.authority().ok_or_else(refuse)?.clone();
        if uri.scheme() != Some(&Scheme::HTTPS) || authority.as_str().contains('@') || uri.query().is_some() {
            return Err(refuse());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| refuse())?;
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(HTTPS_PORT),
            name,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authority,
            tls: TlsConnector::from(tls),
        })
    }

    /// The server, for error texts.
    pub(crate) fn server(&self) -> String {
        self.authority.to_string()
    }

    /// A document of at most `length_max` bytes; `None` when the server has none at `path`.
    pub async fn get_small(&self, path: &str, length_max: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let small = async {
            let mut answer = self.get(path, HeaderMap::new()).await?;
            match answer.response.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::OK => {}
                status => return Err(self.status(path, status)),
            }
            let body = Limited::new(answer.response.body_mut(), length_max);
            match body.collect().await {
                Ok(body) => Ok(Some(body.to_bytes().to_vec())),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    Err(FetchError::TooLong { path: path.to_owned(), server: self.server(), length_max })
                }
                Err(error) => Err(self.broken_off(path, crate::failure::sentence(error.as_ref()))),
            }
        };
        let silent = |_elapsed| FetchError::Silent {
            what: "get a document from",
            server: self.server(),
            limit: SMALL_LIMIT,
        };
        timeout(SMALL_LIMIT, small).await.map_err(silent)?
    }

    /// Asks for `path` and returns when the answer begins.
    pub(crate) async fn get(&self, path: &str, headers: HeaderMap) -> Result<Answer, FetchError> {
        self.ask(Method::GET, path, headers, Bytes::new()).await
    }

    /// Posts a JSON document and takes an answer of at most `length_max` bytes, whatever its status.
    pub async fn post_json(
        &self,
        path: &str,
        document: Vec<u8>,
        length_max: usize,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let posted = async {
            let mut answer = self.ask(Method::POST, path, headers, document.into()).await?;
            let status = answer.response.status();
            let body = Limited::new(answer.response.body_mut(), length_max);
            let body = body
                .collect()
                .await
                .map_err(|error| self.broken_off(path, crate::failure::sentence(error.as_ref())))?;
            Ok((status, body.to_bytes().to_vec()))
        };
        let silent = |_elapsed| FetchError::Silent {
            what: "post a document to",
            server: self.server(),
            limit: SMALL_LIMIT,
        };
        timeout(SMALL_LIMIT, posted).await.map_err(silent)?
    }

    /// Puts the body, of `length` bytes, and waits for the answer's begin.
    pub(crate) async fn put<B>(&self, path: &str, body: B, length: u64) -> Result<Answer, FetchError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (CONTENT_LENGTH, HeaderValue::from(length)),
        ]);
        let limit = ANSWER_LIMIT + Duration::from_secs(length / PUT_BYTES_PER_SEC_MIN);
        self.send(Method::PUT, path, headers, body, limit).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, FetchError> {
        self.send(method, path, headers, Full::new(body), ANSWER_LIMIT).await
    }

    async fn send<B>(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: B,
        limit: Duration,
    ) -> Result<Answer, FetchError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let server = || self.server();
        let broken = |source| FetchError::Broken { path: path.to_owned(), server: server(), source };
        let connect = |source| FetchError::Connect { server: server(), source };
        let reach = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            tcp.set_nodelay(true)?;
            self.tls.connect(self.name.clone(), tcp).await
        };
        let silent = |what, limit| FetchError::Silent { what, server: server(), limit };
        let stream = timeout(CONNECT_LIMIT, reach)
            .await
            .map_err(|_elapsed| silent("connect to", CONNECT_LIMIT))?
            .map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let host = HeaderValue::from_str(self.authority.as_str()).expect("an authority is a header value");
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .body(body)
            .map_err(|source| FetchError::Path { path: path.to_owned(), source })?;
        *request.headers_mut() = headers;
        // Its errors also come out of the request and the body.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let asked = timeout(limit, sender.send_request(request)).await;
        match asked {
            Ok(Ok(response)) => Ok(Answer { response, driver }),
            Ok(Err(source)) => Err(broken(source)),
            Err(_elapsed) => {
                driver.abort();
                Err(silent("get an answer from", limit))
            }
        }
    }

    pub(crate) fn status(&self, path: &str, status: StatusCode) -> FetchError {
        FetchError::Status { path: path.to_owned(), server: self.server(), status }
    }

    pub(crate) fn broken_off(&self, path: &str, why: String) -> FetchError {
        FetchError::BrokenOff { path: path.to_owned(), server: self.server(), why }
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.response.body_mut().frame().await? {
                Ok(frame) => match Frame::into_data(frame) {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_trailers) => {}
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The stated length of the body.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.body().size_hint().exact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_are_servers() {
        let tls = || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            Arc::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
        };
        for url in ["https://a", "https://127.0.0.1:8443", "https://[::1]:1/x/"] {
            assert!(Client::new(url, tls()).is_ok(), "{url}");
        }
        assert_eq!(Client::new("https://[::1]:1/x/", tls()).unwrap().prefix, "/x");
        for url in ["", "a", "http://a", "https://", "https://u:p@a", "https://a?x", "https://a b", "ftp://a"]
        {
            assert!(matches!(Client::new(url, tls()), Err(FetchError::Address { .. })), "{url}");
        }
    }
}
