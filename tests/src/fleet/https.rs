//! One GET over TLS, for readiness: any other talk with the coordinator goes through the `takt` command.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::error::FleetError;

/// How long a connection, a read or a write may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// A health answer is a line.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Whether `path` is answered with 200; if not, why.
pub(super) fn answers(port: u16, ca: &Path, path: &str) -> Result<Result<(), String>, FleetError> {
    let config = config(ca)?;
    Ok(get(port, config, path))
}

fn config(ca: &Path) -> Result<Arc<ClientConfig>, FleetError> {
    let bad = |why: String| FleetError::Certificates { path: ca.to_owned(), why };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        roots
            .add(certificate.map_err(|error| bad(error.to_string()))?)
            .map_err(|error| bad(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn get(port: u16, config: Arc<ClientConfig>, path: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(text)?;
    let server = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let connection = ClientConnection::new(config, server).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, stream);
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    // A server that closes without a TLS farewell has still answered.
    let _end = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or("nothing").to_owned();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(format!("it answered {status}")) }
}
