//! Everything the parts of a running coordinator share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use takt_common::{DeviceId, Name, Sha256Digest, SigningKey, UnixTime};
use takt_coordinator_core::{DeviceState, FleetView};
use tokio::sync::{Notify, mpsc};

use crate::artifacts::ArtifactStore;
use crate::ca::FleetCa;
use crate::checkpoints::CheckpointStore;
use crate::dispatch::Outgoing;
use crate::gate::GateHandle;
use crate::live::Live;
use crate::load::Rollups;
use crate::orders::OrderBook;
use crate::peers::PeerBook;
use crate::planning::Failures;
use crate::registry::{DeviceRecord, DomainError, DomainRules, Registry, RegistryError, StoredCampaign};
use crate::renew::Challenges;
use crate::reports::NonsenseCount;
use crate::repository::{Published, Repository};
use crate::response::ResponseTimes;

/// Who is a target of a campaign is looked at so often.
const IDENTIFY_EVERY: Duration = Duration::from_secs(2);

/// A running coordinator.
pub struct Coordinator {
    /// The fleet CA.
    pub ca: FleetCa,
    /// Signs orders and acknowledgements.
    pub order_key: SigningKey,
    /// The operator's token, hashed.
    pub operator: Sha256Digest,
    /// What devices sign for their next certificate.
    pub challenges: Challenges,
    /// What must not be forgotten.
    pub registry: Registry,
    /// Signed metadata.
    pub repository: Repository,
    /// Files.
    pub artifacts: ArtifactStore,
    /// Memory on its way from devices to standbys.
    pub checkpoints: CheckpointStore,
    /// Who is here now.
    pub live: Live,
    /// How busy devices are in the present step.
    pub loads: Rollups,
    /// With whom devices talk.
    pub peers: PeerBook,
    /// Campaigns whose devices got no slots.
    pub unplanned: Failures,
    /// How long reports take.
    pub response: ResponseTimes,
    /// Messages that were not taken.
    pub nonsense: NonsenseCount,
    /// `host:port` of the gate, as devices reach it; set once the gate listens.
    pub broker: OnceLock<String>,
    /// The gate, once it listens.
    pub gate: OnceLock<GateHandle>,
    /// Wakes the engine.
    pub wake: Notify,
    outbox: mpsc::Sender<Outgoing>,
    in_hand_max: usize,
    campaigns: Mutex<OpenCampaigns>,
    /// Campaigns begin one after the other.
    beginning: Mutex<()>,
    /// Devices enrol one after the other: those of one token use it up together.
    enrolling: Mutex<()>,
}

/// Campaigns that have not settled.
#[derive(Debug, Default)]
struct OpenCampaigns {
    names: BTreeSet<Name>,
    /// Why the engine cannot bring a campaign on, as one sentence.
    troubles: BTreeMap<Name, String>,
    /// Why no campaign begins by itself, by domain and component.
    unfollowed: BTreeMap<(Name, Name), String>,
    /// When it was looked at last who its targets are.
    identified: BTreeMap<Name, UnixTime>,
}

/// The parts a coordinator is made of.
pub struct Parts {
    /// The fleet CA.
    pub ca: FleetCa,
    /// Signs orders and acknowledgements.
    pub order_key: SigningKey,
    /// The operator's token, hashed.
    pub operator: Sha256Digest,
    /// What devices sign for their next certificate.
    pub challenges: Challenges,
    /// What must not be forgotten.
    pub registry: Registry,
    /// Signed metadata.
    pub repository: Repository,
    /// Files.
    pub artifacts: ArtifactStore,
    /// Memory on its way from devices to standbys.
    pub checkpoints: CheckpointStore,
    /// Towards devices.
    pub outbox: mpsc::Sender<Outgoing>,
    /// How long a step is over which loads and peers are rolled up, in seconds.
    pub load_step: u64,
    /// So many devices have an order in hand at a time.
    pub in_hand_max: usize,
}

impl Coordinator {
    /// Puts the parts together and looks which campaigns go on.
    pub fn new(parts: Parts) -> Result<Self, RegistryError> {
        let Parts {
            ca,
            order_key,
            operator,
            challenges,
            registry,
            repository,
            artifacts,
            checkpoints,
            outbox,
            load_step,
            in_hand_max,
        } = parts;
        let names = registry.unsettled()?;
        names.iter().try_for_each(|name| registry.tidy_campaign(name))?;
        Ok(Self {
            ca,
            order_key,
            operator,
            challenges,
            registry,
            repository,
            artifacts,
            checkpoints,
            live: Live::default(),
            loads: Rollups::new(load_step),
            peers: PeerBook::new(load_step),
            unplanned: Failures::default(),
            response: ResponseTimes::default(),
            nonsense: NonsenseCount::default(),
            broker: OnceLock::new(),
            gate: OnceLock::new(),
            wake: Notify::new(),
            outbox,
            in_hand_max,
            campaigns: Mutex::new(OpenCampaigns { names, ..OpenCampaigns::default() }),
            beginning: Mutex::new(()),
            enrolling: Mutex::new(()),
        })
    }

    /// Makes orders from what is published now.
    pub const fn order_book<'a>(&'a self, published: &'a Published) -> OrderBook<'a> {
        OrderBook { published, artifacts: &self.artifacts, key: &self.order_key }
    }

