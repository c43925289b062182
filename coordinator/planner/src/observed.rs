//! Edges that nobody declared: who calls whom, by what the agents of both ends have seen (paper 1, "Weighted Graph").

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use takt_common::Name;
use takt_common::health::{PeerSeen, PeersSeen, Talk};

/// The most edges of a domain; of more, those over which most is said.
const EDGES_MAX: usize = 100_000;

/// An edge that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedEdge {
    /// The device that calls.
    pub source: Name,
    /// The device that is called.
    pub target: Name,
    /// How much: of what either end has seen, the more.
    pub talk: Talk,
}

/// What the devices of a domain have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    edges: BTreeMap<(Name, Name), Talk>,
    /// Addresses of peers that are no device of the domain.
    pub strangers: BTreeSet<IpAddr>,
    /// Addresses that several devices said to be their own at one time, and which: whoever is seen there is not known.
    pub ambiguous: BTreeMap<IpAddr, BTreeSet<Name>>,
    /// Devices that have told with whom they talk.
    pub telling: BTreeSet<Name>,
    /// Connections that devices did not count, because there were too many.
    pub left_out: u64,
}

impl Observed {
    /// Adds what was seen in another span of time.
    pub fn add(&mut self, span: Span) {
        for (ends, talk) in span.edges {
            let known = self.edges.entry(ends).or_default();
            *known = known.and(talk);
        }
        self.strangers.extend(span.strangers);
        for (address, devices) in span.owners.shared {
            self.ambiguous.entry(address).or_default().extend(devices);
        }
        self.telling.extend(span.telling);
        self.left_out = self.left_out.saturating_add(span.left_out);
    }

    /// The edges, by the names of their ends; of very many, those over which most was said.
    pub fn edges(&self) -> Vec<ObservedEdge> {
        let mut edges: Vec<(&(Name, Name), &Talk)> = self.edges.iter().collect();
        if edges.len() > EDGES_MAX {
            edges.sort_by(|a, b| b.1.amount().total_cmp(&a.1.amount()));
            edges.truncate(EDGES_MAX);
            edges.sort_by_key(|(ends, _)| *ends);
        }
        let edge = |((source, target), talk): (&(Name, Name), &Talk)| ObservedEdge {
            source: source.clone(),
            target: target.clone(),
            talk: *talk,
        };
        edges.into_iter().map(edge).collect()
    }
}

/// Whose the addresses were in a span of time, as the devices themselves have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    of: BTreeMap<IpAddr, Name>,
    shared: BTreeMap<IpAddr, BTreeSet<Name>>,
}

impl Owners {
    /// A device was at these addresses.
    pub fn add(&mut self, device: &Name, own: &[IpAddr]) {
        for address in own {
            if let Some(shared) = self.shared.get_mut(address) {
                shared.insert(device.clone());
                continue;
            }
            let before = self.of.insert(*address, device.clone());
            if let Some(other) = before.filter(|other| other != device) {
                self.of.remove(address);
                self.shared.insert(*address, BTreeSet::from([other, device.clone()]));
            }
        }
    }
}

/// What was seen in a span of time in which addresses belonged to one device each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    owners: Owners,
    edges: BTreeMap<(Name, Name), Talk>,
    strangers: BTreeSet<IpAddr>,
    telling: BTreeSet<Name>,
    left_out: u64,
}

