//! A device made of its key, its certificate and a real MQTT client.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use serde::de::DeserializeOwned;
use takt_common::api::{EnrolRequest, EnrolResponse, TokenRequest, TokenResponse};
use takt_common::envelope::{PayloadType, Signers};
use takt_common::health::{HEALTH_FORMAT, HealthSample, HostFacts, PeersSeen};
use takt_common::order::{Order, Position};
use takt_common::report::{Ack, Installed, OrderRef, Outcome, PhaseName, REPORT_FORMAT, Report};
use takt_common::topic::{Down, Topic, Up};
use takt_common::{DeviceId, Envelope, Name, PublicKey, Sha256Digest, SigningKey};
use takt_coordinator::clock;

use super::{PATIENCE, World, key};

/// How often a report is said within the tests' patience.
const ATTEMPTS: u32 = 6;

pub struct FakeDevice {
    pub key: SigningKey,
    pub enrolled: EnrolResponse,
    pub sequence: u64,
    pub previous: Option<Sha256Digest>,
}

/// A device with a connection.
pub struct Online {
    pub client: AsyncClient,
    events: EventLoop,
    domain: Name,
    device: DeviceId,
}

pub async fn token(world: &World, uses: u32, valid_secs: u64) -> String {
    let request = TokenRequest { domain: "north".parse().unwrap(), uses, valid_secs, approval: false };
    let response = world.operator("POST", "/api/v1/tokens").json(&request).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let answer: TokenResponse = response.json().await.unwrap();
    let parts: Vec<&str> = answer.token.split('.').collect();
    assert_eq!((parts.len(), parts[0], parts[2].len()), (3, "takt1", 64));
    parts[1].to_owned()
}

pub fn request(secret: &str, name: &str, key: &SigningKey) -> EnrolRequest {
    let (name, hardware): (Name, Name) = (name.parse().unwrap(), "demo".parse().unwrap());
    let message = EnrolRequest::proof_message(secret, &name, &hardware, &key.public());
    let proof = STANDARD.encode(key.sign(&message));
    EnrolRequest { secret: secret.to_owned(), name, hardware, public_key: key.public(), proof }
}

pub async fn enrol(world: &World, request: &EnrolRequest) -> Response {
    world.stranger("POST", "/api/v1/enrol").json(request).send().await.unwrap()
}

impl FakeDevice {
    pub async fn enrol(world: &World, name: &str) -> Self {
        let secret = token(world, 1, 60).await;
        let key = key();
        let response = enrol(world, &request(&secret, name, &key)).await;
        assert_eq!(response.status(), 200);
        let enrolled = response.json().await.unwrap();
        Self { key, enrolled, sequence: 0, previous: None }
    }

    pub fn id(&self) -> DeviceId {
        self.enrolled.device
    }

    /// Certificate and key, as a TLS client wants them.
    pub fn identity_pem(&self) -> String {
        format!("{}{}", self.enrolled.certificate_pem, self.key.to_pem())
    }

    pub async fn connect(&self) -> Online {
        let (host, port) = self.enrolled.broker.rsplit_once(':').unwrap();
        let mut options = MqttOptions::new(self.id().to_string(), host, port.parse().unwrap());
        options.set_clean_session(true);
        options.set_max_packet_size(128 * 1024, 128 * 1024);
        options.set_transport(Transport::Tls(TlsConfiguration::Simple {
            ca: self.enrolled.ca_pem.clone().into_bytes(),
            alpn: None,
            client_auth: Some((
                self.enrolled.certificate_pem.clone().into_bytes(),
                self.key.to_pem().into_bytes(),
            )),
        }));
        let (client, events) = AsyncClient::new(options, 16);
        let (domain, device) = (self.enrolled.domain.clone(), self.id());
        for subject in [Down::Order, Down::Ack] {
            let topic = Topic::down(&domain, device, subject).to_string();
            client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        }
        Online { client, events, domain, device }
    }

    /// The next report of the chain.
    pub fn report(&mut self, change: impl FnOnce(&mut Report)) -> Report {
        self.sequence += 1;
        let now = clock::now();
        let mut report = Report {
            format: REPORT_FORMAT,
            device: self.id(),
            sequence: self.sequence,
            previous_report_digest: self.previous,
            boot_id: "boot".into(),
            nonce: format!("{:032x}", self.sequence),
            installed: Vec::new(),
            standing_in_for: None,
            order: None,
            phase: PhaseName::Idle,
            outcome: None,
            warnings: Vec::new(),
            waiting_on: None,
            refused: None,
            hooks: BTreeMap::new(),
            timing: None,
            made: now,
            skipped: None,
            time_floor: now,
        };
        change(&mut report);
        self.previous = Some(Sha256Digest::of(&report.to_bytes()));
        report
    }

    pub fn seal(&self, report: &Report) -> Vec<u8> {
        Envelope::seal(PayloadType::Report, &report.to_bytes(), &[&self.key]).to_bytes()
    }

    /// A report that ends `order` well.
    pub fn verified(&mut self, order: &Order, digest: Sha256Digest) -> Report {
        let manifest = order.members[0].clone();
        self.report(|report| {
            report.order = Some(OrderRef { position: order.position(), digest });
            report.phase = PhaseName::Ended;
            report.outcome = Some(Outcome::Verified { strategy: None });
            report.installed =
                vec![Installed { release: manifest.release, counter: 1, manifest: manifest.sha256 }];
        })
    }

