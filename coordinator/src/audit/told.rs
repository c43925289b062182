//! What entries tell: one for a step of a campaign, whatever number of orders it issues.

use std::collections::BTreeMap;

use takt_common::api::CampaignRequest;
use takt_common::audit::{IssuedOrders, StepInputs, Stepped, What, Who, cut};
use takt_common::digest::Sha256Hasher;
use takt_common::order::Position;
use takt_common::{DeviceId, Sha256Digest, UnixTime};
use takt_coordinator_core::Campaign;

use crate::registry::{Happened, IssuedOrder};

/// So many sentences about the campaign as a whole stand in the entry of a step; hardly any step has more than two.
const DECIDED_MAX: usize = 8;

/// An entry about a publication tells of so many documents; of more there are several entries.
const DOCUMENTS_MAX: usize = 128;

/// Counts the orders of a step, and digests them.
#[derive(Default)]
pub struct OrderTally {
    count: u64,
    bounds: Option<(Position, Position)>,
    hasher: Sha256Hasher,
}

impl OrderTally {
    /// One that was signed.
    pub fn note(&mut self, device: DeviceId, issued: &IssuedOrder) {
        let position = issued.position;
        let (lowest, highest) = self.bounds.unwrap_or((position, position));
        self.bounds = Some((lowest.min(position), highest.max(position)));
        self.count += 1;
        self.hasher.update(format!("{device} {}\n", issued.payload).as_bytes());
    }

    /// All of them, if there were any.
    pub fn finish(self) -> Option<IssuedOrders> {
        let (lowest, highest) = self.bounds?;
        Some(IssuedOrders { count: self.count, lowest, highest, sha256: self.hasher.finish() })
    }
}

/// A step of a campaign; none for one that only follows what devices do, in which nothing was decided.
pub fn stepped(
    before: &Campaign,
    after: &Campaign,
    orders: Option<IssuedOrders>,
    inputs: Option<StepInputs>,
    now: UnixTime,
) -> Option<Happened> {
    let events = after.events_since(before);
    let moved = before.state() != after.state() || before.reason() != after.reason();
    if events.is_empty() && orders.is_none() && !moved {
        return None;
    }
    let whole = events.iter().filter(|event| event.device.is_none());
    let stepped = Stepped {
        campaign: after.name().clone(),
        state: after.state(),
        reason: cut(after.reason()),
        devices: after.devices() as u64,
        ended: after.done() as u64,
        decided: whole.take(DECIDED_MAX).map(|event| cut(&event.text)).collect(),
        events: events.len() as u64,
        orders,
        inputs,
    };
    Some(Happened::new(now, Who::Coordinator, What::CampaignStepped(Box::new(stepped))))
}

/// A campaign that begins.
pub fn started(campaign: &Campaign, request: &CampaignRequest, by: Who, now: UnixTime) -> Happened {
    let request = serde_json::to_vec(request).expect("a request has only text keys");
    let what = What::CampaignStarted {
        campaign: campaign.name().clone(),
        release: campaign.release().id.clone(),
        domain: campaign.domain().clone(),
        devices: campaign.devices() as u64,
        request: Sha256Digest::of(&request),
    };
    Happened::new(now, by, what)
}

/// Documents that are to be published.
pub fn published(documents: BTreeMap<String, Sha256Digest>, by: &Who, now: UnixTime) -> Vec<Happened> {
    let documents: Vec<(String, Sha256Digest)> = documents.into_iter().collect();
    let told = |some: &[(String, Sha256Digest)]| {
        let documents = some.iter().cloned().collect();
        Happened::new(now, by.clone(), What::Published { documents })
    };
    documents.chunks(DOCUMENTS_MAX).map(told).collect()
}
