//! With whom this device talks over TCP: counted from one look at the kernel's connections to the next, and told with health samples. The
//! coordinator learns from it who depends on whom (paper 1, "Weighted Graph").

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};
use takt_common::health::{ADDRESSES_MAX, PEERS_MAX, PeerSeen, PeersSeen, Talk};
use takt_traffic::{Addresses, Flow, Sockets, TrafficError};

/// From one look to the next: an ended connection can be seen for a minute.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// In each look of so many the kernel is asked what it tracks: it remembers that for two minutes, and walks through a large table.
const LOOKS_TRACKED: u32 = 2;
/// A look that takes long is followed by a pause of so many times that, so that looks take no more than 0.2 % of a processor.
const PAUSE_TIMES: u32 = 500;
/// But accounts are wanted: no pause is longer than the time of so many.
const ACCOUNTS_MISSED_MAX: u32 = 10;
/// Connections that are told apart; those beyond are not counted, so that a busy device needs no more memory.
const FLOWS_MAX: usize = 2_048;
/// In so many looks a connection may be missed before it has ended: an engine that does not answer hides those of its containers, and
/// not each look asks what is tracked.
const LOOKS_MISSED_MAX: u32 = 2;
/// Peers that are counted apart.
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

/// A container of a workload on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnBridge {
    /// Its first process.
    pub pid: u32,
    /// Its address.
    pub address: IpAddr,
}

/// Counts connections.
#[derive(Debug)]
pub struct Peers {
    settings: PeerSettings,
    here: Here,
    /// By own end and peer, as a number that is made anew with each start.
    flows: HashMap<u64, Known>,
    numbers: RandomState,
    counts: BTreeMap<IpAddr, (Talk, Talk)>,
    /// Connections that were not counted, since the last account.
    left_out: u64,
    looks: u32,
    /// The last look has seen all connections, and they had room.
    was_whole: bool,
    /// Seen in this look and not told apart: from the first of them on, no room is looked for again.
    beyond: u64,
    look_at: Duration,
    tell_at: Duration,
}

/// Which addresses are none of a peer.
#[derive(Debug, Default)]
struct Here {
    /// Of the device, for itself and for others, and of its containers.
    all: BTreeSet<IpAddr>,
    /// Where connections of the device itself end: without loopback.
    device: BTreeSet<IpAddr>,
    /// Where others reach it.
    told: BTreeSet<IpAddr>,
}

/// A connection that has been counted.
#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    /// In which look it was seen last.
    look: u32,
    /// Who listens may stop that while connections go on.
    outgoing: bool,
}

impl Peers {
    /// Has counted nothing yet.
    pub fn new(settings: PeerSettings) -> Self {
        Self {
            settings,
            here: Here::default(),
            flows: HashMap::new(),
            numbers: RandomState::new(),
            counts: BTreeMap::new(),
            left_out: 0,
            looks: 0,
            was_whole: false,
            beyond: 0,
            look_at: Duration::ZERO,
            tell_at: Duration::ZERO,
        }
    }

    /// Whether it is time for a look, at this time since boot.
    pub fn is_due(&self, uptime: Duration) -> bool {
        !self.settings.networks.is_empty() && uptime >= self.look_at
    }

