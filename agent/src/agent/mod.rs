//! The loop: look, decide, then remember or act.

mod audit;
mod boot;
mod intake;
mod look;
mod outbox;
mod renewing;
mod reporting;
mod responses;
mod time;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takt_agent_core::{
    Action, ActionFailure, Attempt, BootTime, Decision, Helpless, Phase, Record, WaitingOn, decide,
};
use takt_common::audit::End;
use takt_common::health::WorkloadFacts;
use takt_common::report::{Outcome, Report};
use takt_common::{Sha256Digest, SigningKey, UnixTime};
use takt_kinds::Kinds;
use takt_kinds::package::ALIVE_AFTER;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::artifacts::ArtifactStore;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::engine::{Engine, EngineSettings, LatchSettings};
use crate::failpoint::{Deed, Side};
use crate::fetch::Client;
use crate::hooks::{HookSettings, Hooks};
use crate::host::Host;
use crate::identity::{IdentityError, IdentityFolder, Membership};
use crate::journal::{Journal, JournalError};
use crate::link::{Link, LinkEvent, LinkSettings};
use crate::peers::Peers;
use crate::perform::{Performer, Wanted};
use crate::ports::Ports;
use crate::renew::{RenewError, Renewal};
use crate::restart::Restarter;
use crate::settings::Settings;
use crate::takeover::MemoryTravel;
use crate::trust::{Keeper, KeeperError};
use crate::variables::{RoleVariables, Variables};
use intake::Pending;
use look::Looking;
use outbox::Flow;
use renewing::Renewing;
use responses::Responses;
use time::Foreign;
use watch::Watched;

/// From one look at clocks, outbox and pending orders to the next.
const TICK: Duration = Duration::from_secs(1);
/// How long the loop rests when all is well; an event ends it sooner.
const REST_IDLE: Duration = Duration::from_secs(5);
/// How long the loop rests when it waits on something that it must look for.
const REST_WAITING: Duration = Duration::from_secs(1);
/// The same while the last clients of the previous release are waited for: each look is cheap and each moment counts.
const REST_DRAINING: Duration = Duration::from_millis(100);
/// The shortest rest, so that no mistake turns the loop into a busy one.
const REST_MIN: Duration = Duration::from_millis(20);
/// From one look at whether an export is due to the next, also after one that failed.
const EXPORT_LOOK: Duration = Duration::from_mins(1);
/// When the launcher could not be told that the agent is well, it is told again after this.
const ALIVE_AGAIN: Duration = Duration::from_mins(1);
/// After a start and after an upgrade the agent is at rest by now, and gives back the memory that they have used.
const AT_REST_AFTER: Duration = Duration::from_secs(5);
/// How many refused envelopes are remembered, so that each is reported once.
const REFUSED_MAX: usize = 32;

