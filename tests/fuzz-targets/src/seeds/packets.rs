//! Packets of MQTT: one of each that clients send, alone and after each other.

pub(super) fn all() -> Vec<Vec<u8>> {
    let packets: [&[u8]; 14] = [
        b"\x10\x0e\0\x04MQTT\x04\x02\0\x1e\0\x02ab",
        // With a will, a user and a password.
        b"\x10\x1c\0\x04MQTT\x04\xce\0\x1e\0\x01a\0\x01t\0\x02by\0\x01u\0\x03pwd",
        b"\x10\x12\0\x06MQIsdp\x03\x02\0\x1e\0\x02ab\0\0",
        b"\x10\x0f\0\x04MQTT\x05\x02\0\x1e\0\0\x02ab",
        b"\x30\x08\0\x03a/btext",
        b"\x3b\x09\0\x03a/b\0\x07by",
        b"\x35\x07\0\x01t\0\x07ab",
        b"\x40\x02\0\x07\x50\x02\0\x07\x62\x02\0\x07\x70\x02\0\x07",
        b"\x82\x0c\0\x07\0\x03a/+\x01\0\x01#\0",
        b"\xa2\x07\0\x07\0\x03a/+",
        b"\xc0\0",
        b"\xe0\0",
        b"\x30\xff\xff\x03",
        b"\x30\x80\x80\x80\x80\x01",
    ];
    let mut all = Vec::new();
    for (place, packet) in packets.iter().enumerate() {
        let piece = u8::try_from(place).expect("few packets");
        all.push([&[piece, piece], *packet].concat());
    }
    all.push([&[3, 1], packets[..12].concat().as_slice()].concat());
    all
}
