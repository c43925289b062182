//! The coordinator: the real `advance` over what is stored, signed orders, and deaths before and after a commit.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use ring::rand::SystemRandom;
use takt_common::api::{CampaignRequest, CampaignView, GraphSpec};
use takt_common::envelope::{PayloadType, Signers};
use takt_common::order::{Action, ORDER_FORMAT, Order, Position};
use takt_common::regulation::Regulation;
use takt_common::report::{Installed, Outcome, Report};
use takt_common::{DeviceId, Envelope, Sha256Digest, SigningKey};
use takt_coordinator_core::{
    Campaign, DeviceState, FleetView, Look, Opening, OrderRequest, Others, ReleaseFacts, advance, open,
};
use takt_planner::{DomainGraph, RedundancyMatrix};

use crate::device::time;
use crate::plan::{Chance, Sabotage};
use crate::releases::{NEW, name, release, snapshot};

/// Seconds a device may take for its order.
pub(crate) const DEADLINE_SECS: u64 = 60;

/// An order that no report has shown is sent again after so long, in milliseconds.
const RESEND: u64 = 5_000;

/// Steps in a row; a campaign that wants more of them never comes to rest.
const STEPS_MAX: usize = 16;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(&SystemRandom::new()).unwrap());

pub(crate) static SIGNERS: LazyLock<Signers> = LazyLock::new(|| Signers {
    role: "the coordinator's order keys".to_owned(),
    keys: vec![KEY.public()],
    threshold: 1,
});

/// An order as it is stored.
struct Sealed {
    envelope: Vec<u8>,
    digest: Sha256Digest,
    payload: Sha256Digest,
}

/// When the coordinator dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    BeforeCommit,
    AfterCommit,
}

pub(crate) struct Coordinator {
    campaign: Vec<u8>,
    pub(crate) fleet: FleetView,
    orders: BTreeMap<DeviceId, Sealed>,
    pub(crate) graph: DomainGraph,
    pub(crate) drm: RedundancyMatrix,
    /// Down until then; up when absent.
    pub(crate) down_until: Option<u64>,
    pub(crate) crashing: u64,
    sabotage: Option<Sabotage>,
    /// What it takes for graph and DRM; they are so, unless it is sabotaged.
    believed: (DomainGraph, RedundancyMatrix),
    /// What has been sent since it was started.
    sent: BTreeMap<DeviceId, (Position, u64)>,
    pub(crate) issued: Vec<OrderRequest>,
    /// Every end of an order that a report told.
    pub(crate) told: Vec<(DeviceId, Position, Outcome)>,
    /// The first failure that a report told.
    pub(crate) failure: Option<String>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) old_reports: usize,
}

impl Coordinator {
    pub(crate) fn new(
        fleet: FleetView,
        graph: DomainGraph,
        drm: RedundancyMatrix,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let mut believed = (graph.clone(), drm.clone());
        match sabotage {
            Some(Sabotage::NoRequirements) => {
                believed.0 = DomainGraph::new(&GraphSpec::default(), &BTreeMap::new()).unwrap();
            }
            Some(Sabotage::NoStandbys) => believed.1 = RedundancyMatrix::default(),
            _ => {}
        }
        Self {
            campaign: vec![],
            fleet,
            orders: BTreeMap::new(),
            graph,
            drm,
            down_until: None,
            crashing: 0,
            sabotage,
            believed,
            sent: BTreeMap::new(),
            issued: vec![],
            told: vec![],
            failure: None,
            deaths: vec![],
            old_reports: 0,
        }
    }

    /// Opens the campaign over all devices; false when no device can take the release.
    pub(crate) fn open(&mut self, element_size: u32, now: u64) -> bool {
        let request = CampaignRequest {
            element_size: Some(element_size),
            deadline_secs: DEADLINE_SECS,
            regulation: Regulation { observe_secs: 0, ..Regulation::default() },
            ..CampaignRequest::new(name("to-new"), NEW.manifest.release.clone(), name("site"))
        };
        let facts = ReleaseFacts::of(&NEW.manifest, NEW.digest);
        let opened = open(&Opening {
            request: &request,
            release: &facts,
            earlier: &[],
            fleet: &self.fleet,
            graph: &self.graph,
            drm: &self.drm,
            others: &[],
            operator: "operator",
            now: time(now),
        });
        self.campaign = opened.as_ref().map(stored).unwrap_or_default();
        opened.is_ok()
    }

    pub(crate) fn campaign(&self) -> Campaign {
        serde_json::from_slice(&self.campaign).unwrap()
    }

    pub(crate) fn view(&self) -> CampaignView {
        self.campaign().view()
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.down_until.is_none()
    }

    /// What is on disk is all that is left.
    pub(crate) fn restart(&mut self) {
        self.down_until = None;
        self.sent.clear();
        let stored: Vec<DeviceState> = self.fleet.devices.values().cloned().collect();
        let stored = serde_json::to_vec(&stored).unwrap();
        let read: Vec<DeviceState> = serde_json::from_slice(&stored).unwrap();
        self.fleet.devices = read.into_iter().map(|state| (state.id, state)).collect();
    }

