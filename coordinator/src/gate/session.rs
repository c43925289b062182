//! One client that is in: a loop over its packets, the router's messages, the sink's answers and the clock.
//!
//! Everything happens in one task and in the order of arrival. A message for the sink waits in a short queue;
//! while the queue is full, or the client is faster than it may be, the session does not read, and TCP slows
//! the client down.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::protocol::{
    Filter, LastWill, Packet, PingResp, PubAck, PubAckReason, PubComp, PubCompReason, PubRec, PubRecReason,
    Publish, QoS, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use takt_common::topic::Up;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::acks::InOrder;
use super::clock::now;
use super::frame::{Incoming, Message};
use super::handle::Shared;
use super::intake::{ForSink, Intake, TakeError, Taken};
use super::limits::Bucket;
use super::link::Link;
use super::metrics::{Closed, Counters};
use super::policy::{Policy, Route};
use super::presence::Claim;
use super::router::{Router, RouterGone};
use super::wire::{OUTPUT_MAX, Wire};

/// SUBSCRIBEs of one connection that wait for the router.
const SUBSCRIBES_MAX: usize = 16;
/// QoS 2 messages of one connection that wait for their PUBREL (open gate only).
const UNRELEASED_MAX: usize = 1_024;

/// A client that got its CONNACK.
pub(crate) struct Session<P: Policy, S> {
    wire: Wire<S>,
    link: Link,
    claim: Claim,
    client: P::Client,
    policy: Arc<P>,
    shared: Arc<Shared>,
    /// What the router has granted.
    subscriptions: HashMap<String, QoS>,
    /// SUBSCRIBEs that the router has not answered yet, oldest first.
    asked: VecDeque<Asked>,
    acks: InOrder<Packet>,
    completions: InOrder<Packet>,
    unreleased: HashSet<u16>,
    intake: Intake,
    pace: Bucket,
    /// A packet that came too early, and when it may be handled.
    held: Option<(Incoming, Instant)>,
    heard: Instant,
    silence_max: Duration,
}

struct Asked {
    packet_id: u16,
    /// One for each filter of the packet, in its order.
    answers: Vec<(String, Option<QoS>)>,
}

enum Event {
    Taken(Taken),
    FromRouter(Box<Notification>),
    Read,
    Silence,
    MayGoOn,
}

/// What a session begins with.
pub(crate) struct Beginning<P: Policy, S> {
    pub(crate) wire: Wire<S>,
    pub(crate) link: Link,
    pub(crate) claim: Claim,
    pub(crate) client: P::Client,
    pub(crate) policy: Arc<P>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) keep_alive_secs: u16,
}

impl<P: Policy, S: AsyncRead + AsyncWrite + Unpin + Send> Session<P, S> {
    pub(crate) fn new(beginning: Beginning<P, S>) -> Self {
        let Beginning { wire, link, claim, client, policy, shared, keep_alive_secs } = beginning;
        let begin = now();
        let limits = &shared.limits;
        let packet_interval = Duration::from_secs(1) / limits.packets_per_sec.max(1);
        Self {
            pace: Bucket::new(limits.packets_burst, packet_interval, begin),
            silence_max: limits.silence_max(keep_alive_secs),
            heard: begin,
            wire,
            link,
            claim,
            client,
            policy,
            shared,
            subscriptions: HashMap::new(),
            asked: VecDeque::new(),
            acks: InOrder::new(),
            completions: InOrder::new(),
            unreleased: HashSet::new(),
            intake: Intake::new(),
            held: None,
        }
    }

    /// Serves the client until something ends the connection.
    pub(crate) async fn run(&mut self) -> Closed {
        let why = loop {
            if let Err(why) = self.step().await {
                break why;
            }
        };
        if matches!(why, Closed::Disconnected | Closed::PeerClosed | Closed::KeepAlive) {
            return self.finish_taking().await.err().unwrap_or(why);
        }
        why
    }

