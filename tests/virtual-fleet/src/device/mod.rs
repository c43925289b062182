//! One virtual agent: look, decide, then remember or act, as the loop of the real agent does, but without its tick: it
//! sleeps until something is due.

mod health;
mod intake;
mod look;
mod outbox;
mod reporting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use takt_agent::link::{Link, LinkEvent, LinkSettings};
use takt_agent_core::{
    Action, ActionFailure, Attempt, BootTime, Decision, Helpless, Nature, Phase, Record, WaitingOn, decide,
};
use takt_common::order::Position;
use takt_common::report::{Outcome, Report};
use takt_common::{DeviceId, Name, Sha256Digest, SigningKey, UnixTime};
use tokio::sync::mpsc;

use crate::clock;
use crate::enrolment::Enrolled;
use crate::site::Site;
use crate::tally::more;
use intake::Pending;
use look::Watched;
use outbox::{Flow, Outbox};

/// How long the loop rests when all is well: an event ends it, and nothing here breaks by itself.
const REST_IDLE: Duration = Duration::from_hours(1);
/// How long it rests when it waits on something that it must look for.
const REST_WAITING: Duration = Duration::from_secs(1);
/// How long it rests at the most before it tries again what has failed.
const REST_RETRY: Duration = Duration::from_secs(5);
/// The shortest rest, so that no mistake turns the loop into a busy one.
const REST_MIN: Duration = Duration::from_millis(20);
/// How long any action but a fetch takes, in milliseconds.
const ACT_MILLIS: std::ops::Range<u64> = 5..50;
/// How many refused envelopes are remembered, so that each is reported once.
const REFUSED_MAX: usize = 32;

/// A virtual agent with its machine.
pub(crate) struct Device {
    site: Arc<Site>,
    /// Its number in the fleet.
    number: u64,
    id: DeviceId,
    domain: Name,
    key: SigningKey,
    boot_id: String,
    record: Record,
    outbox: Outbox,
    flow: Flow,
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    pending: Option<Pending>,
    refused: VecDeque<Sha256Digest>,
    machine: crate::machine::Machine,
    watched: Option<Watched>,
    started: BootTime,
    last: Option<Attempt>,
    /// What has succeeded since the last commit of a phase or the last rest.
    done: Vec<Action>,
    helpless: Helpless,
    waiting: Option<WaitingOn>,
    told_waiting: reporting::Told,
    /// When the next health sample is due.
    health_at: Duration,
    /// When it reports next although it has nothing to tell.
    beat_at: Option<Duration>,
    /// Whether the coordinator has acknowledged anything.
    heard: bool,
    /// The last order of each release that ended verified, for the count of what was done twice.
    verified: BTreeMap<Sha256Digest, Position>,
}

impl Device {
    /// Starts its link after `delay`.
    pub(crate) async fn begin(site: Arc<Site>, enrolled: Enrolled, delay: Duration) -> Self {
        clock::sleep(delay).await;
        let Enrolled { number, key, device, domain, host, port, tls } = enrolled;
        let (link, events) = Link::start(LinkSettings { device, domain: domain.clone(), host, port, tls });
        let boot_id = format!("virtual-{:016x}", fastrand::u64(..));
        let uptime = site.uptime.now();
        Self {
            number,
            id: device,
            domain,
            key,
            started: boot_time(&boot_id, uptime),
            boot_id,
            record: Record::default(),
            outbox: Outbox::default(),
            flow: Flow::begin(uptime),
            link,
            events,
            pending: None,
            refused: VecDeque::new(),
            machine: crate::machine::Machine::default(),
            watched: None,
            last: None,
            done: Vec::new(),
            helpless: Helpless::default(),
            waiting: None,
            told_waiting: reporting::Told::default(),
            health_at: Duration::ZERO,
            beat_at: None,
            heard: false,
            verified: BTreeMap::new(),
            site,
        }
    }

