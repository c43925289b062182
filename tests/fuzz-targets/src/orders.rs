//! What comes down to devices once its envelope is open: orders, acknowledgements, statements of memory, and the manifests that
//! orders name.

use takt_common::checkpoint::Checkpoint;
use takt_common::envelope::ENVELOPE_LENGTH_MAX;
use takt_common::order::Order;
use takt_common::release::Manifest;
use takt_common::report::Ack;

use crate::json;
use crate::memory::bounded;

/// Reads the input as each of them.
pub fn run(input: &[u8]) {
    bounded(input, 256, || {
        if let Some(order) = json::read::<Order>(input, ENVELOPE_LENGTH_MAX) {
            assert_eq!(order.position().epoch, order.epoch);
            assert_eq!(order.position().generation, order.generation);
            assert!(!order.action.to_string().is_empty());
        }
        json::read::<Ack>(input, ENVELOPE_LENGTH_MAX);
        json::read::<Checkpoint>(input, ENVELOPE_LENGTH_MAX);
        manifest(input);
    });
}

fn manifest(input: &[u8]) {
    let Ok(manifest) = Manifest::from_bytes(input) else { return };
    let again = Manifest::from_bytes(&manifest.to_bytes()).expect("what was accepted is accepted again");
    assert_eq!(again, manifest);
    manifest.check().expect("what was read has been checked");
    // Sums over what a publisher writes do not overflow, and what it names is there.
    let sum: u128 = manifest.artifacts.iter().map(|artifact| u128::from(artifact.length)).sum();
    assert!(u128::from(manifest.download_bytes()) == sum || manifest.download_bytes() == u64::MAX);
    for artifact in &manifest.artifacts {
        assert!(manifest.artifact(&artifact.sha256).is_some());
        assert_eq!(artifact.target_path().split('/').filter(|level| *level == "..").count(), 0);
    }
    assert!(!manifest.kinds().is_empty());
}
