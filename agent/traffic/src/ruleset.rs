//! The table of a device, as data.
//!
//! ```text
//!  from outside ──> guard ──> prerouting ──> everyone ──┐               ┌─> backend on the host: its port changes,
//!                  (raw)        │  SYN to a            │  one rule      │   the address stays
//!                               │  local address       ├─ for each ────┤
//!  from here ─────> output ─────┘                      │  port          └─> backend on a bridge: address and port
//!                     └──────────────> this-device ────┘                     change, then postrouting
//! ```
//!
//! * Only the first packet of a TCP connection to an address of this device is looked at: connections that were made
//!   before the table was, or before a change, go on as they are.
//! * `guard` and `postrouting` do something only where a backend is on a bridge: clients at 127.0.0.1 leave through the
//!   bridge with its address (`route_localnet` must be on there, and `guard` drops what would come in by that door), and
//!   so do containers of the same bridge, whose answers would go past this device otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use crate::error::TrafficError;

/// The form of the table; a table of another form is replaced as a whole.
pub(crate) const FORM: u32 = 1;
/// The longest part of a table's name that a device may give.
const NAME_LENGTH_MAX: usize = 64;
/// More ports than a device publishes: each new connection passes the rules one by one.
pub(crate) const PORTS_MAX: usize = 512;

/// Where a port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// To a port of the device itself: the container is on the host's network. The address stays the one that the client
    /// has used, IPv4 or IPv6.
    Host {
        /// The container's direct port.
        port: u16,
    },
    /// To a container with an address of its own on a bridge of this device. IPv4 only.
    Bridge {
        /// The container's address.
        address: Ipv4Addr,
        /// Where it listens.
        port: u16,
    },
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { port } => write!(f, "port {port} of the device"),
            Self::Bridge { address, port } => write!(f, "{address}:{port}"),
        }
    }
}

/// Who comes to a backend through a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Clients on this device and on others.
    Everyone,
    /// Clients on this device only: the direct port of a container on a bridge.
    ThisDevice,
}

/// Where a port leads, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lead {
    /// Where.
    pub to: Backend,
    /// For whom.
    pub reach: Reach,
}

impl Lead {
    /// Clients everywhere are led to `to`.
    pub const fn everyone(to: Backend) -> Self {
        Self { to, reach: Reach::Everyone }
    }

    /// Clients on this device are led to `to`.
    pub const fn this_device(to: Backend) -> Self {
        Self { to, reach: Reach::ThisDevice }
    }
}

/// Ports, and where they lead.
pub type Leads = BTreeMap<u16, Lead>;

/// The name of a device's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName(String);

impl TableName {
    pub(crate) fn new(device: &str) -> Result<Self, TrafficError> {
        let fits = (1..=NAME_LENGTH_MAX).contains(&device.len())
            && device.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-');
        if !fits {
            return Err(TrafficError::Name(device.to_owned()));
        }
        Ok(Self(format!("takt-{device}")))
    }

    /// The name of a table beside it that is made only to find out whether it can be.
    pub(crate) fn probe(&self) -> Self {
        Self(format!("{}-probe", self.0))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network of this device on which containers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// Its first address.
    pub(crate) network: Ipv4Addr,
    /// How many bits of an address name the network.
    pub(crate) prefix: u8,
    /// Whether `route_localnet` was off before Takt.
    pub(crate) opened: bool,
}

impl Bridge {
    pub(crate) fn holds(self, address: Ipv4Addr) -> bool {
        masked(address, self.prefix) == self.network
    }
}

/// The network part of an address.
pub(crate) fn masked(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// All that is in the table of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// Where ports lead.
    pub(crate) leads: Leads,
    /// Bridges by the name of their interface. Once in the table, they stay: the guard must.
    pub(crate) bridges: BTreeMap<String, Bridge>,
    /// Ports of everyone that lead, or have led before the last change, to a backend on the bridge with this name.
    pub(crate) hairpins: BTreeSet<(String, u16)>,
}

impl Ruleset {
    /// The ruleset that follows on this one, with other leads and with the bridges that these need.
    ///
    /// What only the old leads need stays for one change more: a connection may have been led by the old rules and come
    /// to its last chain under the new ones.
    pub(crate) fn next(&self, leads: Leads, needed: BTreeMap<String, Bridge>) -> Self {
        let mut bridges = self.bridges.clone();
        for (name, mut bridge) in needed {
            bridge.opened |= self.bridges.get(&name).is_some_and(|before| before.opened);
            bridges.insert(name, bridge);
        }
        let mut next = Self { leads, bridges, hairpins: BTreeSet::new() };
        next.hairpins = next.needed_hairpins();
        let known = |(name, _): &(String, u16)| next.bridges.contains_key(name);
        let before: Vec<_> = self.needed_hairpins().into_iter().filter(known).collect();
        next.hairpins.extend(before);
        next
    }

    fn needed_hairpins(&self) -> BTreeSet<(String, u16)> {
        let mut hairpins = BTreeSet::new();
        for (port, lead) in &self.leads {
            let (Backend::Bridge { address, .. }, Reach::Everyone) = (lead.to, lead.reach) else { continue };
            for (name, _) in self.bridges.iter().filter(|(_, bridge)| bridge.holds(address)) {
                hairpins.insert((name.clone(), *port));
            }
        }
        hairpins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_bridge(last: u8) -> Lead {
        Lead::everyone(Backend::Bridge { address: Ipv4Addr::new(172, 17, 0, last), port: 80 })
    }

    fn docker0(opened: bool) -> BTreeMap<String, Bridge> {
        let bridge = Bridge { network: Ipv4Addr::new(172, 17, 0, 0), prefix: 16, opened };
        BTreeMap::from([("docker0".to_owned(), bridge)])
    }

    #[test]
    fn names_of_tables_hold_nothing_that_nft_could_take_for_a_word() {
        assert_eq!(TableName::new("00ab12").unwrap().to_string(), "takt-00ab12");
        for bad in ["", "a b", "a;flush ruleset", "a\n", "ä", &"a".repeat(65)] {
            assert!(TableName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_are_told_by_their_prefix() {
        let bridge = docker0(true)["docker0"];
        assert!(bridge.holds(Ipv4Addr::new(172, 17, 255, 1)) && !bridge.holds(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(masked(Ipv4Addr::new(1, 2, 3, 4), 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(masked(Ipv4Addr::new(1, 2, 3, 4), 32), Ipv4Addr::new(1, 2, 3, 4));
    }

    #[test]
    fn what_only_the_old_leads_need_stays_for_one_change_and_the_guard_for_good() {
        let first = Ruleset::default().next(Leads::from([(8080, on_bridge(2))]), docker0(true));
        assert_eq!(first.hairpins, BTreeSet::from([("docker0".to_owned(), 8080)]));
        let host = Lead::everyone(Backend::Host { port: 61_000 });
        let second = first.next(Leads::from([(8080, host)]), BTreeMap::new());
        assert_eq!((&second.hairpins, &second.bridges), (&first.hairpins, &first.bridges));
        let third = second.next(second.leads.clone(), BTreeMap::new());
        assert_eq!((third.hairpins.len(), &third.bridges), (0, &first.bridges));
        // Found on now, because it was opened by the first change.
        let fourth = third.next(first.leads.clone(), docker0(false));
        assert!(fourth.bridges["docker0"].opened);
    }

    #[test]
    fn a_direct_port_needs_no_way_back_for_containers() {
        let direct = Lead { reach: Reach::ThisDevice, ..on_bridge(2) };
        assert!(Ruleset::default().next(Leads::from([(61_000, direct)]), docker0(true)).hairpins.is_empty());
    }
}
