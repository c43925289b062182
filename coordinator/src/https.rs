//! The HTTPS server: every connection is its own task from the first byte, with deadlines, so that a silent one costs
//! a place and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller::Caller;
use crate::clock;
use crate::gate::tls::Subject;
use crate::places::Places;
use crate::write_deadline::WriteDeadline;

/// How long answers that have begun may take after a shutdown was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Answers of which not one byte is taken for so long are given up with their connection; a slow link takes something
/// far more often.
const WRITE_IDLE_MAX: Duration = Duration::from_secs(30);

/// A pause after an accept that failed (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct HttpsLimits {
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Connections at a time from one address.
    pub connections_per_source_max: usize,
    /// For the TLS handshake, and for the head of each request, waiting for it included.
    pub handshake_max: Duration,
}

/// Serves `router` until `shutdown`; returns when the last connection has ended.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: HttpsLimits,
    router: Router,
    shutdown: CancellationToken,
) {
    let places = Places::new(limits.connections_max, limits.connections_per_source_max);
    let acceptor = TlsAcceptor::from(tls);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "HTTPS connection not accepted");
                clock::pause(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(address.ip()) else {
            tracing::debug!(%address, "HTTPS connection closed: too many");
            continue;
        };
        let connection = Connection { acceptor: acceptor.clone(), address, limits, router: router.clone() };
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            connection.run(stream, shutdown).await;
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

struct Connection {
    acceptor: TlsAcceptor,
    address: SocketAddr,
    limits: HttpsLimits,
    router: Router,
}

impl Connection {
    async fn run(self, stream: TcpStream, shutdown: CancellationToken) {
        let address = self.address;
        // Requests are small and answered at once: waiting for more to send only costs time.
        let _ = stream.set_nodelay(true);
        let stream = WriteDeadline::new(stream, WRITE_IDLE_MAX);
        let handshake = tokio::time::timeout(self.limits.handshake_max, self.acceptor.accept(stream));
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            stream = handshake => match stream {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!(%address, "TLS handshake took too long");
                    return;
                }
            },
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let device = certificate.and_then(|certificate| Subject::of_certificate(certificate).ok());
        let caller = Caller { address, device };
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.handshake_max)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(SHUTDOWN_GRACE, connection).await {
                    Ok(served) => served,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%address, %error, "HTTPS connection ended early");
        }
    }
}
