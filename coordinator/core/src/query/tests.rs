use std::collections::BTreeMap;

use takt_common::digest::Sha256Digest;
use takt_common::health::Link;
use takt_common::order::Position;
use takt_common::release::ReleaseId;
use takt_common::report::Installed;
use takt_common::{DeviceId, Name};

use super::{Query, Subject};
use crate::fleet::{DeviceState, Facts};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn device() -> DeviceState {
    let id: DeviceId = "000000000000000000000000000000a1".parse().unwrap();
    let next = Position { epoch: 1, generation: 1 };
    let mut device = DeviceState::enrolled(id, name("cam-7"), name("north"), name("cam-x"), next);
    let installed = |component: &str, version: &str, counter| Installed {
        release: ReleaseId { name: name(component), version: name(version) },
        counter,
        manifest: Sha256Digest::of(version.as_bytes()),
    };
    device.installed = vec![installed("app", "1.10.2", 12), installed("base", "2026.4", 3)];
    device.online = true;
    device.facts = Facts {
        agent: Some("0.1.0".to_owned()),
        kernel: Some("6.1.0-18".to_owned()),
        battery_percent: Some(55),
        link: Some(Link::Wifi),
        storage_free_bytes: Some(3 << 30),
        memory_free_bytes: Some(1 << 29),
        features: BTreeMap::from([("night".to_owned(), "on".to_owned())]),
        unwell: Vec::new(),
    };
    device
}

fn ask(device: &DeviceState, text: &str) -> Option<bool> {
    let query: Query = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(query.to_string(), text);
    query.means(Subject { device, component: Some(&name("app")) })
}

#[test]
fn what_is_known_of_a_device_can_be_asked_for() {
    let device = device();
    for yes in [
        r#"model = "cam-x" and version >= "1.1" and domain in ("north")"#,
        r#"hardware="cam-x"AND(name like "cam-*")"#,
        r#"version > "1.9" and version < "1.11" and version.base = "2026.4""#,
        "counter = 12 and counter.base <= 3",
        "battery >= 50 % and storage_free > 2 GiB and memory_free >= 512MiB",
        r#"link != "cellular" and online = true"#,
        r#"feature.night = "on" and not feature.day = "on""#,
        r#"not (domain = "south" or domain = "east")"#,
        r#"domain not in ("south", "east") and name not like "*-8""#,
        r#"agent >= "0.1" and kernel like "6.1.*-*8""#,
        r#"id = "000000000000000000000000000000a1""#,
        r#"domain = "south" or domain = "north" and model = "cam-x""#,
        "  online\n=\tTRUE ",
    ] {
        assert_eq!(ask(&device, yes), Some(true), "{yes}");
    }
    for no in [
        r#"domain = "south""#,
        r#"(domain = "south" or domain = "north") and model = "cam-y""#,
        "online = false",
        r#"name like "cam""#,
        r#"name in ("cam-8")"#,
    ] {
        assert_eq!(ask(&device, no), Some(false), "{no}");
    }
}

#[test]
fn what_is_not_known_is_neither_true_nor_false() {
    let device = DeviceState { facts: Facts::default(), installed: Vec::new(), ..device() };
    for unknown in [
        "battery > 10",
        "not battery > 10",
        r#"version = "1""#,
        r#"feature.night = "on""#,
        r#"battery > 10 and model = "cam-x""#,
        r#"battery > 10 or model = "cam-y""#,
        r#"link in ("wifi")"#,
    ] {
        assert_eq!(ask(&device, unknown), None, "{unknown}");
    }
    assert_eq!(ask(&device, r#"battery > 10 and model = "cam-y""#), Some(false));
    assert_eq!(ask(&device, r#"battery > 10 or model = "cam-x""#), Some(true));
}

#[test]
fn mains_never_runs_out() {
    let mut device = device();
    device.facts.battery_percent = None;
    assert_eq!(ask(&device, "battery >= 100"), Some(true));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, at, why) in [
        (r#"model == "x""#, 8, "'=' is not expected where"),
        ("model = x", 9, "'x' is not expected where a value"),
        ("model = ", 9, "the query ends where a value"),
        ("", 1, "the query ends where a field could stand"),
        (r#"modell = "x""#, 1, "there is no field 'modell'"),
        (r#"name.first = "x""#, 1, "there is no field 'name.first'"),
        (r#"domain = "north" und online = true"#, 18, "'und' is not expected where and or or, the end"),
        (r#"(domain = "north""#, 18, "the query ends"),
        (r#"domain in ("north" "south")"#, 20, "'\"south\")' is not expected"),
        (r#"domain > "north""#, 8, "'domain' is only compared with = and !="),
        (r#"battery > "10""#, 11, "'battery' is held against a number"),
        (r#"battery like "1*""#, 14, "'battery' is no text"),
        ("online = 1", 10, "'online' is held against true or false"),
        ("counter = 99999999999999999999", 11, "is too large a number"),
        ("storage_free > 99999999999 TiB", 16, "is too large a number"),
        ("name = \"ü\" x", 12, "'x' is not expected"),
        (r#"name = "never closed"#, 8, "is not expected where a value"),
    ] {
        let error = text.parse::<Query>().unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn no_query_is_too_deep_or_too_long_for_the_machine() {
    for deep in [format!("{}online = true{}", "(".repeat(2_000), ")".repeat(2_000)), "not ".repeat(1_000)] {
        assert!(deep.parse::<Query>().unwrap_err().why.contains("within each other"));
    }
    assert!("a".repeat(5_000).parse::<Query>().unwrap_err().why.contains("at most 4096 characters"));
    let wide = vec![r#"name = "x""#; 200].join(" or ");
    assert!(wide.parse::<Query>().is_ok());
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}") {
        if let Err(error) = text.parse::<Query>() {
            proptest::prop_assert!(error.at >= 1 && error.at <= text.chars().count() + 1, "{}", error);
        }
    }

    #[test]
    fn texts_of_its_own_words_are_read_or_refused(words in proptest::collection::vec(
        proptest::sample::select(vec!["name", "version", "=", "<", "(", ")", "not", "in", "like", "\"a\"", "3", "and", "or", ","]), 0..24))
    {
        let _read = words.join(" ").parse::<Query>();
    }
}
