//! A device: the real `decide` over a real record, on a machine that may lose power and an agent that may be killed at
//! any step.

use std::collections::{BTreeSet, VecDeque};
use std::mem::discriminant;

use takt_agent::probe::Watch;
use takt_agent_core::rules::{self, Refusal, Standing};
use takt_agent_core::{
    Accepted, Action, Attempt, BootTime, Decision, Phase, Policy, Record, WaitingOn, Workload, decide,
};
use takt_common::envelope::Signers;
use takt_common::order::Position;
use takt_common::report::{Outcome, Refused, Report};
use takt_common::{DeviceId, Name, Sha256Digest, UnixTime};

use crate::machine::Machine;
use crate::plan::{Chance, Sabotage, Temper};
use crate::promises;
use crate::releases::{self, NEW, OLD, TARGETS, name};

/// How long the loop rests when all is well, when it waits on something, and after a try, in milliseconds.
const REST_IDLE: u64 = 20_000;
const REST_WAITING: u64 = 1_000;
const REST_RETRY: u64 = 5_000;

/// What the clock of the world shows at its beginning, in seconds since 1970.
const BEGINNING: u64 = 1_900_000_000;

/// How often one device is cut at the most: with no limit it would never get anything done.
const CUTS_MAX: u32 = 8;

/// The trusted time at `now` milliseconds of the world.
pub(crate) fn time(now: u64) -> UnixTime {
    UnixTime::from_secs(BEGINNING + now / 1_000)
}

/// How an agent is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    PowerBefore,
    PowerAfter,
    KillBefore,
    KillAfter,
}

/// What the device is at.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// Without power.
    Off { until: u64 },
    /// Its agent is about to be started again.
    Killed { until: u64 },
    /// Looks again then.
    Resting { until: u64 },
    /// An action is under way.
    Acting { action: Action, until: u64, cut: Option<Cut> },
}

/// The connection to the coordinator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// Grows with every connection.
    pub(crate) session: u64,
    /// When the next connection is tried.
    pub(crate) retry_at: u64,
    sent: Option<u64>,
    acknowledged: Option<u64>,
    moved_at: u64,
}

/// A device.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) temper: Temper,
    pub(crate) machine: Machine,
    pub(crate) record: Record,
    pub(crate) outbox: VecDeque<Report>,
    pub(crate) link: Link,
    pub(crate) doing: Doing,
    /// How every order ended, as committed.
    pub(crate) ended: Vec<(Position, Outcome)>,
    /// Every order that was accepted.
    pub(crate) accepted: Vec<Position>,
    /// What ran, by its memory, when the order in hand was taken up, and how often the device had been cut.
    pub(crate) before: (Option<u64>, u32),
    pub(crate) cuts: Vec<Cut>,
    pub(crate) refusals: Vec<&'static str>,
    /// Whether nobody heard of it for a while, by its plan.
    pub(crate) was_silent: bool,
    pub(super) boots: u64,
    pub(super) booted_at: u64,
    pub(super) watch: Option<(String, Watch, u64)>,
    /// When its agent began.
    pub(super) started: BootTime,
    pub(super) last: Option<Attempt>,
    /// What has succeeded since the last commit of a phase or the last rest.
    pub(super) done: Vec<Action>,
    sequence: u64,
    told: Option<WaitingOn>,
    refused: BTreeSet<Sha256Digest>,
    /// In percent of steps.
    pub(crate) cutting: u64,
    hardware: Name,
}

impl Device {
    pub(crate) fn new(id: DeviceId, temper: Temper, cutting: u64) -> Self {
        let mut device = Self {
            id,
            temper,
            machine: Machine::new(temper),
            record: Record::default(),
            outbox: VecDeque::new(),
            link: Link::default(),
            doing: Doing::Killed { until: 0 },
            ended: vec![],
            accepted: vec![],
            before: (None, 0),
            cuts: vec![],
            refusals: vec![],
            was_silent: temper.silent_from.is_some(),
            boots: 1,
            booted_at: 0,
            watch: None,
            started: BootTime::default(),
            last: None,
            done: vec![],
            sequence: 0,
            told: None,
            refused: BTreeSet::new(),
            cutting,
            hardware: name("pi"),
        };
        let release = match temper.runs {
            0 => return device,
            1 => &*OLD,
            _ => &*NEW,
        };
        let workload_name = takt_agent_core::WorkloadName(format!("takt-{id}-counter-g0"));
        device.machine.install(workload_name.container(None), release.image);
        let (manifest, manifest_sha256) = (release.manifest.clone(), release.digest);
        device.record.highest.insert(releases::component(), manifest.counter);
        let workload = Workload { manifest, manifest_sha256, name: workload_name };
        device.record.installed.insert(releases::component(), workload);
        device
    }

