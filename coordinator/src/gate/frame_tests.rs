//! Tests of the framing: what the standard forbids is refused, what it allows comes out whole.

use super::*;

const MAX: usize = 1024;

fn read(bytes: &[u8]) -> Result<Option<Incoming>, FrameError> {
    next(&mut BytesMut::from(bytes), MAX)
}

fn connect(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![byte1::CONNECT, u8::try_from(10 + rest.len()).unwrap()];
    bytes.extend(b"\0\x04MQTT\x04");
    bytes.extend([flags, 0, 10]);
    bytes.extend(rest);
    bytes
}

#[test]
fn a_packet_comes_out_only_when_it_is_whole() {
    let bytes = connect(2, b"\0\x01a");
    for cut in 0..bytes.len() {
        assert_eq!(read(&bytes[..cut]), Ok(None), "{cut}");
    }
    let Ok(Some(Incoming::Connect { connect, will: None })) = read(&bytes) else { panic!("no CONNECT") };
    assert_eq!((connect.client_id.as_str(), connect.keep_alive, connect.clean_session), ("a", 10, true));
}

#[test]
fn a_connect_with_reserved_or_contradicting_bits_is_refused() {
    assert!(read(&connect(0xc2, b"\0\x01a\0\x01u\0\x01p")).unwrap().is_some());
    for (flags, rest) in [
        (0x03, &b"\0\x01a"[..]),       // reserved flag
        (0x42, b"\0\x01a\0\x01p"),     // password without a user name
        (0x02, b"\0\x01a\0\x01x"),     // trailing bytes
        (0x82, b"\0\x01a"),            // user name missing
        (0x1e, b"\0\x01a\0\x01t\0\0"), // will with QoS 3
        (0x06, b"\0\x01a\0\x01#\0\0"), // will to a wildcard
        (0x22, b"\0\x01a"),            // retained will, but no will
        (0x02, b"\0\x02\xff\xfe"),     // not UTF-8
        (0x02, b"\0\x01\0"),           // U+0000
    ] {
        assert_eq!(read(&connect(flags, rest)), Err(FrameError::Malformed), "{flags:02x} {rest:?}");
    }
    let mut version_five = connect(2, b"\0\x01a");
    version_five[8] = 5;
    assert_eq!(read(&version_five), Err(FrameError::ProtocolVersion));
}

#[test]
fn a_wrong_first_byte_is_refused_before_anything_else_is_read() {
    let allowed: Vec<u8> =
        (0..=255).filter(|byte| Header::read(&[*byte]) != Err(FrameError::Malformed)).collect();
    let expected = [
        0x10, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2,
        0xc0, 0xe0,
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn lengths_are_limited_before_the_body_arrives() {
    assert_eq!(read(&[0x30, 0x81, 0x08]), Err(FrameError::TooLarge));
    assert_eq!(read(&[0x30, 0x80, 0x08]), Ok(None));
    assert_eq!(read(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::Malformed));
    assert_eq!(read(&[0x30, 0xff, 0xff, 0xff]), Ok(None));
}

#[test]
fn a_publish_keeps_its_packet_id_and_refuses_wildcards() {
    let Ok(Some(Incoming::Publish(message))) = read(b"\x33\x07\0\x01t\x12\x34hi") else {
        panic!("no PUBLISH")
    };
    assert_eq!((message.packet_id, message.qos, message.retain), (0x1234, QoS::AtLeastOnce, true));
    assert_eq!((message.topic.as_str(), message.payload.as_ref()), ("t", &b"hi"[..]));
    for bytes in [&b"\x30\x03\0\x01+"[..], b"\x30\x02\0\0", b"\x30\x04\0\x02a\0", b"\x32\x05\0\x01t\0\0"] {
        assert_eq!(read(bytes), Err(FrameError::Malformed), "{bytes:?}");
    }
}

#[test]
fn subscriptions_are_checked_to_the_last_bit() {
    let Ok(Some(Incoming::Subscribe { packet_id, filters })) = read(b"\x82\x0a\0\x07\0\x01a\x01\0\x01#\x02")
    else {
        panic!("no SUBSCRIBE")
    };
    assert_eq!(packet_id, 7);
    assert_eq!(filters, [("a".to_owned(), QoS::AtLeastOnce), ("#".to_owned(), QoS::ExactlyOnce)]);
    for bytes in [
        &b"\x82\x02\0\x07"[..],        // no filter
        b"\x82\x06\0\0\0\x01a\x01",    // packet id 0
        b"\x82\x06\0\x07\0\x01a\x81",  // reserved bits beside the QoS
        b"\x82\x06\0\x07\0\x01a\x03",  // QoS 3
        b"\x82\x07\0\x07\0\x02a#\x01", // a wildcard that is not a level
        b"\xa2\x02\0\x07",             // UNSUBSCRIBE of nothing
        b"\x40\x03\0\x07\0",           // PUBACK that is too long
        b"\xc0\x01\0",                 // PINGREQ with a body
        b"\xe0\x01\0",                 // DISCONNECT with a body
    ] {
        assert_eq!(read(bytes), Err(FrameError::Malformed), "{bytes:?}");
    }
}

#[test]
fn the_packet_id_of_a_written_publish_is_found() {
    for topic_length in [1, 100, 130, 20_000] {
        let topic = Bytes::from("t".repeat(topic_length));
        // The only way to a publish with QoS and packet id from outside rumqttd is its own serialised form.
        let mut serialised = BytesMut::from(&[0x32, 0x03, 0x09][..]);
        serialised.extend(u16::try_from(topic_length).unwrap().to_be_bytes());
        serialised.extend(&topic);
        serialised.extend(b"payload");
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(write_publish(Publish::deserialize(serialised.freeze()), &mut out), Ok(Some(0x0309)));
        let plain = Publish::new(topic, Bytes::from_static(b"payload"), false);
        assert_eq!(write_publish(plain, &mut out), Ok(None));
    }
}
