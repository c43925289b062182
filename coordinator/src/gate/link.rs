//! A connection's link to the router, which always ends: when it is closed, and when it is dropped.
//!
//! The router does not notice by itself that nobody listens to a link any more. And an event for a link that it
//! has already forgotten can kill its thread. So a link says goodbye exactly once, as its last word, and its
//! name is used again only after the router has let go of it.

use std::sync::Arc;
use std::time::Duration;

use rumqttd::Notification;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::clock::{now, pause};
use super::router::{LinkName, Push, Router, RouterGone, push, tell};

/// How long to wait for the router to take an event, or to forget a link.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when the router's channel is full; it empties 500 events in one go.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// An open link.
pub(crate) struct Link {
    ends: Option<Ends>,
    router: Arc<Router>,
}

struct Ends {
    tx: LinkTx,
    rx: LinkRx,
    name: LinkName,
}

impl Link {
    pub(crate) fn new(tx: LinkTx, rx: LinkRx, name: LinkName, router: Arc<Router>) -> Self {
        Self { ends: Some(Ends { tx, rx, name }), router }
    }

    /// Sends a packet to the router. The caller has made sure that the router will not take offence.
    pub(crate) async fn push(&mut self, packet: Packet) -> Result<(), RouterGone> {
        self.ends_mut()?.push(packet).await
    }

    /// Waits for what the router has for this client. May be dropped and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Notification, RouterGone> {
        let gone = self.router.gone.clone();
        let ends = self.ends_mut()?;
        loop {
            // `None` is a signal that came after its messages had been taken.
            let next = gone.run_until_cancelled(ends.rx.next()).await;
            match next.ok_or(RouterGone)?.map_err(|_| RouterGone)? {
                Some(notification) => return Ok(notification),
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// What the router has for this client right now.
    pub(crate) fn next_ready(&mut self) -> Option<Notification> {
        let ends = self.ends.as_mut()?;
        ends.rx.recv_deadline(now().into_std()).ok().flatten()
    }

    /// Asks the router to go on after it said that it paused this link ([`Notification::Unschedule`]).
    pub(crate) async fn go_on(&mut self) -> Result<(), RouterGone> {
        let ends = self.ends_mut()?;
        let woken = timeout(PATIENCE, ends.rx.wake()).await;
        woken.map_err(|_| RouterGone)?.map_err(|_| RouterGone)
    }

    /// Ends the link and waits until the router has forgotten it.
    pub(crate) async fn close(mut self) {
        if let Some(ends) = self.ends.take() {
            ends.close(&self.router).await;
        }
    }

    /// Kills the router's thread by an event for a link that it has forgotten: a drill for the watch.
    pub(crate) async fn kill_router(mut self) -> Result<(), RouterGone> {
        let mut ends = self.ends.take().ok_or(RouterGone)?;
        ends.end().await?;
        timeout(PATIENCE, ends.rx.wake()).await.map_err(|_| RouterGone)?.map_err(|_| RouterGone)
    }

    fn ends_mut(&mut self) -> Result<&mut Ends, RouterGone> {
        self.ends.as_mut().ok_or(RouterGone)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let router = Arc::clone(&self.router);
        // Without a runtime the process is about to end, and the router with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { ends.close(&router).await });
        }
    }
}

impl Ends {
    async fn push(&mut self, packet: Packet) -> Result<(), RouterGone> {
        let mut pushed = push(&mut self.tx, packet);
        let give_up = now() + PATIENCE;
        while let Err(Push::Full) = pushed {
            if now() >= give_up {
                return Err(RouterGone);
            }
            pause(FULL_PAUSE).await;
            pushed = tell(&mut self.tx);
        }
        pushed.map_err(|_| RouterGone)
    }

    async fn close(mut self, router: &Router) {
        let gone = router.gone.clone();
        if gone.run_until_cancelled(self.end()).await.is_some_and(|end| end.is_ok()) {
            router.forgotten(&self.name);
        }
    }

    async fn end(&mut self) -> Result<(), RouterGone> {
        let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        self.push(Packet::Disconnect(goodbye, None)).await?;
        let forgotten = async { while self.rx.next().await.is_ok() {} };
        timeout(PATIENCE, forgotten).await.map_err(|_| RouterGone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::GateLimits;
    use super::super::policy::SessionKind;
    use super::super::router::LogSize;
    use super::*;

    async fn router() -> Arc<Router> {
        let start = || Router::start(&GateLimits::default(), LogSize::DEVICES);
        Arc::new(tokio::task::spawn_blocking(start).await.unwrap().unwrap().0)
    }

    async fn link(router: &Arc<Router>) -> Link {
        router.link("", SessionKind::Clean, PATIENCE).await.unwrap().0
    }

    #[tokio::test]
    async fn the_router_forgets_a_link_that_said_goodbye() {
        let router = router().await;
        let mut link = link(&router).await;
        let ends = link.ends_mut().unwrap();
        ends.end().await.unwrap();
        let next = timeout(PATIENCE, ends.rx.next()).await;
        assert!(next.expect("nothing more comes, and that at once").is_err());
        link.ends.take();
        router.ping().unwrap();
    }

    #[tokio::test]
    async fn a_link_that_is_dropped_gives_its_name_back() {
        let router = router().await;
        let name = |link: &Link| link.ends.as_ref().unwrap().name.to_string();
        let (first, second) = (link(&router).await, link(&router).await);
        assert_eq!((name(&first), name(&second)), ("link-0".to_owned(), "link-1".to_owned()));
        drop(first);
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut kept = Vec::new();
        let again = async {
            // The others keep their names, so only the one that was dropped can come again.
            while kept.last().is_none_or(|last| name(last) != "link-0") {
                tick.tick().await;
                kept.push(link(&router).await);
            }
        };
        timeout(PATIENCE, again).await.expect("the name comes back");
        second.close().await;
    }
}
