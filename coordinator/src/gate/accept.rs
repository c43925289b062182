//! From a TCP connection to a session: limits, TLS, CONNECT, who is it, may it come in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttd::protocol::{ConnAck, Connect, ConnectReturnCode, LastWill, Packet};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::census::Place;
use super::clock::pause;
use super::frame::Incoming;
use super::handle::Shared;
use super::metrics::{Closed, Counters};
use super::policy::{Arrival, Identified, Policy};
use super::presence::Claim;
use super::router::Router;
use super::session::{Beginning, Session};
use super::tls::Subject;
use super::wire::Wire;

/// The pause after a failed accept: it fails when descriptors run out, and then at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections are secured: TLS by the configuration of the moment, or not at all (open gate).
pub(crate) type Security = Option<watch::Receiver<Arc<ServerConfig>>>;

/// Takes connections until shutdown.
pub(crate) async fn run<P: Policy>(
    listener: TcpListener,
    security: Security,
    policy: Arc<P>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
) {
    let mut connection = 0;
    while let Some(accepted) = shared.shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                pause(ACCEPT_PAUSE).await;
                continue;
            }
        };
        Counters::count(&shared.counters.accepted);
        let place = match shared.census.enter(address.ip(), &shared.limits) {
            Ok(place) => place,
            Err(why) => {
                tracing::debug!(%address, %why, "a connection was refused");
                shared.counters.count_closed(why);
                continue;
            }
        };
        connection += 1;
        let newcomer =
            Newcomer { address, connection, place, policy: Arc::clone(&policy), shared: Arc::clone(&shared) };
        let config = security.as_ref().map(|configs| Arc::clone(&configs.borrow()));
        tasks.spawn(newcomer.handle(stream, config));
    }
}

/// A connection that is not admitted yet.
struct Newcomer<P: Policy> {
    address: SocketAddr,
    connection: u64,
    place: Place,
    policy: Arc<P>,
    shared: Arc<Shared>,
}

impl<P: Policy> Newcomer<P> {
    async fn handle(self, stream: TcpStream, config: Option<Arc<ServerConfig>>) {
        let (address, connection, shared) = (self.address, self.connection, Arc::clone(&self.shared));
        let why = self.secure(stream, config).await.unwrap_or_else(|why| why);
        tracing::debug!(%address, connection, %why, "a connection ended");
        shared.counters.count_closed(why);
    }

    async fn secure(self, stream: TcpStream, config: Option<Arc<ServerConfig>>) -> Result<Closed, Closed> {
        // Without it small answers may wait for more; that is slower, not wrong.
        drop(stream.set_nodelay(true));
        let Some(config) = config else {
            return self.serve(stream, None).await;
        };
        let handshake = timeout(self.shared.limits.tls_deadline, TlsAcceptor::from(config).accept(stream));
        let shut_down = self.shared.shutdown.run_until_cancelled(handshake).await;
        let stream =
            shut_down.ok_or(Closed::Shutdown)?.map_err(|_| Closed::TlsDeadline)?.map_err(|error| {
                tracing::debug!(address = %self.address, %error, "a TLS handshake failed");
                Closed::TlsFailed
            })?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let subject = Subject::of_certificate(certificate.ok_or(Closed::SubjectUnusable)?).map_err(|error| {
            tracing::warn!(address = %self.address, %error, "a certificate of the fleet CA names no device");
            Closed::SubjectUnusable
        })?;
        self.serve(stream, Some(subject)).await
    }

