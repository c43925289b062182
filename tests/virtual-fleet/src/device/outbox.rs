//! The flow of reports: numbered, linked and signed when they are made, sent while the link is up, gone on a signed
//! acknowledgement. The same rules as in the journal and the outbox of the real agent.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use takt_agent::journal::OUTBOX_MAX;
use takt_common::digest::to_hex;
use takt_common::envelope::PayloadType;
use takt_common::report::{Ack, Report};
use takt_common::{Envelope, Sha256Digest, SigningKey, strict_json};

use super::Device;
use crate::tally::more;

/// Reports on the way at once.
const WINDOW: usize = 8;
/// When this many reports wait, only those that end or refuse an order are added.
const OUTBOX_BUSY: usize = 256;
/// How many of the latest nonces an answer may name.
const NONCES: usize = 8;
/// An up link over which nothing was acknowledged for so long is built anew.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// A link that neither came up nor said that it was lost for so long is built anew.
const SILENT_AFTER: Duration = Duration::from_mins(2);
/// When the link has no room, it is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// An acknowledgement moves the time floor when it is so much ahead.
const FLOOR_STEP: Duration = Duration::from_mins(1);
/// The furthest leap of the time floor that one acknowledgement makes.
const LEAP_MAX: Duration = Duration::from_hours(2 * 365 * 24);

/// Reports that wait for their acknowledgement, and where their chain stands.
#[derive(Debug)]
pub(super) struct Outbox {
    next_sequence: u64,
    previous: Option<Sha256Digest>,
    nonces: VecDeque<String>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    envelope: Vec<u8>,
    /// Uptime.
    made: Duration,
}

impl Default for Outbox {
    /// Reports count from 1.
    fn default() -> Self {
        Self { next_sequence: 1, previous: None, nonces: VecDeque::new(), waiting: VecDeque::new() }
    }
}

impl Outbox {
    /// Adds reports, as many as there is room for, and says how many those were.
    pub(super) fn add(
        &mut self,
        reports: Vec<Report>,
        key: &SigningKey,
        uptime: Duration,
        flow: &mut Flow,
    ) -> u64 {
        if self.waiting.is_empty() {
            flow.moved_at = flow.moved_at.max(uptime);
        }
        let mut made = 0;
        for mut report in reports {
            let room = match (&report.outcome, &report.refused) {
                (Some(_), _) => true,
                (None, Some(_)) => self.waiting.len() < OUTBOX_MAX,
                (None, None) => self.waiting.len() < OUTBOX_BUSY,
            };
            if !room {
                continue;
            }
            report.sequence = self.next_sequence;
            report.previous_report_digest = self.previous;
            report.nonce = nonce();
            let payload = report.to_bytes();
            self.next_sequence += 1;
            self.previous = Some(Sha256Digest::of(&payload));
            self.nonces.push_back(report.nonce);
            while self.nonces.len() > NONCES {
                self.nonces.pop_front();
            }
            let envelope = Envelope::seal(PayloadType::Report, &payload, &[key]).to_bytes();
            self.waiting.push_back(Waiting { sequence: report.sequence, envelope, made: uptime });
            made += 1;
        }
        made
    }

    /// Nonces of the latest reports.
    pub(super) fn nonces(&self) -> Vec<String> {
        self.nonces.iter().cloned().collect()
    }

    /// Whether no further order is taken in until some reports have been acknowledged.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= OUTBOX_MAX
    }

    /// Forgets the reports up to and with `sequence`, and says when those were made.
    fn acknowledged(&mut self, sequence: u64) -> Vec<Duration> {
        let gone = self.waiting.partition_point(|waiting| waiting.sequence <= sequence);
        self.waiting.drain(..gone).map(|waiting| waiting.made).collect()
    }
}

fn nonce() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("Linux gives random numbers once it has booted");
    to_hex(&bytes)
}

/// What is on the way.
#[derive(Debug)]
pub(super) struct Flow {
    up: bool,
    /// Whether anything was acknowledged over this link.
    answered: bool,
    /// The last report sent over this link.
    sent: Option<u64>,
    /// Uptime at the last sign of life: a change of the link, an empty outbox, or an acknowledgement.
    moved_at: Duration,
    /// When it is tried again to send what the link had no room for.
    again_at: Option<Duration>,
}

impl Flow {
    /// The link is not up yet, or was lost.
    pub(super) const fn begin(uptime: Duration) -> Self {
        Self { up: false, answered: false, sent: None, moved_at: uptime, again_at: None }
    }

    /// The link came up.
    pub(super) const fn up(uptime: Duration) -> Self {
        Self { up: true, ..Self::begin(uptime) }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// When the link is to be looked at.
    pub(super) fn due(&self, outbox: &Outbox) -> Option<Duration> {
        if self.up && outbox.waiting.is_empty() {
            return None;
        }
        let limit = self.moved_at + self.limit();
        Some(self.again_at.map_or(limit, |again| again.min(limit)))
    }

    const fn limit(&self) -> Duration {
        if self.up { STALLED_AFTER } else { SILENT_AFTER }
    }
}

impl Device {
    /// Sends what waits, and rebuilds a link that passes nothing on, or that has fallen silent on its way up.
    pub(super) fn keep_flowing(&mut self) {
        let uptime = self.uptime();
        if self.flow.up && self.outbox.waiting.is_empty() {
            self.flow.moved_at = uptime;
            return;
        }
        if uptime >= self.flow.moved_at + self.flow.limit() {
            self.set_connected(false);
            self.flow = Flow::begin(uptime);
            self.link.rebuild();
            return;
        }
        self.flow.again_at = None;
        if !self.flow.up {
            return;
        }
        for Waiting { sequence, envelope, .. } in self.outbox.waiting.iter().take(WINDOW) {
            if self.flow.sent.is_some_and(|sent| *sequence <= sent) {
                continue;
            }
            if !self.link.send_report(envelope.clone()) {
                self.flow.again_at = Some(uptime + AGAIN_AFTER);
                break;
            }
            self.flow.sent = Some(*sequence);
        }
    }

    /// Forgets what the coordinator has on disk. An acknowledgement that is not signed by the order keys, or not for
    /// what this device has sent, counts for nothing.
    pub(super) fn on_ack(&mut self, envelope: &[u8]) {
        let signers = self.site.trust().director.order_signers();
        let opened =
            Envelope::from_bytes(envelope).and_then(|envelope| envelope.open(PayloadType::Ack, &signers));
        let Ok(payload) = opened else { return };
        let Ok(ack) = strict_json::from_slice::<Ack>(&payload, payload.len()) else { return };
        if ack.device != self.id || self.flow.sent.is_none_or(|sent| ack.sequence > sent) {
            return;
        }
        let made = self.outbox.acknowledged(ack.sequence);
        self.site.tally.acknowledged.fetch_add(made.len() as u64, Ordering::Relaxed);
        let uptime = self.uptime();
        if self.site.beat().is_some() {
            self.site.tally.answered(made.into_iter().map(|made| uptime.saturating_sub(made)));
        }
        self.heard = true;
        self.flow.moved_at = uptime;
        if !self.flow.answered {
            self.flow.answered = true;
            more(&self.site.tally.back);
        }
        // Only the answer to a nonce of ours is fresh evidence of the time.
        if self.outbox.nonces.contains(&ack.nonce) && ack.time > self.record.time_floor + FLOOR_STEP {
            self.record.time_floor = ack.time.min(self.now() + LEAP_MAX);
        }
        self.keep_flowing();
    }
}
