//! What scenarios must show whatever the seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use takt_common::regulation::{Speed, Stage};
use takt_sim::{Scenario, SimResult, SimState, SiteOutages, run};

fn scenario(strategy: &str) -> Scenario {
    Scenario { strategy: strategy.parse().unwrap(), devices: 2_000, ..Scenario::default() }
}

fn result(scenario: &Scenario) -> SimResult {
    run(scenario).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_campaign_and_another_one_another() {
    let scenario = Scenario { bad_fraction: 0.05, warning_fraction: 0.02, ..scenario("takt") };
    assert_eq!(result(&scenario), result(&scenario));
    let other = Scenario { seed: 2, ..scenario.clone() };
    assert_ne!(result(&scenario), result(&other));
}

#[test]
fn a_good_release_reaches_all_devices_by_every_strategy() {
    for strategy in ["takt", "takt:linear", "takt:power", "takt:polynomial", "fixed:0.0625", "groups:10"] {
        let good = result(&scenario(strategy));
        assert_eq!(
            (good.state, good.devices_done, good.harmed),
            (SimState::Finished, 2_000, 0),
            "{strategy}"
        );
        let sizes: u32 = good.elements.iter().map(|element| element.size).sum();
        assert_eq!(sizes, 2_000, "{strategy}");
    }
    let exponential = result(&scenario("exponential:50:2"));
    assert_eq!((exponential.devices_done, exponential.elements[0].size), (2_000, 50));
}

#[test]
fn a_good_release_needs_fewer_elements_than_the_fixed_line() {
    let (takt, fixed) = (
        result(&Scenario::default()),
        result(&Scenario { strategy: "fixed:0.0625".parse().unwrap(), ..Scenario::default() }),
    );
    assert_eq!(fixed.elements.len(), 16);
    assert!(takt.elements.len() <= 12, "{}", takt.elements.len());
    assert_eq!(takt.elements[0].stage, Some(Stage::Test));
    assert_eq!(takt.elements.last().unwrap().stage, Some(Stage::Generalization));
}

#[test]
fn a_release_that_fails_at_once_or_after_it_was_verified_harms_few() {
    for failure_delay_s in [0, 120, 3_600] {
        for (bad_fraction, most) in [(0.2, 15), (1.0, 15)] {
            let bad = Scenario { bad_fraction, failure_delay_s, ..scenario("takt") };
            let bad = result(&bad);
            assert_eq!(bad.state, SimState::Aborted);
            assert!(bad.harmed <= most, "{failure_delay_s} s, {bad_fraction}: {} harmed", bad.harmed);
        }
    }
}

#[test]
fn failures_within_the_tolerance_do_not_stop_a_campaign() {
    let scenario = Scenario { bad_fraction: 0.005, ..scenario("takt") };
    let result = result(&scenario);
    assert_eq!(result.state, SimState::Finished, "{}", result.reason);
    assert!(result.harmed > 0 && result.devices_done + result.harmed == 2_000);
}

#[test]
fn elements_shrink_where_the_coordinator_slows_down_and_grow_again() {
    let infra = vec![(0.35, 2.0), (0.65, 2.0)];
    let scenario = Scenario { devices: 150, infra: infra.clone(), ..scenario("takt:linear") };
    let elements = result(&scenario).elements;
    for (progress, _) in infra {
        let hit = elements.iter().position(|element| element.progress > progress).unwrap();
        assert!(elements[hit].response > 1.9, "{elements:?}");
        assert_eq!(elements[hit].decision, Speed::Slower);
        assert!(elements[hit + 1].size < elements[hit].size, "{elements:?}");
        assert_eq!(elements[hit + 1].decision, Speed::Faster);
    }
}

#[test]
fn warnings_slow_a_campaign_down() {
    let calm = result(&scenario("takt"));
    let warned = result(&Scenario { warning_fraction: 0.1, ..scenario("takt") });
    assert_eq!(warned.state, SimState::Finished);
    assert!(warned.elements.len() > calm.elements.len() + 3, "{}", warned.elements.len());
}

#[test]
fn a_site_that_is_cut_off_is_no_false_alarm() {
    let outages = vec![(0, 100, 7_200), (1, 10_000, 7_200), (2, 20_000, 7_200)];
    let cut_off = SiteOutages::Each(outages);
    let scenario = Scenario { sites: 4, site_outages: cut_off, ..scenario("takt") };
    let result = result(&scenario);
    assert_eq!((result.state, result.devices_done), (SimState::Finished, 2_000), "{}", result.reason);
    assert_eq!(result.elements.iter().map(|element| element.errors).sum::<u32>(), 0);
}

#[test]
fn devices_that_stay_silent_are_failures() {
    let scenario = Scenario { silent_fraction: 0.2, ..scenario("takt") };
    let result = result(&scenario);
    assert_eq!((result.state, result.harmed), (SimState::Aborted, 0), "{}", result.reason);
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let base = Scenario::default();
    let refusals = [
        (Scenario { devices: 0, ..base.clone() }, "field 'devices': 0 is not between 1 and 1,000,000"),
        (Scenario { bad_fraction: 1.5, ..base.clone() }, "field 'bad_fraction': 1.5 is not a share"),
        (Scenario { tolerance: 0.0, ..base.clone() }, "field 'tolerance': 0 is not above 0"),
        (Scenario { sites: 0, ..base.clone() }, "field 'sites': 0 is not between"),
        (Scenario { infra: vec![(0.5, 0.0)], ..base.clone() }, "field 'infra': [0.5, 0] is not"),
        (
            Scenario { site_outages: SiteOutages::Each(vec![(1, 0, 60)]), ..base },
            "field 'site_outages': [1, 0, 60] is not",
        ),
    ];
    for (scenario, start) in refusals {
        let error = run(&scenario).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
    let error = "fixed:0".parse::<takt_sim::Strategy>().unwrap_err().to_string();
    assert!(error.starts_with("'fixed:0' is not a strategy"), "{error}");
}

#[test]
fn a_release_at_half_the_tolerance_is_let_through() {
    let stopped = (1..=12).filter(|seed| {
        let scenario = Scenario { bad_fraction: 0.01, seed: *seed, ..scenario("takt") };
        result(&scenario).state == SimState::Aborted
    });
    assert_eq!(stopped.collect::<Vec<_>>(), [0; 0]);
}

#[test]
fn what_was_upgraded_before_a_release_showed_to_be_bad_is_brought_back() {
    let scenario = Scenario { bad_fraction: 0.05, failure_delay_s: 3_600, ..scenario("takt") };
    let result = result(&scenario);
    assert_eq!((result.state, result.devices_done), (SimState::Aborted, 0), "{}", result.reason);
    assert!(result.rolled_back > 0, "{}", result.reason);
}
