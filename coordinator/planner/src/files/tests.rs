use proptest::prelude::*;

use super::*;
use crate::network::Network;

const EDGES: &str = include_str!("../../../../tests/data/planner/edges.csv");
const WORKLOAD: &str = include_str!("../../../../tests/data/planner/workload.csv");
const FIGURE_13: &str = include_str!("../../../../tests/data/planner/figure-13.csv");
const DRM: &str = include_str!("../../../../tests/data/planner/drm.toml");
const POLICY: &str = include_str!("../../../../tests/data/planner/policy.toml");

fn network() -> Network {
    read_edges("edges.csv", EDGES.as_bytes()).unwrap()
}

fn edges(text: &str) -> String {
    read_edges("edges.csv", text.as_bytes()).map_or_else(|error| error.to_string(), |_| "read".to_owned())
}

fn workload(text: &str) -> String {
    let read = read_workload("workload.csv", text.as_bytes(), LoadWeights::default());
    read.map_or_else(|error| error.to_string(), |_| "read".to_owned())
}

fn drm(text: &str) -> String {
    read_drm("drm.toml", text.as_bytes(), &network())
        .map_or_else(|error| error.to_string(), |_| "read".to_owned())
}

fn policy(text: &str) -> String {
    let read = read_policy("policy.toml", text.as_bytes(), &network());
    read.map_or_else(|error| error.to_string(), |_| "read".to_owned())
}

#[test]
fn the_files_of_a_line_are_read() {
    let network = network();
    assert_eq!(network.devices().len(), 9);
    assert_eq!(network.edges().len(), 10);
    let series = read_workload("workload.csv", WORKLOAD.as_bytes(), LoadWeights::default()).unwrap();
    assert_eq!((series.len(), series[0].samples.len()), (9, 360));
    let drm = read_drm("drm.toml", DRM.as_bytes(), &network).unwrap();
    assert_eq!((drm.sets.len(), drm.standbys.len()), (2, 4));
    let policy = read_policy("policy.toml", POLICY.as_bytes(), &network).unwrap();
    // It begins on a Monday at 01:00 in Berlin, in the night of a Sunday, whose window has none.
    let open: Vec<usize> = (0..36).filter(|slot| policy.slots.open[*slot]).collect();
    assert_eq!(open, (19..29).collect::<Vec<usize>>());
}

#[test]
fn the_paper_s_own_table_is_read() {
    let weights = LoadWeights { compute: 3.0, memory: 1.0 };
    let series = read_workload("figure-13.csv", FIGURE_13.as_bytes(), weights).unwrap();
    assert_eq!((series.len(), series[0].device.as_str(), series[0].samples.len()), (1, "SRD-1", 23));
    let first = series[0].samples[0];
    assert_eq!((first.at, first.response_ms), (1_604_710_800, 19.0));
    assert!((first.load - 69.0).abs() < 1e-9, "{first:?}");
}

#[test]
fn edges_that_are_no_good_are_refused_by_line_and_field() {
    let header = "source,target,requests,bytes,requires\n";
    for (lines, expected) in [
        ("a,b,1,1,maybe", "edges.csv, line 2, requires: 'maybe' is neither true nor false"),
        ("a,b,-1,1,true", "edges.csv, line 2, requests: -1 is not a number that is 0 or more"),
        ("a,b,1,NaN,true", "edges.csv, line 2, bytes: NaN is not a number that is 0 or more"),
        ("a,b,inf,1,true", "edges.csv, line 2, requests: inf is not a number that is 0 or more"),
        ("a,b,many,1,true", "edges.csv, line 2, requests: 'many' is not a number"),
        (",b,1,1,true", "edges.csv, line 2, source: is empty"),
        ("a,,1,1,true", "edges.csv, line 2, target: is empty, but something is said of the edge"),
        ("a,a,1,1,true", "edges.csv, line 2, target: a device cannot require itself"),
        ("a,b,1,1,true,0.5", "edges.csv, line 2, line: 6 values for 5 columns"),
        (
            "a,b,1,1,true\nb,c,1,1,true\n\nc,a,1,1,true\nd,a,1,1,true",
            "edges.csv, line 5, requires: these devices require each other in a circle: a -> b -> c -> a",
        ),
        ("", "edges.csv, line 1, source: no edge stands there, so there is nothing to plan"),
        ("a,,,,", "read"),
        ("a,a,1,1,false", "read"),
        ("a,b,,,", "read"),
    ] {
        assert_eq!(edges(&format!("{header}{lines}")), expected, "{lines}");
    }
    for (header, expected) in [
        (
            "",
            "edges.csv, line 1, header: column 'source' is missing; it should be source,target,requests,bytes,requires,weight",
        ),
        (
            "source,target,requests,bytes,requires,size",
            "edges.csv, line 1, header: column 'size' is not known; it should be source,target,requests,bytes,requires,weight",
        ),
        (
            "source,target,requests,requests,requires",
            "edges.csv, line 1, header: column 'requests' stands there twice; it should be source,target,requests,bytes,requires,weight",
        ),
    ] {
        assert_eq!(edges(header), expected);
    }
    assert_eq!(
        edges("source,target,requests,bytes,requires,weight\na,b,1,1,true,1.5"),
        "edges.csv, line 2, weight: 1.5 is not a number that is between 0 and 1"
    );
    assert_eq!(edges("\u{feff}target,source,bytes,requests,requires\r\na,b,1,1,true\r\n"), "read");
    let broken = read_edges("edges.csv", b"source,target,requests,bytes,requires\na,\xff,1,1,true");
    assert_eq!(broken.unwrap_err().to_string(), "edges.csv, line 2, target: is not UTF-8");
}

