//! Networks of this device on which containers are, and the kernel's settings for them.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;

use crate::error::TrafficError;
use crate::ruleset::{Backend, Bridge, Leads, Reach, Ruleset, masked};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// The longest name that the kernel gives an interface.
const INTERFACE_LENGTH_MAX: usize = 15;

/// The bridges that these leads need, by name. The kernel must forward for them, or clients of other devices would wait
/// in vain.
pub(crate) fn needed(leads: &Leads) -> Result<BTreeMap<String, Bridge>, TrafficError> {
    let mut needed = BTreeMap::new();
    for lead in leads.values() {
        let Backend::Bridge { address, .. } = lead.to else { continue };
        if lead.reach == Reach::Everyone && !is_on(Path::new(FORWARDING))? {
            return Err(TrafficError::NotForwarding { address });
        }
        let (name, mut bridge) = of(address)?;
        bridge.opened = !is_on(&localnet(&name))?;
        needed.insert(name, bridge);
    }
    Ok(needed)
}

/// Lets clients at 127.0.0.1 come to these bridges. Their guards must be in force already.
pub(crate) fn open<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), TrafficError> {
    names.try_for_each(|name| set(localnet(name), true))
}

/// Undoes [`open`] where it was Takt that has opened. A bridge that has gone needs nothing.
pub(crate) fn shut(rules: &Ruleset) -> Result<(), TrafficError> {
    let ours = rules.bridges.iter().filter(|(_, bridge)| bridge.opened);
    let mut there = ours.map(|(name, _)| localnet(name)).filter(|path| path.exists());
    there.try_for_each(|path| set(path, false))
}

/// What keeps clients from the backends on bridges, if anything does.
pub(crate) fn hindrance(rules: &Ruleset) -> Result<Option<String>, TrafficError> {
    for (port, lead) in &rules.leads {
        let Backend::Bridge { address, .. } = lead.to else { continue };
        if lead.reach == Reach::Everyone && !is_on(Path::new(FORWARDING))? {
            return Ok(Some("net.ipv4.ip_forward is 0".to_owned()));
        }
        let Some((name, _)) = rules.bridges.iter().find(|(_, bridge)| bridge.holds(address)) else {
            return Ok(Some(format!("port {port} leads to {address}, which is on no known bridge")));
        };
        let path = localnet(name);
        if !path.exists() || !is_on(&path)? {
            return Ok(Some(format!("net.ipv4.conf.{name}.route_localnet is not 1")));
        }
    }
    Ok(None)
}

/// The narrowest network of this device that an address is on.
fn of(address: Ipv4Addr) -> Result<(String, Bridge), TrafficError> {
    let interfaces = getifaddrs().map_err(|errno| TrafficError::Interfaces(errno.into()))?;
    let mut found: Option<(String, Bridge)> = None;
    for interface in interfaces {
        let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
            address.and_then(|address| Some(address.as_sockaddr_in()?.ip()))
        };
        let (Some(own), Some(mask)) = (ip(interface.address), ip(interface.netmask)) else { continue };
        let prefix = u8::try_from(mask.to_bits().leading_ones()).unwrap_or(32);
        let bridge = Bridge { network: masked(own, prefix), prefix, opened: false };
        let narrower = found.as_ref().is_none_or(|(_, best)| best.prefix < prefix);
        if bridge.holds(address) && own != address && narrower && is_plain(&interface.interface_name) {
            found = Some((interface.interface_name, bridge));
        }
    }
    found.ok_or(TrafficError::NoBridge { address })
}

/// Whether a name can stand in a rule and in a path as it is.
fn is_plain(name: &str) -> bool {
    (1..=INTERFACE_LENGTH_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter))
}

fn localnet(name: &str) -> PathBuf {
    format!("/proc/sys/net/ipv4/conf/{name}/route_localnet").into()
}

fn is_on(path: &Path) -> Result<bool, TrafficError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim() != "0"),
        Err(source) => Err(TrafficError::Setting { doing: "read", path: path.to_owned(), source }),
    }
}

fn set(path: PathBuf, on: bool) -> Result<(), TrafficError> {
    if is_on(&path)? == on {
        return Ok(());
    }
    let value = if on { "1" } else { "0" };
    fs::write(&path, value).map_err(|source| TrafficError::Setting { doing: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_interfaces_go_into_rules() {
        assert!(is_plain("docker0") && is_plain("br-0123456789ab") && is_plain("eth0.5"));
        for bad in ["", "..", "a*", "a\"b", "a b", "a/b", "abcdefghijklmnop"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_address_of_this_device_or_of_nowhere_is_on_no_bridge() {
        assert!(matches!(of(Ipv4Addr::new(203, 0, 113, 77)), Err(TrafficError::NoBridge { .. })));
        assert!(matches!(of(Ipv4Addr::LOCALHOST), Err(TrafficError::NoBridge { .. })));
    }
}
