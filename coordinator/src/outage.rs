//! The coordinator's own outages: it notes that it is there, and after a gap the clocks of campaigns go on from where they stood.

use std::time::Duration;

use takt_common::{Name, UnixTime};
use takt_coordinator_core::after_outage;
use takt_store::Batch;

use crate::audit;
use crate::coordinator::Coordinator;
use crate::registry::{CONFLICT_RETRIES_MAX, CommitTogether, RegistryError};

/// It is noted so often that the coordinator is there.
pub const NOTE_EVERY: Duration = Duration::from_secs(5);

/// A shorter gap is none: a start takes some seconds.
const GAP_MIN: Duration = Duration::from_secs(15);

/// Lets the clocks of all campaigns go on if there was an outage, and notes that the coordinator is there.
pub fn end(coordinator: &Coordinator, now: UnixTime) -> Result<(), RegistryError> {
    let last = coordinator.registry.last_there()?;
    if let Some(last) = last.filter(|last| now.since(*last) >= GAP_MIN) {
        tracing::warn!(
            secs = now.since(last).as_secs(),
            "the coordinator was away: clocks of campaigns stood still"
        );
        for name in coordinator.open_campaigns() {
            delay(coordinator, &name, last, now)?;
        }
    }
    coordinator.registry.note_there(now)
}

fn delay(
    coordinator: &Coordinator,
    name: &Name,
    from: UnixTime,
    until: UnixTime,
) -> Result<(), RegistryError> {
    for _ in 0..CONFLICT_RETRIES_MAX {
        let Some(stored) = coordinator.registry.campaign(name)? else { return Ok(()) };
        let after = after_outage(&stored.campaign, from, until);
        if after == stored.campaign {
            return Ok(());
        }
        let together = CommitTogether::new(Batch::new()).with_campaign(Some(&stored), &after);
        let told = audit::stepped(&stored.campaign, &after, None, None, until);
        match coordinator.registry.commit(told.into_iter().fold(together, CommitTogether::with_entry)) {
            Err(error) if error.is_conflict() => {}
            other => return other,
        }
    }
    Err(RegistryError::Contended { what: format!("campaign {name}") })
}