    /// Ends stream, link and claim, in this order: when the id is free again, nothing of this session is left.
    pub(crate) async fn close(mut self, why: Closed, will: Option<(LastWill, Arc<Router>)>) {
        if let Some((will, router)) = will
            && why != Closed::Disconnected
        {
            let queue_max = self.shared.limits.publish_queue_max;
            if router.publish(will.topic, will.message, will.retain, queue_max).is_err() {
                tracing::warn!(client = %self.client, "a will was lost");
            }
        }
        self.wire.close().await;
        self.link.close().await;
        drop(self.claim);
    }

    async fn step(&mut self) -> Result<(), Closed> {
        self.handle_read().await?;
        self.give_to_sink();
        self.flush().await?;
        let may_read = self.may_read();
        if !may_read {
            // Silence counts only while the session listens.
            self.heard = now();
        }
        let silent_at = self.heard + self.silence_max;
        let Self { wire, link, claim, intake, held, .. } = self;
        let go_on_at = held.as_ref().map(|(_, at)| *at);
        let event = tokio::select! {
            why = claim.ended() => return Err(why),
            taken = intake.done() => Event::Taken(taken),
            notification = link.next() => Event::FromRouter(Box::new(notification.map_err(gone)?)),
            read = wire.read(), if may_read => read.map(|()| Event::Read)?,
            () = sleep_until(silent_at), if may_read => Event::Silence,
            () = sleep_until(go_on_at.unwrap_or(silent_at)), if go_on_at.is_some() => Event::MayGoOn,
        };
        match event {
            Event::Taken(taken) => self.taken(taken),
            Event::FromRouter(notification) => self.deliver(*notification).await,
            Event::Read | Event::MayGoOn => Ok(()),
            // The session itself may have been late, in a slow write: what has come by now counts.
            Event::Silence => tokio::select! {
                biased;
                read = self.wire.read() => read,
                () = ready(()) => Err(Closed::KeepAlive),
            },
        }
    }

    fn may_read(&self) -> bool {
        self.intake.len() < self.shared.limits.in_flight_max.max(1)
            && self.asked.len() < SUBSCRIBES_MAX
            && self.held.is_none()
    }

    /// Handles the packets that have come in whole, as long as limits allow.
    async fn handle_read(&mut self) -> Result<(), Closed> {
        if self.held.as_ref().is_some_and(|(_, at)| *at <= now())
            && let Some((packet, _)) = self.held.take()
        {
            self.pace(packet).await?;
        }
        while self.may_read() && self.wire.gathered() < OUTPUT_MAX {
            let Some(packet) = self.wire.next(self.shared.limits.packet_max)? else { break };
            self.heard = now();
            self.pace(packet).await?;
        }
        Ok(())
    }

    async fn pace(&mut self, packet: Incoming) -> Result<(), Closed> {
        match self.pace.take(now()) {
            Ok(()) => self.handle(packet).await,
            Err(later) => {
                Counters::count(&self.shared.counters.throttled);
                self.held = Some((packet, later));
                Ok(())
            }
        }
    }

    async fn handle(&mut self, packet: Incoming) -> Result<(), Closed> {
        match packet {
            Incoming::Connect { .. } => Err(Closed::Malformed),
            Incoming::Publish(message) => self.publish(message).await,
            Incoming::PubAck(id) => {
                let ack = Packet::PubAck(PubAck { pkid: id, reason: PubAckReason::Success }, None);
                self.acks.answered(id, ack);
                self.push_answers().await
            }
            Incoming::PubRec(id) => {
                let received = Packet::PubRec(PubRec { pkid: id, reason: PubRecReason::Success }, None);
                self.acks.answered(id, received);
                self.push_answers().await
            }
            Incoming::PubComp(id) => {
                let complete = Packet::PubComp(PubComp { pkid: id, reason: PubCompReason::Success }, None);
                self.completions.answered(id, complete);
                self.push_answers().await
            }
            Incoming::PubRel(id) => {
                self.unreleased.remove(&id);
                let complete = PubComp { pkid: id, reason: PubCompReason::Success };
                self.wire.gather(Packet::PubComp(complete, None));
                Ok(())
            }
            Incoming::Subscribe { packet_id, filters } => self.subscribe(packet_id, filters).await,
            Incoming::Unsubscribe { packet_id, filters } => self.unsubscribe(packet_id, &filters).await,
            Incoming::PingReq => {
                self.wire.gather(Packet::PingResp(PingResp));
                Ok(())
            }
            Incoming::Disconnect => Err(Closed::Disconnected),
        }
    }

