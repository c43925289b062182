use serde_json::json;

use super::*;
use crate::output::Output;

const GATEWAY: &str = "00000000000000000000000000000001";
const CAMERA_1: &str = "00000000000000000000000000000002";
const CAMERA_2: &str = "00000000000000000000000000000003";

/// A campaign with a device in each step, as the coordinator answers.
fn campaign() -> CampaignView {
    let order = json!({"epoch": 1, "generation": 4});
    let outcome = json!({"result": "verified", "strategy": "preserve"});
    let device = |id: &str, name: &str, element: Option<u32>, step: serde_json::Value| json!({"device": id, "name": name, "element": element, "step": step});
    serde_json::from_value(json!({
        "request": {
            "name": "week-47", "release": {"name": "counter", "version": "2.0.0"}, "domain": "line-7",
            "element_size": 1, "deadline_secs": 600,
        },
        "state": "ongoing", "reason": "element 2 is under way", "started": 1_795_248_000, "ended": null, "total": 3, "done": 1,
        "devices": [
            device(GATEWAY, "gateway", Some(0), json!({"step": "done", "outcome": outcome, "at": 1_795_248_009})),
            device(CAMERA_1, "camera-1", Some(1), json!({
                "step": "upgrading", "order": order, "mode": {"mode": "rolling", "standby": CAMERA_2},
                "since": 1_795_248_010,
            })),
            device(CAMERA_2, "camera-2", None, json!({"step": "pending"})),
        ],
        "events": [
            {"at": 1_795_248_000, "device": null, "text": "started"},
            {"at": 1_795_248_010, "device": "camera-1", "text": "ordered"},
        ],
    }))
    .unwrap()
}

#[test]
fn every_device_has_its_line_with_step_time_and_reason() {
    let lines = devices(&campaign(), &BTreeMap::new(), Some(UnixTime::from_secs(1_795_248_017)));
    assert_eq!(
        lines,
        [
            "DEVICE    ELEMENT  STEP       FOR  NOTE",
            "gateway   1        done       -    verified (preserve)",
            "camera-1  2        upgrading  7s   camera-2 serves meanwhile",
            "camera-2  -        pending    -    -",
        ]
    );
}

#[test]
fn what_an_agent_says_stands_beside_what_the_coordinator_knows() {
    let camera: DeviceView = serde_json::from_value(json!({
        "id": CAMERA_1, "name": "camera-1", "domain": "line-7", "hardware": "x", "enrolled": 1, "online": true,
        "last_seen": 2, "installed": [], "standing_in_for": null, "phase": "staged",
        "waiting_on": "310 MiB free, 900 needed", "order": null, "last_outcome": null, "timing": null,
        "warnings": [], "refused": null, "health": null,
    }))
    .unwrap();
    let lines = devices(&campaign(), &[(camera.id, camera)].into(), None);
    assert!(
        lines[2].ends_with("staged, camera-2 serves meanwhile; waits on 310 MiB free, 900 needed"),
        "{}",
        lines[2]
    );
}

#[test]
fn a_campaign_is_shown_with_its_decisions() {
    let lines = show(&campaign(), Output::for_pipe());
    assert_eq!(lines[0], "campaign week-47 (line-7 to counter 2.0.0) is ongoing: element 2 is under way");
    assert_eq!(lines[1], "started 2026-11-21T08:00:00Z, ended -");
    assert_eq!(
        lines[lines.len() - 2..],
        ["2026-11-21T08:00:00Z  started", "2026-11-21T08:00:10Z  camera-1: ordered"]
    );
    let listed = list(&[campaign()]);
    assert!(listed[1].starts_with("week-47  ongoing  counter@2.0.0  line-7  1/3"), "{}", listed[1]);
}
