//! Watches the routers: when the thread of one dies or hangs, every session on it ends and a new router starts.

use std::sync::Arc;
use std::time::Duration;

use rumqttd::local::LinkRx;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::clock::{now, pause};
use super::limits::GateLimits;
use super::metrics::Counters;
use super::router::{LogSize, Router, RouterGone};

/// The pause before a dead router is replaced, so that one that dies at once does not take the processor.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// A heartbeat of zero would be a panic of the timer.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// The routers of the moment, as far as there are any; each serves a part of the clients.
///
/// A router holds topics that are new to it against all filters, one by one, and filters against all topics: with ten thousand devices on
/// one router, their coming in would keep it busy for half a minute.
pub(crate) struct Routers(Vec<watch::Receiver<Option<Arc<Router>>>>);

impl Routers {
    /// The router of the client with this id.
    pub(crate) fn current(&self, id: &str) -> Result<Arc<Router>, RouterGone> {
        self.of(id).borrow().clone().ok_or(RouterGone)
    }

    /// The same, after waiting for one that is being started.
    pub(crate) async fn wait(&self, id: &str, deadline: Duration) -> Result<Arc<Router>, RouterGone> {
        let mut current = self.of(id).clone();
        let waiting = timeout(deadline, current.wait_for(Option::is_some)).await;
        waiting.map_err(|_| RouterGone)?.map_err(|_| RouterGone)?.clone().ok_or(RouterGone)
    }

    /// All that there are.
    pub(crate) fn all(&self) -> Vec<Arc<Router>> {
        self.0.iter().filter_map(|current| current.borrow().clone()).collect()
    }

    fn of(&self, id: &str) -> &watch::Receiver<Option<Arc<Router>>> {
        // The same for an id as long as the gate runs, and even over all ids that are digests.
        let sum = id.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.0[sum % self.0.len()]
    }
}

/// What a watch needs.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) limits: GateLimits,
    pub(crate) log: LogSize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: CancellationToken,
}

impl Watch {
    /// Starts so many routers, at least one; the futures keep as many running until shutdown.
    pub(crate) async fn start(
        self,
        count: usize,
    ) -> Result<(Routers, Vec<impl Future<Output = ()> + Send>), RouterGone> {
        let (mut routers, mut watching) = (Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let first = self.start_router().await?;
            let (current, router) = watch::channel(None);
            routers.push(router);
            watching.push(self.clone().run(first, current));
        }
        Ok((Routers(routers), watching))
    }

    async fn run(self, first: (Arc<Router>, LinkRx), current: watch::Sender<Option<Arc<Router>>>) {
        let mut running = Ok(first);
        loop {
            if let Ok((router, answers)) = running {
                current.send_replace(Some(Arc::clone(&router)));
                let shut_down = self.shutdown.run_until_cancelled(self.until_dead(&router, answers)).await;
                current.send_replace(None);
                if shut_down.is_none() {
                    // Its thread sleeps until the process ends: the router holds a sender of its own channel.
                    return;
                }
                router.gone.cancel();
                tracing::error!("a router died: every connection on it is closed, another router starts");
            } else {
                tracing::error!("the router did not start; trying again");
            }
            if self.shutdown.run_until_cancelled(pause(RESTART_PAUSE)).await.is_none() {
                return;
            }
            running = self.start_router().await;
            if running.is_ok() {
                Counters::count(&self.counters.routers_replaced);
            }
        }
    }

    async fn start_router(&self) -> Result<(Arc<Router>, LinkRx), RouterGone> {
        let (limits, log) = (self.limits.clone(), self.log);
        let starting = tokio::task::spawn_blocking(move || Router::start(&limits, log));
        let started = timeout(self.limits.router_deadline, starting).await.map_err(|_| RouterGone)?;
        let (router, answers) = started.map_err(|_| RouterGone)??;
        Ok((Arc::new(router), answers))
    }

    /// Returns when the router does not answer any more.
    ///
    /// The heartbeat is more than a question: the router can fall asleep with work at hand, when the first link
    /// in its queue is one it has forgotten, and any event wakes it.
    async fn until_dead(&self, router: &Router, mut answers: LinkRx) {
        let mut heartbeat = interval(self.limits.router_heartbeat.max(HEARTBEAT_MIN));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owed_since = None;
        loop {
            let patience_ends = owed_since.map(|since| since + self.limits.router_deadline);
            tokio::select! {
                answer = answers.next() => match answer {
                    Ok(_) => owed_since = None,
                    Err(_) => return,
                },
                asked_at = heartbeat.tick() => {
                    if router.ping().is_err() {
                        return;
                    }
                    owed_since = owed_since.or(Some(asked_at));
                }
                () = sleep_until(patience_ends.unwrap_or_else(now)), if patience_ends.is_some() => return,
            }
        }
    }
}
