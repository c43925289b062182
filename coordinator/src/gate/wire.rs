//! The byte side of a connection: reads packets, gathers answers, writes them under a deadline.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use rumqttd::protocol::{Packet, Publish};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{self, FrameError, Incoming};
use super::metrics::Closed;

/// How much to read at once: a report fits.
const READ_CHUNK: usize = 4 * 1024;
/// Beyond this much gathered output a session writes before it gathers more.
pub(crate) const OUTPUT_MAX: usize = 128 * 1024;
/// How long a goodbye on the stream may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A stream with its buffers.
pub(crate) struct Wire<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    write_deadline: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, write_deadline: Duration) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), write_deadline }
    }

    /// Takes the next packet that has come in whole.
    pub(crate) fn next(&mut self, packet_max: usize) -> Result<Option<Incoming>, Closed> {
        frame::next(&mut self.input, packet_max).map_err(|error| match error {
            FrameError::Malformed => Closed::Malformed,
            FrameError::TooLarge => Closed::PacketTooLarge,
            FrameError::ProtocolVersion => Closed::ProtocolVersion,
        })
    }

    /// Reads more bytes. May be dropped and called again: nothing is lost.
    pub(crate) async fn read(&mut self) -> Result<(), Closed> {
        self.input.reserve(READ_CHUNK);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(Closed::PeerClosed),
            Ok(_) => Ok(()),
        }
    }

    /// Reads until there is a packet.
    pub(crate) async fn read_packet(&mut self, packet_max: usize) -> Result<Incoming, Closed> {
        loop {
            if let Some(packet) = self.next(packet_max)? {
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    /// Gathers an answer.
    pub(crate) fn gather(&mut self, packet: Packet) {
        if let Err(error) = frame::write(packet, &mut self.output) {
            tracing::error!(%error, "an answer could not be written");
        }
    }

    /// Gathers a publish; its packet id if it has one.
    pub(crate) fn gather_publish(&mut self, publish: Publish) -> Option<u16> {
        frame::write_publish(publish, &mut self.output).unwrap_or_else(|error| {
            tracing::error!(%error, "a publish could not be written");
            None
        })
    }

    /// Bytes gathered and not written.
    pub(crate) fn gathered(&self) -> usize {
        self.output.len()
    }

    /// Writes what was gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), Closed> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            while self.output.has_remaining() {
                if self.stream.write_buf(&mut self.output).await? == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
            }
            self.stream.flush().await
        };
        let written = timeout(self.write_deadline, write).await.map_err(|_| Closed::WriteDeadline)?;
        written.map_err(|_: std::io::Error| Closed::PeerClosed)?;
        if self.output.capacity() > OUTPUT_MAX {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Says goodbye on the stream, as far as the peer still listens.
    pub(crate) async fn close(&mut self) {
        drop(timeout(CLOSE_DEADLINE, self.stream.shutdown()).await);
    }
}