    /// Goes on until its task is aborted.
    pub(crate) async fn run(mut self) {
        // Said at every start, so that the coordinator knows what runs even when nothing changes.
        let report = self.report_of(&self.record, None);
        self.commit(self.record.clone(), vec![report]);
        loop {
            let facts = self.look();
            match decide(&self.record.phase, &facts, &self.site.policy) {
                Decision::Remember(phase) => self.remember(phase),
                Decision::Do(action) => self.act(action).await,
                Decision::Wait(waiting) => self.rest(waiting).await,
            }
        }
    }

    /// Commits the phase with the report that tells of it.
    fn remember(&mut self, phase: Phase) {
        let mut record = self.record.clone();
        let before = record.phase.name();
        record.enter(phase);
        self.forget();
        self.waiting = None;
        if record.phase.name() == before {
            return self.commit(record, Vec::new());
        }
        self.helpless = Helpless::default();
        let outcome = record.phase.outcome().cloned();
        if let Some(outcome) = &outcome {
            self.ended(&record, outcome);
        }
        let report = self.report_of(&record, outcome);
        self.commit(record, vec![report]);
    }

    /// Counts the end of the order in hand.
    fn ended(&mut self, record: &Record, outcome: &Outcome) {
        self.site.tally.ended(outcome);
        let (Outcome::Verified { .. }, Some(job), Some(swap)) =
            (outcome, record.phase.job(), record.phase.swap())
        else {
            return;
        };
        let verified = swap.new.manifest_sha256;
        if self.verified.insert(verified, job.accepted.order.position()).is_some() {
            more(&self.site.tally.twice);
        }
        // What ran before may be ordered again, to go back to it.
        self.verified.retain(|release, _| *release == verified);
    }

    /// Takes an action; meanwhile what is due and what comes in is served. An order that comes in ends a fetch.
    async fn act(&mut self, action: Action) {
        let fetches = matches!(action, Action::Fetch { .. });
        let took = if fetches {
            let fetch = &self.site.fetch;
            fetch.start + fetch.end.saturating_sub(fetch.start).mul_f64(fastrand::f64())
        } else {
            Duration::from_millis(fastrand::u64(ACT_MILLIS))
        };
        let until = self.uptime() + took;
        while self.serve(until).await {
            if fetches {
                return;
            }
        }
        let result = self.perform(&action).await.map(|()| String::new());
        self.note(Attempt { action, result });
    }

    async fn perform(&mut self, action: &Action) -> Result<(), ActionFailure> {
        if let Action::Fetch { sha256, .. } = action
            && self.ordered_manifest() == Some(*sha256)
            && let Err(text) = self.site.fetch_manifest(sha256).await
        {
            return Err(ActionFailure { nature: Nature::Transient, text });
        }
        let release = self.record.phase.swap().map(|swap| swap.new.manifest.release.clone());
        let before = self.machine.runs.clone();
        if matches!(action, Action::Apply { .. }) && release.is_some() && release == before {
            more(&self.site.tally.twice);
        }
        self.machine.perform(action, release.as_ref())?;
        if self.machine.runs != before {
            self.site.tally.changed(before.as_ref(), self.machine.runs.as_ref());
        }
        Ok(())
    }

