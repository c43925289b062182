//! Edges that agents have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use takt_common::Name;
use takt_common::api::{DeviceView, EdgeSpec, GraphSpec, ObservedEdgeView, ObservedGraphView};
use takt_common::health::{PeerSeen, PeersSeen, Talk};

use crate::support::device::FakeDevice;
use crate::support::{World, until};

const OBSERVED: &str = "/api/v1/domains/north/graph/observed";

fn seen(own: &[&str], to: &[(&str, u64, u64)]) -> PeersSeen {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let peer = |(at, connections, bytes): &(&str, u64, u64)| PeerSeen {
        address: address(at),
        outgoing: Talk { connections: *connections, bytes: *bytes },
        incoming: Talk::default(),
    };
    PeersSeen {
        own: own.iter().map(|own| address(own)).collect(),
        peers: to.iter().map(peer).collect(),
        left_out: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_devices_say_of_their_peers_becomes_edges_of_their_domain() {
    let mut world = World::start().await;
    world.init_trust().await;
    let camera = FakeDevice::enrol(&world, "camera-1").await;
    let gateway = FakeDevice::enrol(&world, "gateway").await;
    let nothing: ObservedGraphView = world.get(OBSERVED).await;
    assert_eq!((nothing.edges, nothing.strangers, nothing.days), (vec![], 0, 7));

    let name = |text: &str| text.parse::<Name>().unwrap();
    let edge = |source, target, requires| EdgeSpec {
        source: name(source),
        target: name(target),
        requires,
        weight: None,
        skew_max: None,
    };
    let graph = GraphSpec { edges: vec![edge("camera-1", "gateway", true)] };
    let put = world.operator("PUT", "/api/v1/domains/north/graph").json(&graph).send().await.unwrap();
    assert_eq!(put.status(), 204);

    let (mut online, mut other) = (camera.connect().await, gateway.connect().await);
    let bridge = "172.17.0.1";
    let told = async {
        online.met(&camera.key, seen(&["10.0.0.2", bridge], &[("10.0.0.1", 3, 500)])).await;
        online.met(&camera.key, seen(&["10.0.0.2", bridge], &[("10.0.0.1", 4, 200), (bridge, 9, 9)])).await;
        let to = [("10.0.0.2", 1, 10), ("10.0.0.77", 1, 1), ("10.0.0.1", 5, 5)];
        other.met(&gateway.key, seen(&["10.0.0.1", bridge], &to)).await;
    };
    told.await;
    let view = until("what both have seen", || async {
        let view: ObservedGraphView = world.get(OBSERVED).await;
        (view.edges.len() == 2 && view.edges[0].connections == 7).then_some(view)
    });
    let view = online.live_until(other.live_until(view)).await;
    let edge = |source, target, connections, bytes, requires| ObservedEdgeView {
        source: name(source),
        target: name(target),
        connections,
        bytes,
        requires,
    };
    assert_eq!(
        view.edges,
        [edge("camera-1", "gateway", 7, 700, Some(true)), edge("gateway", "camera-1", 1, 10, None)]
    );
    let shared = BTreeSet::from([name("camera-1"), name("gateway")]);
    assert_eq!(view.ambiguous, BTreeMap::from([(bridge.parse::<IpAddr>().unwrap(), shared)]));
    assert_eq!((view.strangers, view.devices, view.left_out), (1, 2, 0));
    // Addresses of strangers are nobody's business.
    let shown: DeviceView = world.get("/api/v1/devices/gateway").await;
    assert_eq!(shown.health.unwrap().peers, None);
    world.stop().await;
}