/// The agent cannot start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Trust documents.
    #[error(transparent)]
    Trust(#[from] KeeperError),
    /// What renews the certificate.
    #[error(transparent)]
    Renewal(#[from] RenewError),
    /// The broker's address is none.
    #[error("use the broker's address '{0}': host:port expected")]
    Broker(String),
    /// An adapter cannot be set up.
    #[error("set up {what}: {why}")]
    Adapter {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// One running agent.
pub struct Agent {
    settings: Settings,
    membership: Membership,
    key: SigningKey,
    journal: Journal,
    clock: Clock,
    keeper: Keeper,
    foreign: Foreign,
    performer: Arc<Performer>,
    host: Host,
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    flow: Flow,
    pending: Option<Pending>,
    refused: VecDeque<Sha256Digest>,
    /// Digests of orders that have arrived since the last accepted one, and were not accepted.
    arrived: VecDeque<Sha256Digest>,
    looking: Looking,
    watched: Option<Watched>,
    /// When this run began.
    started: BootTime,
    last: Option<Attempt>,
    /// What has succeeded since the last commit of a phase or the last rest.
    done: Vec<Action>,
    helpless: Helpless,
    waiting: Option<WaitingOn>,
    told_waiting: reporting::Told,
    health_in: Duration,
    export_at: Duration,
    sampling: Option<JoinHandle<Vec<WorkloadFacts>>>,
    responses: Responses,
    peers: Arc<Mutex<Peers>>,
    peer_look: Option<JoinHandle<()>>,
    /// The first report of this run, and whether the coordinator has acknowledged it or a later one.
    first_report: Option<u64>,
    heard: bool,
    /// The head of the audit log that was reported last as one that goes back.
    went_back: Option<End>,
    boot: boot::Boot,
    renewing: Renewing,
    /// When the launcher hears that this agent is in good health; `None` once it has.
    alive_at: Option<Duration>,
    /// When memory is given back; `None` once it is.
    give_back_at: Option<Duration>,
}

impl Agent {
    /// Opens everything the agent keeps and starts its link.
    pub fn open(settings: Settings, stop: &CancellationToken) -> Result<Self, AgentError> {
        Self::open_by(settings, crate::clock::wall, stop)
    }

    /// The same on a machine with this wall clock.
    pub fn open_by(
        settings: Settings,
        wall: fn() -> UnixTime,
        stop: &CancellationToken,
    ) -> Result<Self, AgentError> {
        let identity = IdentityFolder::open(&settings.state_dir)?;
        let membership = identity.membership()?;
        let (key, of_memory) = (identity.key()?, identity.key()?);
        let (journal, restored) = Journal::open(&settings.state_dir.join(crate::journal::FOLDER))?;
        if let Some(text) = restored {
            tracing::warn!(%text, "journal was restored");
        }
        let clock = Clock::new(wall, journal.record().sure_floor);
        clock.set_floors(journal.record().sure_floor, journal.record().time_floor);
        let own = identity.own_certificate(&membership, &key)?;
        let tls = identity.tls_of(&membership, Some(Arc::clone(&own)), clock.clone())?;
        let renewal = Renewal::new(identity.clone(), &settings.coordinator, own, clock.clone())?;
        let keeper = Keeper::load(identity, &membership)?;
        let performer = Arc::new(performer(&settings, &membership, of_memory, &tls, stop)?);
        let host = Host::new(&settings.state_dir).map_err(|error| AgentError::Adapter {
            what: "the look at the machine",
            why: crate::sentence(&error),
        })?;
        let (broker_host, port) = membership
            .broker
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
            .ok_or_else(|| AgentError::Broker(membership.broker.clone()))?;
        let started = host.boot_time().unwrap_or_default();
        let up_since = Duration::from_millis(started.millis);
        let (link, events) = Link::start(LinkSettings {
            device: membership.device,
            domain: membership.domain.clone(),
            host: broker_host,
            port,
            tls,
        });
        let peers = Arc::new(Mutex::new(Peers::new(settings.peers.clone())));
        Ok(Self {
            settings,
            membership,
            key,
            journal,
            clock,
            keeper,
            foreign: Foreign::default(),
            performer,
            host,
            link,
            events,
            flow: Flow::default(),
            pending: None,
            refused: VecDeque::new(),
            arrived: VecDeque::new(),
            looking: Looking::default(),
            watched: None,
            started,
            last: None,
            done: Vec::new(),
            helpless: Helpless::default(),
            waiting: None,
            told_waiting: reporting::Told::default(),
            health_in: Duration::ZERO,
            export_at: Duration::ZERO,
            sampling: None,
            responses: Responses::default(),
            peers,
            peer_look: None,
            first_report: None,
            heard: false,
            went_back: None,
            boot: boot::Boot::default(),
            renewing: Renewing::new(renewal, up_since),
            alive_at: Some(up_since + ALIVE_AFTER),
            give_back_at: Some(up_since + AT_REST_AFTER),
        })
    }

    /// Runs until `stop`. Returns an error only when the journal can no longer be written: then nothing may be done.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        let phase = self.journal.record().phase.name();
        tracing::info!(device = %self.membership.device, name = %self.settings.name, %phase, "agent started");
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let uptime = self.uptime();
        self.flow.down(uptime);
        // Said at every start, so that the coordinator knows what runs even when nothing changes.
        self.say_where_we_are().await?;
        self.first_report = self.journal.last_sequence();
        crate::service::ready();
        while !stop.is_cancelled() {
            let facts = self.look().await;
            match decide(&self.journal.record().phase, &facts, &self.settings.policy) {
                Decision::Remember(phase) => self.remember(phase).await?,
                Decision::Do(action) => self.act(action, &mut tick, &stop).await?,
                Decision::Wait(waiting) => self.rest(waiting, &mut tick, &stop).await?,
            }
        }
        tracing::info!("agent stopped");
        Ok(())
    }

    /// Commits the phase with the report that tells of it.
    async fn remember(&mut self, phase: Phase) -> Result<(), AgentError> {
        let mut record = self.journal.record().clone();
        let before = record.phase.name();
        record.enter(phase);
        let (name, outcome) = (record.phase.name(), record.phase.outcome().cloned());
        self.forget();
        self.waiting = None;
        if name == before {
            return self.write(record, Vec::new()).await;
        }
        self.helpless = Helpless::default();
        let swap = record.phase.swap();
        if let (Some(Outcome::Verified { .. }), Some(swap)) = (&outcome, swap) {
            self.boot.is_verified(&swap.new.manifest_sha256);
        }
        if matches!(record.phase, Phase::Idle) {
            self.boot.ask_again();
            self.give_back_at = Some(self.uptime() + AT_REST_AFTER);
        }
        let strategy = swap.map(|swap| swap.strategy);
        if let Some(outcome) = &outcome {
            tracing::info!(phase = %name, %outcome, "phase changed");
        } else {
            tracing::info!(phase = %name, ?strategy, "phase changed");
        }
        let report = self.report_of(&record, outcome);
        self.commit(record, vec![report]).await
    }

    /// Takes an action; meanwhile events and ticks are served. An order that comes in ends a fetch, which can resume.
    async fn act(
        &mut self,
        action: Action,
        tick: &mut Interval,
        stop: &CancellationToken,
    ) -> Result<(), AgentError> {
        tracing::debug!(%action, "action taken");
        crate::service::status(format_args!("{}: {action}", self.journal.record().phase.name()));
        let performer = Arc::clone(&self.performer);
        let record = self.journal.record();
        let standing_in = record.stand_in.iter().map(|stand_in| &stand_in.workload);
        let serving = record.installed.values().chain(standing_in).cloned().collect();
        let wanted = Wanted { action: action.clone(), now: self.now(), serving };
        let deed = Deed::act(&self.journal.record().phase, &action);
        deed.reach(Side::Before);
        let resumable = matches!(action, Action::Fetch { .. } | Action::Restart { .. });
        let mut work = Box::pin(async move { performer.perform(&wanted).await });
        loop {
            let interrupted = tokio::select! {
                result = &mut work => {
                    deed.reach(Side::After);
                    self.note(action, result);
                    return Ok(());
                }
                event = self.events.recv() => self.on_event(event).await?,
                _ = tick.tick() => self.on_tick().await?,
                // Any other action is waited for: stopping in the middle of a switch would be no kindness.
                () = stop.cancelled(), if resumable || self.performer.memory.is_sending() => true,
            };
            if interrupted && (resumable || self.performer.memory.is_sending()) {
                return Ok(());
            }
        }
    }

    fn note(&mut self, action: Action, result: Result<String, ActionFailure>) {
        if let Err(failure) = &result {
            tracing::warn!(%action, nature = ?failure.nature, why = %failure.text, "action failed");
        }
        let attempt = Attempt { action, result };
        let at_rest = matches!(self.journal.record().phase, Phase::Idle);
        let before_switch =
            matches!(self.journal.record().phase, Phase::Fetching { .. } | Phase::Staged { .. });
        if at_rest || (before_switch && attempt.action.is_upkeep()) {
            self.helpless.note(&attempt, &self.boot_time(), &self.settings.policy);
        }
        if attempt.result.is_ok() {
            self.done.push(attempt.action.clone());
        }
        self.last = Some(attempt);
    }

    /// After a commit or a rest what was done before says nothing any more.
    fn forget(&mut self) {
        self.last = None;
        self.done.clear();
    }

    /// Rests until something happens or it is time to look again.
    async fn rest(
        &mut self,
        waiting: WaitingOn,
        tick: &mut Interval,
        stop: &CancellationToken,
    ) -> Result<(), AgentError> {
        let span = match &waiting {
            WaitingOn::Engine
            | WaitingOn::Blockers(_)
            | WaitingOn::Ports { .. }
            | WaitingOn::Step { .. }
            | WaitingOn::Coordinator { .. } => REST_WAITING,
            WaitingOn::Draining { .. } => REST_DRAINING,
            WaitingOn::Retry { in_millis, .. } | WaitingOn::NotNow { in_millis, .. } if *in_millis > 0 => {
                Duration::from_millis(*in_millis).min(REST_IDLE)
            }
            WaitingOn::Orders | WaitingOn::Retry { .. } | WaitingOn::NotNow { .. } => REST_IDLE,
            WaitingOn::FirstGoodRound { .. } | WaitingOn::Probation { .. } | WaitingOn::Baseline { .. } => {
                self.until_next_round()
            }
        };
        self.forget();
        crate::service::status(format_args!("{}: waits on {waiting}", self.journal.record().phase.name()));
        // Whatever it waits on: what was verified is good, and a boot loader must not count it out.
        if matches!(self.journal.record().phase, Phase::Idle) {
            self.look_at_boot().await?;
        }
        self.tell_waiting(&waiting).await?;
        self.waiting = Some(waiting);
        let mut sleep = Box::pin(crate::clock::sleep(span.max(REST_MIN)));
        loop {
            let changed = tokio::select! {
                () = &mut sleep => true,
                event = self.events.recv() => self.on_event(event).await?,
                _ = tick.tick() => self.on_tick().await?,
                () = stop.cancelled() => true,
            };
            if changed {
                return Ok(());
            }
        }
    }

    /// Serves what has a time of its own. True when the loop should look again.
    async fn on_tick(&mut self) -> Result<bool, AgentError> {
        crate::service::alive();
        let uptime = self.uptime();
        if uptime >= self.export_at {
            // The journal itself is sound: a full disk must not stop the agent because of its spare copy.
            self.export_at = uptime + EXPORT_LOOK;
            if let Err(error) = self.journal.export_if_due(uptime).await {
                tracing::warn!(error = %crate::sentence(&error), "the journal could not be exported");
            }
        }
        if self.alive_at.is_some_and(|at| uptime >= at) {
            self.alive_at = match self.performer.kinds.agent_is_alive().await {
                Ok(()) => None,
                Err(failure) => {
                    tracing::warn!(why = %failure.text, "the launcher was not told that the agent is well; tried again");
                    Some(uptime + ALIVE_AGAIN)
                }
            };
        }
        let resting = matches!(self.journal.record().phase, Phase::Idle);
        if resting && self.give_back_at.take_if(|at| uptime >= *at).is_some() {
            crate::memory::give_back();
        }
        self.keep_flowing()?;
        self.look_at_certificate().await;
        self.look_at_peers();
        if resting {
            let installed = self.journal.record().installed.values();
            if self.responses.look(uptime, &self.performer, installed).await {
                // For a minute nothing asks again.
                self.give_back_at = self.give_back_at.or(Some(uptime));
            }
        } else {
            self.responses.forget();
        }
        self.health_in = self.health_in.saturating_sub(TICK);
        if self.health_in.is_zero() {
            self.health_in = self.settings.health_interval;
            self.begin_health();
        }
        self.end_health().await;
        self.look_for_root().await?;
        self.try_pending().await
    }

    /// Serves the link. True when the loop should look again.
    async fn on_event(&mut self, event: Option<LinkEvent>) -> Result<bool, AgentError> {
        match event {
            Some(LinkEvent::Up) => {
                tracing::info!(broker = %self.membership.broker, "link came up");
                self.flow.up(self.uptime());
                self.keep_flowing()?;
                self.health_in = Duration::ZERO;
                Ok(false)
            }
            Some(LinkEvent::Down(why)) => {
                if self.flow.is_up() {
                    tracing::warn!(%why, "link was lost");
                } else if self.flow.complain() {
                    tracing::warn!(%why, "link did not come up; it is tried again");
                } else {
                    tracing::debug!(%why, "link did not come up");
                }
                self.flow.down(self.uptime());
                Ok(false)
            }
            Some(LinkEvent::Order(envelope)) => self.on_order(envelope).await,
            Some(LinkEvent::Ack(envelope)) => {
                self.on_ack(&envelope).await?;
                Ok(false)
            }
            Some(LinkEvent::AuditHead(envelope)) => {
                self.on_audit_head(&envelope).await?;
                Ok(false)
            }
            // The link's task cannot end before the agent drops it.
            None => Ok(false),
        }
    }

    fn boot_time(&self) -> BootTime {
        self.host.boot_time().expect("Linux has had CLOCK_BOOTTIME since 2.6.39")
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.boot_time().millis)
    }

    /// One commit, then the outbox flows.
    async fn commit(&mut self, record: Record, reports: Vec<Report>) -> Result<(), AgentError> {
        self.write(record, reports).await?;
        self.keep_flowing()?;
        Ok(())
    }

    async fn write(&mut self, record: Record, reports: Vec<Report>) -> Result<(), AgentError> {
        let deed = Deed::commit(self.journal.record(), &record);
        deed.reach(Side::Before);
        self.journal.commit(record, reports, &self.key).await?;
        deed.reach(Side::After);
        Ok(())
    }
}

fn performer(
    settings: &Settings,
    membership: &Membership,
    key: SigningKey,
    tls: &Arc<rustls::ClientConfig>,
    stop: &CancellationToken,
) -> Result<Performer, AgentError> {
    let adapter =
        |what| move |error: &dyn std::error::Error| AgentError::Adapter { what, why: crate::sentence(error) };
    let variables = RoleVariables {
        own: Variables(settings.vars.clone()),
        stand_in: Variables(settings.stand_in_vars.clone()),
    };
    let engine = Engine::new(EngineSettings {
        socket: settings.docker_socket.clone(),
        device: membership.device,
        name: settings.name.clone(),
        variables,
        latch: settings
            .latch
            .clone()
            .map(|program| LatchSettings { program, folder: settings.state_dir.join("latch") }),
    });
    let artifacts = ArtifactStore::open(&settings.state_dir.join("artifacts"))
        .map_err(|error| adapter("the artifact folder")(&error))?;
    let client = Client::new(&settings.coordinator, Arc::clone(tls))
        .map_err(|error| adapter("the connection to the coordinator")(&error))?;
    let memory = MemoryTravel {
        device: membership.device,
        key,
        folder: settings.state_dir.join("memory"),
        restore_from: settings.restore_from.clone(),
        reserve_bytes: settings.policy.reserve_disk_bytes,
        sending: AtomicBool::new(false),
    };
    if let Err(error) = memory.tidy() {
        tracing::warn!(error = crate::sentence(&error), "memory on its way was not removed");
    }
    Ok(Performer {
        engine,
        artifacts,
        client,
        budget: Budget::open(settings.link, &settings.state_dir),
        kinds: Kinds::new(settings.kinds.clone()),
        ports: Ports::new(membership.device).map_err(|error| adapter("the published ports")(&error))?,
        hooks: Hooks::new(hook_settings(settings, membership)),
        memory,
        restarter: Restarter { reboot: settings.reboot.clone(), stop: stop.clone() },
    })
}

fn hook_settings(settings: &Settings, membership: &Membership) -> HookSettings {
    let capitals = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    let mut environment: BTreeMap<String, String> = settings
        .vars
        .iter()
        .map(|(name, value)| (format!("TAKT_VAR_{}", capitals(name)), value.clone()))
        .collect();
    environment.insert("TAKT_DEVICE".to_owned(), membership.device.to_string());
    environment.insert("TAKT_NAME".to_owned(), settings.name.to_string());
    let socket = settings.docker_socket.to_string_lossy().into_owned();
    environment.insert("TAKT_DOCKER_SOCKET".to_owned(), socket);
    HookSettings { folder: settings.state_dir.join("hooks"), environment }
}
