//! What the coordinator keeps of a device's signed reports, read from a copy of its store while it goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use takt_common::order::Position;
use takt_common::report::{Outcome, Report};
use takt_common::{DeviceId, Envelope};
use takt_coordinator::registry::Registry;
use takt_store::{Options, Origin, SledStore};

/// A copy that was taken while the coordinator wrote may be torn, as after a power cut of a lying disk: take another.
const COPIES_MAX: usize = 5;

/// How each order of `device` ended, by its kept reports, the oldest first. More than one outcome is for the caller
/// to judge.
pub(crate) fn outcomes(store: &Path, device: DeviceId, folder: &Path) -> Vec<(Position, Vec<Outcome>)> {
    look(store, folder, |registry| read(registry, device))
}

/// Looks at a copy of the coordinator's registry; `folder` is for the copy.
pub(crate) fn look<T>(store: &Path, folder: &Path, look: impl FnOnce(&Registry) -> T) -> T {
    for _ in 0..COPIES_MAX {
        let copy = tempfile::tempdir_in(folder).unwrap();
        for file in std::fs::read_dir(store).unwrap() {
            copy_into(&file.unwrap().path(), copy.path());
        }
        if let Ok(opened) = SledStore::open(copy.path(), &Options::default())
            && opened.origin == Origin::Found
        {
            return look(&Registry::open(Arc::new(opened.store)).unwrap());
        }
    }
    panic!("no sound copy of {}", store.display());
}

fn copy_into(from: &Path, folder: &Path) {
    let to = folder.join(from.file_name().unwrap());
    if from.is_dir() {
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            copy_into(&file.unwrap().path(), &to);
        }
    } else if let Err(error) = std::fs::copy(from, &to) {
        // A snapshot of the store that was replaced meanwhile.
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", from.display());
    }
}

fn read(registry: &Registry, device: DeviceId) -> Vec<(Position, Vec<Outcome>)> {
    let mut outcomes: BTreeMap<Position, Vec<Outcome>> = BTreeMap::new();
    for (_, report) in reports(registry, device) {
        if let Some(order) = report.order {
            outcomes.entry(order.position).or_default().extend(report.outcome);
        }
    }
    outcomes.into_iter().collect()
}

/// The kept reports of a device, with their numbers.
pub(crate) fn reports(registry: &Registry, device: DeviceId) -> Vec<(u64, Report)> {
    let numbers = registry.report_numbers(device).unwrap().into_iter();
    let read = numbers.map(|number| {
        let envelope = registry.report_envelope(device, number).unwrap().unwrap();
        let payload = Envelope::from_bytes(&envelope).unwrap().unverified_payload().unwrap();
        (number, serde_json::from_slice(&payload).unwrap())
    });
    read.collect()
}