    async fn publish(&mut self, message: Message) -> Result<(), Closed> {
        let Message { topic, payload, qos, retain, packet_id } = message;
        let route = self.policy.route(&self.client, &topic, qos, retain).inspect_err(|why| {
            tracing::warn!(client = %self.client, %topic, %why, "a publish was refused");
        })?;
        if let Route::Sink(up) = route {
            let packet_id = (qos != QoS::AtMostOnce).then_some(packet_id);
            self.intake.add(ForSink { up, payload, packet_id });
            return Ok(());
        }
        // A QoS 2 message that was not released yet is the same one again.
        let is_new = qos != QoS::ExactlyOnce || self.unreleased.insert(packet_id);
        if self.unreleased.len() > UNRELEASED_MAX {
            return Err(Closed::Malformed);
        }
        if is_new {
            let publish = Publish::new(Bytes::from(P::inner(&topic)), payload, retain);
            self.link.push(Packet::Publish(publish, None)).await.map_err(gone)?;
        }
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                self.wire
                    .gather(Packet::PubAck(PubAck { pkid: packet_id, reason: PubAckReason::Success }, None));
            }
            QoS::ExactlyOnce => {
                self.wire
                    .gather(Packet::PubRec(PubRec { pkid: packet_id, reason: PubRecReason::Success }, None));
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, packet_id: u16, filters: Vec<(String, QoS)>) -> Result<(), Closed> {
        let mut answers = Vec::with_capacity(filters.len());
        let mut wanted: HashMap<String, QoS> = HashMap::new();
        let mut room = self.shared.limits.subscriptions_max.saturating_sub(self.subscriptions.len());
        for (filter, asked) in filters {
            let known = self.subscriptions.contains_key(&filter) || wanted.contains_key(&filter);
            let granted = self.policy.grant(&self.client, &filter, asked).filter(|_| known || room > 0);
            match granted {
                Some(qos) => {
                    room -= usize::from(!known);
                    wanted.insert(filter.clone(), qos);
                }
                None => Counters::count(&self.shared.counters.filters_refused),
            }
            answers.push((filter, granted));
        }
        // One line a packet: it may hold thousands of filters.
        if let Some((filter, _)) = answers.iter().find(|(_, granted)| granted.is_none()) {
            tracing::warn!(client = %self.client, %filter, "a subscription was refused");
        }
        if wanted.is_empty() {
            self.answer_subscribe(&Asked { packet_id, answers });
            return Ok(());
        }
        // The router takes no second subscription to a filter: neither a new QoS, nor retained messages again.
        let again = wanted.keys().filter(|filter| self.subscriptions.contains_key(*filter));
        let again: Vec<String> = again.map(|filter| P::inner(filter)).collect();
        if !again.is_empty() {
            let unsubscribe = Unsubscribe { pkid: packet_id, filters: again };
            self.link.push(Packet::Unsubscribe(unsubscribe, None)).await.map_err(gone)?;
        }
        let filters = wanted.iter().map(|(path, qos)| router_filter(P::inner(path), *qos)).collect();
        self.subscriptions.extend(wanted);
        self.asked.push_back(Asked { packet_id, answers });
        let subscribe = Subscribe { pkid: packet_id, filters };
        self.link.push(Packet::Subscribe(subscribe, None)).await.map_err(gone)
    }

    fn answer_subscribe(&mut self, asked: &Asked) {
        let code = |(_, granted): &(String, Option<QoS>)| match granted {
            Some(qos) => SubscribeReasonCode::Success(*qos),
            None => SubscribeReasonCode::Failure,
        };
        let return_codes = asked.answers.iter().map(code).collect();
        self.wire.gather(Packet::SubAck(SubAck { pkid: asked.packet_id, return_codes }, None));
        self.claim.subscribed(self.subscriptions.keys());
        for (filter, granted) in &asked.answers {
            if granted.is_some() {
                self.policy.subscribed(&self.client, filter);
            }
        }
    }

