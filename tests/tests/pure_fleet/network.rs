//! The network between coordinator and devices: connections that break with what is on its way, and orders and
//! acknowledgements that get lost, come twice, come late and overtake each other.
//!
//! Reports of one connection stay in order, as TCP keeps them, and a connection that breaks delivers a beginning of
//! them, maybe long after the next one is up; so they come twice and overtaken across connections.

use takt_common::report::Report;

use crate::plan::{Chance, Trouble};

/// To a device.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Order(Vec<u8>),
    Ack(u64),
}

/// On its way up.
struct Up {
    at: u64,
    device: usize,
    session: u64,
    report: Report,
}

/// On its way down.
struct Down {
    at: u64,
    device: usize,
    message: Message,
}

/// How much of what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses {
    pub(crate) reports_lost: usize,
    pub(crate) reports_repeated: usize,
    pub(crate) reports_overtaken: usize,
    pub(crate) orders_lost: usize,
    pub(crate) orders_repeated: usize,
    pub(crate) orders_late: usize,
    pub(crate) acks_lost: usize,
    pub(crate) breaks: usize,
}

pub(crate) struct Network {
    up: Vec<Up>,
    down: Vec<Down>,
    pub(crate) trouble: Trouble,
    pub(crate) losses: Losses,
}

impl Network {
    pub(crate) const fn new(trouble: Trouble) -> Self {
        let losses = Losses {
            reports_lost: 0,
            reports_repeated: 0,
            reports_overtaken: 0,
            orders_lost: 0,
            orders_repeated: 0,
            orders_late: 0,
            acks_lost: 0,
            breaks: 0,
        };
        Self { up: vec![], down: vec![], trouble, losses }
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.up.iter().map(|up| up.at).chain(self.down.iter().map(|down| down.at)).min()
    }

    /// Behind all that was sent over the same connection.
    pub(crate) fn send_up(
        &mut self,
        device: usize,
        session: u64,
        report: Report,
        now: u64,
        chance: &mut Chance,
    ) {
        let same = self.up.iter().filter(|up| up.device == device && up.session == session);
        let behind = same.map(|up| up.at + 1).max().unwrap_or(0);
        let at = behind.max(now + chance.between(5, 400));
        self.up.push(Up { at, device, session, report });
    }

    pub(crate) fn send_down(&mut self, device: usize, message: Message, now: u64, chance: &mut Chance) {
        let is_order = matches!(message, Message::Order(_));
        if chance.percent(self.trouble.repeated) {
            let at = now + chance.between(500, 40_000);
            self.down.push(Down { at, device, message: message.clone() });
            self.losses.orders_repeated += usize::from(is_order);
        }
        if chance.percent(self.trouble.lost) {
            *(if is_order { &mut self.losses.orders_lost } else { &mut self.losses.acks_lost }) += 1;
            return;
        }
        let late = chance.percent(self.trouble.late);
        self.losses.orders_late += usize::from(is_order && late);
        let at = now + if late { chance.between(1_000, 20_000) } else { chance.between(5, 400) };
        self.down.push(Down { at, device, message });
    }

    /// What arrives at the coordinator now.
    pub(crate) fn arrived_up(&mut self, now: u64, chance: &mut Chance) -> Vec<(usize, Report)> {
        let (mut due, rest): (Vec<Up>, Vec<Up>) = self.up.drain(..).partition(|up| up.at <= now);
        self.up = rest;
        due.sort_by_key(|up| up.at);
        for up in &due {
            let older = |other: &&Up| other.device == up.device && other.session < up.session;
            self.losses.reports_overtaken += self.up.iter().filter(older).count();
            if chance.percent(self.trouble.repeated) {
                // An own connection, which nothing else keeps in order.
                let at = now + chance.between(50, 10_000);
                let again = Up { at, device: up.device, session: 0, report: up.report.clone() };
                self.up.push(again);
                self.losses.reports_repeated += 1;
            }
        }
        due.into_iter().map(|up| (up.device, up.report)).collect()
    }

    /// What arrives at devices now.
    pub(crate) fn arrived_down(&mut self, now: u64) -> Vec<(usize, Message)> {
        let (mut due, rest): (Vec<Down>, Vec<Down>) = self.down.drain(..).partition(|down| down.at <= now);
        self.down = rest;
        due.sort_by_key(|down| down.at);
        due.into_iter().map(|down| (down.device, down.message)).collect()
    }

    /// A connection breaks: a beginning of what is on its way up arrives, maybe much later.
    pub(crate) fn break_session(&mut self, device: usize, session: u64, chance: &mut Chance) {
        self.losses.breaks += 1;
        let is_of = |up: &Up| up.device == device && up.session == session;
        let on_the_way = self.up.iter().filter(|up| is_of(up)).count();
        let arrive = usize::try_from(chance.below(on_the_way as u64 + 1)).unwrap();
        let later = if chance.percent(self.trouble.late) { chance.between(500, 15_000) } else { 0 };
        let mut kept = 0;
        self.up.retain_mut(|up| {
            if !is_of(up) {
                return true;
            }
            kept += 1;
            up.at += later;
            kept <= arrive
        });
        self.losses.reports_lost += on_the_way - arrive;
    }

    /// The coordinator has died: nothing that is on its way arrives.
    pub(crate) fn cut_off(&mut self) {
        self.losses.reports_lost += self.up.len();
        self.up.clear();
        self.down.clear();
    }
}
