//! `takt plan`: every command on the files of a production line, and what is wrong in one sentence.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::Path;

use serde_json::Value;

mod support;
use support::{Bench, Run};

const FILES: [&str; 5] = ["edges.csv", "drm.toml", "workload.csv", "policy.toml", "figure-13.csv"];
const PROBLEM: &str = "--edges edges.csv --drm drm.toml --workload workload.csv --policy policy.toml";

/// A folder with the files of `tests/data/planner`.
fn line() -> Bench {
    let bench = Bench::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/planner");
    for name in FILES {
        bench.write(name, std::fs::read(data.join(name)).unwrap());
    }
    bench
}

fn refusal(outcome: &Run, code: i32) -> String {
    assert_eq!((outcome.code, outcome.out.as_str()), (code, ""), "{outcome:?}");
    outcome.err.trim_end().to_owned()
}

fn name<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

#[test]
fn the_chain_ranks_devices_from_the_most_dependent_one() {
    let line = line();
    let chain = line.takt("plan chain --edges edges.csv").json();
    assert_eq!((chain["c"].as_f64(), chain["measure"].as_str()), (Some(0.8), Some("simrank")));
    assert!(chain["error_bound"].as_f64().unwrap() < 1e-6);
    let devices = chain["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 9);
    for (rank, device) in (1..).zip(devices) {
        assert_eq!(device["rank"].as_i64(), Some(rank));
        let score = |key: &str| device[key].as_f64().unwrap();
        assert!((score("score") - score("score_in") - score("score_out")).abs() < 2e-6, "{device}");
    }
    assert!(devices.windows(2).all(|pair| pair[0]["score"].as_f64() >= pair[1]["score"].as_f64()));
    let top = line.takt("plan chain --edges edges.csv --top 2 --measure simrank-star --c 0.6").json();
    assert_eq!(
        (top["devices"].as_array().unwrap().len(), top["measure"].as_str()),
        (2, Some("simrank-star"))
    );
}

#[test]
fn similarities_are_told_of_one_device_and_of_all() {
    let line = line();
    let one = line.takt("plan similarity --edges edges.csv --device camera-3 --direction out").json();
    let one = one.as_array().unwrap();
    // camera-3 and camera-4 call the same gateway and nothing else.
    let twin = one.iter().find(|row| name(row, "b") == "camera-4").unwrap();
    assert!((twin["similarity"].as_f64().unwrap() - 0.8).abs() < 1e-9, "{twin}");
    let all = line.takt("plan similarity --edges edges.csv --all --direction out").json();
    for row in one {
        let pair = |other: &&Value| {
            let pair = [name(other, "a"), name(other, "b")];
            pair.contains(&name(row, "a")) && pair.contains(&name(row, "b"))
        };
        let same = all.as_array().unwrap().iter().find(pair).unwrap();
        assert!((same["similarity"].as_f64().unwrap() - row["similarity"].as_f64().unwrap()).abs() < 1e-9);
    }
}

#[test]
fn forecasts_have_a_model_a_backtest_and_a_best_slot() {
    let line = line();
    let all = line.takt("plan forecast --workload workload.csv").json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 9);
    for device in all {
        let error = |key: &str| device["backtest"][key].as_f64().unwrap();
        assert!(error("mae") <= 1.02 * error("persistence_mae"), "{device}");
        let slots = device["slots"].as_array().unwrap();
        assert_eq!((slots.len(), name(&slots[0], "slot_start")), (24, "2026-11-16T00:00:00Z"));
        let load = |slot: &Value, key: &str| slot[key].as_f64().unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| load(slot, "low") <= load(slot, "load")
                    && load(slot, "load") <= load(slot, "high"))
        );
        let least = slots.iter().map(|slot| load(slot, "load")).fold(f64::INFINITY, f64::min);
        assert!(load(&device["best_slot"], "load") <= least);
    }
    let one = line.takt("plan forecast --workload figure-13.csv --device SRD-1 --horizon 5").json();
    assert_eq!(one[0]["slots"].as_array().unwrap().len(), 5);
    assert!(one[0]["backtest"].is_null(), "a day of history compares nothing");
}

