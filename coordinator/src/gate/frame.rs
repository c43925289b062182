//! Packets on the wire: rumqttd's codec for MQTT 3.1.1 behind the checks that it leaves out.
//!
//! The codec keeps packet id and QoS of a publish to itself and lets reserved bits and trailing bytes pass.
//! So the gate looks at the fixed header and the raw bytes first, and turns what comes out into [`Incoming`].

use bytes::{Buf, Bytes, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::{self, Connect, LastWill, Packet, Protocol, Publish, QoS};

/// A packet from a client, checked against MQTT 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Connect { connect: Connect, will: Option<LastWill> },
    Publish(Message),
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe { packet_id: u16, filters: Vec<(String, QoS)> },
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    PingReq,
    Disconnect,
}

/// A publish from a client. `packet_id` is 0 with QoS 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) packet_id: u16,
}

/// Bytes that are no packet the gate takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    Malformed,
    TooLarge,
    ProtocolVersion,
}

/// The first byte of packets that clients may send: packet type and flags (MQTT 3.1.1, 2.2).
mod byte1 {
    pub(super) const CONNECT: u8 = 0x10;
    pub(super) const PUBLISH: u8 = 0x30;
    pub(super) const PUBACK: u8 = 0x40;
    pub(super) const PUBREC: u8 = 0x50;
    pub(super) const PUBREL: u8 = 0x62;
    pub(super) const PUBCOMP: u8 = 0x70;
    pub(super) const SUBSCRIBE: u8 = 0x82;
    pub(super) const UNSUBSCRIBE: u8 = 0xa2;
    pub(super) const PINGREQ: u8 = 0xc0;
    pub(super) const DISCONNECT: u8 = 0xe0;
}

/// Type and length of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    byte1: u8,
    length: usize,
    remaining: usize,
}

/// Takes the next whole packet off `buffer`. `None` when more bytes are needed.
///
/// `remaining_max` limits the bytes after the fixed header; a larger packet is refused as soon as its header is
/// there, so `buffer` never holds much more than one packet.
pub(crate) fn next(buffer: &mut BytesMut, remaining_max: usize) -> Result<Option<Incoming>, FrameError> {
    let Some(header) = Header::read(buffer)? else {
        return Ok(None);
    };
    if header.remaining > remaining_max {
        return Err(FrameError::TooLarge);
    }
    if buffer.len() < header.length + header.remaining {
        buffer.reserve(header.length + header.remaining - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(header.length + header.remaining);
    let body = frame.clone().freeze().slice(header.length..);
    let packet = V4.read_mut(&mut frame, remaining_max).map_err(|error| match error {
        protocol::Error::InvalidProtocolLevel(_) => FrameError::ProtocolVersion,
        _ => FrameError::Malformed,
    })?;
    incoming(header, &body, packet).map(Some)
}

/// Appends `packet` to `out`.
pub(crate) fn write(packet: Packet, out: &mut BytesMut) -> Result<(), protocol::Error> {
    V4.write(packet, out).map(|_| ())
}

/// Appends a publish from the router to `out` and returns its packet id, if its QoS is above 0.
pub(crate) fn write_publish(publish: Publish, out: &mut BytesMut) -> Result<Option<u16>, protocol::Error> {
    let begin = out.len();
    let topic_length = publish.topic.len();
    write(Packet::Publish(publish, None), out)?;
    let written = &out[begin..];
    if written[0] & 0b0110 == 0 {
        return Ok(None);
    }
    let header_length = 1 + written[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let mut packet_id = &written[header_length + 2 + topic_length..];
    Ok(Some(packet_id.get_u16()))
}

impl Header {
    fn read(buffer: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&byte1) = buffer.first() else {
            return Ok(None);
        };
        let known = match byte1 {
            byte1::CONNECT
            | byte1::PUBACK
            | byte1::PUBREC
            | byte1::PUBREL
            | byte1::PUBCOMP
            | byte1::SUBSCRIBE
            | byte1::UNSUBSCRIBE
            | byte1::PINGREQ
            | byte1::DISCONNECT => true,
            // DUP belongs to QoS 1 and 2; QoS 3 does not exist.
            _ => byte1 & 0xf0 == byte1::PUBLISH && byte1 & 0b0110 != 0b0110 && byte1 & 0b1110 != 0b1000,
        };
        if !known {
            return Err(FrameError::Malformed);
        }
        let mut remaining = 0;
        for (index, byte) in buffer.iter().skip(1).enumerate() {
            if index == 4 {
                return Err(FrameError::Malformed);
            }
            remaining |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(Self { byte1, length: index + 2, remaining }));
            }
        }
        // Four length bytes that all say "more follows" can never become a packet.
        if buffer.len() >= 5 { Err(FrameError::Malformed) } else { Ok(None) }
    }
}

