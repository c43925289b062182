//! `takt sim`: scenarios in, JSON and a picture out, and what is wrong in one sentence.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;
use support::Bench;

#[test]
fn a_scenario_gives_its_elements_and_a_picture() {
    let bench = Bench::new();
    bench.write("s.toml", "devices = 150\nstrategy = \"takt:linear\"\ninfra = [[0.35, 2.0], [0.65, 2.0]]\n");
    let result = bench.takt("sim --scenario s.toml --plot p.svg").json();
    assert_eq!((result["state"].as_str(), result["devices_done"].as_u64()), (Some("finished"), Some(150)));
    let elements = result["elements"].as_array().unwrap();
    for key in ["index", "stage", "size", "errors", "warnings", "response", "decision", "reason"] {
        assert!(!elements[0][key].is_null(), "{key}");
    }
    for key in ["harmed", "rolled_back", "elapsed_s"] {
        assert!(result[key].is_u64(), "{key}");
    }
    let picture = std::fs::read_to_string(bench.path("p.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.matches("<circle").count() == elements.len());
}

#[test]
fn what_is_left_out_has_its_default() {
    let bench = Bench::new();
    bench.write("s.toml", "");
    assert_eq!(bench.takt("sim --scenario s.toml").json()["devices_done"].as_u64(), Some(10_000));
}

#[test]
fn a_scenario_that_is_none_is_refused_with_file_line_and_field() {
    let bench = Bench::new();
    for (text, why) in [
        ("devices = 150\ncolour = \"red\"\n", "s.toml, line 2: unknown field `colour`"),
        ("devices = \"many\"\n", "s.toml, line 1: invalid type"),
        ("strategy = \"fastest\"\n", "s.toml, line 1: 'fastest' is not a strategy"),
        ("tolerance = 0.9\n", "s.toml: field 'tolerance': 0.9 is not above 0 and at most 0.5"),
    ] {
        bench.write("s.toml", text);
        let refused = bench.takt("sim --scenario s.toml --plot p.svg");
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
        assert!(refused.err.contains(why) && refused.err.lines().count() == 1, "{}", refused.err);
        assert!(!bench.path("p.svg").exists());
    }
    assert_eq!(bench.takt("sim --scenario missing.toml").code, 2);
}
