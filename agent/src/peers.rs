//! With whom this device talks over TCP: counted from one look at the kernel's connections to the next, and told with health samples. The
//! coordinator learns from it who depends on whom (paper 1, "Weighted Graph").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use takt_common::health::{ADDRESSES_MAX, PEERS_MAX, PeerSeen, PeersSeen, Talk};
use takt_traffic::{Flow, Sockets, TrafficError};

/// From one look to the next: an ended connection can be seen for a minute.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Connections that are told apart; those beyond are not counted, so that a busy device needs no more memory.
const FLOWS_MAX: usize = 2_048;
/// Peers that are counted apart between two accounts.
const PEERS_COUNTED_MAX: usize = 256;

/// Whose connections are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Only peers in these networks; without any, nothing is counted or told.
    pub networks: Vec<IpNet>,
    /// Where others reach this device; without any, at the addresses of its interfaces in those networks.
    pub addresses: Vec<IpAddr>,
    /// From one account to the next.
    pub interval: Duration,
}

/// Counts connections.
#[derive(Debug)]
pub struct Peers {
    settings: PeerSettings,
    /// Where others reach this device.
    own: BTreeSet<IpAddr>,
    /// By own end and peer.
    flows: HashMap<(SocketAddr, SocketAddr), Known>,
    counts: BTreeMap<IpAddr, (Talk, Talk)>,
    left_out: u64,
    looks: u64,
    look_at: Duration,
    tell_at: Duration,
}

/// A connection that has been counted.
#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    /// In which look it was seen last.
    look: u64,
}

impl Peers {
    /// Has counted nothing yet.
    pub fn new(settings: PeerSettings) -> Self {
        Self {
            settings,
            own: BTreeSet::new(),
            flows: HashMap::new(),
            counts: BTreeMap::new(),
            left_out: 0,
            looks: 0,
            look_at: Duration::ZERO,
            tell_at: Duration::ZERO,
        }
    }

    /// Whether it is time for a look, at this time since boot.
    pub fn is_due(&self, uptime: Duration) -> bool {
        !self.settings.networks.is_empty() && uptime >= self.look_at
    }

    /// Looks at the connections of the device and of its containers on bridges, by their first processes. It takes some milliseconds;
    /// what cannot be asked is left out, and the first reason is the error.
    pub fn look(&mut self, containers: &[u32], uptime: Duration) -> Result<(), TrafficError> {
        self.look_at = uptime + LOOK_EVERY.min(self.settings.interval);
        let interfaces = takt_traffic::addresses().map_err(TrafficError::Interfaces)?;
        self.begin(&interfaces);
        let own = self.own.clone();
        let on_device = takt_traffic::flows(Sockets::OfDevice, |flow| {
            if own.contains(&flow.own.ip()) {
                self.note(&flow, &interfaces);
            }
        });
        let in_containers = containers
            .iter()
            .map(|pid| takt_traffic::flows(Sockets::OfProcess(*pid), |flow| self.note(&flow, &interfaces)));
        let in_containers = in_containers.fold(Ok(()), Result::and);
        let tracked = takt_traffic::tracked_flows(&own, |flow| self.note(&flow, &interfaces));
        self.end();
        on_device.and(in_containers).and(tracked)
    }

    fn begin(&mut self, interfaces: &BTreeSet<IpAddr>) {
        self.looks += 1;
        self.own = if self.settings.addresses.is_empty() {
            interfaces.iter().copied().filter(|address| !address.is_loopback()).collect()
        } else {
            self.settings.addresses.iter().copied().collect()
        };
    }

    /// In the first look nothing is known of when the bytes were sent, so they do not count.
    fn note(&mut self, flow: &Flow, interfaces: &BTreeSet<IpAddr>) {
        let peer = flow.peer.ip();
        if !self.wants(peer) || self.own.contains(&peer) || interfaces.contains(&peer) {
            return;
        }
        let is_full = self.flows.len() >= FLOWS_MAX;
        let key = (flow.own, flow.peer);
        let before = self.flows.get(&key).map(|known| known.bytes);
        let counted = match before {
            Some(before) => Talk { connections: 0, bytes: flow.bytes.saturating_sub(before) },
            None if is_full => return,
            None => Talk { connections: 1, bytes: if self.looks == 1 { 0 } else { flow.bytes } },
        };
        let bytes = flow.bytes.max(before.unwrap_or_default());
        self.flows.insert(key, Known { bytes, look: self.looks });
        if counted == Talk::default() {
            return;
        }
        if self.counts.len() >= PEERS_COUNTED_MAX && !self.counts.contains_key(&peer) {
            self.left_out = self.left_out.saturating_add(counted.connections);
            return;
        }
        let (outgoing, incoming) = self.counts.entry(peer).or_default();
        let side = if flow.outgoing { outgoing } else { incoming };
        *side = side.and(counted);
    }

    fn wants(&self, address: IpAddr) -> bool {
        self.settings.networks.iter().any(|network| network.contains(&address))
    }

    /// What was not seen any more has ended.
    fn end(&mut self) {
        let look = self.looks;
        self.flows.retain(|_, known| known.look == look);
        if self.flows.capacity() > 4 * self.flows.len().max(64) {
            self.flows.shrink_to_fit();
        }
    }

