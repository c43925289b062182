//! How far the releases of neighbours may be apart.

use takt_common::api::{CampaignRequest, EdgeSpec, GraphSpec};
use takt_common::report::Outcome;
use takt_coordinator_core::OpenError;
use takt_planner::DomainGraph;

use crate::site::{Site, installed, name, request};

/// The cameras call the gateway, require nothing, and may be one release apart from it.
fn site() -> Site {
    let mut site = Site::new();
    let edge = |camera| EdgeSpec {
        source: name(camera),
        target: name("gateway"),
        requires: false,
        weight: None,
        skew_max: Some(1),
    };
    let edges = GraphSpec { edges: vec![edge("camera-1"), edge("camera-2")] };
    site.graph = DomainGraph::new(&edges, &site.names()).unwrap();
    site
}

fn only(devices: &[&str]) -> CampaignRequest {
    CampaignRequest { devices: devices.iter().map(|text| name(text)).collect(), ..request() }
}

#[test]
fn a_device_waits_for_the_neighbour_that_it_would_be_too_far_ahead_of() {
    let mut site = site();
    // The release has counter 2. A camera runs nothing older than 1, the gateway is two behind.
    site.device("gateway").installed = vec![installed("0.9.0", 0)];
    site.campaign = Some(site.open(&only(&["camera-1", "gateway"]), &[]).unwrap());
    assert_eq!(site.advance(), ["gateway: install"]);
    let why = site.why("camera-1");
    assert!(
        why.reasons.iter().any(|reason| reason
            .contains("gateway runs release counter 0 and this would be 2: they may be 1 apart")),
        "{why:?}"
    );
    site.report("gateway", Some(Outcome::Verified { strategy: None }));
    assert_eq!(site.advance(), ["camera-2: take over for camera-1"]);
}

#[test]
fn neighbours_that_would_stay_too_far_apart_are_refused_at_once() {
    let mut site = site();
    site.device("gateway").installed = vec![installed("0.9.0", 0)];
    let error = site.open(&only(&["camera-1"]), &[]).unwrap_err();
    assert!(matches!(error, OpenError::Skew { .. }));
    assert_eq!(
        error.to_string(),
        "device camera-1 with counter 2.0.0 (release counter 2) would be too far apart from gateway, which runs \
         counter 0: at most 1 are allowed between them"
    );
    // Both are two behind: neither can be first.
    site.device("camera-1").installed = vec![installed("0.9.0", 0)];
    let error = site.open(&only(&["camera-1", "gateway"]), &[]).unwrap_err();
    assert!(matches!(error, OpenError::Skew { .. }), "{error}");
}

#[test]
fn a_target_that_runs_the_release_already_is_as_far_ahead_as_it_will_be() {
    let mut site = site();
    site.device("gateway").installed = vec![installed("0.9.0", 0)];
    site.device("camera-1").installed = vec![installed("2.0.0", 2)];
    // camera-2 and the gateway stay where they are: nobody moves further apart.
    assert!(site.open(&only(&["camera-1"]), &[]).is_ok());
}