    /// A report that shows that `position` was accepted.
    pub fn accepted(&mut self, position: Position, digest: Sha256Digest) -> Report {
        self.report(|report| {
            report.order = Some(OrderRef { position, digest });
            report.phase = PhaseName::Fetching;
        })
    }
}

impl Online {
    pub async fn say(&self, envelope: Vec<u8>) {
        let topic = Topic::up(&self.domain, self.device, Up::Report).to_string();
        self.client.publish(topic, QoS::AtLeastOnce, false, envelope).await.unwrap();
    }

    /// Says it until it is acknowledged, as agents do: an acknowledgement that comes before the subscription is lost.
    pub async fn say_until_heard(&mut self, envelope: &[u8], order_key: PublicKey) -> Ack {
        for _ in 0..ATTEMPTS {
            self.say(envelope.to_vec()).await;
            let heard = self.ack(order_key);
            if let Ok(ack) = tokio::time::timeout(PATIENCE / ATTEMPTS, heard).await {
                return ack;
            }
        }
        panic!("no acknowledgement came in {ATTEMPTS} attempts");
    }

    /// A health sample of a machine that is so busy, a part of all.
    pub async fn feel(&self, key: &SigningKey, cpu_busy: f64) {
        self.tell(key, cpu_busy, None, BTreeMap::new()).await;
    }

    /// A health sample with whom it has talked.
    pub async fn met(&self, key: &SigningKey, peers: PeersSeen) {
        self.tell(key, 0.0, Some(peers), BTreeMap::new()).await;
    }

    /// Tells with what features it is in use.
    pub async fn has(&self, key: &SigningKey, features: BTreeMap<String, String>) {
        self.tell(key, 0.0, None, features).await;
    }

    async fn tell(
        &self,
        key: &SigningKey,
        cpu_busy: f64,
        peers: Option<PeersSeen>,
        features: BTreeMap<String, String>,
    ) {
        let host = HostFacts {
            cpu_busy,
            memory_total_bytes: 100,
            memory_available_bytes: 60,
            ..HostFacts::default()
        };
        let sample = HealthSample {
            format: HEALTH_FORMAT,
            device: self.device,
            made: clock::now(),
            agent: "test".to_owned(),
            phase: PhaseName::Idle,
            waiting_on: None,
            host,
            workloads: Vec::new(),
            checkpoint: Ok(()),
            peers,
            response_millis: [("counter".parse().unwrap(), 12)].into(),
            unwell: Vec::new(),
            features,
        };
        let payload = serde_json::to_vec(&sample).unwrap();
        let envelope = Envelope::seal(PayloadType::Health, &payload, &[key]).to_bytes();
        let topic = Topic::up(&self.domain, self.device, Up::Health).to_string();
        self.client.publish(topic, QoS::AtMostOnce, false, envelope).await.unwrap();
    }

    /// Lets the connection live until `done`.
    pub async fn live_until<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                value = &mut done => return value,
                event = self.events.poll() => drop(event.expect("the connection stands")),
            }
        }
    }

    /// Waits until the connection stands.
    pub async fn stand(&mut self) {
        let acknowledged = async {
            while !matches!(self.events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        };
        tokio::time::timeout(PATIENCE, acknowledged).await.expect("the connection stands in time");
    }

    /// Waits for the end of the connection, or for the refusal of one; after it the next one begins.
    pub async fn ended(&mut self) {
        let ended = async { while self.events.poll().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("the connection ends in time");
    }

    /// The next message on a topic of `subject`, opened by the coordinator's key.
    pub async fn hear<T: DeserializeOwned>(
        &mut self,
        subject: Down,
        kind: PayloadType,
        order_key: PublicKey,
    ) -> (T, Sha256Digest, Vec<u8>) {
        let topic = Topic::down(&self.domain, self.device, subject).to_string();
        let signers = Signers { role: "the coordinator".into(), keys: vec![order_key], threshold: 1 };
        let heard = async {
            loop {
                let event = self.events.poll().await.expect("the connection stands");
                match event {
                    Event::Incoming(Packet::Publish(publish)) if publish.topic == topic => {
                        return publish.payload.to_vec();
                    }
                    _ => {}
                }
            }
        };
        let bytes = tokio::time::timeout(PATIENCE, heard).await.expect("a message in time");
        let payload = Envelope::from_bytes(&bytes).unwrap().open(kind, &signers).unwrap();
        (serde_json::from_slice(&payload).unwrap(), Sha256Digest::of(&payload), bytes)
    }

    pub async fn order(&mut self, order_key: PublicKey) -> (Order, Sha256Digest, Vec<u8>) {
        self.hear(Down::Order, PayloadType::Order, order_key).await
    }

    pub async fn ack(&mut self, order_key: PublicKey) -> Ack {
        self.hear(Down::Ack, PayloadType::Ack, order_key).await.0
    }

    /// How many orders come within `span`.
    pub async fn orders_within(&mut self, span: Duration) -> usize {
        let mut count = 0;
        let topic = Topic::down(&self.domain, self.device, Down::Order).to_string();
        let _ = tokio::time::timeout(span, async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap() {
                    count += usize::from(publish.topic == topic);
                }
            }
        })
        .await;
        count
    }
}