    /// What holds in a domain, with what was seen between its devices, ranked: what the order of a new campaign follows from.
    pub fn rules_ranked(&self, domain: &Name, now: UnixTime) -> Result<DomainRules, DomainError> {
        let rules = self.registry.rules(domain, &self.peers.edges(&self.registry, domain, now)?)?;
        rules.graph.ranks();
        Ok(rules)
    }

    /// All devices as campaigns look at them.
    pub fn fleet(&self) -> FleetView {
        self.fleet_of(&self.registry.devices().all())
    }

    /// These devices as campaigns look at them: those that are decommissioned are none for them.
    pub fn fleet_of(&self, devices: &[Arc<DeviceRecord>]) -> FleetView {
        let epoch = self.epoch();
        let state = |record: &Arc<DeviceRecord>| (record.state.id, self.look_at(record, epoch));
        let here = devices.iter().filter(|record| !record.state.is_decommissioned());
        FleetView { devices: here.map(state).collect() }
    }

    /// The epoch that orders have now.
    pub fn epoch(&self) -> u64 {
        self.repository.published().director.map_or(0, |director| director.epoch())
    }

    /// A device as campaigns look at it.
    pub fn look_at(&self, record: &DeviceRecord, epoch: u64) -> DeviceState {
        let mut state = self.live.look_at(&record.state);
        state.begin_epoch(epoch);
        state
    }

    /// Gives a message to the dispatcher. When its queue is full the message is dropped: orders are sent again by the
    /// clock, and a device that misses an acknowledgement sends its report again.
    pub fn send(&self, outgoing: Outgoing) {
        if self.outbox.try_send(outgoing).is_err() {
            tracing::warn!("dispatcher has too much to do; a message waits for its repetition");
        }
    }

    /// Ends the device's session at the gate, if it has one. Before this the registry says that it is not let in.
    pub fn cut(&self, device: DeviceId) {
        if self.gate.get().is_some_and(|gate| gate.disconnect(device)) {
            tracing::info!(%device, "session cut");
        }
    }

    /// The device was heard of.
    pub fn heard(&self, device: DeviceId, now: UnixTime) {
        self.live.heard(device, now);
    }

    /// The campaigns that have not settled.
    pub fn open_campaigns(&self) -> Vec<Name> {
        self.lock().names.iter().cloned().collect()
    }

    /// The campaigns that have not settled, as they are.
    pub fn unsettled_campaigns(&self) -> Result<Vec<Arc<StoredCampaign>>, RegistryError> {
        let campaigns = self.open_campaigns().into_iter().map(|name| self.registry.campaign(&name));
        campaigns.filter_map(Result::transpose).collect()
    }

    /// How many further devices may get an order now.
    pub fn room(&self, fleet: &FleetView) -> usize {
        let in_hand = fleet.devices.values().filter(|state| state.in_hand().is_some()).count();
        self.in_hand_max.saturating_sub(in_hand)
    }

    /// Held from the look whether devices are free until the campaign that takes them is on disk. Whoever holds it
    /// may block: it is for threads that may, so that a request that is dropped cannot let go of it half way.
    pub fn begin_alone(&self) -> MutexGuard<'_, ()> {
        // It guards an order of events and no value, so a panic elsewhere leaves nothing half done.
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a device enrols, by threads that may block.
    pub fn enrol_alone(&self) -> MutexGuard<'_, ()> {
        // As above.
        self.enrolling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A campaign goes on.
    pub fn campaign_opened(&self, name: Name) {
        self.lock().names.insert(name);
        self.wake.notify_one();
    }

    /// A campaign has settled.
    pub fn campaign_settled(&self, name: &Name) {
        self.unplanned.forget(name);
        let mut campaigns = self.lock();
        campaigns.names.remove(name);
        campaigns.troubles.remove(name);
        campaigns.identified.remove(name);
    }

    /// Whether it is to be looked at who the campaign's targets are; then it counts as done.
    pub fn is_identification_due(&self, name: &Name, now: UnixTime) -> bool {
        let mut campaigns = self.lock();
        let last = campaigns.identified.get(name);
        let due = last.is_none_or(|last| *last > now || now.since(*last) >= IDENTIFY_EVERY);
        if due {
            campaigns.identified.insert(name.clone(), now);
        }
        due
    }

    /// What keeps the engine from bringing a campaign on.
    pub fn trouble(&self, name: &Name) -> Option<String> {
        self.lock().troubles.get(name).cloned()
    }

    /// Notes what keeps the engine from bringing a campaign on; true when that is news.
    pub fn set_trouble(&self, name: &Name, trouble: Option<&str>) -> bool {
        is_news(&mut self.lock().troubles, name.clone(), trouble)
    }

    /// Notes why a component that a domain follows has begun no campaign; true when that is news.
    pub fn set_unfollowed(&self, domain: &Name, component: &Name, trouble: Option<&str>) -> bool {
        is_news(&mut self.lock().unfollowed, (domain.clone(), component.clone()), trouble)
    }

    fn lock(&self) -> MutexGuard<'_, OpenCampaigns> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.campaigns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a trouble, or forgets it; true when it was another one before.
fn is_news<K: Ord>(troubles: &mut BTreeMap<K, String>, of: K, trouble: Option<&str>) -> bool {
    let before = match trouble {
        Some(trouble) => troubles.insert(of, trouble.to_owned()),
        None => troubles.remove(&of),
    };
    before.as_deref() != trouble
}
