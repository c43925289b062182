//! A real MQTT client: rumqttc with its event loop in a task.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, Publish, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use takt_common::topic::Down;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::world::{Device, PATIENCE, World};

/// A client that stops at its first error; it does not reconnect.
pub(crate) struct Client {
    pub(crate) mqtt: AsyncClient,
    seen: mpsc::UnboundedReceiver<Result<Packet, ConnectionError>>,
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn options(id: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    if let Some(tls) = tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(256 * 1024, 256 * 1024);
    options
}

impl Client {
    pub(crate) fn start(options: MqttOptions) -> Self {
        let (mqtt, mut events) = AsyncClient::new(options, 200);
        let (sender, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let event = events.poll().await;
                let ended = event.is_err();
                let packet = match event {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(error),
                };
                if sender.send(packet).is_err() || ended {
                    return;
                }
            }
        });
        Self { mqtt, seen, task }
    }

    /// Connects as `device`, or says how it was refused.
    pub(crate) async fn try_connect(world: &World, device: &Device) -> Result<Self, ConnectionError> {
        Self::connect_with(options(&device.id.to_string(), world.port(), Some(Arc::clone(&device.tls)))).await
    }

    pub(crate) async fn connect_with(options: MqttOptions) -> Result<Self, ConnectionError> {
        let mut client = Self::start(options);
        match client.next().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(client),
            packet => panic!("a CONNACK was expected, not {packet:?}"),
        }
    }

    pub(crate) async fn connect(world: &World, device: &Device) -> Self {
        Self::try_connect(world, device).await.unwrap()
    }

    /// Connects and listens to everything that comes down to `device`.
    pub(crate) async fn listen(world: &World, device: &Device) -> Self {
        let mut client = Self::connect(world, device).await;
        for what in [Down::Order, Down::Ack, Down::Time] {
            let granted = client.subscribe(&device.down(what).to_string(), QoS::AtLeastOnce).await;
            assert_eq!(granted, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
        }
        client
    }

    /// The next packet from the gate, or the end of the connection.
    pub(crate) async fn next(&mut self) -> Result<Packet, ConnectionError> {
        let next = timeout(PATIENCE, self.seen.recv()).await.expect("the gate says something in time");
        next.expect("nobody asks after the end of the connection")
    }

    /// The packets that have come already.
    pub(crate) fn come(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).map(Result::unwrap).collect()
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<SubscribeReasonCode> {
        self.mqtt.subscribe(filter, qos).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.next().await.unwrap() {
                return ack.return_codes;
            }
        }
    }

    pub(crate) async fn next_publish(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.next().await.unwrap() {
                return publish;
            }
        }
    }

    pub(crate) async fn next_puback(&mut self) -> u16 {
        loop {
            if let Packet::PubAck(ack) = self.next().await.unwrap() {
                return ack.pkid;
            }
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&mut self) -> ConnectionError {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }
}
