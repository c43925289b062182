//! The MQTT link to the coordinator's gate, with the precautions that `rumqttc` needs.
//!
//! * `poll()` runs in a task of its own and never in a `select!`.
//! * After every loss the client is built anew: a session that is not present drops what was pending, and a stale
//!   packet id can stop a client for ever. Nothing is lost by it, because reports stay in the journal's outbox until a
//!   signed acknowledgement has come.
//! * Subscriptions are renewed after every connect; back-off with jitter is ours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use takt_common::topic::{Down, Topic, Up, Way};
use takt_common::{DeviceId, Name};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock;

/// Seconds after which a silent link counts as lost (one and a half times this at the gate).
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a connect may take, TLS included.
const CONNECT_SECS: u64 = 15;
/// The largest packet: an envelope of 64 KiB, its topic and header.
const PACKET_MAX: usize = 80 * 1024;
/// Requests that wait in the client.
const REQUESTS_MAX: usize = 32;
/// Reports on the way at once.
const INFLIGHT_MAX: u16 = 16;
/// Events that wait for the loop.
const EVENTS_MAX: usize = 32;
/// The first pause after a loss; it doubles.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
/// The longest pause after a loss.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What comes from the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and subscribed: the outbox may flow.
    Up,
    /// Lost, and why.
    Down(String),
    /// An order's envelope.
    Order(Vec<u8>),
    /// An acknowledgement's envelope.
    Ack(Vec<u8>),
    /// The envelope of a head of the coordinator's audit log.
    AuditHead(Vec<u8>),
}

/// Where the link leads.
#[derive(Clone)]
pub struct LinkSettings {
    /// The device.
    pub device: DeviceId,
    /// Its domain.
    pub domain: Name,
    /// The gate's host.
    pub host: String,
    /// The gate's port.
    pub port: u16,
    /// TLS with the device's certificate.
    pub tls: Arc<rustls::ClientConfig>,
}

/// The link.
pub struct Link {
    settings: LinkSettings,
    client: Arc<Mutex<Option<AsyncClient>>>,
    sender: mpsc::Sender<LinkEvent>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts the link; its events come through the receiver.
    pub fn start(settings: LinkSettings) -> (Self, mpsc::Receiver<LinkEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let client = Arc::new(Mutex::new(None));
        let task = tokio::spawn(run(settings.clone(), Arc::clone(&client), sender.clone()));
        (Self { settings, client, sender, task }, receiver)
    }

    /// Sends a report's envelope if the link is up and has room; it is sent again later if not acknowledged.
    pub fn send_report(&self, envelope: Vec<u8>) -> bool {
        self.send(Up::Report, QoS::AtLeastOnce, envelope)
    }

    /// Sends a health sample's envelope; a lost one is replaced by the next.
    pub fn send_health(&self, envelope: Vec<u8>) -> bool {
        self.send(Up::Health, QoS::AtMostOnce, envelope)
    }

    /// Gives the client up and builds a new one: the answer to a link that is up but passes nothing on.
    pub fn rebuild(&mut self) {
        self.task.abort();
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.task = tokio::spawn(run(self.settings.clone(), Arc::clone(&self.client), self.sender.clone()));
    }

    fn send(&self, subject: Up, qos: QoS, envelope: Vec<u8>) -> bool {
        let topic = Topic::up(&self.settings.domain, self.settings.device, subject).to_string();
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().is_some_and(|client| client.try_publish(topic, qos, false, envelope).is_ok())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects again and again.
async fn run(
    settings: LinkSettings,
    shared: Arc<Mutex<Option<AsyncClient>>>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut back_off = BACK_OFF_FIRST;
    loop {
        let (client, mut event_loop) = connect(&settings);
        let (was_up, why) = session(&settings, &client, &mut event_loop, &shared, &events).await;
        shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        if events.send(LinkEvent::Down(why)).await.is_err() {
            return;
        }
        if was_up {
            back_off = BACK_OFF_FIRST;
        }
        clock::sleep(jittered(back_off)).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

fn connect(settings: &LinkSettings) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(settings.device.to_string(), &settings.host, settings.port);
    options
        .set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::clone(&settings.tls))))
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_inflight(INFLIGHT_MAX)
        .set_max_packet_size(PACKET_MAX, PACKET_MAX);
    let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
    event_loop.network_options.set_connection_timeout(CONNECT_SECS);
    (client, event_loop)
}

/// One connection, from connect to loss. Tells whether it was ever up, and why it ended.
async fn session(
    settings: &LinkSettings,
    client: &AsyncClient,
    event_loop: &mut EventLoop,
    shared: &Mutex<Option<AsyncClient>>,
    events: &mpsc::Sender<LinkEvent>,
) -> (bool, String) {
    let topic = |subject| Topic::down(&settings.domain, settings.device, subject).to_string();
    let subjects = [Down::Order, Down::Ack];
    let (mut subscribed, mut told_up) = (0, false);
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => event,
            Err(error) => return (subscribed == subjects.len(), error.to_string()),
        };
        let told = match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                for subject in subjects {
                    if let Err(error) = client.try_subscribe(topic(subject), QoS::AtLeastOnce) {
                        return (false, error.to_string());
                    }
                }
                continue;
            }
            // Heads of the audit log are asked for last: a coordinator that has none of them refuses, and all else goes on.
            Event::Incoming(Packet::SubAck(_)) if told_up => continue,
            Event::Incoming(Packet::SubAck(ack)) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return (false, "the gate refused a subscription".to_owned());
                }
                subscribed += 1;
                if subscribed < subjects.len() {
                    continue;
                }
                if let Err(error) = client.try_subscribe(topic(Down::Audit), QoS::AtMostOnce) {
                    return (false, error.to_string());
                }
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
                told_up = true;
                LinkEvent::Up
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let Ok(topic) = publish.topic.parse::<Topic>() else { continue };
                match topic.way {
                    Way::Down(Down::Order) => LinkEvent::Order(publish.payload.to_vec()),
                    Way::Down(Down::Ack) => LinkEvent::Ack(publish.payload.to_vec()),
                    Way::Down(Down::Audit) => LinkEvent::AuditHead(publish.payload.to_vec()),
                    _ => continue,
                }
            }
            _ => continue,
        };
        if events.send(told).await.is_err() {
            return (true, "the agent stops".to_owned());
        }
    }
}

/// Between half of `span` and all of it, so that a fleet does not come back in one beat.
pub(crate) fn jittered(span: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the middle is as good as any other.
    let _ = SystemRandom::new().fill(&mut byte);
    span / 2 + span.mul_f64(f64::from(byte[0]) / 512.0)
}