impl Span {
    /// Nothing was seen yet.
    pub const fn new(owners: Owners) -> Self {
        Self {
            owners,
            edges: BTreeMap::new(),
            strangers: BTreeSet::new(),
            telling: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// Adds what a device has seen; once for each device.
    pub fn add(&mut self, device: &Name, seen: &PeersSeen) {
        // A device may have several addresses.
        let mut others: BTreeMap<&Name, (Talk, Talk)> = BTreeMap::new();
        for PeerSeen { address, outgoing, incoming } in &seen.peers {
            if let Some(other) = self.owners.of.get(address) {
                let (to, from) = others.entry(other).or_default();
                (*to, *from) = (to.and(*outgoing), from.and(*incoming));
            } else if !self.owners.shared.contains_key(address) {
                self.strangers.insert(*address);
            }
        }
        for (other, (to, from)) in others {
            for (ends, talk) in [((device, other), to), ((other, device), from)] {
                if ends.0 == ends.1 || talk == Talk::default() {
                    continue;
                }
                let edge = self.edges.entry((ends.0.clone(), ends.1.clone())).or_default();
                edge.connections = edge.connections.max(talk.connections);
                edge.bytes = edge.bytes.max(talk.bytes);
            }
        }
        if !seen.own.is_empty() || !seen.peers.is_empty() {
            self.telling.insert(device.clone());
        }
        self.left_out = self.left_out.saturating_add(seen.left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn talk(connections: u64, bytes: u64) -> Talk {
        Talk { connections, bytes }
    }

    fn seen(own: &[&str], peers: &[(&str, Talk, Talk)]) -> PeersSeen {
        let peer = |(at, outgoing, incoming): &(&str, Talk, Talk)| PeerSeen {
            address: address(at),
            outgoing: *outgoing,
            incoming: *incoming,
        };
        PeersSeen {
            own: own.iter().map(|own| address(own)).collect(),
            peers: peers.iter().map(peer).collect(),
            left_out: 1,
        }
    }

    /// One span.
    fn span(all: &[(&str, PeersSeen)]) -> Span {
        let mut owners = Owners::default();
        for (device, seen) in all {
            owners.add(&name(device), &seen.own);
        }
        let mut span = Span::new(owners);
        for (device, seen) in all {
            span.add(&name(device), seen);
        }
        span
    }

    fn observed(spans: &[&[(&str, PeersSeen)]]) -> Observed {
        let mut all = Observed::default();
        for one in spans {
            all.add(span(one));
        }
        all
    }

    fn edge(source: &str, target: &str, talk: Talk) -> ObservedEdge {
        ObservedEdge { source: name(source), target: name(target), talk }
    }

    const NONE: Talk = Talk { connections: 0, bytes: 0 };

    #[test]
    fn both_ends_of_a_connection_are_one_edge() {
        let gateway = seen(&["10.0.0.1", "10.0.1.1"], &[("10.0.0.2", NONE, talk(9, 700))]);
        // The camera reaches the gateway at two addresses, and somebody else.
        let camera = seen(
            &["10.0.0.2"],
            &[
                ("10.0.0.1", talk(4, 500), NONE),
                ("10.0.1.1", talk(4, 400), talk(1, 5)),
                ("10.9.9.9", talk(1, 1), NONE),
            ],
        );
        let all = observed(&[&[("camera", camera), ("gateway", gateway)]]);
        assert_eq!(
            all.edges(),
            [edge("camera", "gateway", talk(9, 900)), edge("gateway", "camera", talk(1, 5))]
        );
        assert_eq!(all.strangers, BTreeSet::from([address("10.9.9.9")]));
        assert_eq!((all.telling.len(), all.left_out), (2, 2));
    }

    #[test]
    fn an_address_of_several_devices_is_nobodys() {
        let bridge = "172.18.0.1";
        let a = seen(&[bridge, "10.0.0.1"], &[]);
        let b = seen(&[bridge, "10.0.0.2"], &[(bridge, talk(5, 5), NONE), ("10.0.0.1", talk(1, 0), NONE)]);
        let c = seen(&[bridge], &[]);
        let all = observed(&[&[("a", a), ("b", b), ("c", c)]]);
        assert_eq!(
            all.ambiguous,
            BTreeMap::from([(address(bridge), BTreeSet::from([name("a"), name("b"), name("c")]))])
        );
        assert_eq!(all.edges(), [edge("b", "a", talk(1, 0))]);
        assert!(all.strangers.is_empty());
    }

    #[test]
    fn an_address_is_that_of_the_device_that_had_it_then() {
        let to = |at| seen(&["10.0.0.9"], &[(at, talk(1, 10), NONE)]);
        // One day the lease of 10.0.0.1 goes from one to the other.
        let first = [("a", seen(&["10.0.0.1"], &[])), ("c", to("10.0.0.1"))];
        let second = [("b", seen(&["10.0.0.1"], &[])), ("c", to("10.0.0.1"))];
        let all = observed(&[&first, &second, &second]);
        assert_eq!(all.edges(), [edge("c", "a", talk(1, 10)), edge("c", "b", talk(2, 20))]);
        assert!(all.ambiguous.is_empty());
    }
}