    fn note(&mut self, attempt: Attempt) {
        let phase = &self.record.phase;
        let before_switch = matches!(phase, Phase::Fetching { .. } | Phase::Staged { .. });
        if matches!(phase, Phase::Idle) || (before_switch && attempt.action.is_upkeep()) {
            let now = self.boot_time();
            self.helpless.note(&attempt, &now, &self.site.policy);
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
    async fn rest(&mut self, waiting: WaitingOn) {
        let span = match &waiting {
            WaitingOn::Orders => REST_IDLE,
            WaitingOn::Retry { in_millis, .. } | WaitingOn::NotNow { in_millis, .. } if *in_millis > 0 => {
                Duration::from_millis(*in_millis).min(REST_RETRY)
            }
            WaitingOn::Retry { .. } | WaitingOn::NotNow { .. } => REST_RETRY,
            WaitingOn::FirstGoodRound { .. } | WaitingOn::Probation { .. } | WaitingOn::Baseline { .. } => {
                self.until_next_round()
            }
            _ => REST_WAITING,
        };
        self.forget();
        self.tell_waiting(&waiting);
        self.waiting = Some(waiting);
        self.serve(self.uptime() + span.max(REST_MIN)).await;
    }

    /// Serves what is due and what comes in until `until`. True when an order was accepted before.
    async fn serve(&mut self, until: Duration) -> bool {
        loop {
            if self.do_what_is_due().await {
                return true;
            }
            let uptime = self.uptime();
            if uptime >= until {
                return false;
            }
            let next = self.next_due().map_or(until, |due| due.min(until));
            let accepted = tokio::select! {
                event = self.events.recv() => self.on_event(event).await,
                () = clock::sleep(next.saturating_sub(uptime)) => false,
            };
            if accepted {
                return true;
            }
        }
    }

    /// When something is due that has a time of its own.
    fn next_due(&self) -> Option<Duration> {
        let health = self.flow.is_up().then_some(self.health_at);
        [health, self.beat_at, self.flow.due(&self.outbox), self.pending_due()].into_iter().flatten().min()
    }

    /// True when an order was accepted.
    async fn do_what_is_due(&mut self) -> bool {
        self.keep_flowing();
        if self.flow.is_up() && self.uptime() >= self.health_at {
            self.send_health();
        }
        self.beat();
        self.try_pending().await
    }

    /// Reports although there is nothing to tell, where that is wanted; the first time at any moment, so that devices take turns.
    fn beat(&mut self) {
        let uptime = self.uptime();
        match (self.site.beat(), self.beat_at) {
            (None, _) => self.beat_at = None,
            (Some(every), None) => self.beat_at = Some(uptime + every.mul_f64(fastrand::f64())),
            (Some(every), Some(at)) if uptime >= at => {
                self.beat_at = Some(uptime.max(at + every));
                let report = self.report_of(&self.record, None);
                self.commit(self.record.clone(), vec![report]);
            }
            (Some(_), Some(_)) => {}
        }
    }

    /// Serves the link. True when an order was accepted.
    async fn on_event(&mut self, event: Option<LinkEvent>) -> bool {
        match event {
            Some(LinkEvent::Up) => {
                self.set_connected(true);
                self.flow = Flow::up(self.uptime());
                self.health_at = Duration::ZERO;
                self.keep_flowing();
            }
            Some(LinkEvent::Down(_)) => {
                self.set_connected(false);
                self.flow = Flow::begin(self.uptime());
            }
            Some(LinkEvent::Order(envelope)) => return self.on_order(envelope).await,
            Some(LinkEvent::Ack(envelope)) => self.on_ack(&envelope),
            // A head only matters where something is kept on disk; the link's task cannot end before the agent drops it.
            Some(LinkEvent::AuditHead(_)) | None => {}
        }
        false
    }

    /// Counts a change of the link.
    fn set_connected(&self, connected: bool) {
        let tally = &self.site.tally;
        match (self.flow.is_up(), connected) {
            (false, true) => more(&tally.connected),
            (true, false) => {
                tally.connected.fetch_sub(1, Ordering::Relaxed);
                more(&tally.lost);
                if self.flow.is_answered() {
                    tally.back.fetch_sub(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    /// One commit, then the outbox flows.
    fn commit(&mut self, record: Record, reports: Vec<Report>) {
        let made = self.outbox.add(reports, &self.key, self.site.uptime.now(), &mut self.flow);
        self.site.tally.reports.fetch_add(made, Ordering::Relaxed);
        self.record = record;
        self.keep_flowing();
    }

    fn uptime(&self) -> Duration {
        self.site.uptime.now()
    }

    fn boot_time(&self) -> BootTime {
        boot_time(&self.boot_id, self.uptime())
    }

    /// The device's trusted time.
    fn now(&self) -> UnixTime {
        let wall = takt_agent::clock::wall();
        takt_agent::clock::trusted(self.record.time_floor, wall, self.uptime())
    }
}

fn boot_time(boot_id: &str, uptime: Duration) -> BootTime {
    let millis = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
    BootTime { boot_id: boot_id.to_owned(), millis }
}