    async fn unsubscribe(&mut self, packet_id: u16, filters: &[String]) -> Result<(), Closed> {
        let filters: Vec<String> =
            filters.iter().filter(|filter| self.subscriptions.remove(*filter).is_some()).cloned().collect();
        if !filters.is_empty() {
            self.claim.subscribed(self.subscriptions.keys());
            let filters = filters.iter().map(|filter| P::inner(filter)).collect();
            let unsubscribe = Unsubscribe { pkid: packet_id, filters };
            self.link.push(Packet::Unsubscribe(unsubscribe, None)).await.map_err(gone)?;
        }
        self.wire.gather(Packet::UnsubAck(UnsubAck { pkid: packet_id, reasons: Vec::new() }, None));
        Ok(())
    }

    async fn push_answers(&mut self) -> Result<(), Closed> {
        while let Some(answer) = self.acks.next().or_else(|| self.completions.next()) {
            self.link.push(answer).await.map_err(gone)?;
        }
        Ok(())
    }

    /// Gathers what the router has for the client, `first` and what has come with it.
    async fn deliver(&mut self, first: Notification) -> Result<(), Closed> {
        let mut paused = false;
        let mut next = Some(first);
        while let Some(notification) = next {
            match notification {
                Notification::Forward(forward) => {
                    let mut publish = forward.publish;
                    publish.topic = P::outer(&self.client, publish.topic);
                    if let Some(id) = self.wire.gather_publish(publish) {
                        self.acks.sent(id);
                    }
                    Counters::count(&self.shared.counters.delivered);
                }
                Notification::Unschedule => paused = true,
                Notification::Disconnect(..) => return Err(Closed::RouterGone),
                answer => self.answered(answer),
            }
            // What is not taken now is there for the next step.
            next = if self.wire.gathered() < OUTPUT_MAX { self.link.next_ready() } else { None };
        }
        if paused {
            self.flush().await?;
            self.link.go_on().await.map_err(gone)?;
        }
        Ok(())
    }

    /// The router's own acknowledgements are the gate's to judge: most say nothing that it has not said before.
    fn answered(&mut self, answer: Notification) {
        let packet: Option<Packet> = answer.into();
        match packet {
            Some(Packet::SubAck(..)) => {
                if let Some(asked) = self.asked.pop_front() {
                    self.answer_subscribe(&asked);
                }
            }
            Some(Packet::PubRel(release, _)) => {
                self.completions.sent(release.pkid);
                self.wire.gather(Packet::PubRel(release, None));
            }
            Some(_) | None => {}
        }
    }

    fn give_to_sink(&mut self) {
        self.intake.start(&self.policy, &self.client, self.shared.limits.sink_deadline);
    }

    fn taken(&mut self, taken: Taken) -> Result<(), Closed> {
        let Taken { up, packet_id, result } = taken;
        result.map_err(|error| match error {
            TakeError::Deadline => Closed::SinkDeadline,
            TakeError::Sink(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(client = %self.client, ?up, source, "a message was not made durable");
                Closed::SinkFailed
            }
        })?;
        match up {
            Up::Report => Counters::count(&self.shared.counters.reports),
            Up::Health => Counters::count(&self.shared.counters.health),
        }
        if let Some(pkid) = packet_id {
            self.wire.gather(Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None));
        }
        Ok(())
    }

    /// What came in before the peer went still counts, unless somebody needs its place.
    async fn finish_taking(&mut self) -> Result<(), Closed> {
        while self.intake.len() > 0 {
            self.give_to_sink();
            let Self { claim, intake, .. } = self;
            let taken = tokio::select! {
                why = claim.ended() => return Err(why),
                taken = intake.done() => taken,
            };
            self.taken(taken)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let Self { wire, claim, .. } = self;
        tokio::select! {
            why = claim.ended() => Err(why),
            flushed = wire.flush() => flushed,
        }
    }
}

fn gone(_: RouterGone) -> Closed {
    Closed::RouterGone
}

fn router_filter(path: String, qos: QoS) -> Filter {
    Filter {
        path,
        qos,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnEverySubscribe,
    }
}
