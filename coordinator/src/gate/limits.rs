//! What a connection may cost: every limit of the gate, by name.

use std::time::Duration;

use tokio::time::Instant;

/// The limits of a gate. [`GateLimits::default`] suits one coordinator of a few thousand devices.
#[derive(Debug, Clone)]
pub struct GateLimits {
    /// Connections in all, in whatever state. One costs about 60 KiB (most of it in rumqttd's link).
    pub connections_max: usize,
    /// Connections of one source: an IPv4 address, or an IPv6 /64. A whole site may stand behind one address.
    pub connections_per_source_max: usize,
    /// Connections in all that have not been admitted yet, so that silent ones cannot take every place.
    pub unproven_max: usize,
    /// Connections of one source that have not been admitted yet.
    pub unproven_per_source_max: usize,
    /// From the accept to the end of the TLS handshake.
    pub tls_deadline: Duration,
    /// From the end of the handshake to a complete CONNECT.
    pub connect_deadline: Duration,
    /// The largest CONNECT, in bytes after the fixed header: an id, and nothing else that we use.
    pub connect_packet_max: usize,
    /// The largest packet, in bytes after the fixed header: a 64 KiB envelope, its topic and its packet id.
    pub packet_max: usize,
    /// Packets a second of one connection, on average. Beyond it the gate reads more slowly: TCP then slows
    /// the device down, and nothing is lost.
    pub packets_per_sec: u32,
    /// Packets at once of one connection, before `packets_per_sec` counts.
    pub packets_burst: u32,
    /// Messages of one connection that wait for the [`Sink`](super::Sink), the one it has in hand included.
    pub in_flight_max: usize,
    /// How long the [`Sink`](super::Sink) may take for one question or message.
    pub sink_deadline: Duration,
    /// How long a write may wait for a slow reader.
    pub write_deadline: Duration,
    /// The longest silence of a connection, whatever keep-alive it asked for (0 means none in MQTT).
    pub idle_max: Duration,
    /// Subscriptions of one connection. A device has four.
    pub subscriptions_max: usize,
    /// How often in a row one id may be taken over by a newer connection before that looks like two clones.
    pub takeovers_burst: u32,
    /// The time after which one more takeover of an id is allowed.
    pub takeover_interval: Duration,
    /// How long a newer connection waits for the older one of its id to end.
    pub takeover_deadline: Duration,
    /// Messages towards devices that wait for the router.
    pub publish_queue_max: usize,
    /// How often the router is asked whether it lives.
    pub router_heartbeat: Duration,
    /// How long the router may owe an answer before it is replaced.
    pub router_deadline: Duration,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_source_max: 1_024,
            unproven_max: 1_024,
            unproven_per_source_max: 512,
            tls_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(10),
            connect_packet_max: 1_024,
            packet_max: 64 * 1024 + 512,
            packets_per_sec: 50,
            packets_burst: 200,
            in_flight_max: 16,
            sink_deadline: Duration::from_secs(30),
            write_deadline: Duration::from_secs(20),
            idle_max: Duration::from_mins(30),
            subscriptions_max: 8,
            takeovers_burst: 5,
            takeover_interval: Duration::from_secs(15),
            takeover_deadline: Duration::from_secs(5),
            publish_queue_max: 4_096,
            router_heartbeat: Duration::from_secs(1),
            router_deadline: Duration::from_secs(10),
        }
    }
}

impl GateLimits {
    /// The silence after which a connection that asked for `keep_alive_secs` is closed: one and a half of it
    /// (MQTT 3.1.1, 3.1.2.10), never more than [`GateLimits::idle_max`].
    pub fn silence_max(&self, keep_alive_secs: u16) -> Duration {
        if keep_alive_secs == 0 {
            return self.idle_max;
        }
        (Duration::from_secs(u64::from(keep_alive_secs)) * 3 / 2).min(self.idle_max)
    }
}

/// A token bucket: `burst` at once, then one each `interval`.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    burst: u32,
    interval: Duration,
    /// When the bucket would be full again if nothing more were taken.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket. `burst` and `interval` of zero count as the smallest that work.
    pub(crate) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst: burst.max(1), interval: interval.max(Duration::from_nanos(1)), full_at: now }
    }

    /// Takes a token, or says when there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_after = self.full_at.max(now) + self.interval;
        let full_latest = now + self.interval * self.burst;
        if full_after > full_latest {
            return Err(now + (full_after - full_latest));
        }
        self.full_at = full_after;
        Ok(())
    }

    /// True when nothing was taken for so long that the bucket can be forgotten.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::now;
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = now();
        let mut bucket = Bucket::new(3, Duration::from_secs(1), start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(start + Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.take(later), Ok(()));
        assert!(bucket.take(later).is_err());
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(start + Duration::from_secs(4)));
    }

    #[test]
    fn keep_alive_is_one_and_a_half_and_bounded() {
        let limits = GateLimits { idle_max: Duration::from_secs(100), ..GateLimits::default() };
        assert_eq!(limits.silence_max(10), Duration::from_secs(15));
        assert_eq!(limits.silence_max(0), Duration::from_secs(100));
        assert_eq!(limits.silence_max(u16::MAX), Duration::from_secs(100));
    }
}