    /// Looks at the connections of the device and of its containers on bridges. What cannot be asked is left out, and the first reason is
    /// the error.
    pub fn look(&mut self, containers: &[OnBridge], uptime: Duration) -> Result<(), TrafficError> {
        let begin = processor_time();
        self.look_at = uptime + LOOK_EVERY.min(self.settings.interval);
        let interfaces = takt_traffic::addresses().map_err(TrafficError::Interfaces)?;
        self.begin(&interfaces, containers);
        let device = self.here.device.clone();
        let on_device = takt_traffic::flows(Sockets::OfDevice, |flow| {
            if device.contains(&flow.own.ip()) {
                self.note(&flow);
            }
        });
        let in_containers = containers.iter().map(|OnBridge { pid, address }| {
            takt_traffic::flows(Sockets::OfProcess(*pid), |flow| {
                // Another process may have its number by now, and a container may have given itself further addresses.
                if flow.own.ip() == *address {
                    self.note(&flow);
                }
            })
        });
        let in_containers = in_containers.fold(Ok(()), Result::and);
        let own = device.iter().copied().chain(containers.iter().map(|one| one.address)).collect();
        let tracked = if self.looks % LOOKS_TRACKED == 1 {
            takt_traffic::tracked_flows(&own, |flow| self.note(&flow))
        } else {
            Ok(())
        };
        let looked = on_device.and(in_containers).and(tracked);
        self.end(looked.is_ok());
        let took = processor_time().saturating_sub(begin);
        let pause = (took * PAUSE_TIMES).min(self.settings.interval * ACCOUNTS_MISSED_MAX);
        self.look_at = self.look_at.max(uptime + pause);
        looked
    }

    fn begin(&mut self, interfaces: &Addresses, containers: &[OnBridge]) {
        self.looks += 1;
        let configured = &self.settings.addresses;
        let wants = |address: &&IpAddr| self.wants(**address);
        let told = if configured.is_empty() {
            interfaces.outside.iter().filter(wants).copied().collect()
        } else {
            configured.iter().copied().collect()
        };
        let is_device = |address: &&IpAddr| !address.is_loopback();
        let device = interfaces.all.iter().filter(is_device).chain(configured).copied().collect();
        let of_containers = containers.iter().map(|one| &one.address);
        let all = interfaces.all.iter().chain(configured).chain(of_containers).copied().collect();
        self.here = Here { all, device, told };
    }

    /// What was there before the first look, and what passed before a look that may have missed it, does not count: nobody knows when that
    /// was.
    fn note(&mut self, flow: &Flow) {
        let peer = flow.peer.ip();
        if !self.wants(peer) || self.here.all.contains(&peer) {
            return;
        }
        let number = self.numbers.hash_one((flow.own, flow.peer));
        let known = self.flows.get(&number).copied();
        let is_full = known.is_none() && self.flows.len() >= FLOWS_MAX;
        if is_full && self.beyond == 0 {
            self.forget_ended();
        }
        if is_full && self.flows.len() >= FLOWS_MAX {
            self.beyond += 1;
            return;
        }
        let counted = match known {
            _ if self.looks == 1 => Talk::default(),
            Some(known) => Talk { connections: 0, bytes: flow.bytes.saturating_sub(known.bytes) },
            None => Talk { connections: 1, bytes: if self.was_whole { flow.bytes } else { 0 } },
        };
        let bytes = known.map_or(0, |known| known.bytes).max(flow.bytes);
        let outgoing = known.map_or(flow.outgoing, |known| known.outgoing);
        self.flows.insert(number, Known { bytes, look: self.looks, outgoing });
        if counted == Talk::default() {
            return;
        }
        if self.counts.len() >= PEERS_COUNTED_MAX && !self.counts.contains_key(&peer) {
            self.left_out = self.left_out.saturating_add(counted.connections);
            return;
        }
        let (to, from) = self.counts.entry(peer).or_default();
        let side = if outgoing { to } else { from };
        *side = side.and(counted);
    }

    fn forget_ended(&mut self) {
        let oldest = self.looks.saturating_sub(LOOKS_MISSED_MAX);
        self.flows.retain(|_, known| known.look >= oldest);
    }

    fn wants(&self, address: IpAddr) -> bool {
        self.settings.networks.iter().any(|network| network.contains(&address))
    }

    fn end(&mut self, saw_all: bool) {
        self.forget_ended();
        if self.flows.capacity() > 4 * self.flows.len().max(64) {
            self.flows.shrink_to_fit();
        }
        self.was_whole = saw_all && self.beyond == 0;
        self.left_out = self.left_out.saturating_add(std::mem::take(&mut self.beyond));
    }

