//! Over which kind of link the device reaches others, by the kernel's routes and what it says of the interface.

use std::fs;
use std::path::Path;

use takt_common::health::Link;

/// Where the kernel says it.
pub const ROOT: &str = "/";
/// A route to anywhere, as /proc/net/route and /proc/net/ipv6_route write it.
const ANYWHERE: &str = "00000000";
const ANYWHERE_6: &str = "00000000000000000000000000000000";
/// Flags of a route: it is usable.
const RTF_UP: u32 = 1;

/// The kind of link of the best route to anywhere; none where there is no such route.
pub fn link(root: &Path) -> Option<Link> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let interface =
        default_route(&read("proc/net/route")).or_else(|| default_route_6(&read("proc/net/ipv6_route")))?;
    let folder = root.join("sys/class/net").join(&interface);
    let kind = fs::read_to_string(folder.join("uevent")).unwrap_or_default();
    let kind = kind.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).unwrap_or_default().to_owned();
    Some(match kind.as_str() {
        "wwan" => Link::Cellular,
        "wlan" => Link::Wifi,
        _ if folder.join("wireless").exists() || folder.join("phy80211").exists() => Link::Wifi,
        _ if interface.starts_with("ppp") || interface.starts_with("wwan") => Link::Cellular,
        _ => Link::Wired,
    })
}

fn default_route(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (interface, destination) = (words.next()?, words.next()?);
        let (flags, metric) = (words.nth(1)?, words.nth(2)?);
        let mask = words.next()?;
        let usable = u32::from_str_radix(flags, 16).ok()? & RTF_UP != 0;
        (destination == ANYWHERE && mask == ANYWHERE && usable)
            .then(|| Some((metric.parse::<u32>().ok()?, interface)))?
    });
    routes.min().map(|(_, interface)| interface.to_owned())
}

fn default_route_6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, flags, interface] = words.as_slice() else {
            return None;
        };
        let usable = u32::from_str_radix(flags, 16).ok()? & RTF_UP != 0;
        let anywhere = *destination == ANYWHERE_6 && usable && *interface != "lo";
        anywhere.then(|| Some((u32::from_str_radix(metric, 16).ok()?, *interface)))?
    });
    routes.min().map(|(_, interface)| interface.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    fn machine(routes: &str, routes_6: &str, interfaces: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/net")).unwrap();
        fs::write(root.path().join("proc/net/route"), format!("{HEAD}{routes}")).unwrap();
        fs::write(root.path().join("proc/net/ipv6_route"), routes_6).unwrap();
        for (interface, uevent) in interfaces {
            let folder = root.path().join("sys/class/net").join(interface);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), uevent).unwrap();
        }
        root
    }

    #[test]
    fn the_usable_route_with_the_lowest_metric_counts() {
        let routes = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      wwan0\t00000000\t0100A8C0\t0003\t0\t0\t700\t00000000\t0\t0\t0\n\
                      wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n";
        let interfaces =
            [("eth0", ""), ("wlan0", "DEVTYPE=wlan\nINTERFACE=wlan0\n"), ("wwan0", "DEVTYPE=wwan\n")];
        let root = machine(routes, "", &interfaces);
        assert_eq!(link(root.path()), Some(Link::Wifi));
        let root = machine(routes.lines().nth(1).unwrap(), "", &interfaces);
        assert_eq!(link(root.path()), Some(Link::Cellular));
    }

    #[test]
    fn without_a_route_of_ipv4_that_of_ipv6_counts_and_without_any_nothing_is_said() {
        let six = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                   fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
                   00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                   00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n";
        assert_eq!(link(machine("", six, &[("eth0", "")]).path()), Some(Link::Wired));
        assert_eq!(link(machine("", "", &[]).path()), None);
        assert_eq!(link(machine("garbage\n\t\n", "more garbage", &[]).path()), None);
    }
}
