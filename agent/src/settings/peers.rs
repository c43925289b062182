//! What the settings say of the peers that are counted: the table `[peers]`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use takt_common::health::ADDRESSES_MAX;

use super::SettingsError;
use crate::peers::PeerSettings;

/// Private networks (RFC 1918, RFC 6598, RFC 4193): whoever is elsewhere is nobody's business.
const NETWORKS_DEFAULT: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
const INTERVAL_SECS_DEFAULT: u64 = 60;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peers {
    networks: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    interval_secs: Option<u64>,
}

impl Peers {
    /// What follows from it; `value` makes the error of a field.
    pub(super) fn settings(
        self,
        value: &impl Fn(&'static str, String) -> SettingsError,
    ) -> Result<PeerSettings, SettingsError> {
        let networks = self.networks.unwrap_or_else(|| NETWORKS_DEFAULT.map(str::to_owned).to_vec());
        let network = |text: &String| {
            let network = text.parse::<IpNet>().map(|network| network.trunc());
            network.map_err(|_| {
                value("peers.networks", format!("must have networks such as 10.0.0.0/8, not '{text}'"))
            })
        };
        let address = |text: &String| {
            let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
            address.map_err(|_| {
                value("peers.addresses", format!("must have addresses such as 10.0.0.1, not '{text}'"))
            })
        };
        let addresses: Vec<IpAddr> =
            self.addresses.unwrap_or_default().iter().map(address).collect::<Result<_, _>>()?;
        if addresses.len() > ADDRESSES_MAX {
            return Err(value(
                "peers.addresses",
                format!("has {}, at most {ADDRESSES_MAX} can be told", addresses.len()),
            ));
        }
        let interval = self.interval_secs.unwrap_or(INTERVAL_SECS_DEFAULT);
        if !(1..=86_400).contains(&interval) {
            return Err(value("peers.interval_secs", format!("must be 1 to 86400, not {interval}")));
        }
        Ok(PeerSettings {
            networks: networks.iter().map(network).collect::<Result<_, _>>()?,
            addresses,
            interval: Duration::from_secs(interval),
        })
    }
}
