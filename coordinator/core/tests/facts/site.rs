//! The site: `gateway`, and `camera-1` and `camera-2` that require it and stand in for each other.

use std::collections::BTreeMap;
use std::time::Duration;

use takt_common::api::{CampaignRequest, DeviceStep, DrmSpec, EdgeSpec, GraphSpec, StandbySpec, Takeover};
use takt_common::digest::Sha256Digest;
use takt_common::order::Position;
use takt_common::regulation::Regulation;
use takt_common::release::ReleaseId;
use takt_common::report::{Installed, Memory, OrderRef, Outcome, PhaseName, REPORT_FORMAT, Report};
use takt_common::{DeviceId, Name, UnixTime};
use takt_coordinator_core::{
    Campaign, DeviceState, FleetView, Look, OpenError, Opening, OrderRequest, Others, ReleaseFacts, advance,
    open, why,
};
use takt_planner::{DomainGraph, RedundancyMatrix};

pub(crate) const START: UnixTime = UnixTime::from_secs(1_795_248_000);
pub(crate) const DEADLINE_SECS: u64 = 60;
pub(crate) const SETTLE_SECS: u64 = 20;

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn installed(version: &str, counter: u64) -> Installed {
    let release = ReleaseId { name: name("counter"), version: name(version) };
    Installed { release, counter, manifest: Sha256Digest::of(version.as_bytes()) }
}

pub(crate) fn facts(hardware: &[&str]) -> ReleaseFacts {
    let target = installed("2.0.0", 2);
    ReleaseFacts {
        hardware: hardware.iter().map(|text| name(text)).collect(),
        ..ReleaseFacts::plain(target.release, 2, target.manifest, SETTLE_SECS)
    }
}

pub(crate) fn request() -> CampaignRequest {
    CampaignRequest {
        element_size: Some(2),
        deadline_secs: DEADLINE_SECS,
        regulation: Regulation { observe_secs: 0, ..Regulation::default() },
        ..CampaignRequest::new(name("to-two"), installed("2.0.0", 2).release, name("site"))
    }
}