#[test]
fn samples_that_are_no_good_are_refused_by_line_and_field() {
    let header = "device,slot_start,compute,memory,availability,response_ms,storage\n";
    let good = "a,2026-11-01T00:00:00Z,1,1,1,1,1\n";
    for (lines, expected) in [
        (
            "a,2026-11-01T00:00:00Z,-1,1,1,1,1",
            "workload.csv, line 3, compute: -1 is not a number that is between 0 and 100",
        ),
        (
            "a,2026-11-01T00:00:00Z,1,nan,1,1,1",
            "workload.csv, line 3, memory: nan is not a number that is between 0 and 100",
        ),
        (
            "a,2026-11-01T00:00:00Z,1,1,101,1,1",
            "workload.csv, line 3, availability: 101 is not a number that is between 0 and 100",
        ),
        ("a,2026-11-01T00:00:00Z,1,1,1,,1", "workload.csv, line 3, response_ms: is empty"),
        (",2026-11-01T00:00:00Z,1,1,1,1,1", "workload.csv, line 3, device: is empty"),
        (
            "a,yesterday,1,1,1,1,1",
            "workload.csv, line 3, slot_start: 'yesterday' is not a time with date and offset (RFC 3339), like 2020-11-07T01:00:00Z",
        ),
        (
            "a,2026-11-01T00:00:00+05:00,1,1,1,1,1",
            "workload.csv, line 3, slot_start: this time is +05:00 off UTC and the first one of the file +00:00: a file has one \
             time zone, in which only summer time may make a difference",
        ),
        (
            "a,11/7/2020 1:00-2:00,1,1,1,1,1",
            "workload.csv, line 3, slot_start: some times of this file name an offset from UTC and some do not: a file has one \
             time zone",
        ),
        ("a,2026-11-01T02:00:00+01:00,1,1,1,1,1", "read"),
    ] {
        assert_eq!(workload(&format!("{header}{good}{lines}")), expected, "{lines}");
    }
    assert_eq!(
        workload(header),
        "workload.csv, line 1, device: no sample stands there, so nothing can be forecast"
    );
    assert!(
        workload("device,time\n").starts_with("workload.csv, line 1, header: column 'time' is not known")
    );
}

#[test]
fn a_quote_that_is_never_closed_is_not_shown_with_all_the_rest_of_the_file() {
    let header = "device,slot_start,compute,memory,availability,response_ms,storage\n";
    let refused = workload(&format!("{header}a,\"2026{}", "-11-01\n".repeat(1_000)));
    assert!(refused.starts_with("workload.csv, line 2, slot_start: '2026-11-01 -11-01 "), "{refused}");
    assert!(refused.chars().count() < 400 && refused.ends_with('…'), "{refused}");
}

#[test]
fn a_matrix_that_is_no_good_is_refused_by_line_and_field() {
    for (text, expected) in [
        (
            "[[standby]]\ndevice = \"camera-9\"\nby = \"camera-1\"\ntakeover = \"launch\"",
            "drm.toml, line 2, device: no edge names a device 'camera-9'",
        ),
        (
            "[[standby]]\ndevice = \"camera-1\"\nby = \"camera-1\"\ntakeover = \"launch\"",
            "drm.toml, line 3, by: 'camera-1' cannot stand in for itself",
        ),
        (
            "[[standby]]\ndevice = \"camera-1\"\nby = \"camera-2\"\ntakeover = \"magic\"",
            "drm.toml, line 4, takeover: unknown variant `magic`, expected one of `notify`, `launch`, `restore`",
        ),
        (
            "[[set]]\nname = \"x\"\nmembers = [\"camera-1\", \"camera-2\"]\nserve_min = 3",
            "drm.toml, line 4, serve_min: 3 of 2 members cannot serve",
        ),
        (
            "[[set]]\nname = \"x\"\nmembers = [\"camera-1\", \"camera-2\"]\nserve_min = 2",
            "drm.toml, line 4, serve_min: all 2 members must serve, so none of them can ever be upgraded",
        ),
        (
            "[[set]]\nname = \"x\"\nmembers = [\"camera-1\",\n\"camera-1\"]\nserve_min = 1",
            "drm.toml, line 4, members: 'camera-1' stands there twice",
        ),
        ("[[sets]]", "drm.toml, line 1, text: unknown field `sets`, expected `set` or `standby`"),
        ("", "read"),
    ] {
        assert_eq!(drm(text), expected, "{text}");
    }
}