    /// What it has installed, if anything.
    pub(crate) fn installed(&self) -> Option<&Workload> {
        self.record.installed.get(&releases::component())
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.doing, Doing::Resting { .. } | Doing::Acting { .. })
    }

    /// Whether nothing is left to be done or told.
    pub(crate) fn is_at_rest(&self) -> bool {
        let idle = self.record.phase == Phase::Idle && self.record.next.is_none();
        idle && self.outbox.is_empty() && matches!(self.doing, Doing::Resting { .. })
    }

    pub(crate) const fn wake_at(&self) -> u64 {
        match &self.doing {
            Doing::Off { until }
            | Doing::Killed { until }
            | Doing::Resting { until }
            | Doing::Acting { until, .. } => *until,
        }
    }

    /// The action whose effect is due now.
    pub(crate) fn imminent(&self) -> Option<&Action> {
        match &self.doing {
            Doing::Acting { action, cut, .. } if !matches!(cut, Some(Cut::PowerBefore | Cut::KillBefore)) => {
                Some(action)
            }
            _ => None,
        }
    }

    /// No more trouble on this device.
    pub(crate) fn heal(&mut self) {
        self.cutting = 0;
        self.temper.silent_from = None;
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, now: u64, chance: &mut Chance) {
        self.machine.age(now);
        match self.doing.clone() {
            Doing::Off { .. } => {
                self.machine.boot(now);
                self.boots += 1;
                self.booted_at = now;
                self.start_agent(now, chance);
            }
            Doing::Killed { .. } => self.start_agent(now, chance),
            Doing::Acting { action, cut, .. } => {
                self.doing = Doing::Resting { until: now };
                if let Some(cut @ (Cut::PowerBefore | Cut::KillBefore)) = cut {
                    return self.interrupt(cut, now, chance);
                }
                let result = self.machine.perform(&action, now).map(|()| String::new());
                if result.is_ok() {
                    self.done.push(action.clone());
                }
                self.last = Some(Attempt { action, result });
                if let Some(cut) = cut {
                    self.interrupt(cut, now, chance);
                }
            }
            Doing::Resting { .. } => self.decide(now, chance),
        }
    }

    fn decide(&mut self, now: u64, chance: &mut Chance) {
        let facts = self.look(now);
        let cut = self.draw_cut(chance);
        match decide(&self.record.phase, &facts, &Policy::default()) {
            Decision::Do(action) => {
                let took = match action {
                    Action::Fetch { .. } => chance.between(200, 3_000),
                    _ => chance.between(20, 300),
                };
                self.doing = Doing::Acting { action, until: now + took, cut };
            }
            Decision::Remember(phase) => {
                if let Some(cut @ (Cut::PowerBefore | Cut::KillBefore)) = cut {
                    return self.interrupt(cut, now, chance);
                }
                self.remember(phase, now);
                self.doing = Doing::Resting { until: now + 1 };
                if let Some(cut) = cut {
                    self.interrupt(cut, now, chance);
                }
            }
            Decision::Wait(waiting) => {
                self.forget();
                let idle = matches!(waiting, WaitingOn::Orders);
                let span = match &waiting {
                    WaitingOn::Orders => REST_IDLE,
                    WaitingOn::Engine | WaitingOn::Blockers(_) => REST_WAITING,
                    WaitingOn::Retry { in_millis, .. } if *in_millis > 0 => (*in_millis).min(REST_RETRY),
                    WaitingOn::Retry { .. } => REST_RETRY,
                    WaitingOn::FirstGoodRound { .. } | WaitingOn::Probation { .. } => {
                        let due = self.watch.as_ref().map_or(now, |(_, _, due)| *due);
                        due.saturating_sub(now).clamp(20, REST_WAITING)
                    }
                    other => panic!("releases of one container without ports do not wait on {other}"),
                };
                self.tell_waiting(waiting, now);
                self.doing = Doing::Resting { until: now + span };
                if let Some(cut) = cut.filter(|_| !idle) {
                    self.interrupt(cut, now, chance);
                }
            }
        }
    }

    fn draw_cut(&mut self, chance: &mut Chance) -> Option<Cut> {
        let often = u32::try_from(self.cuts.len()).unwrap() >= CUTS_MAX;
        if often || !chance.percent(self.cutting) {
            return None;
        }
        let kinds = [Cut::PowerBefore, Cut::PowerAfter, Cut::KillBefore, Cut::KillAfter];
        Some(kinds[usize::try_from(chance.below(4)).unwrap()])
    }

    /// Nothing but the disk outlives this.
    fn interrupt(&mut self, cut: Cut, now: u64, chance: &mut Chance) {
        self.cuts.push(cut);
        self.forget();
        (self.watch, self.told) = (None, None);
        self.refused.clear();
        self.link.up = false;
        self.doing = match cut {
            Cut::PowerBefore | Cut::PowerAfter => {
                self.machine.lose_power();
                Doing::Off { until: now + chance.between(4_000, 25_000) }
            }
            Cut::KillBefore | Cut::KillAfter => Doing::Killed { until: now + chance.between(500, 3_000) },
        };
        if self.machine.sabotage == Some(Sabotage::ForgetsReports) {
            self.outbox.clear();
        }
        let stored = serde_json::to_vec(&self.record).unwrap();
        self.record = serde_json::from_slice(&stored).unwrap();
    }

    /// Said at every start, so that the coordinator knows what runs even when nothing changes.
    fn start_agent(&mut self, now: u64, chance: &mut Chance) {
        self.started = self.boot_time(now);
        let report = self.report_of(&self.record, None, now);
        self.commit(self.record.clone(), vec![report]);
        self.doing = Doing::Resting { until: now };
        self.link.retry_at = now + chance.between(50, 1_500);
    }

    fn forget(&mut self) {
        self.last = None;
        self.done.clear();
    }

    fn remember(&mut self, phase: Phase, now: u64) {
        let mut record = self.record.clone();
        let before = record.phase.name();
        record.enter(phase);
        self.forget();
        self.told = None;
        if record.phase.name() == before {
            return self.commit(record, vec![]);
        }
        if matches!(record.phase, Phase::Fetching { .. } | Phase::GivingMemory { .. }) {
            let runs = self.machine.running(takt_agent_core::Role::Own);
            let memory = runs.first().map(|(_, sandbox)| sandbox.memory);
            self.before = (memory, u32::try_from(self.cuts.len()).unwrap());
        }
        let mut outcome = record.phase.outcome().cloned();
        let lies = self.machine.sabotage == Some(Sabotage::Lies);
        if lies && matches!(outcome, Some(Outcome::RolledBack { .. })) {
            outcome = Some(Outcome::Verified { strategy: None });
        }
        if let (Some(outcome), Some(job)) = (&outcome, record.phase.job()) {
            promises::check_outcome(self, &record, job, outcome);
            self.ended.push((job.accepted.order.position(), outcome.clone()));
        }
        let report = self.report_of(&record, outcome, now);
        self.commit(record, vec![report]);
    }

    fn tell_waiting(&mut self, waiting: WaitingOn, now: u64) {
        let new = self.told.as_ref().is_none_or(|told| discriminant(told) != discriminant(&waiting));
        let worth = matches!(waiting, WaitingOn::Engine | WaitingOn::Blockers(_) | WaitingOn::Retry { .. });
        if new && worth {
            let mut report = self.report_of(&self.record, None, now);
            report.waiting_on = Some(waiting.to_string());
            self.commit(self.record.clone(), vec![report]);
        }
        self.told = Some(waiting);
    }

    /// One commit: the record and the reports that tell of its change.
    fn commit(&mut self, record: Record, reports: Vec<Report>) {
        self.record = record;
        for mut report in reports {
            self.sequence += 1;
            report.sequence = self.sequence;
            self.outbox.push_back(report);
        }
    }

    /// An order's envelope arrives: every device rule, then it is on disk, then anything may happen.
    pub(crate) fn on_order(&mut self, envelope: &[u8], signers: &Signers, now: u64, chance: &mut Chance) {
        let digest = Sha256Digest::of(envelope);
        if self.refused.contains(&digest) {
            return;
        }
        let highest = self.record.highest.clone();
        let standing = Standing {
            me: self.id,
            hardware: &self.hardware,
            domain: &self.hardware,
            signers,
            epoch: 1,
            last: self.record.last_position,
            highest: &highest,
            way_back: self.record.way_back(),
            counter_signers: None,
            nonces: &[],
            time_floor: self.record.time_floor,
            now: time(now),
        };
        let judged =
            rules::address(envelope, &standing).and_then(|addressed| addressed.accept(&*TARGETS, &standing));
        let accepted = match judged {
            Ok(accepted) => accepted,
            Err(Refusal::NeverOlder { found, last, digest })
                if found == last && self.record.last_order == Some(digest) =>
            {
                return;
            }
            Err(refusal) => {
                self.refused.insert(digest);
                self.refusals.push(refusal.rule());
                let mut report = self.report_of(&self.record, None, now);
                let (rule, why) = (refusal.rule().to_owned(), refusal.to_string());
                report.refused = Some(Refused { envelope: digest, rule, why });
                return self.commit(self.record.clone(), vec![report]);
            }
        };
        assert!(self.accepted.last().is_none_or(|last| *last < accepted.order.position()), "never-older");
        self.accepted.push(accepted.order.position());
        let mut record = self.record.clone();
        let mut reports = Vec::new();
        if let Some(replaced) = record.accept(accepted) {
            let mut report = self.report_of(&record, Some(Outcome::Withdrawn), now);
            report.order = Some(replaced.order_ref());
            self.ended.push((replaced.order.position(), Outcome::Withdrawn));
            reports.push(report);
        }
        let mut report = self.report_of(&record, None, now);
        report.order = record.next.as_ref().map(Accepted::order_ref);
        reports.push(report);
        self.commit(record, reports);
        // A fetch is given up for the order; any other action goes on to its end.
        let interruptible =
            matches!(&self.doing, Doing::Resting { .. } | Doing::Acting { action: Action::Fetch { .. }, .. });
        if interruptible {
            self.doing = Doing::Resting { until: now };
        }
        if let Some(cut) = self.draw_cut(chance) {
            self.interrupt(cut, now, chance);
        }
    }

    pub(crate) fn connect(&mut self, now: u64) {
        let session = self.link.session + 1;
        self.link = Link { up: true, session, moved_at: now, ..Link::default() };
    }

    /// Whether reports are on their way and nothing has been acknowledged for too long.
    pub(crate) fn is_stalled(&self, now: u64) -> bool {
        const STALLED_AFTER: u64 = 20_000;
        let on_the_way = self.link.sent.is_some() && self.link.sent != self.link.acknowledged;
        self.link.up && on_the_way && now - self.link.moved_at > STALLED_AFTER
    }

    /// The reports that go out now.
    pub(crate) fn flow(&mut self, now: u64) -> Vec<Report> {
        const WINDOW: usize = 8;
        if !self.link.up || !self.is_up() {
            return vec![];
        }
        let sent = self.link.sent;
        let waiting = self.outbox.iter().take(WINDOW);
        let due: Vec<Report> =
            waiting.filter(|report| sent.is_none_or(|sent| report.sequence > sent)).cloned().collect();
        if let Some(newest) = due.last() {
            if self.link.sent == self.link.acknowledged {
                self.link.moved_at = now;
            }
            self.link.sent = Some(newest.sequence);
        }
        due
    }

    /// The coordinator has everything up to `sequence` on disk.
    pub(crate) fn on_ack(&mut self, sequence: u64, now: u64) {
        if self.link.sent.is_none_or(|sent| sequence > sent) {
            return;
        }
        self.outbox.retain(|report| report.sequence > sequence);
        self.link.acknowledged = self.link.acknowledged.max(Some(sequence));
        self.link.moved_at = now;
    }
}