#[test]
fn a_plan_that_is_kept_moves_only_the_devices_that_must_move() {
    let line = line();
    let made = line.takt(&format!("plan schedule {PROBLEM}"));
    line.write("plan.json", made.out.as_bytes());
    let slots = |plan: &Value| -> std::collections::BTreeMap<String, String> {
        let pairs = plan["assignments"].as_array().unwrap().iter();
        pairs.map(|one| (name(one, "device").to_owned(), name(one, "slot_start").to_owned())).collect()
    };
    let before = slots(&made.json());
    let same = line.takt(&format!("plan schedule {PROBLEM} --keep plan.json")).json();
    assert_eq!(slots(&same), before);
    // The first open slot is over: who had it moves, and nobody else.
    let policy = String::from_utf8(std::fs::read(line.path("policy.toml")).unwrap()).unwrap();
    let later = policy.replacen("start = \"", "start = \"2026-11-17T00:00:00Z\" # ", 1);
    assert_ne!(later, policy);
    line.write("policy.toml", later.as_bytes());
    let after = slots(&line.takt(&format!("plan schedule {PROBLEM} --keep plan.json")).json());
    let moved = before.iter().filter(|(device, slot)| after[*device] != **slot).count();
    let gone = before.values().filter(|slot| ***slot < *"2026-11-17T01:00:00+01:00").count();
    assert!(gone > 0 && moved >= gone, "{before:?} and {after:?}");
    assert!(moved <= gone + 2, "{before:?} and {after:?}");
    refusal(&line.takt(&format!("plan schedule {PROBLEM} --move-cost 3")), 2);
    let wrong = refusal(&line.takt(&format!("plan schedule {PROBLEM} --keep policy.toml")), 2);
    assert!(wrong.contains("policy.toml, line 1"), "{wrong}");
}

#[test]
fn advice_names_edges_and_standbys_that_are_probably_missing() {
    let line = line();
    let header = "source,target,requests,bytes,requires\n";
    let calls = "camera-1,gateway,,,true\ncamera-2,gateway,,,true\ncamera-3,gateway,,,true\n\
                 camera-1,store,,,true\ncamera-2,store,,,true\n";
    line.write("calls.csv", format!("{header}{calls}").as_bytes());
    let advice = line.takt("plan advise --edges calls.csv").json();
    let [edge] = advice["edges"].as_array().unwrap().as_slice() else { panic!("{advice}") };
    assert_eq!((name(edge, "source"), name(edge, "target")), ("camera-3", "store"));
    assert_eq!((edge["requires"].as_bool(), edge["confidence"].as_f64()), (Some(true), Some(1.0)));
    assert!(name(edge, "reason").contains("which call what camera-3 calls, call store too"), "{edge}");
    let pairs = |advice: &Value| -> Vec<(String, String)> {
        let standbys = advice["standbys"].as_array().unwrap().iter();
        standbys.map(|one| (name(one, "device").to_owned(), name(one, "by").to_owned())).collect()
    };
    assert!(pairs(&advice).contains(&("camera-1".to_owned(), "camera-2".to_owned())), "{advice}");

    line.write("rejected.csv", format!("{header}camera-3,store,,,\n").as_bytes());
    line.write("stand.toml", b"[[standby]]\ndevice='camera-1'\nby='camera-2'\ntakeover='launch'\n");
    let advice = line.takt("plan advise --edges calls.csv --drm stand.toml --rejected rejected.csv").json();
    assert_eq!(advice["edges"], serde_json::json!([]));
    assert!(pairs(&advice).iter().all(|(device, _)| device != "camera-1"), "{advice}");
    refusal(&line.takt("plan advise --edges calls.csv --alike 0"), 2);
}

