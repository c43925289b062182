//! Edges that nobody declared: who calls whom, by what the agents of both ends have seen (paper 1, "Weighted Graph").

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use takt_common::Name;
use takt_common::health::{PeerSeen, PeersSeen, Talk};

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
    /// Between devices of the domain, by their names.
    pub edges: Vec<ObservedEdge>,
    /// Addresses of peers that are no device of the domain.
    pub strangers: BTreeSet<IpAddr>,
    /// Addresses that more than one device says to be its own, such as those of a container engine's network: whoever is seen there is
    /// not known.
    pub ambiguous: BTreeSet<IpAddr>,
}

/// Puts together what each device has seen. Whose an address is, the devices themselves say.
pub fn observed(seen: &BTreeMap<Name, PeersSeen>) -> Observed {
    let mut owners: BTreeMap<IpAddr, &Name> = BTreeMap::new();
    let mut all = Observed::default();
    for (device, seen) in seen {
        for address in &seen.own {
            if owners.insert(*address, device).is_some_and(|other| other != device) {
                all.ambiguous.insert(*address);
            }
        }
    }
    owners.retain(|address, _| !all.ambiguous.contains(address));
    let mut edges: BTreeMap<(&Name, &Name), Talk> = BTreeMap::new();
    let mut add = |source, target, talk: Talk| {
        if source != target && talk != Talk::default() {
            let edge = edges.entry((source, target)).or_default();
            edge.connections = edge.connections.max(talk.connections);
            edge.bytes = edge.bytes.max(talk.bytes);
        }
    };
    for (device, seen) in seen {
        // A device may have several addresses.
        let mut others: BTreeMap<&Name, (Talk, Talk)> = BTreeMap::new();
        for PeerSeen { address, outgoing, incoming } in &seen.peers {
            let Some(other) = owners.get(address) else {
                if !all.ambiguous.contains(address) {
                    all.strangers.insert(*address);
                }
                continue;
            };
            let (to, from) = others.entry(other).or_default();
            (*to, *from) = (to.and(*outgoing), from.and(*incoming));
        }
        for (other, (to, from)) in others {
            add(device, other, to);
            add(other, device, from);
        }
    }
    all.edges = edges
        .into_iter()
        .map(|((source, target), talk)| ObservedEdge { source: source.clone(), target: target.clone(), talk })
        .collect();
    all
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
            left_out: 0,
        }
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
        let all = observed(&BTreeMap::from([(name("camera"), camera), (name("gateway"), gateway)]));
        let edge = |source, target, talk| ObservedEdge { source: name(source), target: name(target), talk };
        assert_eq!(
            all.edges,
            [edge("camera", "gateway", talk(9, 900)), edge("gateway", "camera", talk(1, 5))]
        );
        assert_eq!(all.strangers, BTreeSet::from([address("10.9.9.9")]));
    }

    #[test]
    fn an_address_of_several_devices_is_nobodys() {
        let bridge = "172.17.0.1";
        let a = seen(&[bridge, "10.0.0.1"], &[]);
        let b = seen(&[bridge, "10.0.0.2"], &[(bridge, talk(5, 5), NONE), ("10.0.0.1", talk(1, 0), NONE)]);
        let all = observed(&BTreeMap::from([(name("a"), a), (name("b"), b)]));
        assert_eq!(all.ambiguous, BTreeSet::from([address(bridge)]));
        assert_eq!(all.edges.len(), 1);
        assert_eq!((all.edges[0].source.as_str(), all.edges[0].target.as_str()), ("b", "a"));
        assert!(all.strangers.is_empty());
    }
}
