//! Takeover `restore` with the real binaries, real containers and CRIU: a standby goes on with the memory of its device while
//! that is upgraded, and nobody but that device can put memory into it.
//!
//! Two devices share a machine here, so their containers have networks of their own: all of it runs in a network namespace.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView};
use takt_common::release::{Manifest, Network, Port};
use takt_tests::engine::Engine;
use takt_tests::fleet::{
    Answer, CampaignSpec, Device, Fleet, HttpClient, More, ReleaseSpec, containers, wait_until,
};
use takt_workload::Nature;

/// Many times what a campaign over two devices takes on an idle machine.
const CAMPAIGN_LIMIT: Duration = Duration::from_mins(4);
/// How long a campaign may take to its takeover.
const SERVES_LIMIT: Duration = Duration::from_secs(90);
/// How long what nobody wants any more may lie there.
const GONE_LIMIT: Duration = Duration::from_secs(30);
/// Where the workload listens in its container.
const INSIDE: u16 = 8080;

/// The container has a network of its own; the agent publishes its port.
fn on_the_bridge(manifest: &mut Manifest) {
    let container = &mut containers(manifest).containers[0];
    container.network = Network::Bridge;
    container.env.insert("BIND".to_owned(), "0.0.0.0".to_owned());
    container.env.insert("PORT".to_owned(), INSIDE.to_string());
    container.ports = vec![Port { variable: "port".parse().unwrap(), container_port: Some(INSIDE) }];
}

fn release(version: &str) -> ReleaseSpec {
    let more = Some(More { artifacts: Vec::new(), edit: on_the_bridge });
    let strategies = "replace".to_owned();
    ReleaseSpec { probation_secs: 2, strategies, more, ..ReleaseSpec::new(version, Nature::Good) }
}

fn own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .expect("a network namespace of its own: this test needs root");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success(), "127.0.0.1 is there");
}

/// What a campaign of one release does to the two devices, and what the standby answered first while it stood in.
fn upgrade(fleet: &Fleet, standby: &Device, version: &str) -> (CampaignView, Answer) {
    let (name, release) = (format!("to-{}", &version[..1]), format!("counter@{version}"));
    let spec = CampaignSpec { name: &name, release: &release, element_size: 1, deadline: "120s" };
    fleet.start_campaign(spec).unwrap();
    let mut client = HttpClient::new(standby.stand_in_port());
    let answer = wait_until("the stand-in's answer", SERVES_LIMIT, || {
        Ok(client.counter().map_err(|error| error.to_string()))
    })
    .unwrap();
    let end = fleet.wait_campaign(&name, CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    (end, answer)
}

fn texts(view: &CampaignView) -> String {
    view.events.iter().map(|event| event.text.as_str()).collect::<Vec<_>>().join("\n")
}

fn is_empty(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter(|entry| entry.file_name() != ".incoming").count() == 0
}

#[test]
fn a_standby_goes_on_with_the_memory_of_its_device_if_its_own_settings_allow_it() {
    own_network();
    let engine = Arc::new(Engine::start_bridged().unwrap());
    let fleet = Fleet::start_on(engine).unwrap();
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        fleet.publish(&release(version)).unwrap();
    }
    let mut devices = fleet.devices(&["camera-1", "camera-2"]).unwrap();
    let first = CampaignSpec { name: "install", release: "counter@1.0.0", element_size: 2, deadline: "120s" };
    fleet.start_campaign(first).unwrap();
    let end = fleet.wait_campaign("install", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    fleet.set_drm(&["camera-1:camera-2:restore"]).unwrap();
    let count = |times: u64| {
        let mut client = HttpClient::new(devices[0].port());
        for _ in 0..times {
            client.count().unwrap();
        }
        client.counter().unwrap().counter
    };

    // Whatever the coordinator says: the standby takes memory from nobody yet. It serves all the same.
    let counted = count(41);
    assert_eq!(counted, 41);
    let (end, answer) = upgrade(&fleet, &devices[1], "2.0.0");
    assert_eq!((answer.version.as_str(), answer.counter), ("1.0.0", 0));
    assert_eq!(answer.device, "camera-2, standing in");
    let said = texts(&end);
    assert!(said.contains("camera-2 warns: it serves without the memory of the device"), "{said}");
    assert!(said.contains("takeover.restore_from in this device's settings does not name it"), "{said}");

    let from = devices[0].id().unwrap();
    devices[1].restore_from(&[from]).unwrap();
    devices[1].run().unwrap();
    fleet.wait_online(&mut devices[1]).unwrap();
    let count = |times: u64| {
        let mut client = HttpClient::new(devices[0].port());
        for _ in 0..times {
            client.count().unwrap();
        }
        client.counter().unwrap().counter
    };
    let counted = count(17);
    let (end, answer) = upgrade(&fleet, &devices[1], "3.0.0");
    let said = texts(&end);
    assert!(!said.contains("warns"), "{said}");
    // The same process goes on: it knows how far it has counted, and on which device it began.
    assert_eq!((answer.version.as_str(), answer.counter), ("2.0.0", counted), "{said}");
    assert_eq!(answer.device, "camera-1", "{said}");
    assert!(said.contains("it is asked to hand its memory to camera-2"), "{said}");
    // The device was not touched before: its own clients saw nothing of it, and now it runs the new release.
    assert_eq!(HttpClient::new(devices[0].port()).counter().unwrap().version, "3.0.0");

    // Memory lies nowhere any more: it holds keys.
    let carried = fleet.coordinator.profile().parent().unwrap().join("checkpoints");
    assert!(carried.is_dir(), "{}", carried.display());
    wait_until("memory to be gone", GONE_LIMIT, || {
        let left: Vec<_> = [&carried, &devices[0].memory_folder(), &devices[1].memory_folder()]
            .into_iter()
            .filter(|folder| !is_empty(folder))
            .cloned()
            .collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("it is in {left:?}")) })
    })
    .unwrap();
}