    /// What has been counted and not told, if it is time to tell it: of those that talked most. The others are told the next time.
    pub fn account(&mut self, uptime: Duration) -> Option<PeersSeen> {
        if self.looks == 0 || uptime < self.tell_at {
            return None;
        }
        self.tell_at = uptime + self.settings.interval;
        let counts = std::mem::take(&mut self.counts);
        let seen = |(address, (outgoing, incoming))| PeerSeen { address, outgoing, incoming };
        let mut peers: Vec<PeerSeen> = counts.into_iter().map(seen).collect();
        peers.sort_by(|a, b| b.amount().total_cmp(&a.amount()));
        for peer in peers.split_off(peers.len().min(PEERS_MAX)) {
            self.counts.insert(peer.address, (peer.outgoing, peer.incoming));
        }
        let own = self.here.told.iter().copied().take(ADDRESSES_MAX).collect();
        Some(PeersSeen { own, peers, left_out: std::mem::take(&mut self.left_out) })
    }

    /// An account that could not be sent: it is told with the next one.
    pub fn not_told(&mut self, seen: PeersSeen) {
        for PeerSeen { address, outgoing, incoming } in seen.peers {
            let (to, from) = self.counts.entry(address).or_default();
            (*to, *from) = (to.and(outgoing), from.and(incoming));
        }
        self.left_out = self.left_out.saturating_add(seen.left_out);
        self.tell_at = Duration::ZERO;
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(networks: &[&str]) -> Peers {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Peers::new(PeerSettings { networks, addresses: Vec::new(), interval: Duration::from_mins(1) })
    }

    /// One that has looked once.
    fn begun(networks: &[&str]) -> Peers {
        let mut peers = peers(networks);
        look(&mut peers, &[]);
        peers
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn interfaces() -> Addresses {
        let of = |all: &[&str]| all.iter().map(|text| address(text)).collect();
        Addresses {
            all: of(&["127.0.0.1", "10.0.0.1", "10.200.0.1", "203.0.113.1"]),
            outside: of(&["10.0.0.1", "203.0.113.1"]),
        }
    }

    fn flow(own: &str, peer: &str, outgoing: bool, bytes: u64) -> Flow {
        Flow { own: own.parse().unwrap(), peer: peer.parse().unwrap(), outgoing, bytes }
    }

    fn look(peers: &mut Peers, flows: &[Flow]) {
        look_and(peers, flows, true);
    }

    fn look_and(peers: &mut Peers, flows: &[Flow], saw_all: bool) {
        peers.begin(&interfaces(), &[OnBridge { pid: 1, address: address("10.200.0.2") }]);
        for flow in flows {
            peers.note(flow);
        }
        peers.end(saw_all);
    }

    fn account(peers: &mut Peers) -> PeersSeen {
        peers.tell_at = Duration::ZERO;
        peers.account(Duration::from_secs(1)).unwrap()
    }

    /// Outgoing and incoming, of the only peer.
    fn only(peers: &mut Peers) -> (Talk, Talk) {
        let seen = account(peers);
        assert_eq!(seen.peers.len(), 1, "{seen:?}");
        (seen.peers[0].outgoing, seen.peers[0].incoming)
    }

    const NONE: Talk = Talk { connections: 0, bytes: 0 };

    fn talk(connections: u64, bytes: u64) -> Talk {
        Talk { connections, bytes }
    }

    #[test]
    fn a_connection_counts_once_and_its_bytes_as_they_grow() {
        let mut peers = begun(&["10.0.0.0/8"]);
        // It is seen twice, in the device's sockets and as one that is tracked, with what its headers took.
        let twice = [
            flow("10.0.0.1:9000", "10.0.0.2:80", true, 500),
            flow("10.0.0.1:9000", "10.0.0.2:80", true, 520),
        ];
        look(&mut peers, &twice);
        assert_eq!(only(&mut peers), (talk(1, 520), NONE));
        look(
            &mut peers,
            &[
                flow("10.0.0.1:9000", "10.0.0.2:80", true, 700),
                flow("10.0.0.1:22", "10.0.0.2:40000", false, 90),
            ],
        );
        assert_eq!(only(&mut peers), (talk(0, 180), talk(1, 90)));
        assert_eq!(account(&mut peers).peers, [], "it has been told");
    }

    #[test]
    fn what_was_there_at_the_start_counts_only_as_it_grows() {
        let mut peers = peers(&["10.0.0.0/8"]);
        let old = |bytes| flow("10.0.0.1:9000", "10.0.0.2:80", true, bytes);
        look(&mut peers, &[old(500), old(900)]);
        assert_eq!(account(&mut peers).peers, []);
        look(&mut peers, &[old(950)]);
        assert_eq!(only(&mut peers), (talk(0, 50), NONE));
    }

    #[test]
    fn a_look_that_misses_a_connection_neither_counts_it_nor_its_past_again() {
        let mut peers = begun(&["10.0.0.0/8"]);
        let long = |bytes| flow("10.0.0.1:9000", "10.0.0.2:80", true, bytes);
        look(&mut peers, &[long(1_000)]);
        account(&mut peers);
        look_and(&mut peers, &[], false);
        look_and(&mut peers, &[], false);
        look(&mut peers, &[long(1_010)]);
        assert_eq!(only(&mut peers), (talk(0, 10), NONE));
        // One that is new after a look that did not see all may be old.
        look_and(&mut peers, &[long(1_010)], false);
        look(&mut peers, &[long(1_010), flow("10.0.0.1:9001", "10.0.0.2:80", true, 7_000)]);
        assert_eq!(only(&mut peers), (talk(1, 0), NONE));
        // After some looks it has ended, and the next from the same port is another one.
        for _ in 0..=LOOKS_MISSED_MAX {
            look(&mut peers, &[]);
        }
        look(&mut peers, &[long(5)]);
        assert_eq!(only(&mut peers), (talk(1, 5), NONE));
    }

    #[test]
    fn who_began_a_connection_is_remembered_when_nobody_listens_any_more() {
        let mut peers = begun(&["10.0.0.0/8"]);
        look(&mut peers, &[flow("10.0.0.1:80", "10.0.0.2:40000", false, 10)]);
        look(&mut peers, &[flow("10.0.0.1:80", "10.0.0.2:40000", true, 30)]);
        assert_eq!(only(&mut peers), (NONE, talk(1, 30)));
    }

    #[test]
    fn peers_outside_the_networks_the_device_and_its_containers_are_not_counted() {
        let mut peers = begun(&["10.0.0.0/8", "fd00::/8"]);
        let strange = [
            flow("203.0.113.1:9000", "198.51.100.7:443", true, 9),
            flow("10.0.0.1:9000", "10.0.0.1:80", true, 9),
            flow("10.0.0.1:9000", "127.0.0.1:80", true, 9),
            flow("10.0.0.1:9000", "10.200.0.2:80", true, 9),
            flow("10.200.0.2:9000", "10.200.0.1:80", true, 9),
            flow("[fd00::1]:9000", "[fd00::2]:80", true, 9),
        ];
        look(&mut peers, &strange);
        let seen = account(&mut peers);
        assert_eq!(seen.peers.iter().map(|peer| peer.address).collect::<Vec<_>>(), [address("fd00::2")]);
        assert_eq!(seen.own, [address("10.0.0.1")], "only what lies in the networks is told");
    }

    #[test]
    fn a_device_that_others_reach_elsewhere_says_so_and_counts_its_own_sockets() {
        let mut peers = begun(&["10.0.0.0/8"]);
        peers.settings.addresses = vec![address("192.0.2.9")];
        look(&mut peers, &[]);
        assert_eq!(account(&mut peers).own, [address("192.0.2.9")]);
        for own in ["192.0.2.9", "10.0.0.1"] {
            assert!(peers.here.device.contains(&address(own)), "{own}");
        }
    }

    #[test]
    fn without_networks_nothing_is_looked_at() {
        assert!(!peers(&[]).is_due(Duration::from_hours(1)));
        let mut off = peers(&[]);
        assert_eq!(off.account(Duration::from_hours(1)), None);
    }

    #[test]
    fn an_account_that_was_not_sent_is_told_with_the_next() {
        let mut peers = begun(&["10.0.0.0/8"]);
        let one = |bytes| flow("10.0.0.1:9000", "10.0.0.2:80", true, bytes);
        look(&mut peers, &[one(10)]);
        let seen = account(&mut peers);
        peers.not_told(seen);
        look(&mut peers, &[one(15)]);
        let seen = peers.account(Duration::from_secs(2)).unwrap();
        assert_eq!(seen.peers[0].outgoing, talk(1, 15));
    }

    #[test]
    fn connections_that_have_ended_make_room_and_what_is_beyond_is_told() {
        let mut peers = begun(&["10.0.0.0/8"]);
        let of = |ports: std::ops::Range<u32>| -> Vec<Flow> {
            ports.map(|port| flow(&format!("10.0.0.1:{port}"), "10.0.0.2:80", true, 1)).collect()
        };
        let most = u32::try_from(FLOWS_MAX).unwrap();
        look(&mut peers, &of(1_000..1_000 + most));
        for _ in 0..LOOKS_MISSED_MAX {
            look(&mut peers, &[]);
        }
        // None of the old ones was seen in the last looks.
        look(&mut peers, &of(10_000..10_000 + most + 5));
        assert_eq!((peers.flows.len(), peers.left_out, peers.was_whole), (FLOWS_MAX, 5, false));
        assert_eq!(only(&mut peers).0, talk(2 * FLOWS_MAX as u64, 2 * FLOWS_MAX as u64));
    }

    #[test]
    fn a_full_table_keeps_what_the_last_look_did_not_ask_for() {
        let mut peers = begun(&["10.0.0.0/8"]);
        let sockets: Vec<Flow> = (2..u32::try_from(FLOWS_MAX).unwrap())
            .map(|port| flow(&format!("10.0.0.1:{port}"), "10.0.0.3:80", true, 0))
            .collect();
        let tracked = [0, 1].map(|port| flow(&format!("10.0.0.1:{port}"), "10.0.0.2:80", true, 1_000));
        look(&mut peers, &[&sockets, tracked.as_slice()].concat());
        account(&mut peers);
        look(&mut peers, &sockets);
        let new = [flow("10.0.0.1:9999", "10.0.0.4:80", true, 0)];
        look(&mut peers, &[&sockets, new.as_slice(), tracked.as_slice()].concat());
        let seen = account(&mut peers);
        assert_eq!((seen.peers, seen.left_out), (vec![], 1));
    }

    #[test]
    fn memory_and_samples_are_bounded_and_those_that_talk_most_are_told_first() {
        let mut peers = begun(&["10.0.0.0/8"]);
        let many: Vec<Flow> = (0..5_000_u32)
            .map(|number| {
                let peer = format!("10.1.{}.{}:80", (number % 300) / 200, number % 200);
                flow(&format!("10.0.0.1:{}", 1_000 + number), &peer, true, 1)
            })
            .collect();
        look(&mut peers, &many);
        // One connection over which much is said is worth more than many over which nothing is.
        let stream = |bytes| flow("10.0.0.1:900", "10.1.0.0:443", true, bytes);
        assert_eq!(peers.flows.len(), FLOWS_MAX);
        let first = account(&mut peers);
        assert_eq!(first.peers.len(), PEERS_MAX);
        assert!(first.left_out >= 5_000 - FLOWS_MAX as u64, "{}", first.left_out);
        let second = account(&mut peers);
        assert_eq!(second.peers.len(), PEERS_MAX, "the next most");
        assert!(
            first.peers.iter().all(|told| second.peers.iter().all(|later| later.address != told.address))
        );
        for _ in 0..=LOOKS_MISSED_MAX {
            look(&mut peers, &[]);
        }
        assert!(peers.flows.capacity() < FLOWS_MAX);
        look(&mut peers, &[stream(1 << 40)]);
        assert_eq!(account(&mut peers).peers[0].address, address("10.1.0.0"));
    }
}