    /// Brings the campaign on as far as it goes now. Gives a death in the middle of it.
    pub(crate) fn bring_on(&mut self, now: u64, chance: &mut Chance) -> Option<Death> {
        for _ in 0..STEPS_MAX {
            let campaign = self.campaign();
            let (graph, drm) = (&self.believed.0, &self.believed.1);
            let (others, orders_max) = (&Others::default(), usize::MAX);
            let look = Look {
                fleet: &self.fleet,
                graph,
                drm,
                response: None,
                others,
                identify: true,
                lease: 0,
                orders_max,
                now: time(now),
            };
            let step = advance(&campaign, &look);
            if step.campaign == campaign && step.orders.is_empty() {
                return None;
            }
            let dies = chance.percent(self.crashing);
            let late = chance.percent(50);
            if dies && !late {
                self.deaths.push(Death::BeforeCommit);
                return Some(Death::BeforeCommit);
            }
            self.campaign = stored(&step.campaign);
            for order in &step.orders {
                self.check_brake(order);
                self.issue(order, now);
            }
            if dies {
                self.deaths.push(Death::AfterCommit);
                return Some(Death::AfterCommit);
            }
        }
        panic!("the campaign never comes to rest: {:#?}", self.view());
    }

    /// `brake`: once a failure is on disk, no device begins.
    fn check_brake(&self, order: &OrderRequest) {
        let begins = matches!(order.action, Action::Install | Action::TakeOver { .. });
        assert!(!(begins && self.failure.is_some()), "brake: {order:?} although {:?}", self.failure);
        if order.action == Action::Install {
            let open = |state: &&DeviceState| {
                state.order.as_ref().is_some_and(|open| open.action == Action::Install)
            };
            let at_work = self.fleet.devices.values().filter(open).count();
            let most = self.view().request.element_size.unwrap() as usize;
            assert!(at_work < most, "{at_work} devices are at work, and an element has {most}: {order:?}");
        }
    }

    fn issue(&mut self, request: &OrderRequest, now: u64) {
        let members = request.release.as_ref().map_or(vec![], |id| release(id).members.clone());
        let order = Order {
            format: ORDER_FORMAT,
            device: request.device,
            epoch: request.position.epoch,
            generation: request.position.generation,
            nonce: None,
            issued: time(now),
            not_after: request.deadline,
            previous_order_digest: self.orders.get(&request.device).map(|sealed| sealed.payload),
            snapshot: snapshot(),
            action: request.action.clone(),
            members,
            mode: request.mode.clone(),
            window: None,
            deadline: request.deadline,
            policy: request.policy,
            permission: None,
        };
        let payload = order.to_bytes();
        let envelope = Envelope::seal(PayloadType::Order, &payload, &[&KEY]).to_bytes();
        let (digest, payload) = (Sha256Digest::of(&envelope), Sha256Digest::of(&payload));
        self.orders.insert(request.device, Sealed { envelope, digest, payload });
        self.fleet.record_order(request, time(now));
        self.issued.push(request.clone());
    }

    /// A report arrives: it is on disk before it is acknowledged. Gives the sequence number to acknowledge.
    pub(crate) fn take_report(&mut self, report: &Report, now: u64) -> u64 {
        let envelope = self.orders.get(&report.device).map(|sealed| sealed.digest);
        let state = self.fleet.devices.get_mut(&report.device).unwrap();
        // One connection is in order and each begins with what is not acknowledged: nothing is ever skipped.
        assert!(report.sequence <= state.sequence + 1, "report {} after {}", report.sequence, state.sequence);
        let mut seen = report.clone();
        if self.sabotage == Some(Sabotage::BlindToFailure) && seen.outcome.is_some() {
            // What the device says that it runs would tell the truth all the same.
            let manifest = &NEW.manifest;
            seen.outcome = Some(Outcome::Verified { strategy: None });
            seen.installed = vec![Installed {
                release: manifest.release.clone(),
                counter: manifest.counter,
                manifest: NEW.digest,
            }];
        }
        if !state.record_report(&seen, envelope.as_ref(), time(now)) {
            self.old_reports += 1;
            return state.sequence;
        }
        let sequence = state.sequence;
        if let (Some(order), Some(outcome)) = (&report.order, &report.outcome) {
            self.told.push((report.device, order.position, outcome.clone()));
            // Memory that is not handed over is done without.
            let memory = self.issued.iter().any(|issued| {
                issued.device == report.device
                    && issued.position == order.position
                    && matches!(issued.action, Action::Checkpoint { .. })
            });
            let failed = !memory && !outcome.is_success() && *outcome != Outcome::Withdrawn;
            if failed && self.failure.is_none() {
                self.failure = Some(format!("order {} of {}: {outcome}", order.position, report.device));
            }
        }
        sequence
    }

    /// The orders that are due to be sent now.
    pub(crate) fn dispatch(&mut self, now: u64) -> Vec<(DeviceId, Vec<u8>)> {
        let mut due = vec![];
        for state in self.fleet.devices.values().filter(|state| state.online) {
            let Some(order) = state.order.as_ref().filter(|order| !order.accepted) else { continue };
            let waits = self
                .sent
                .get(&state.id)
                .is_some_and(|(sent, at)| *sent == order.position && now < at + RESEND);
            if !waits {
                self.sent.insert(state.id, (order.position, now));
                due.push((state.id, self.orders[&state.id].envelope.clone()));
            }
        }
        due
    }

    /// The latest that a campaign over `devices` devices may end, without trouble, in milliseconds.
    pub(crate) fn patience(&self, devices: usize) -> u64 {
        let settle = Duration::from_secs(self.campaign().release().settle_secs);
        let each = 4 * Duration::from_secs(DEADLINE_SECS) + 5 * settle;
        let millis = u64::try_from(each.as_millis()).unwrap();
        u64::try_from(devices).unwrap() * millis
    }
}

fn stored(campaign: &Campaign) -> Vec<u8> {
    serde_json::to_vec(campaign).unwrap()
}
