//! The table of one device: looked at, changed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::bridge;
use crate::connections::{Sockets, connections};
use crate::error::TrafficError;
use crate::netlink::generation;
use crate::nft::Nft;
use crate::parse::{self, Held};
use crate::render::{Replace, transaction};
use crate::ruleset::{Backend, Bridge, Lead, Leads, PORTS_MAX, Reach, Ruleset, TableName};
use crate::tracked;

/// Where the ports of one device lead. There is nothing to remember: a new value sees what the last one has done.
#[derive(Debug)]
pub struct Traffic {
    table: TableName,
    nft: Nft,
    /// What was found when the kernel's rules were counted so.
    seen: Mutex<Option<(u32, Found)>>,
}

/// What there is of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Absent,
    There(Held),
}

/// What the kernel says of the ports of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Where ports lead.
    pub leads: Leads,
    /// Why clients may not arrive there in spite of it: there is no table, it is not as it should be, or the kernel does
    /// not let packets through to a bridge. [`Traffic::route`] puts it right.
    pub hindrance: Option<String>,
}

impl Looked {
    /// Whether all of `wanted` lead where they should, and clients arrive there.
    pub fn leads_to(&self, wanted: &Leads) -> bool {
        self.hindrance.is_none() && wanted.iter().all(|(port, lead)| self.leads.get(port) == Some(lead))
    }
}

impl Traffic {
    /// The ports of the device with this short name, in the table `takt-<device>`. Nothing is touched.
    pub fn new(device: &str) -> Result<Self, TrafficError> {
        Ok(Self { table: TableName::new(device)?, nft: Nft::of_the_device(), seen: Mutex::new(None) })
    }

    /// With another program than the `nft` of this device, which is given so long for a call.
    #[must_use]
    pub fn with_program(self, program: &Path, limit: Duration) -> Self {
        Self { nft: Nft::at(program, limit), ..self }
    }

    /// What the kernel has. While none of its rules change, nft is not called: that is counted by the kernel itself.
    pub async fn look(&self) -> Result<Looked, TrafficError> {
        Ok(match self.find().await? {
            Found::Absent => Looked { leads: Leads::new(), hindrance: Some("there is no table".to_owned()) },
            Found::There(Held { rules, wrong }) => {
                let hindrance = wrong.map_or_else(|| bridge::hindrance(&rules), |wrong| Ok(Some(wrong)))?;
                Looked { leads: rules.leads, hindrance }
            }
        })
    }

    /// Lets these ports lead there, at once and all together; other ports of the device lead where they did. Whatever is
    /// wrong with the table is put right by it.
    ///
    /// Connections that are established stay where they are.
    pub async fn route(&self, leads: &Leads) -> Result<(), TrafficError> {
        let found = self.find().await?;
        let mut all = found.leads();
        let mut first = leads.clone();
        first.retain(|port, lead| lead.reach == Reach::Everyone && !all.contains_key(port));
        all.extend(leads);
        let needed = bridge::needed(leads)?;
        if !first.is_empty() {
            forget_dead(first).await;
        }
        takt_failpoint::at("traffic.route:before");
        self.change("lead ports", found, all, needed.clone()).await?;
        bridge::open(needed.keys())?;
        takt_failpoint::at("traffic.route:after");
        let ports: Vec<_> = leads.keys().collect();
        info!(table = %self.table, ?ports, "led ports");
        Ok(())
    }

    /// Lets these ports lead nowhere. The table stays, empty if these were the last: without it the kernel would forget
    /// how to translate the connections that are established.
    pub async fn forget(&self, ports: &BTreeSet<u16>) -> Result<(), TrafficError> {
        let found = self.find().await?;
        let mut all = found.leads();
        all.retain(|port, _| !ports.contains(port));
        if all == found.leads() {
            return Ok(());
        }
        takt_failpoint::at("traffic.forget:before");
        self.change("forget ports", found, all, BTreeMap::new()).await?;
        takt_failpoint::at("traffic.forget:after");
        info!(table = %self.table, ?ports, "forgot ports");
        Ok(())
    }

    /// Removes the table and all that Takt has set for it: for a device that Takt leaves. Connections through it end.
    pub async fn remove(&self) -> Result<(), TrafficError> {
        if let Found::There(held) = self.find().await? {
            bridge::shut(&held.rules)?;
            self.drop_table().await?;
        }
        Ok(())
    }