#[test]
fn a_policy_that_is_no_good_is_refused_by_line_and_field() {
    for (text, expected) in [
        ("slots = 24", "policy.toml, line 1, slots: missing field `start`"),
        (
            "slots = 0\nstart = \"2026-11-16T00:00:00Z\"",
            "policy.toml, line 1, slots: 0 is not between 1 and 8784",
        ),
        (
            "slots = 24\nstart = \"noon\"",
            "policy.toml, line 2, start: 'noon' is not a time like 2026-03-01T00:00:00Z (RFC 3339)",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\ntime_zone = \"Mars/Olympus\"",
            "policy.toml, line 3, time_zone: 'Mars/Olympus' is not a time zone like Europe/Berlin",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\nwindows = [\"at night\"]",
            "policy.toml, line 3, windows: 'at night' is not a window like 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 00:00-24:00",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\nwindows = [\"sat 00:00-24:00\"]",
            "policy.toml, line 1, windows: none of the 24 slots lies in a window and ends in time, so nothing can be upgraded",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\ndeadline = \"2026-11-16T00:30:00Z\"",
            "policy.toml, line 3, deadline: none of the 24 slots lies in a window and ends in time, so nothing can be upgraded",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\nmax_in_flight = 0",
            "policy.toml, line 3, max_in_flight: 0 is not between 1 and 18446744073709551615",
        ),
        (
            "slots = 24\nstart = \"2026-11-16T00:00:00Z\"\nhurry = true",
            "policy.toml, line 3, hurry: unknown field `hurry`, expected one of `slots`, `start`, `slot_minutes`, `max_in_flight`, `windows`, `time_zone`, `deadline`, `time_limit_ms`, `gateway`",
        ),
        ("slots = 24\nstart = \"2026-11-16T00:00:00Z\"", "read"),
        ("slots = 24\nstart = \"2026-11-16T00:00:00\"\ntime_zone = \"America/New_York\"", "read"),
    ] {
        assert_eq!(policy(text), expected, "{text}");
    }
}

#[test]
fn windows_that_go_on_after_midnight_belong_to_the_day_on_which_they_begin() {
    let text = "slots = 48\nstart = \"2026-11-20T12:00:00Z\"\nwindows = [\"fri 22:00-06:00\"]";
    let read = read_policy("policy.toml", text.as_bytes(), &network()).unwrap();
    // 2026-11-20 is a Friday.
    let open: Vec<usize> = (0..48).filter(|slot| read.slots.open[*slot]).collect();
    assert_eq!(open, (10..18).collect::<Vec<usize>>());
}

/// A text of one of the files with some bytes replaced, dropped or doubled.
fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let text: &[u8] = &text.as_bytes()[..text.len().min(1_500)];
    let changes = prop::collection::vec((0..text.len(), any::<u8>(), 0_u8..3), 1..6);
    changes.prop_map(move |changes| {
        let mut bytes = text.to_vec();
        for (place, byte, change) in changes {
            let place = place % bytes.len().max(1);
            match change {
                0 if !bytes.is_empty() => bytes[place] = byte,
                1 if !bytes.is_empty() => drop(bytes.remove(place)),
                _ => bytes.insert(place.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn damaged_files_are_read_or_refused(
        edges in damaged(EDGES),
        workload in damaged(WORKLOAD),
        drm in damaged(DRM),
        policy in damaged(POLICY),
        anything in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let network = network();
        for bytes in [&edges, &anything] {
            let _ = read_edges("f", bytes).map_err(|error| prop_assert_named(&error));
        }
        for bytes in [&workload, &anything] {
            let _ = read_workload("f", bytes, LoadWeights::default()).map_err(|error| prop_assert_named(&error));
        }
        for bytes in [&drm, &anything] {
            let _ = read_drm("f", bytes, &network).map_err(|error| prop_assert_named(&error));
        }
        for bytes in [&policy, &anything] {
            let _ = read_policy("f", bytes, &network).map_err(|error| prop_assert_named(&error));
        }
    }
}

/// What is refused is named by file, line and field, in one line.
fn prop_assert_named(error: &InputError) {
    assert!(error.line > 0 && !error.field.is_empty() && !error.what.contains('\n'), "{error:?}");
}
