//! Requests: a document for each door that takes one, ranges, paths.

pub(super) fn all() -> Vec<Vec<u8>> {
    let id = "1f5fe64ec2f8c901be3aad94a41d70c1";
    let campaign =
        r#"{"name":"all","release":{"name":"counter","version":"1.0"},"domain":"north","deadline_secs":600}"#;
    let golden =
        String::from_utf8(super::file("common/tests/goldens/api-campaign-request.json")).expect("JSON");
    let golden = golden.replace("2.0.0", "1.0");
    let enrol = String::from_utf8(super::file("common/tests/goldens/api-enrol-request.json")).expect("JSON");
    let texts = [
        (0, campaign.to_owned()),
        (0, golden.clone()),
        (0, campaign.replacen('{', r#"{"where":"online = false and battery > 5","#, 1)),
        (1, campaign.to_owned()),
        (1, golden),
        (2, r#"{"edges":[]}"#.to_owned()),
        (2, r#"{"edges":[{"source":"camera-1","target":"camera-2","requires":true,"weight":0.3,"skew_max":1}]}"#.to_owned()),
        (3, "{}".to_owned()),
        (3, r#"{"rows":[{"device":"camera-1","standbys":["camera-2"],"takeover":"notify"}],"sets":[{"name":"s","members":["camera-1","camera-2"],"serve_min":1}]}"#.to_owned()),
        (4, "{}".to_owned()),
        (4, r#"{"slot_secs":60,"slots":9,"max_in_flight":1,"windows":["22:00-04:00"],"time_zone":"Europe/Berlin","gateways":[{"device":"camera-1","members":["camera-2"],"max_in_flight":1}],"method":"paper"}"#.to_owned()),
        (5, format!(r#"{{"mode":"propose","campaign":{campaign}}}"#)),
        (6, r#"{"domain":"north","uses":1,"valid_secs":60}"#.to_owned()),
        (7, enrol),
        (8, r#"{"documents":{"2.root.json":"{}","2.targets.json":"{\"signed\":{},\"signatures\":[]}"}}"#.to_owned()),
        (9, r#"{"why":"it looks odd"}"#.to_owned()),
        (10, r#"{"name":"ann"}"#.to_owned()),
        (11, "{}".to_owned()),
        (12, "bytes=0-3".to_owned()),
        (14, "bytes=-5".to_owned()),
        (16, "bytes=30-,1-2".to_owned()),
        (21, "/api/v1/devices?domain=north".to_owned()),
        (31, format!("/api/v1/devices/{id}/why")),
        // Not what a text may be.
        (21, "/api/v1/devices/%ff".to_owned()),
        (41, "/metrics".to_owned()),
        (15, "/api/v1/campaigns/all/abort\n{}".to_owned()),
    ];
    texts.iter().map(|(door, text)| [&[*door], text.as_bytes()].concat()).collect()
}