#[test]
fn a_gateway_comes_after_those_that_it_cuts_off_unless_they_agreed() {
    let line = line();
    let calls = "source,target,requests,bytes,requires\nsensor,gateway,,,false\ncamera,gateway,,,true\n";
    line.write("calls.csv", calls.as_bytes());
    line.write("none.toml", b"");
    let load = "device,slot_start,compute,memory,availability,response_ms,storage\n\
                gateway,2026-11-15T23:00:00Z,10,10,100,1,1\n";
    line.write("load.csv", load.as_bytes());
    let files = "--edges calls.csv --drm none.toml --workload load.csv --policy slots.toml";
    let slots = |agreed: &str| {
        let policy = format!(
            "start = '2026-11-16T00:00:00Z'\nslots = 3\n[[gateway]]\ndevice = 'gateway'\n\
             members = ['sensor', 'camera']\nmax_in_flight = 2\n{agreed}"
        );
        line.write("slots.toml", policy.as_bytes());
        let made = line.takt(&format!("plan schedule {files}"));
        line.write("plan.json", made.out.as_bytes());
        let checked = line.takt(&format!("plan check --plan plan.json {files}")).json();
        assert_eq!(checked["violations"], serde_json::json!([]));
        let plan = made.json();
        let slot = |device: &str| {
            let mut all = plan["assignments"].as_array().unwrap().iter();
            all.find(|one| name(one, "device") == device).unwrap()["slot"].as_i64().unwrap()
        };
        ["sensor", "gateway", "camera"].map(slot)
    };
    // The sensor is cut off; the camera requires the gateway, so it wants it first.
    assert_eq!(slots(""), [0, 1, 2]);
    assert_eq!(slots("agreed = true\n"), [1, 0, 1]);
    // By the rule that nobody agreed to, that plan is wrong.
    let policy = std::fs::read_to_string(line.path("slots.toml")).unwrap().replace("agreed = true", "");
    line.write("slots.toml", policy.as_bytes());
    let checked = line.takt(&format!("plan check --plan plan.json {files}"));
    assert!(checked.code == 5 && checked.out.contains("cuts off sensor"), "{checked:?}");
}

#[test]
fn schedules_keep_to_the_rules_and_say_how_good_they_are() {
    let line = line();
    let mut objectives = Vec::new();
    for method in ["optimal", "paper"] {
        let made = line.takt(&format!("plan schedule {PROBLEM} --method {method}"));
        let plan = made.json();
        line.write("plan.json", made.out.as_bytes());
        let checked = line.takt(&format!("plan check --plan plan.json {PROBLEM}")).json();
        assert_eq!(checked["violations"], serde_json::json!([]));
        assert_eq!((name(&plan, "method"), plan["assignments"].as_array().unwrap().len()), (method, 9));
        assert!(plan["lower_bound"].as_f64() <= plan["objective"].as_f64(), "{plan}");
        objectives.push(plan["objective"].as_f64().unwrap());
        if method == "optimal" {
            assert!(plan["gap"].as_f64().unwrap() < 1e-6, "{plan}");
        }
        for assignment in plan["assignments"].as_array().unwrap() {
            assert!(name(assignment, "reason").starts_with("slot "), "{assignment}");
            let rolling = assignment["mode"] == "rolling";
            assert_eq!(rolling, !assignment["standby"].is_null(), "{assignment}");
        }
    }
    assert!(objectives[0] <= objectives[1], "{objectives:?}");
}

