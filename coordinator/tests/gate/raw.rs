//! A client that sends what it likes: bytes over TLS or plain TCP.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::world::{Device, PATIENCE, World};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) struct Raw(Box<dyn Stream>);

impl Raw {
    pub(crate) async fn tcp(port: u16) -> Self {
        Self(Box::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap()))
    }

    pub(crate) async fn tls(port: u16, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Ok(Self(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)))
    }

    /// A device that has its CONNACK.
    pub(crate) async fn device(world: &World, device: &Device, keep_alive_secs: u16) -> Self {
        let mut raw = Self::tls(world.port(), &device.tls).await.unwrap();
        raw.send(&connect(&device.id.to_string(), keep_alive_secs)).await;
        assert_eq!(raw.read_exactly(4).await, CONNACK);
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    pub(crate) async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.expect("the gate answers in time").unwrap();
        bytes
    }

    /// Reads until the gate ends the connection; what came before.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is as good an end as any.
        drop(timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the gate ends the connection"));
        bytes
    }
}

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];

pub(crate) fn connect(id: &str, keep_alive_secs: u16) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\x02".to_vec();
    body.extend(keep_alive_secs.to_be_bytes());
    body.extend(string(id));
    packet(0x10, &body)
}

pub(crate) fn publish(flags: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    if flags & 0b0110 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

pub(crate) fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(string(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub(crate) fn packet(byte1: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![byte1];
    let mut length = body.len();
    loop {
        let more = length > 0x7f;
        bytes.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
