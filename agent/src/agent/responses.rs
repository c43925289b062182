//! How long releases take to answer while the device is at rest: their health checks are asked beside the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use takt_agent_core::Workload;
use takt_agent_core::phase::Role;
use takt_common::Name;
use tokio::task::JoinHandle;

use crate::host;
use crate::perform::Performer;
use crate::probe::{self, Asked};

/// They are asked so often: forecasts are made of means over minutes.
const EVERY: Duration = Duration::from_mins(1);

type Millis = BTreeMap<Name, u64>;

/// What the last round has said, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Responses {
    last: Millis,
    asking: Option<JoinHandle<Millis>>,
    /// Since boot.
    due: Duration,
}

impl Responses {
    /// How many milliseconds each component took, of those that are in good health.
    pub(super) const fn last(&self) -> &Millis {
        &self.last
    }

    /// Takes in the round that has ended, and begins one when it is due.
    pub(super) async fn look<'w>(
        &mut self,
        uptime: Duration,
        performer: &Arc<Performer>,
        installed: impl Iterator<Item = (&'w Name, &'w Workload)>,
    ) {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) {
            // It has ended, so this does not wait; one that panicked has said nothing.
            self.last = asking.await.unwrap_or_default();
        }
        if self.asking.is_some() || uptime < self.due {
            return;
        }
        self.due = uptime + EVERY;
        let asked: Vec<(Name, Workload)> = installed
            .filter(|(_, workload)| !workload.manifest.health.probes.is_empty())
            .map(|(component, workload)| (component.clone(), workload.clone()))
            .collect();
        self.asking = (!asked.is_empty()).then(|| tokio::spawn(ask(Arc::clone(performer), asked)));
        if self.asking.is_none() {
            self.last.clear();
        }
    }

    /// An order is in hand: what answers now may be another release soon. A round that is under way counts no more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// One after the other, so that none makes another one slow.
async fn ask(performer: Arc<Performer>, asked: Vec<(Name, Workload)>) -> Millis {
    let mut millis = Millis::new();
    for (component, workload) in asked {
        let engine = &performer.engine;
        let variables = performer.ports.variables_now(engine, &workload, Role::Own).await;
        let begin = host::uptime();
        match probe::round(&Asked { engine, workload: &workload, variables: &variables }).await {
            Ok(()) => {
                if let (Ok(begin), Ok(end)) = (begin, host::uptime()) {
                    let took = end.saturating_sub(begin).as_millis();
                    millis.insert(component, u64::try_from(took).unwrap_or(u64::MAX));
                }
            }
            Err(why) => tracing::debug!(%component, why, "a release at rest is not in good health"),
        }
    }
    millis
}
