//! What the kernel remembers of connections that are long gone.
//!
//! The kernel looks at our rules for the first packet of a connection only, and takes a packet for the first one if it
//! remembers no connection between these two ends. An end that it has not seen (there was no rule that asked about
//! connections then, so none was tracked) leaves a memory of up to five days. A client that comes to a published port from
//! the end of such a connection goes where that one went: past our rules, to a port at which nobody listens any more.
//!
//! What is removed is of connections to this device itself that no socket of this device belongs to.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{Emitable as _, Nla as _, ParseableParametrized as _};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use nix::errno::Errno;

use crate::flows::{addresses, directions};
use crate::netlink::{self, TRACKED_ID, TRACKED_ZONE};
use crate::ruleset::{Backend, Lead, Leads};

/// A remembered connection to this device.
struct Tracked {
    /// Where the client is, as the one who answers sees it.
    client: SocketAddr,
    /// The port at which it is answered.
    port: u16,
    /// What names it to the kernel.
    name: Vec<ConntrackAttribute>,
}

/// Forgets connections to the ports in `leads`, which are to be published, that have no end on this device any more, and says
/// how many.
pub(crate) fn forget_dead(leads: &Leads) -> io::Result<usize> {
    let own = addresses()?.all;
    let socket = netlink::tracking()?;
    let (mut tracked, mut strange) = (Vec::new(), None);
    let is_own = |address: IpAddr| address.is_loopback() || own.contains(&address);
    netlink::each_tracked(&socket, |attributes| match ConntrackMessage::parse_with_param(attributes, 0) {
        Ok(ConntrackMessage::New(attributes)) => tracked.extend(astray(attributes, leads, is_own)),
        other => {
            strange.get_or_insert_with(|| format!("{other:?}"));
        }
    })?;
    if tracked.is_empty() {
        return strange.map_or(Ok(0), |strange| Err(io::Error::new(io::ErrorKind::InvalidData, strange)));
    }
    let ports = tracked.iter().map(|one| one.port).collect();
    let alive = netlink::peers(&netlink::tcp_sockets()?, &ports)?;
    let mut forgotten = 0;
    for one in tracked.iter().filter(|one| !alive.contains(&(one.port, one.client))) {
        let mut name = vec![0; one.name.as_slice().buffer_len()];
        one.name.as_slice().emit(&mut name);
        match netlink::forget_tracked(&socket, one.client.is_ipv6(), &name) {
            Ok(()) => forgotten += 1,
            // It has ended in the meantime.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// A TCP connection to a published port of this device that is answered by the device itself, but not at the port where
/// new ones are led. The kernel takes who is seen to speak first for the client: of a connection that is older than its
/// tracking that may be the server.
fn astray(
    attributes: Vec<ConntrackAttribute>,
    leads: &Leads,
    is_own: impl Fn(IpAddr) -> bool,
) -> Option<Tracked> {
    let ((asking, published), (by, client)) = directions(&attributes)?;
    let (published, by, client) =
        if leads.contains_key(&published.port()) { (published, by, client) } else { (asking, client, by) };
    let Lead { to, .. } = leads.get(&published.port())?;
    let led = matches!(to, Backend::Host { port } if *port == by.port());
    if led || by.ip() != published.ip() || !is_own(by.ip()) {
        return None;
    }
    let names = |one: &ConntrackAttribute| {
        matches!(one, ConntrackAttribute::CtaTupleOrig(_)) || [TRACKED_ID, TRACKED_ZONE].contains(&one.kind())
    };
    let name = attributes.into_iter().filter(names).collect();
    Some(Tracked { client, port: by.port(), name })
}
