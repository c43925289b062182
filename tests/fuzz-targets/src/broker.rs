//! Bytes of MQTT clients, as the gate takes them apart.

use takt_coordinator::gate::{GateLimits, fuzz};

use crate::memory::bounded;

/// Beyond the largest packet a buffer may be so much larger: libraries let buffers grow by half or double.
const BUFFER_FACTOR: usize = 4;

/// Reads a stream of packets: whole, byte by byte, in pieces of a size that the first byte tells; before a CONNECT (the second byte is
/// even) and after it.
pub fn run(input: &[u8]) {
    let [piece, state, bytes @ ..] = input else { return };
    let limits = GateLimits::default();
    let max = if state & 1 == 0 { limits.connect_packet_max } else { limits.packet_max };
    bounded(input, 1_024, || {
        let whole = fuzz::take(bytes, usize::MAX, max);
        for piece in [1, usize::from(*piece)] {
            let taken = fuzz::take(bytes, piece, max);
            assert!(taken.same_as(&whole), "in pieces of {piece}: {taken:?}, and whole {whole:?}");
            assert!(taken.held_max <= BUFFER_FACTOR * (max + 5), "{} bytes are held", taken.held_max);
        }
        assert!(whole.count() <= bytes.len() / 2, "a packet has two bytes at least");
        // What was understood is understood again.
        let written = whole.written();
        let again = fuzz::take(&written, usize::MAX, max);
        assert_eq!((again.left, again.count()), (0, again.count()));
        let plain = whole.without_connects();
        assert!(again.count() == plain.count() && again.written() == written, "{plain:?} became {again:?}");
    });
}
