//! With whom a device talks over TCP: what its sockets say, those of its containers, and what the kernel remembers of connections that
//! passed in between two looks.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use netlink_packet_core::{Nla as _, ParseableParametrized as _};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Status, Tuple,
};
use nix::ifaddrs::getifaddrs;

use crate::connections::Sockets;
use crate::error::TrafficError;
use crate::netlink::{self, COUNTERS, Connected};

/// States of a TCP socket in which a connection was made, by the kernel's numbers: all but SYN-SENT, SYN-RECEIVED, CLOSE, LISTEN
/// and the kernel's own NEW-SYN-RECEIVED. TIME-WAIT, in which the side stays for a minute that has ended the connection, is one of them.
const MADE: [u8; 7] = [1, 4, 5, 6, 8, 9, 11];

/// Exists where connections can be tracked; asking otherwise would make the kernel load what tracks them.
const TRACKING: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// A TCP connection between this device and somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The end on this device, or in one of its containers.
    pub own: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// This device has begun it.
    pub outgoing: bool,
    /// Both ways, as far as the kernel has counted them; 0 where it has not.
    pub bytes: u64,
}

/// Gives the connections of these sockets to `take`. Who listens at the port of its own end was called.
pub fn flows(sockets: Sockets, mut take: impl FnMut(Flow)) -> Result<(), TrafficError> {
    let failed = |source| TrafficError::Netlink { what: "the TCP connections of this device", source };
    let socket = sockets.ask(failed)?;
    let listening = netlink::listening(&socket).map_err(failed)?;
    let states = MADE.iter().fold(0, |states, state| states | 1 << state);
    let flow = |Connected { own, peer, bytes }| {
        let outgoing = !listening.contains(&own.port());
        take(Flow { own, peer, outgoing, bytes });
    };
    netlink::each_connected(&socket, states, flow).map_err(failed)
}

/// Gives the connections that the kernel tracks to `take`, of those that somebody at the addresses `own` has with others: of a device and
/// of its containers, by what they are translated to, and also those that ended a while ago. Nothing where nothing is tracked.
pub fn tracked_flows(own: &BTreeSet<IpAddr>, mut take: impl FnMut(Flow)) -> Result<(), TrafficError> {
    if !Path::new(TRACKING).exists() {
        return Ok(());
    }
    let failed = |source| TrafficError::Netlink { what: "the connections that it tracks", source };
    let socket = netlink::tracking().map_err(failed)?;
    let flow = |attributes: &[u8]| {
        if let Ok(ConntrackMessage::New(attributes)) = ConntrackMessage::parse_with_param(attributes, 0)
            && let Some(flow) = tracked(&attributes, own)
        {
            take(flow);
        }
    };
    netlink::each_tracked(&socket, flow).map_err(failed)
}

/// The ends are who asks, as it is on its own side, and who answers, as it is on its own: what the device merely passes on is none of
/// its connections, translated or not.
fn tracked(attributes: &[ConntrackAttribute], own: &BTreeSet<IpAddr>) -> Option<Flow> {
    let was_made = |one: &ConntrackAttribute| matches!(one, ConntrackAttribute::CtaStatus(status) if status.contains(Status::Assured));
    if !attributes.iter().any(was_made) {
        return None;
    }
    let ((asking, asked), (answering, _)) = directions(attributes)?;
    let bytes = attributes.iter().map(|one| match one {
        ConntrackAttribute::Other(other) if COUNTERS.contains(&other.kind()) => {
            let mut value = vec![0; other.value_len()];
            other.emit_value(&mut value);
            netlink::counted_bytes(&value)
        }
        _ => 0,
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    match (own.contains(&asking.ip()), own.contains(&answering.ip())) {
        (true, false) => Some(Flow { own: asking, peer: asked, outgoing: true, bytes }),
        (false, true) => Some(Flow { own: answering, peer: asking, outgoing: false, bytes }),
        _ => None,
    }
}

/// From where, and to where.
type Direction = (SocketAddr, SocketAddr);

/// Both directions of a TCP connection that the kernel remembers: that of the first packet, and that of answers.
pub(crate) fn directions(attributes: &[ConntrackAttribute]) -> Option<(Direction, Direction)> {
    let (asked, answered) = attributes.iter().fold((None, None), |(asked, answered), one| match one {
        ConntrackAttribute::CtaTupleOrig(tuple) => (ends(tuple), answered),
        ConntrackAttribute::CtaTupleReply(tuple) => (asked, ends(tuple)),
        _ => (asked, answered),
    });
    Some((asked?, answered?))
}

fn ends(tuple: &[Tuple]) -> Option<Direction> {
    let (mut from, mut to) = ((None, None), (None, None));
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => from.0 = Some(*address),
                        IPTuple::DestinationAddress(address) => to.0 = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                if !parts.contains(&ProtoTuple::Protocol(Protocol::Tcp)) {
                    return None;
                }
                for part in parts {
                    match part {
                        ProtoTuple::SourcePort(port) => from.1 = Some(*port),
                        ProtoTuple::DestinationPort(port) => to.1 = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(((from.0?, from.1?).into(), (to.0?, to.1?).into()))
}

/// The addresses of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// All of them.
    pub all: BTreeSet<IpAddr>,
    /// Those at which others can reach it: without loopback, and without those of a container engine's bridges, which every device has.
    pub outside: BTreeSet<IpAddr>,
}

/// The addresses of this device.
pub fn addresses() -> io::Result<Addresses> {
    let mut addresses = Addresses::default();
    for interface in getifaddrs()? {
        let Some(address) = interface.address else { continue };
        let four = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let six = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        let Some(address) = four.or_else(six) else { continue };
        addresses.all.insert(address);
        if !address.is_loopback() && !is_of_engine(&interface.interface_name) {
            addresses.outside.insert(address);
        }
    }
    Ok(addresses)
}

/// As Docker names its bridges.
fn is_of_engine(interface: &str) -> bool {
    let is_id = |id: &str| id.len() == 12 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    interface == "docker0" || interface.strip_prefix("br-").is_some_and(is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_of_an_engine_are_told_from_those_of_a_site() {
        assert!(is_of_engine("docker0") && is_of_engine("br-0123456789ab"));
        assert!(
            ["br-lan", "br0", "eth0", "br-0123456789a", "docker1"].iter().all(|name| !is_of_engine(name))
        );
    }
}
