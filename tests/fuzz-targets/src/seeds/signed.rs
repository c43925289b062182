//! Envelopes.

use takt_common::Envelope;
use takt_common::envelope::PayloadType;

use crate::envelopes::KEYS;

pub(super) fn envelopes() -> Vec<Vec<u8>> {
    let [first, second, third] = &*KEYS;
    let mut all = vec![super::file("common/tests/goldens/order-envelope.json")];
    for (payload_type, keys) in [
        (PayloadType::Order, vec![first]),
        (PayloadType::Report, vec![second]),
        (PayloadType::Health, vec![first, second]),
        (PayloadType::Ack, vec![first, first]),
        (PayloadType::Checkpoint, vec![third, first, second]),
    ] {
        all.push(Envelope::seal(payload_type, b"{}", &keys).to_bytes());
    }
    // By whom, which bits of which byte, and of what.
    for (by, bits, at) in [(1, 0, 0), (3, 0, 0), (7, 1, 40), (11, 0x20, 90), (19, 2, 120), (35, 4, 200)] {
        all.push([&[0xff, by, bits, 0, at][..], b"{\"a\":1}"].concat());
    }
    all
}