#[test]
fn a_plan_that_was_changed_is_refused_with_all_that_is_wrong() {
    let line = line();
    let mut plan = line.takt(&format!("plan schedule {PROBLEM}")).json();
    let slot = plan["assignments"][0]["slot"].clone();
    let start = plan["assignments"][0]["slot_start"].clone();
    for assignment in plan["assignments"].as_array_mut().unwrap() {
        assignment["slot"] = slot.clone();
        assignment["slot_start"] = start.clone();
    }
    line.write("plan.json", plan.to_string().as_bytes());
    let outcome = line.takt(&format!("plan check --plan plan.json {PROBLEM}"));
    assert_eq!(outcome.code, 5, "{outcome:?}");
    let violations: Value = serde_json::from_str(&outcome.out).unwrap();
    let violations: Vec<&str> =
        violations["violations"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for part in [
        "it requires gateway-1",
        "max_in_flight is 2",
        "of set 'cameras' serve, 3 must",
        "upgraded in the same slot",
    ] {
        assert!(violations.iter().any(|text| text.contains(part)), "{part}: {violations:#?}");
    }
    assert!(
        outcome.err.contains("plan.json: ") && outcome.err.contains(" violations, the first: "),
        "{outcome:?}"
    );
}

#[test]
fn what_cannot_be_planned_is_said_in_one_sentence() {
    let line = line();
    line.write("few.toml", b"start = \"2026-11-16T00:00:00Z\"\nslots = 3\nmax_in_flight = 2\n");
    let outcome =
        line.takt("plan schedule --edges edges.csv --drm drm.toml --workload workload.csv --policy few.toml");
    assert_eq!(
        refusal(&outcome, 5),
        "takt: max_in_flight: 9 devices do not fit into 3 open slots with 2 at a time"
    );
    for (command, expected) in [
        ("plan chain --edges edges.csv --c 1", "takt: --c 1: a number between 0 and 1 is expected"),
        ("plan similarity --edges edges.csv --device x", "takt: --device x: edges.csv does not name it"),
        (
            "plan forecast --workload workload.csv --device x",
            "takt: --device x: workload.csv does not name it",
        ),
        (
            "plan chain --edges workload.csv",
            "takt: workload.csv, line 1, header: column 'device' is not known; it should be \
             source,target,requests,bytes,requires,weight",
        ),
        ("plan chain --edges nowhere.csv", "takt: read nowhere.csv: No such file or directory (os error 2)"),
        (
            "plan check --plan drm.toml --edges edges.csv --drm drm.toml --workload workload.csv --policy policy.toml",
            "takt: drm.toml, line 1: expected value at line 1 column 1",
        ),
    ] {
        assert_eq!(refusal(&line.takt(command), 2), expected, "{command}");
    }
}

/// The texts that an SVG shows, and that it hides as titles.
fn texts(picture: &str) -> Vec<&str> {
    let text = |part: &'static str| {
        picture.split(part).skip(1).filter_map(|rest| rest.split_once('>')?.1.split('<').next())
    };
    text("<text").chain(text("<title")).map(str::trim).collect()
}

#[test]
fn pictures_show_every_device_dependency_and_slot() {
    let line = line();
    let told = line.takt("plan draw --edges edges.csv -o graph.svg");
    assert_eq!((told.code, told.out.trim_end()), (0, "drew graph.svg"), "{told:?}");
    let read = |name| String::from_utf8(line.read(name)).unwrap();
    let graph = read("graph.svg");
    let shown = texts(&graph);
    for device in ["controller-1", "gateway-1", "camera-4", "press-2"] {
        assert!(shown.contains(&device), "{device}: {shown:?}");
    }
    assert!(shown.contains(&"camera-1 requires and calls gateway-1, weight 0.95"), "{shown:?}");
    assert_eq!(graph.matches("<line").count(), 10);

    assert_eq!(line.takt("plan draw --heatmap --workload workload.csv --horizon 6 -o load.svg").code, 0);
    let load = read("load.svg");
    let cells = texts(&load).into_iter().filter(|text| text.starts_with("camera-1, ")).count();
    assert_eq!(cells, 6);
    assert_eq!(load.matches("#0a58ca").count(), 9, "each device's best slot is framed");
    // A picture is replaced as a whole.
    assert_eq!(line.takt("plan draw --edges edges.csv -o load.svg").code, 0);
    assert_eq!(read("load.svg"), graph);
}

#[test]
fn what_cannot_be_drawn_is_said_in_one_sentence() {
    let line = line();
    let calls = (0..1_001).map(|device| format!("a{device},b,1,1,false"));
    let lines = std::iter::once("source,target,requests,bytes,requires".to_owned()).chain(calls);
    line.write("many.csv", lines.collect::<Vec<_>>().join("\n"));
    let told = refusal(&line.takt("plan draw --edges many.csv -o graph.svg"), 2);
    assert!(
        told.ends_with("many.csv: 1002 devices are too many for a picture, at most 1000 are not"),
        "{told}"
    );
    let told = refusal(&line.takt("plan draw --edges edges.csv -o no/such/folder.svg"), 1);
    assert!(told.contains("no/such/folder.svg"), "{told}");
    assert_eq!(line.takt("plan draw -o graph.svg").code, 2);
    assert_eq!(line.takt("plan draw --heatmap -o graph.svg").code, 2);
}
