//! A device leaves the fleet: it is refused for ever and its history stays, while its name becomes free.

use takt_common::audit::{What, Who};
use takt_common::{DeviceId, UnixTime};
use takt_store::Batch;

use super::{Change, CommitTogether, Happened, Registry, RegistryError, keys};

impl Registry {
    /// Decommissions a device; `None` when there is none. Again, it changes nothing.
    pub fn decommission(
        &self,
        device: DeviceId,
        why: &str,
        by: &Who,
        now: UnixTime,
    ) -> Result<Option<()>, RegistryError> {
        self.change(device, |record| {
            if record.state.is_decommissioned() {
                return Ok(Change::Nothing(()));
            }
            let mut changed = record.clone();
            changed.decommission(why, now);
            let name = keys::name(&record.state.domain, &record.state.name);
            let batch = Batch::new().expect(name.as_str(), Some(device.to_string().as_bytes())).delete(name);
            let what = What::DeviceDecommissioned { device, name: record.state.name.clone() };
            let together = CommitTogether::new(batch).with_entry(Happened::new(now, by.clone(), what));
            Ok(Change::To(Box::new(changed), together, ()))
        })
    }
}
