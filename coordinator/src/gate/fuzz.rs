//! How the gate takes bytes apart: for `takt-fuzz-targets`, and for nobody else.

use bytes::{BufMut as _, BytesMut};
use rumqttd::protocol::QoS;

use super::frame::{self, FrameError, Incoming, Message};

/// What came of a stream of bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    packets: Vec<Incoming>,
    refused: Option<FrameError>,
    /// The largest buffer that was held.
    pub held_max: usize,
    /// Bytes that wait for more.
    pub left: usize,
}

/// Reads `bytes` in pieces of at most `piece` bytes, as a connection does that may send packets of `remaining_max`.
pub fn take(bytes: &[u8], piece: usize, remaining_max: usize) -> Taken {
    let mut taken = Taken { packets: Vec::new(), refused: None, held_max: 0, left: 0 };
    let mut buffer = BytesMut::new();
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            match frame::next(&mut buffer, remaining_max) {
                Ok(Some(packet)) => {
                    assert!(buffer.len() < before, "a packet of no bytes: {packet:?}");
                    taken.packets.push(packet);
                }
                Ok(None) => break,
                Err(error) => {
                    taken.refused = Some(error);
                    return taken;
                }
            }
        }
        taken.held_max = taken.held_max.max(buffer.capacity());
    }
    taken.left = buffer.len();
    taken
}

impl Taken {
    /// The packets and what refused the rest, whatever it cost to get there.
    pub fn same_as(&self, other: &Self) -> bool {
        (&self.packets, self.refused, self.left) == (&other.packets, other.refused, other.left)
    }

    /// How many packets there were.
    pub fn count(&self) -> usize {
        self.packets.len()
    }

    /// The packets as a client would write them that wastes no byte, but for CONNECTs, of which the gate forgets a part.
    pub fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.packets.iter().for_each(|packet| write(packet, &mut out));
        out
    }

    /// The same without CONNECTs.
    #[must_use]
    pub fn without_connects(mut self) -> Self {
        self.packets.retain(|packet| !matches!(packet, Incoming::Connect { .. }));
        self
    }
}

fn write(packet: &Incoming, out: &mut Vec<u8>) {
    let id = |byte1: u8, packet_id: &u16| (byte1, packet_id.to_be_bytes().to_vec());
    let (byte1, body) = match packet {
        Incoming::Connect { .. } => return,
        Incoming::Publish(Message { topic, payload, qos, retain, packet_id }) => {
            let mut body = Vec::new();
            string(topic, &mut body);
            if *qos != QoS::AtMostOnce {
                body.put_u16(*packet_id);
            }
            body.extend_from_slice(payload);
            (0x30 | ((*qos as u8) << 1) | u8::from(*retain), body)
        }
        Incoming::PubAck(packet_id) => id(0x40, packet_id),
        Incoming::PubRec(packet_id) => id(0x50, packet_id),
        Incoming::PubRel(packet_id) => id(0x62, packet_id),
        Incoming::PubComp(packet_id) => id(0x70, packet_id),
        Incoming::Subscribe { packet_id, filters } => {
            let (byte1, mut body) = id(0x82, packet_id);
            for (filter, qos) in filters {
                string(filter, &mut body);
                body.push(*qos as u8);
            }
            (byte1, body)
        }
        Incoming::Unsubscribe { packet_id, filters } => {
            let (byte1, mut body) = id(0xa2, packet_id);
            for filter in filters {
                string(filter, &mut body);
            }
            (byte1, body)
        }
        Incoming::PingReq => (0xc0, Vec::new()),
        Incoming::Disconnect => (0xe0, Vec::new()),
    };
    out.push(byte1);
    let mut length = body.len();
    loop {
        let seven = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(if length > 0 { seven | 0x80 } else { seven });
        if length == 0 {
            break;
        }
    }
    out.extend(body);
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.put_u16(u16::try_from(text.len()).expect("it came in as such a string"));
    out.extend_from_slice(text.as_bytes());
}
