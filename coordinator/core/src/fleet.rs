//! What the coordinator knows about its devices, and the orders it asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use takt_common::api::{Lease, OpenOrder, Quarantine, Revocation};
use takt_common::health::{HealthSample, Link, Unwell};
use takt_common::order::{Action, Mode, Policy, Position};
use takt_common::release::ReleaseId;
use takt_common::report::{Installed, Outcome, PhaseName, Refused};
use takt_common::{DeviceId, Name, UnixTime};

/// All devices that a decision may look at; at least those of the campaign's domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetView {
    /// By id.
    pub devices: BTreeMap<DeviceId, DeviceState>,
}

/// What is known about one device. It can be stored as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: Name,
    /// Its domain.
    pub domain: Name,
    /// Its hardware.
    pub hardware: Name,
    /// Whether it has a session at the gate now.
    pub online: bool,
    /// When it was last heard of.
    pub last_seen: Option<UnixTime>,
    /// What it said it runs.
    pub installed: Vec<Installed>,
    /// For whom it said it stands in.
    pub standing_in_for: Option<DeviceId>,
    /// By which right it serves for another device, or is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Where its agent is.
    pub phase: Option<PhaseName>,
    /// What its agent waits on.
    pub waiting_on: Option<Waiting>,
    /// Why it is asked to begin nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Why it is not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// Since when it waits for an operator's approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<UnixTime>,
    /// The order it has in hand: the last one issued, until it has ended.
    pub order: Option<OpenOrder>,
    /// The refusal of the order in hand, if its envelope was refused.
    pub refused: Option<RefusedOrder>,
    /// How its last orders ended, the newest last; at most [`DeviceState::ENDED_KEPT`].
    pub ended: Vec<EndedOrder>,
    /// The position that its next order gets.
    pub next: Position,
    /// The sequence number of its last report; devices count from 1, so 0 before the first.
    pub sequence: u64,
    /// What it said last of itself; it is not stored.
    #[serde(skip)]
    pub facts: Facts,
}

/// What a device said of itself in its last health sample; nothing before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Version of its agent.
    pub agent: Option<String>,
    /// Its kernel release.
    pub kernel: Option<String>,
    /// Charge in percent while it runs on its battery.
    pub battery_percent: Option<u8>,
    /// Over which kind of link it reaches others.
    pub link: Option<Link>,
    /// Free bytes of storage.
    pub storage_free_bytes: Option<u64>,
    /// Memory that new work can have, in bytes.
    pub memory_free_bytes: Option<u64>,
    /// What it is used for and has.
    pub features: BTreeMap<String, String>,
    /// Releases that it runs and that are not well.
    pub unwell: Vec<Unwell>,
}

impl Facts {
    /// The facts of a health sample.
    pub fn of(sample: &HealthSample) -> Self {
        Self {
            agent: Some(sample.agent.clone()),
            kernel: Some(sample.host.kernel.clone()),
            battery_percent: sample.host.battery_percent,
            link: sample.host.link,
            storage_free_bytes: Some(sample.host.storage_free_bytes),
            memory_free_bytes: Some(sample.host.memory_available_bytes),
            features: sample.features.clone(),
            unwell: sample.unwell.clone(),
        }
    }
}

/// What an agent waits on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In its own words, with numbers.
    pub on: String,
    /// Since when it has been waiting without a break, by the coordinator's clock.
    pub since: UnixTime,
}

/// An order that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedOrder {
    /// Its position.
    pub position: Position,
    /// How.
    pub outcome: Outcome,
    /// What people should know of it all the same: *verified with warning* is a good end that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// When the report arrived.
    pub at: UnixTime,
}

/// An order in hand whose envelope the device refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOrder {
    /// The order's position.
    pub position: Position,
    /// Which rule and why.
    pub refused: Refused,
}

/// An order that a campaign asks for. It is to be signed, and stored in the same batch as the campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRequest {
    /// For whom.
    pub device: DeviceId,
    /// Its position: the device's [`DeviceState::next`].
    pub position: Position,
    /// What to do.
    pub action: Action,
    /// The release whose members the order carries; absent for hand-back and withdraw.
    pub release: Option<ReleaseId>,
    /// Rolling or in place.
    pub mode: Mode,
    /// How long the device may wait.
    pub deadline: UnixTime,
    /// What is allowed.
    pub policy: Policy,
}

impl FleetView {
    /// The device's name, or its id where it is not known any more.
    pub(crate) fn label(&self, device: DeviceId) -> String {
        self.devices.get(&device).map_or_else(|| device.to_string(), |state| state.name.to_string())
    }

    /// Notes an order as issued, so that the next campaign of the same round sees it. The order of a device that
    /// is not known is ignored.
    pub fn record_order(&mut self, order: &OrderRequest, issued: UnixTime) {
        if let Some(state) = self.devices.get_mut(&order.device) {
            state.record_order(order, issued);
        }
    }
}

impl DeviceState {
    /// How many ended orders are remembered: an order, its withdrawal and a takeover with room to spare.
    pub const ENDED_KEPT: usize = 8;
    /// How many warnings of an ended order are remembered.
    pub const WARNINGS_KEPT: usize = 8;
    /// Longer warnings are cut.
    pub const WARNING_CHARS_MAX: usize = 500;

    /// A device that was enrolled and not heard of yet; its first order gets `next`.
    pub fn enrolled(id: DeviceId, name: Name, domain: Name, hardware: Name, next: Position) -> Self {
        Self {
            id,
            name,
            domain,
            hardware,
            online: false,
            last_seen: None,
            installed: Vec::new(),
            standing_in_for: None,
            lease: None,
            phase: None,
            waiting_on: None,
            quarantine: None,
            revoked: None,
            unapproved: None,
            order: None,
            refused: None,
            ended: Vec::new(),
            next,
            sequence: 0,
            facts: Facts::default(),
        }
    }

    /// The order in hand that a later one has to wait for. Handing memory over changes nothing on the device, and is of no use
    /// once something else is to be done there.
    pub fn in_hand(&self) -> Option<&OpenOrder> {
        self.order.as_ref().filter(|order| !matches!(order.action, Action::Checkpoint { .. }))
    }

    /// Why it is asked to begin nothing, as it goes on after its name: `is revoked since …`, `waits since … for …`,
    /// `is in quarantine since …`.
    pub fn barred(&self) -> Option<String> {
        if let Some(revocation) = &self.revoked {
            return Some(revocation.to_string());
        }
        if let Some(since) = self.unapproved {
            return Some(format!("waits since {since} for an operator to approve its enrolment"));
        }
        let Quarantine { since, why } = self.quarantine.as_ref()?;
        Some(format!("is in quarantine since {since}: {why}"))
    }

    /// Whether it has left the fleet for ever.
    pub fn is_decommissioned(&self) -> bool {
        self.revoked.as_ref().is_some_and(|revocation| revocation.for_ever)
    }

    /// Whether it is to be told of an order that asks for this. What ends something is told in quarantine too: nobody is helped by a
    /// device that goes on with what was withdrawn.
    pub fn may_be_told(&self, action: &Action) -> bool {
        let ends = matches!(action, Action::Withdraw | Action::HandBack { .. });
        self.barred().is_none() || (self.revoked.is_none() && ends)
    }

    /// The release of the component `name` that it said it runs.
    pub fn installed_release(&self, name: &Name) -> Option<&Installed> {
        self.installed.iter().find(|installed| installed.release.name == *name)
    }
}