    /// What has been counted since it was told last, if it is time to tell it: those that talked most.
    pub fn account(&mut self, uptime: Duration) -> Option<PeersSeen> {
        if self.looks == 0 || uptime < self.tell_at {
            return None;
        }
        self.tell_at = uptime + self.settings.interval;
        let counts = std::mem::take(&mut self.counts);
        let seen = |(address, (outgoing, incoming))| PeerSeen { address, outgoing, incoming };
        let mut peers: Vec<PeerSeen> = counts.into_iter().map(seen).collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.outgoing.and(peer.incoming)));
        let beyond = peers.split_off(peers.len().min(PEERS_MAX));
        let beyond = beyond.iter().map(|peer| peer.outgoing.and(peer.incoming).connections);
        let left_out = beyond.fold(std::mem::take(&mut self.left_out), u64::saturating_add);
        let is_told = |address: &IpAddr| !self.settings.addresses.is_empty() || self.wants(*address);
        let own = self.own.iter().copied().filter(is_told).take(ADDRESSES_MAX).collect();
        Some(PeersSeen { own, peers, left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(networks: &[&str]) -> Peers {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Peers::new(PeerSettings { networks, addresses: Vec::new(), interval: Duration::from_mins(1) })
    }

    fn interfaces() -> BTreeSet<IpAddr> {
        ["127.0.0.1", "10.0.0.1", "203.0.113.1"].map(|address| address.parse().unwrap()).into()
    }

    fn flow(own: &str, peer: &str, outgoing: bool, bytes: u64) -> Flow {
        Flow { own: own.parse().unwrap(), peer: peer.parse().unwrap(), outgoing, bytes }
    }

    fn look(peers: &mut Peers, flows: &[Flow]) {
        peers.begin(&interfaces());
        for flow in flows {
            peers.note(flow, &interfaces());
        }
        peers.end();
    }

    fn account(peers: &mut Peers) -> PeersSeen {
        peers.tell_at = Duration::ZERO;
        peers.account(Duration::from_secs(1)).unwrap()
    }

    fn talk(connections: u64, bytes: u64) -> Talk {
        Talk { connections, bytes }
    }

    #[test]
    fn a_connection_counts_once_and_its_bytes_as_they_grow() {
        let mut peers = peers(&["10.0.0.0/8"]);
        look(&mut peers, &[flow("10.0.0.1:9000", "10.0.0.2:80", true, 500)]);
        // The second look sees it twice, in the device's sockets and as one that is tracked, and a short one that called us.
        let again =
            [flow("10.0.0.1:9000", "10.0.0.2:80", true, 700), flow("10.0.0.1:9000", "10.0.0.2:80", true, 0)];
        look(&mut peers, &again);
        look(&mut peers, &[flow("10.0.0.1:22", "10.0.0.2:40000", false, 90)]);
        let seen = account(&mut peers);
        assert_eq!(
            seen.own,
            ["10.0.0.1".parse::<IpAddr>().unwrap()],
            "only what lies in the networks is told"
        );
        let expected =
            PeerSeen { address: "10.0.0.2".parse().unwrap(), outgoing: talk(1, 200), incoming: talk(1, 90) };
        assert_eq!((seen.peers, seen.left_out), (vec![expected], 0));
        assert_eq!(account(&mut peers).peers, [], "it has been told");
        // The one that had ended is a new one.
        look(&mut peers, &[flow("10.0.0.1:9000", "10.0.0.2:80", true, 5)]);
        assert_eq!(account(&mut peers).peers[0].outgoing, talk(1, 5));
    }

    #[test]
    fn peers_outside_the_networks_and_the_device_itself_are_not_counted() {
        let mut peers = peers(&["10.0.0.0/8", "fd00::/8"]);
        look(&mut peers, &[]);
        let strange = [
            flow("203.0.113.1:9000", "198.51.100.7:443", true, 9),
            flow("10.0.0.1:9000", "10.0.0.1:80", true, 9),
            flow("10.0.0.1:9000", "127.0.0.1:80", true, 9),
            flow("[fd00::1]:9000", "[fd00::2]:80", true, 9),
        ];
        look(&mut peers, &strange);
        let seen = account(&mut peers);
        let addresses: Vec<String> = seen.peers.iter().map(|peer| peer.address.to_string()).collect();
        assert_eq!(addresses, ["fd00::2"]);
    }

    #[test]
    fn without_networks_nothing_is_looked_at() {
        assert!(!peers(&[]).is_due(Duration::from_hours(1)));
        let mut off = peers(&[]);
        assert_eq!(off.account(Duration::from_hours(1)), None);
    }

    #[test]
    fn memory_and_samples_are_bounded_and_those_that_talk_most_are_told() {
        let mut peers = peers(&["10.0.0.0/8"]);
        look(&mut peers, &[]);
        let many: Vec<Flow> = (0..5_000_u32)
            .map(|number| {
                let peer = format!("10.1.{}.{}:80", (number % 300) / 200, number % 200);
                let port = 1_000 + number;
                flow(&format!("10.0.0.1:{port}"), &peer, true, u64::from(number % 300))
            })
            .collect();
        look(&mut peers, &many);
        assert_eq!(peers.flows.len(), FLOWS_MAX);
        let seen = account(&mut peers);
        assert_eq!(seen.peers.len(), PEERS_MAX);
        let told: u64 = seen.peers.iter().map(|peer| peer.outgoing.connections).sum();
        assert_eq!(told + seen.left_out, FLOWS_MAX as u64);
        look(&mut peers, &[]);
        assert!(peers.flows.capacity() < FLOWS_MAX);
    }
}