    /// Whether ports can be moved on this device, or why not. It is tried out with a table of its own, for a port that no
    /// packet has; that table is gone afterwards.
    pub async fn ability(&self) -> Result<(), String> {
        let probe = Self { table: self.table.probe(), nft: self.nft.clone(), seen: Mutex::new(None) };
        let tried = probe.try_out().await;
        // One that is left is replaced the next time.
        let dropped = if tried.is_ok() { probe.drop_table().await } else { probe.remove().await };
        let counted = connections(Sockets::OfDevice, 1).map(|_count| ());
        tried.and(dropped).and(counted).map_err(|error| sentence(&error))
    }

    async fn try_out(&self) -> Result<(), TrafficError> {
        let container = Backend::Bridge { address: Ipv4Addr::new(192, 0, 2, 1), port: 1 };
        let network = Bridge { network: Ipv4Addr::new(192, 0, 2, 0), prefix: 24, opened: false };
        let bridges = BTreeMap::from([("takt-probe".to_owned(), network)]);
        for to in [Backend::Host { port: 1 }, container] {
            let leads = Leads::from([(0, Lead::everyone(to))]);
            let rules = self.change("try out a table", self.list().await?, leads, bridges.clone()).await?;
            match self.list().await? {
                Found::There(Held { rules: found, wrong: None }) if found == rules => {}
                Found::There(Held { wrong: Some(wrong), .. }) => return Err(TrafficError::Strange(wrong)),
                _ => return Err(TrafficError::Strange("one was made, and another one was found".to_owned())),
            }
        }
        Ok(())
    }

    async fn drop_table(&self) -> Result<(), TrafficError> {
        self.nft.change("remove the table", &format!("delete table inet {}", self.table)).await
    }

    async fn change(
        &self,
        doing: &'static str,
        found: Found,
        leads: Leads,
        needed: BTreeMap<String, Bridge>,
    ) -> Result<Ruleset, TrafficError> {
        if leads.len() > PORTS_MAX {
            return Err(TrafficError::Count { count: leads.len(), max: PORTS_MAX });
        }
        let (before, replace) = match found {
            Found::Absent => (Ruleset::default(), Replace::Rules),
            Found::There(Held { rules, wrong: None }) => (rules, Replace::Rules),
            Found::There(Held { rules, wrong: Some(wrong) }) => {
                info!(table = %self.table, wrong, "replaced the table");
                (rules, Replace::Table)
            }
        };
        let next = before.next(leads, needed);
        self.nft.change(doing, &transaction(&self.table, &next, replace)).await?;
        Ok(next)
    }

    async fn find(&self) -> Result<Found, TrafficError> {
        // Counted before it is listed: what changes in between is seen the next time.
        let count = match generation() {
            Ok(count) => Some(count),
            Err(error) => {
                debug!(%error, "the kernel does not count its rules");
                None
            }
        };
        if let Some(count) = count {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, found)) = &*seen
                && *at == count
            {
                return Ok(found.clone());
            }
        }
        let found = self.list().await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = count.map(|count| (count, found.clone()));
        Ok(found)
    }

    async fn list(&self) -> Result<Found, TrafficError> {
        let name = self.table.to_string();
        match self.nft.ask("list the table", &["list", "table", "inet", &name]).await {
            Ok(text) => Ok(Found::There(parse::table(&text, &self.table))),
            Err(refused @ TrafficError::Refused { .. }) => {
                // It may not be there, which nft tells by words only.
                let text = self.nft.ask("list the tables", &["list", "tables", "inet"]).await?;
                let there = parse::tables(&text).map_err(TrafficError::Strange)?.contains(&name);
                if there { Err(refused) } else { Ok(Found::Absent) }
            }
            Err(error) => Err(error),
        }
    }
}

impl Found {
    fn leads(&self) -> Leads {
        match self {
            Self::Absent => Leads::new(),
            Self::There(held) => held.rules.leads.clone(),
        }
    }
}

/// Ports are about to be published: what the kernel remembers of connections from before must not lead new clients past
/// the rules. While a port is published, the kernel sees how its connections end.
///
/// Without it a client in some hundreds or thousands may be refused once, which is no reason to publish nothing.
async fn forget_dead(leads: Leads) {
    let ended = tokio::task::spawn_blocking(move || tracked::forget_dead(&leads)).await;
    match ended.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok(0) => {}
        Ok(count) => info!(count, "the kernel has forgotten connections that had ended before"),
        Err(error) => warn!(%error, "the kernel does not forget connections that have ended before"),
    }
}

/// An error with its causes.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
