//! The coordinator's HTTPS API for looks that are taken again and again: on one connection, where the `takt` command
//! would be a process and a handshake each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

use super::error::FleetError;

/// How long an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// A view of a small fleet is shorter.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A client of one coordinator, as the operator.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// What the operator's profile says.
#[derive(Deserialize)]
struct Profile {
    url: String,
    ca: PathBuf,
    token: String,
}

impl Api {
    /// With the operator's profile.
    pub fn open(profile: &Path) -> Result<Self, FleetError> {
        let text = fs::read_to_string(profile).map_err(FleetError::file("read", profile))?;
        let read: Profile = toml::from_str(&text).map_err(|error| FleetError::Profile {
            path: profile.to_owned(),
            why: error.message().to_owned(),
        })?;
        let ca = profile.with_file_name("").join(read.ca);
        Ok(Self { token: Some(read.token), ..Self::to(read.url, &ca)? })
    }

    /// As nobody, trusting the certificates in the file `ca`.
    pub fn to(url: String, ca: &Path) -> Result<Self, FleetError> {
        let pem = fs::read(ca).map_err(FleetError::file("read", ca))?;
        let bad = |why: String| FleetError::Certificates { path: ca.to_owned(), why };
        let mut roots: Vec<Certificate<'static>> = Vec::new();
        for item in ureq::tls::parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| bad(error.to_string()))? {
                roots.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err(bad("no certificate is in it".to_owned()));
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        Ok(Self { agent: config.new_agent(), url, token: None })
    }

    /// What the API says of `path`, such as `/api/v1/devices/camera-1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, FleetError> {
        let text = self.text(path)?.map_err(|said| FleetError::Refused { path: path.to_owned(), said })?;
        serde_json::from_str(&text)
            .map_err(|source| FleetError::Answer { line: format!("GET {path}"), source })
    }

    /// Whether `path` is answered with 200; if not, why.
    pub fn answers(&self, path: &str) -> Result<(), String> {
        self.text(path).map_err(|error| error.to_string())?.map(|_| ())
    }

    fn text(&self, path: &str) -> Result<Result<String, String>, FleetError> {
        let lost = |source| FleetError::Unreachable { path: path.to_owned(), source: Box::new(source) };
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().map_err(lost)?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(lost)?;
        let status = answer.status();
        Ok(if status == 200 { Ok(text) } else { Err(format!("{status}: {text}")) })
    }
}