pub(crate) struct Site {
    pub(crate) now: UnixTime,
    pub(crate) fleet: FleetView,
    pub(crate) graph: DomainGraph,
    pub(crate) drm: RedundancyMatrix,
    pub(crate) campaign: Option<Campaign>,
    pub(crate) others: Others,
    pub(crate) earlier: Vec<ReleaseFacts>,
    pub(crate) orders: Vec<OrderRequest>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Takeover::Launch)
    }

    /// The cameras stand in for each other in this way.
    fn with(takeover: Takeover) -> Self {
        let names: BTreeMap<Name, DeviceId> = ["gateway", "camera-1", "camera-2"]
            .iter()
            .zip(1_u32..)
            .map(|(text, number)| (name(text), format!("{number:032x}").parse().unwrap()))
            .collect();
        let edge = |source| EdgeSpec {
            source: name(source),
            target: name("gateway"),
            requires: true,
            weight: None,
            skew_max: None,
        };
        let row =
            |device, standby| StandbySpec { device: name(device), standbys: vec![name(standby)], takeover };
        let edges = GraphSpec { edges: vec![edge("camera-1"), edge("camera-2")] };
        let rows =
            DrmSpec { rows: vec![row("camera-1", "camera-2"), row("camera-2", "camera-1")], sets: vec![] };
        let (graph, drm) =
            (DomainGraph::new(&edges, &names).unwrap(), RedundancyMatrix::new(&rows, &names).unwrap());
        let mut fleet = FleetView::default();
        for (device, id) in names {
            let next = Position { epoch: 1, generation: 1 };
            let mut state = DeviceState::enrolled(id, device, name("site"), name("pi-4"), next);
            state.online = true;
            state.last_seen = Some(START);
            state.installed = vec![installed("1.0.0", 1)];
            fleet.devices.insert(id, state);
        }
        let (others, earlier) = (Others::default(), Vec::new());
        Self { now: START, fleet, graph, drm, campaign: None, others, earlier, orders: Vec::new() }
    }

    pub(crate) fn open(&self, request: &CampaignRequest, others: &[Campaign]) -> Result<Campaign, OpenError> {
        self.open_of(request, &facts(&[]), others)
    }

    pub(crate) fn open_of(
        &self,
        request: &CampaignRequest,
        release: &ReleaseFacts,
        others: &[Campaign],
    ) -> Result<Campaign, OpenError> {
        let others: Vec<&Campaign> = others.iter().collect();
        open(&Opening {
            request,
            release,
            earlier: &self.earlier,
            fleet: &self.fleet,
            graph: &self.graph,
            drm: &self.drm,
            others: &others,
            operator: "operator",
            now: self.now,
        })
    }

    /// With the campaign opened.
    pub(crate) fn begun() -> Self {
        let mut site = Self::new();
        site.campaign = Some(site.open(&request(), &[]).unwrap());
        site
    }

    pub(crate) fn device(&mut self, text: &str) -> &mut DeviceState {
        self.fleet.devices.values_mut().find(|device| device.name.as_str() == text).unwrap()
    }

    pub(crate) fn id(&self, text: &str) -> DeviceId {
        self.fleet.devices.values().find(|device| device.name.as_str() == text).unwrap().id
    }

    pub(crate) fn campaign(&self) -> &Campaign {
        self.campaign.as_ref().unwrap()
    }

    pub(crate) fn wait(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
    }

    const fn look(&self) -> Look<'_> {
        Look {
            fleet: &self.fleet,
            graph: &self.graph,
            drm: &self.drm,
            response: None,
            others: &self.others,
            identify: true,
            lease: 0,
            orders_max: usize::MAX,
            now: self.now,
        }
    }

    /// Advances, stores, and says what was ordered: `device: action`.
    pub(crate) fn advance(&mut self) -> Vec<String> {
        let step = advance(self.campaign(), &self.look());
        for order in &step.orders {
            self.fleet.record_order(order, self.now);
        }
        let mut said: Vec<_> = step
            .orders
            .iter()
            .map(|order| format!("{}: {}", self.fleet.devices[&order.device].name, order.action))
            .collect();
        said.sort();
        self.campaign = Some(step.campaign);
        self.orders.extend(step.orders);
        said
    }

    /// The device reports on the order it has in hand.
    pub(crate) fn report(&mut self, text: &str, outcome: Option<Outcome>) {
        let now = self.now;
        let device = self.device(text);
        let report = Report {
            installed: match outcome {
                Some(Outcome::Verified { .. }) => vec![installed("2.0.0", 2)],
                _ => device.installed.clone(),
            },
            outcome,
            ..report_of(device)
        };
        assert!(device.record_report(&report, None, now));
    }

    /// The standby reports that it serves for `of`, or that it has handed back.
    pub(crate) fn report_serving(&mut self, standby: &str, of: Option<&str>) {
        let (of, now) = (of.map(|of| self.id(of)), self.now);
        let device = self.device(standby);
        let outcome = if of.is_some() { Outcome::Serving } else { Outcome::HandedBack };
        let report = Report { standing_in_for: of, outcome: Some(outcome), ..report_of(device) };
        assert!(device.record_report(&report, None, now));
    }

    pub(crate) fn step(&self, text: &str) -> DeviceStep {
        let view = self.campaign().view();
        view.devices.into_iter().find(|device| device.name.as_str() == text).unwrap().step
    }

    pub(crate) fn why(&self, text: &str) -> takt_common::api::WhyView {
        let device = &self.fleet.devices[&self.id(text)];
        let campaigns: Vec<_> = self.campaign.iter().cloned().collect();
        why(device, &campaigns.iter().collect::<Vec<_>>(), &self.fleet, &self.graph, &self.drm, self.now)
    }

    /// The gateway is verified; the first camera's standby has been asked.
    pub(crate) fn gateway_verified() -> Self {
        Self::begun().with_gateway_verified()
    }

    /// The same where standbys go on from the memory of devices.
    pub(crate) fn restoring() -> Self {
        let mut site = Self::with(Takeover::Restore);
        site.campaign = Some(site.open(&request(), &[]).unwrap());
        site.with_gateway_verified()
    }

    fn with_gateway_verified(self) -> Self {
        let mut site = self;
        assert_eq!(site.advance(), ["gateway: install"]);
        site.report("gateway", Some(Outcome::Verified { strategy: None }));
        assert_eq!(site.advance(), ["camera-2: take over for camera-1"]);
        site
    }

    /// The first camera has its order while the second serves.
    pub(crate) fn camera_upgrading() -> Self {
        let mut site = Self::gateway_verified();
        site.report_serving("camera-2", Some("camera-1"));
        assert_eq!(site.advance(), ["camera-1: install"]);
        site
    }
}

/// A report on the order in hand, in its middle.
pub(crate) fn report_of(device: &DeviceState) -> Report {
    let order = device.order.as_ref().map(|order| order.position);
    Report {
        format: REPORT_FORMAT,
        device: device.id,
        sequence: device.sequence + 1,
        previous_report_digest: None,
        boot_id: String::new(),
        nonce: String::new(),
        installed: device.installed.clone(),
        standing_in_for: device.standing_in_for,
        order: order.map(|position| OrderRef { position, digest: Sha256Digest::of(b"payload") }),
        phase: PhaseName::Fetching,
        outcome: None,
        warnings: Vec::new(),
        waiting_on: None,
        refused: None,
        hooks: std::collections::BTreeMap::new(),
        timing: None,
        made: START,
        skipped: None,
        time_floor: START,
    }
}

pub(crate) fn rolled_back() -> Outcome {
    Outcome::RolledBack { cause: "GET /healthz gave 500".to_owned(), memory: Memory::Kept }
}