fn incoming(header: Header, body: &Bytes, packet: Packet) -> Result<Incoming, FrameError> {
    let good = |condition: bool| if condition { Ok(()) } else { Err(FrameError::Malformed) };
    match packet {
        Packet::Connect(connect, _, will, _, login) => {
            // Name, level, flags, keep-alive: the codec has made sure of these ten bytes.
            let flags = body[7];
            let (has_user, has_password) = (flags & 0x80 != 0, flags & 0x40 != 0);
            let user_length = login.as_ref().map_or(0, |login| login.username.len());
            let password_length = login.as_ref().map_or(0, |login| login.password.len());
            let will_length = will.as_ref().map_or(0, |will| 4 + will.topic.len() + will.message.len());
            let length = 10
                + (2 + connect.client_id.len())
                + will_length
                + if has_user { 2 + user_length } else { 0 }
                + if has_password { 2 + password_length } else { 0 };
            good(flags & 1 == 0 && (has_user || !has_password) && length == body.len())?;
            good(!connect.client_id.contains('\0'))?;
            if let Some(will) = &will {
                topic_name(&will.topic)?;
            }
            Ok(Incoming::Connect { connect, will })
        }
        Packet::Publish(publish, _) => {
            let qos = protocol::qos((header.byte1 & 0b0110) >> 1).ok_or(FrameError::Malformed)?;
            let packet_id = match qos {
                QoS::AtMostOnce => 0,
                // The codec has read these two bytes and refused 0.
                QoS::AtLeastOnce | QoS::ExactlyOnce => (&body[2 + publish.topic.len()..]).get_u16(),
            };
            Ok(Incoming::Publish(Message {
                topic: topic_name(&publish.topic)?,
                payload: publish.payload,
                qos,
                retain: publish.retain,
                packet_id,
            }))
        }
        Packet::PubAck(ack, _) => good(body.len() == 2 && ack.pkid != 0).map(|()| Incoming::PubAck(ack.pkid)),
        Packet::PubRec(ack, _) => good(body.len() == 2 && ack.pkid != 0).map(|()| Incoming::PubRec(ack.pkid)),
        Packet::PubRel(ack, _) => good(body.len() == 2 && ack.pkid != 0).map(|()| Incoming::PubRel(ack.pkid)),
        Packet::PubComp(ack, _) => {
            good(body.len() == 2 && ack.pkid != 0).map(|()| Incoming::PubComp(ack.pkid))
        }
        Packet::Subscribe(subscribe, _) => {
            good(subscribe.pkid != 0)?;
            let mut option_at = 2;
            for filter in &subscribe.filters {
                option_at += 2 + filter.path.len();
                good(body[option_at] & !0b11 == 0 && topic_filter(&filter.path))?;
                option_at += 1;
            }
            let filters = subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos)).collect();
            Ok(Incoming::Subscribe { packet_id: subscribe.pkid, filters })
        }
        Packet::Unsubscribe(unsubscribe, _) => {
            good(unsubscribe.pkid != 0 && !unsubscribe.filters.is_empty())?;
            good(unsubscribe.filters.iter().all(|filter| topic_filter(filter)))?;
            Ok(Incoming::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.filters })
        }
        Packet::PingReq(_) => good(body.is_empty()).map(|()| Incoming::PingReq),
        Packet::Disconnect(..) => good(body.is_empty()).map(|()| Incoming::Disconnect),
        // Packets that only servers send; the header check has refused them already.
        Packet::ConnAck(..) | Packet::SubAck(..) | Packet::UnsubAck(..) | Packet::PingResp(_) => {
            Err(FrameError::Malformed)
        }
    }
}

fn topic_name(topic: &Bytes) -> Result<String, FrameError> {
    let topic = std::str::from_utf8(topic).map_err(|_| FrameError::Malformed)?;
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(FrameError::Malformed);
    }
    Ok(topic.to_owned())
}

fn topic_filter(filter: &str) -> bool {
    protocol::valid_filter(filter) && !filter.contains('\0')
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
