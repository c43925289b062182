//! Direct ports: one for each published port of each container.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, socket,
};

use crate::error::PortError;

/// Below these, services that do not run at this moment expect their own.
const LOWEST: u16 = 10_000;
/// Tries of one call. One takes some microseconds, and on a device nearly all succeed.
const TRIES_MAX: usize = 4_096;
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Finds `count` ports that nobody uses, none of them in `avoid`: the published ports of this device, and the direct ports
/// of containers that do not listen yet.
///
/// A port must stay its container's for the whole of its life. So none is taken that the kernel may give to an outgoing
/// connection: they lie outside `net.ipv4.ip_local_port_range`, or, where that leaves no room, among
/// `net.ipv4.ip_local_reserved_ports`. `seed` is any number; two devices on one machine with different ones look in
/// different places.
pub fn allocate(count: usize, avoid: &BTreeSet<u16>, seed: u64) -> Result<Vec<u16>, PortError> {
    let ephemeral = parsed(EPHEMERAL, ephemeral)?;
    let reserved = parsed(RESERVED, reserved)?;
    let mut found = Vec::new();
    let mut tried = 0;
    for port in candidates(&ephemeral, &reserved, seed).filter(|port| !avoid.contains(port)).take(TRIES_MAX) {
        if found.len() == count {
            break;
        }
        tried += 1;
        if is_free(port)? {
            found.push(port);
        }
    }
    if found.len() == count {
        return Ok(found);
    }
    let (low, high) = (*ephemeral.start(), *ephemeral.end());
    Err(PortError::TooFew { wanted: count, found: found.len(), tried, low, high })
}

/// Ports in the order in which they are tried: above the range, below it, reserved within it.
fn candidates(
    ephemeral: &RangeInclusive<u16>,
    reserved: &BTreeSet<u16>,
    seed: u64,
) -> impl Iterator<Item = u16> {
    let above = ephemeral.end().checked_add(1).map_or_else(Vec::new, |low| (low..=u16::MAX).collect());
    let below: Vec<u16> = (LOWEST..*ephemeral.start()).collect();
    let outside = [above, below].into_iter().flat_map(move |ports| {
        // Begun anywhere, and all of them once.
        let begin = usize::try_from(seed % ports.len().max(1) as u64).unwrap_or_default();
        let (before, after) = ports.split_at(begin.min(ports.len()));
        [after, before].concat()
    });
    let within: Vec<_> =
        reserved.iter().copied().filter(|port| *port >= LOWEST && ephemeral.contains(port)).collect();
    let reserved = reserved.clone();
    outside.filter(move |port| !reserved.contains(port)).chain(within)
}

/// Whether a container could listen there that asks for nothing special: a port whose last connections are only just
/// over does not count as free.
fn is_free(port: u16) -> Result<bool, PortError> {
    let everywhere = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    Ok(can_listen(port, AddressFamily::Inet, &SockaddrIn::new(0, 0, 0, 0, port))?
        && can_listen(port, AddressFamily::Inet6, &SockaddrIn6::from(everywhere))?)
}

fn can_listen(port: u16, family: AddressFamily, address: &dyn SockaddrLike) -> Result<bool, PortError> {
    let socket = match socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) {
        Ok(socket) => socket,
        // A device without IPv6.
        Err(Errno::EAFNOSUPPORT) => return Ok(true),
        Err(errno) => return Err(PortError::Socket { port, source: errno.into() }),
    };
    Ok(matches!(bind(socket.as_raw_fd(), address), Ok(()) | Err(Errno::EADDRNOTAVAIL)))
}

fn parsed<T>(path: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, PortError> {
    let path = PathBuf::from(path);
    let text =
        fs::read_to_string(&path).map_err(|source| PortError::Setting { path: path.clone(), source })?;
    parse(text.trim()).ok_or_else(|| PortError::Strange { path, text: text.trim().to_owned() })
}

/// The first and the last port.
fn ephemeral(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low <= high => Some(low..=high),
        _ => None,
    }
}

/// `8080,9000-9100`, or nothing.
fn reserved(text: &str) -> Option<BTreeSet<u16>> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let mut all = BTreeSet::new();
    for part in parts {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        all.extend(low.parse::<u16>().ok()?..=high.parse::<u16>().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn all(ephemeral: RangeInclusive<u16>, reserved_ports: &str, seed: u64) -> Vec<u16> {
        candidates(&ephemeral, &reserved(reserved_ports).unwrap(), seed).collect()
    }

    #[test]
    fn the_kernels_settings_are_understood() {
        assert_eq!(ephemeral("32768\t60999"), Some(32_768..=60_999));
        assert!(ephemeral("").is_none() && ephemeral("5 4").is_none() && ephemeral("1 70000").is_none());
        assert_eq!(reserved("").unwrap().len(), 0);
        assert_eq!(reserved("8080,9000-9002"), Some(BTreeSet::from([8080, 9000, 9001, 9002])));
        assert!(reserved("a").is_none());
    }

    #[test]
    fn every_port_outside_the_range_of_clients_comes_once_and_none_within() {
        let ports = all(32_768..=60_999, "61000,20000", 4_711);
        assert!(!ports.iter().any(|port| (32_768..=60_999).contains(port) || *port < LOWEST));
        let distinct: BTreeSet<_> = ports.iter().copied().collect();
        assert_eq!((distinct.len(), ports.len()), (4_535 + 22_767, 4_535 + 22_767));
        assert!(!distinct.contains(&61_000) && !distinct.contains(&20_000), "reserved for somebody");
        assert!(ports[..4_535].iter().all(|port| *port > 60_999), "above first");
        assert_ne!(ports[0], all(32_768..=60_999, "", 4_712)[0]);
    }

    #[test]
    fn where_clients_have_all_ports_only_reserved_ones_are_left() {
        assert_eq!(all(1_024..=65_535, "", 9), Vec::<u16>::new());
        assert_eq!(all(1_024..=65_535, "8080,40000-40001", 9), [40_000, 40_001]);
    }

    #[test]
    fn ports_in_use_and_ports_to_avoid_are_passed_over() {
        let first = allocate(3, &BTreeSet::new(), 77).unwrap();
        let _held = TcpListener::bind(("127.0.0.1", first[1])).unwrap();
        let second = allocate(3, &BTreeSet::from([first[0]]), 77).unwrap();
        assert!(second.iter().all(|port| *port != first[0] && *port != first[1]), "{first:?} {second:?}");
        let everything: BTreeSet<u16> = (0..=u16::MAX).collect();
        let error = allocate(1, &everything, 0).unwrap_err().to_string();
        assert!(error.contains("find 1 free direct ports: 0 found") && error.contains("reserve"), "{error}");
    }
}
