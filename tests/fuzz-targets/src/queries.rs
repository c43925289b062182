//! Queries for the devices of a campaign.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use takt_common::health::Link;
use takt_common::order::Position;
use takt_common::release::ReleaseId;
use takt_common::report::Installed;
use takt_common::{Name, Sha256Digest};
use takt_coordinator_core::{DeviceState, Facts, Query, Subject};

use crate::memory::bounded;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A device of which all is known, and one of which nothing is.
static DEVICES: LazyLock<[DeviceState; 2]> = LazyLock::new(|| {
    let id = "000000000000000000000000000000a1".parse().expect("an id");
    let next = Position { epoch: 1, generation: 1 };
    let unknown = DeviceState::enrolled(id, name("cam-7"), name("north"), name("cam-x"), next);
    let installed = Installed {
        release: ReleaseId { name: name("app"), version: name("1.10.2") },
        counter: 12,
        manifest: Sha256Digest::of(b"manifest"),
    };
    let facts = Facts {
        agent: Some("0.1.0".to_owned()),
        kernel: Some("6.1.0-18".to_owned()),
        battery_percent: Some(55),
        link: Some(Link::Wifi),
        storage_free_bytes: Some(3 << 30),
        memory_free_bytes: Some(1 << 29),
        features: BTreeMap::from([("night".to_owned(), "on".to_owned())]),
        unwell: Vec::new(),
    };
    [DeviceState { installed: vec![installed], online: true, facts, ..unknown.clone() }, unknown]
});

/// Reads the input as a query and asks it of two devices.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(input, 4_096, || match text.parse::<Query>() {
        Ok(query) => asked(text, &query),
        Err(error) => {
            let length = text.chars().count();
            assert!((1..=length + 1).contains(&error.at), "at {} of {length} characters: {error}", error.at);
            assert!(!error.why.is_empty() && error.to_string().chars().count() < 1_000, "{error}");
        }
    });
}

fn asked(text: &str, query: &Query) {
    assert_eq!(query.to_string(), text);
    assert_eq!(text.parse::<Query>().as_ref(), Ok(query));
    let app = name("app");
    // What stands in brackets means the same, and after `not` the contrary; longer and deeper texts may be refused.
    let [same, contrary] = ["", "not "].map(|before| format!("{before}({text})").parse::<Query>().ok());
    for device in &*DEVICES {
        for component in [None, Some(&app)] {
            let subject = Subject { device, component };
            let means = query.means(subject);
            if let Some(same) = &same {
                assert_eq!(same.means(subject), means, "({text})");
            }
            if let Some(contrary) = &contrary {
                assert_eq!(contrary.means(subject), means.map(|means| !means), "not ({text})");
            }
        }
    }
}
