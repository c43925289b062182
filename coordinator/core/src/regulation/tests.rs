use super::*;
use takt_common::regulation::Growth;

fn course(regulation: &Regulation, fleet: u32) -> Course<'_> {
    Course { regulation, fleet, asked: None }
}

/// A whole campaign in which `errors_of` tells how many of an element fail; the sizes of its elements.
fn run(course: &Course, mut errors_of: impl FnMut(u32, u32) -> u32) -> (Vec<u32>, Option<String>) {
    let (mut total, mut size, mut sizes) = (Tally::default(), course.first(), Vec::new());
    while total.devices < course.fleet {
        let devices = size.min(course.fleet - total.devices);
        let errors = errors_of(devices, total.devices);
        total.devices += devices;
        total.errors += errors;
        sizes.push(devices);
        let element = Tally { devices, errors, warnings: 0 };
        let next = course.next(&Seen { total, element, size, response: None });
        if next.speed == Speed::Abort {
            return (sizes, Some(next.reason));
        }
        size = next.size;
    }
    (sizes, None)
}

#[test]
fn a_good_release_needs_at_most_three_quarters_of_the_fixed_lines_elements() {
    let regulation = Regulation::default();
    for fleet in [100, 1_000, 10_000, 100_000] {
        let (sizes, aborted) = run(&course(&regulation, fleet), |_, _| 0);
        assert_eq!(aborted, None);
        assert_eq!(sizes.iter().sum::<u32>(), fleet);
        assert!(fleet > 10_000 || sizes.len() <= 12, "{fleet}: {sizes:?}");
        assert!(sizes.iter().all(|size| *size <= fleet / 4), "{sizes:?}");
    }
}

#[test]
fn every_growth_brings_a_good_release_to_all_devices() {
    for growth in [Growth::Linear, Growth::Power, Growth::Polynomial, Growth::Exponential] {
        let regulation = Regulation { growth, ..Regulation::default() };
        for fleet in [1, 2, 3, 9, 150, 5_000] {
            let (sizes, aborted) = run(&course(&regulation, fleet), |_, _| 0);
            assert_eq!((sizes.iter().sum::<u32>(), aborted), (fleet, None), "{growth}");
            assert!(sizes.len() < 60, "{growth} {fleet}: {sizes:?}");
        }
    }
}

#[test]
fn a_release_that_fails_everywhere_harms_only_the_first_element() {
    let regulation = Regulation::default();
    for fleet in [1, 3, 20, 10_000, 1_000_000] {
        let (sizes, aborted) = run(&course(&regulation, fleet), |devices, _| devices);
        assert_eq!(sizes.len(), 1, "{fleet}: {sizes:?}");
        assert!(sizes[0] <= 5 && aborted.is_some());
    }
}

#[test]
fn in_a_small_fleet_one_failure_is_more_than_is_tolerated() {
    let regulation = Regulation::default();
    let one = Tally { devices: 2, errors: 1, warnings: 0 };
    let why = course(&regulation, 20).must_abort(one).unwrap();
    assert_eq!(why, "1 of 2 devices failed, and of all 20 at most 0 may (tolerance 2 %)");
    assert_eq!(course(&regulation, 50).must_abort(one), None);
}

#[test]
fn failures_over_what_the_stage_tolerates_halve_the_next_element() {
    let regulation = Regulation::default();
    let total = Tally { devices: 400, errors: 3, warnings: 0 };
    let element = Tally { devices: 160, errors: 3, warnings: 0 };
    let next = course(&regulation, 10_000).next(&Seen { total, element, size: 160, response: None });
    assert_eq!((next.speed, next.size), (Speed::Slower, 80));
    assert_eq!(next.reason, "160 → 80 devices, error rate 1.9 % (upper bound 4.8 %) over 1.5 %");
}

#[test]
fn warnings_slow_a_campaign_down_and_never_abort_it() {
    let regulation = Regulation::default();
    let total = Tally { devices: 2_000, errors: 0, warnings: 2_000 };
    let element = Tally { devices: 49, errors: 0, warnings: 3 };
    let next = course(&regulation, 10_000).next(&Seen { total, element, size: 49, response: None });
    assert_eq!((next.speed, next.size), (Speed::Slower, 40));
    assert!(next.reason.contains("warning rate 6.1 % (upper bound 15.1 %) over 5 %"), "{}", next.reason);
}

#[test]
fn a_slow_coordinator_slows_and_a_fast_one_hastens() {
    let regulation = Regulation::default();
    let seen = |now: f64| {
        let (total, element) =
            (Tally { devices: 300, ..Tally::default() }, Tally { devices: 80, ..Tally::default() });
        Seen { total, element, size: 80, response: Some(Response { now, usual: 10.0 }) }
    };
    let next = |now| course(&regulation, 10_000).next(&seen(now));
    assert_eq!((next(10.0).speed, next(10.0).size), (Speed::Faster, 160));
    assert_eq!((next(16.0).speed, next(16.0).size), (Speed::Slower, 50));
    assert!(next(16.0).reason.ends_with("the coordinator answers 1.6 times as slowly as before"));
    assert!(next(5.0).size > 160, "{:?}", next(5.0));
}

#[test]
fn few_devices_do_not_open_the_gate() {
    let regulation = Regulation { growth: Growth::Linear, ..Regulation::default() };
    let (total, element) =
        (Tally { devices: 5, ..Tally::default() }, Tally { devices: 5, ..Tally::default() });
    let next = course(&regulation, 10_000).next(&Seen { total, element, size: 5, response: None });
    assert_eq!(next.size, 11);
    assert!(next.reason.ends_with("no more while up to 45.1 % may fail (0 of 5 did)"), "{}", next.reason);
}

#[test]
fn from_what_was_asked_for_regulation_only_takes_away() {
    let regulation = Regulation::default();
    let course = Course { regulation: &regulation, fleet: 1_000, asked: Some(20) };
    let (sizes, _) = run(&course, |_, ended| u32::from(ended == 100));
    assert_eq!(sizes[..8], [20, 20, 20, 20, 20, 20, 10, 20]);
    assert_eq!(sizes.iter().max(), Some(&20));
}