    async fn serve<S>(mut self, stream: S, subject: Option<Subject>) -> Result<Closed, Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut wire = Wire::new(stream, self.shared.limits.write_deadline);
        let shutdown = self.shared.shutdown.clone();
        let arrival = shutdown.run_until_cancelled(self.arrive(&mut wire, subject)).await;
        let arrived = match arrival.unwrap_or(Err(Closed::Shutdown)) {
            Ok(arrived) => arrived,
            Err(why) => {
                if let Some(code) = refusal_code(why) {
                    wire.gather(Packet::ConnAck(ConnAck { session_present: false, code }, None));
                    wire.flush().await?;
                    wire.close().await;
                }
                return Err(why);
            }
        };
        self.place.prove();
        let Arrived { connect, will, client, claim, link, router, session_present } = arrived;
        let code = ConnectReturnCode::Success;
        wire.gather(Packet::ConnAck(ConnAck { session_present, code }, None));
        let mut session = Session::new(Beginning {
            wire,
            link,
            claim,
            client: client.clone(),
            policy: Arc::clone(&self.policy),
            shared: Arc::clone(&self.shared),
            keep_alive_secs: connect.keep_alive,
        });
        Counters::count(&self.shared.counters.admitted);
        let mut presence = Present::announce(&*self.policy, client);
        let why = session.run().await;
        presence.why = why;
        drop(presence);
        session.close(why, will.map(|will| (will, router))).await;
        Ok(why)
    }

    async fn arrive<S>(&self, wire: &mut Wire<S>, subject: Option<Subject>) -> Result<Arrived<P>, Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = &self.shared.limits;
        let connect = timeout(limits.connect_deadline, wire.read_packet(limits.connect_packet_max));
        let packet = connect.await.map_err(|_| Closed::ConnectDeadline)??;
        let Incoming::Connect { connect, will } = packet else { return Err(Closed::Malformed) };
        let Identified { client, id, kind } = self.policy.identify(&Arrival {
            subject: subject.as_ref(),
            address: self.address,
            connection: self.connection,
            connect: &connect,
            will: will.as_ref(),
        })?;
        let mut claim = self.shared.claim(&id, self.connection).await.inspect_err(|why| {
            if *why == Closed::Cloned {
                tracing::warn!(%client, address = %self.address, "two connections with one id take turns");
                self.policy.cloned(&client);
            }
        })?;
        let admission = async {
            let admitted = timeout(limits.sink_deadline, self.policy.admit(&client)).await;
            admitted.map_err(|_| Closed::SinkUnavailable)??;
            let router = self.shared.routers.wait(&id, limits.router_deadline).await;
            let router = router.map_err(|_| Closed::RouterGone)?;
            let link =
                router.link(&id, kind, limits.router_deadline).await.map_err(|_| Closed::RouterGone)?;
            Ok((router, link))
        };
        let (router, (link, session_present)) = tokio::select! {
            why = claim.ended() => Err(why),
            admitted = admission => admitted,
        }?;
        claim.admitted(P::peer(&client));
        Ok(Arrived { connect, will, client, claim, link, router, session_present })
    }
}

/// A client that may come in, with all it needs.
struct Arrived<P: Policy> {
    connect: Connect,
    will: Option<LastWill>,
    client: P::Client,
    claim: Claim,
    link: super::link::Link,
    router: Arc<Router>,
    session_present: bool,
}

/// Tells the policy that a client is in, and certainly also that it is gone.
struct Present<'a, P: Policy> {
    policy: &'a P,
    client: P::Client,
    why: Closed,
}

impl<'a, P: Policy> Present<'a, P> {
    fn announce(policy: &'a P, client: P::Client) -> Self {
        tracing::info!(%client, "client connected");
        policy.connected(&client);
        Self { policy, client, why: Closed::PeerClosed }
    }
}

impl<P: Policy> Drop for Present<'_, P> {
    fn drop(&mut self) {
        tracing::info!(client = %self.client, why = %self.why, "client disconnected");
        self.policy.disconnected(&self.client, self.why);
    }
}

/// How a refusal is said in a CONNACK; `None` when the peer is not told.
fn refusal_code(why: Closed) -> Option<ConnectReturnCode> {
    match why {
        Closed::ProtocolVersion => Some(ConnectReturnCode::RefusedProtocolVersion),
        Closed::ClientId => Some(ConnectReturnCode::ClientIdentifierNotValid),
        Closed::Will | Closed::NotAdmitted | Closed::Cut => Some(ConnectReturnCode::NotAuthorized),
        Closed::SinkUnavailable
        | Closed::Cloned
        | Closed::TakeoverDeadline
        | Closed::TakenOver
        | Closed::RouterGone
        | Closed::Shutdown => Some(ConnectReturnCode::ServiceUnavailable),
        _ => None,
    }
}
