use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::all_pairs::Values;
use super::*;

const DECAY: f64 = 0.8;
const ONE: NonZeroUsize = NonZeroUsize::MIN;
const SIMRANK: Rule = Rule { measure: Measure::SimRank, decay: DECAY };
const STAR: Rule = Rule { measure: Measure::SimRankStar, decay: DECAY };

/// By the definitions, in rounds over dense matrices from nothing in common, until rounds change nothing.
fn by_definition(transitions: &Transitions, rule: Rule) -> Vec<Vec<f64>> {
    let size = transitions.size();
    let mut step = vec![vec![0.0; size]; size];
    for (device, row) in step.iter_mut().enumerate() {
        for (to, probability) in transitions.row(device) {
            row[to] = probability;
        }
    }
    let identity = |a: usize, b: usize| if a == b { 1.0 } else { 0.0 };
    let mut all: Vec<Vec<f64>> = (0..size).map(|a| (0..size).map(|b| identity(a, b)).collect()).collect();
    for _ in 0..110 {
        let ahead: Vec<Vec<f64>> = (0..size)
            .map(|a| (0..size).map(|b| (0..size).map(|i| step[a][i] * all[i][b]).sum()).collect())
            .collect();
        let value = |a: usize, b: usize| match rule.measure {
            Measure::SimRank if a == b => 1.0,
            Measure::SimRank => rule.decay * (0..size).map(|j| ahead[a][j] * step[b][j]).sum::<f64>(),
            Measure::SimRankStar => {
                0.5 * rule.decay * (ahead[a][b] + ahead[b][a]) + (1.0 - rule.decay) * identity(a, b)
            }
        };
        all = (0..size).map(|a| (0..size).map(|b| value(a, b)).collect()).collect();
    }
    all
}

fn assert_pairs(transitions: &Transitions) {
    for rule in [SIMRANK, STAR] {
        let expected = by_definition(transitions, rule);
        for threads in [1, 3] {
            let found = all_pairs(transitions, rule, 1e-10, NonZeroUsize::new(threads).unwrap());
            assert!(found.error <= 1e-10, "{}", found.error);
            for (a, row) in expected.iter().enumerate() {
                for (b, value) in row.iter().enumerate() {
                    let miss = (found.of(a, b) - value).abs();
                    assert!(miss < 1e-9, "{rule:?}: S({a}, {b}) is {value}, not {}", found.of(a, b));
                }
            }
        }
    }
}

/// Row sums are within `tolerance` of those of all pairs, by either measure.
fn assert_within(transitions: &Transitions, tolerance: f64) {
    assert_within_promise(transitions, tolerance, tolerance);
}

/// They are within what they promise, which is `most` at the most; `tolerance` was asked for.
fn assert_within_promise(transitions: &Transitions, tolerance: f64, most: f64) {
    for rule in [SIMRANK, STAR] {
        let all = all_pairs(transitions, rule, 1e-12, ONE);
        let found = match rule.measure {
            Measure::SimRank => row_sums(transitions, DECAY, tolerance, ONE),
            Measure::SimRankStar => star_sums(transitions, DECAY, tolerance, ONE),
        };
        let bound = found.error_bound;
        assert!(bound <= most, "{rule:?}: {bound} is promised, {tolerance} was asked for");
        for (device, (sum, exact)) in found.sums.iter().zip(all.row_sums()).enumerate() {
            let error = (sum - exact).abs();
            assert!(error <= bound * (1.0 + exact) + 1e-8, "{rule:?}, device {device}: {sum} is not {exact}");
        }
    }
}

/// A number that looks random.
fn scrambled(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 27;
    state = state.wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// `degree` edges from each device, to others that look random.
fn random(size: u32, degree: u32) -> Transitions {
    let edge = |device: u32, number: u32| {
        let seed = scrambled((u64::from(device) << 32) | u64::from(number));
        let weight = 0.1 + (seed % 900) as f64 / 1_000.0;
        (device, u32::try_from(seed >> 32).unwrap_or(0) % size, weight)
    };
    let edges = (0..size).flat_map(|device| (0..degree).map(move |number| edge(device, number)));
    Transitions::new(size as usize, edges.collect())
}

fn both_ways(pairs: impl IntoIterator<Item = (u32, u32)>) -> Vec<(u32, u32, f64)> {
    pairs.into_iter().flat_map(|(a, b)| [(a, b, 1.0), (b, a, 1.0)]).collect()
}

#[test]
fn all_pairs_are_those_of_the_definition() {
    for (size, degree) in [(1, 1), (7, 1), (30, 2), (80, 3), (90, 2), (70, 20)] {
        assert_pairs(&random(size, degree));
    }
}

#[test]
fn one_sweep_over_a_graph_without_circles_is_exact() {
    let edge = |device: u32, number: u32| {
        (device, u32::try_from(scrambled(u64::from(7 * device + number)) >> 32).unwrap() % device, 1.0)
    };
    let edges = (1..90).flat_map(|device| (0..3).map(move |number| edge(device, number)));
    let transitions = Transitions::new(90, edges.collect());
    for rule in [SIMRANK, STAR] {
        let found = all_pairs(&transitions, rule, 1e-8, ONE);
        assert!(found.error == 0.0, "{rule:?}: {}", found.error);
        let again = all_pairs(&transitions, rule, 1e-12, ONE);
        assert!((0..90).all(|a| (0..90).all(|b| (found.of(a, b) - again.of(a, b)).abs() < 1e-12)));
    }
    assert_pairs(&transitions);
}

#[test]
fn numbers_of_half_the_room_are_within_the_bound() {
    for (size, degree) in [(80, 3), (150, 2), (70, 20)] {
        let transitions = random(size, degree);
        for rule in [SIMRANK, STAR] {
            let exact = all_pairs(&transitions, rule, 1e-12, ONE);
            let found = all_pairs(&transitions, rule, 1e-3, NonZeroUsize::new(2).unwrap());
            assert!(matches!(found.values, Values::Single(_)) && found.error <= 1e-3);
            for (a, b) in (0..size as usize).flat_map(|a| (0..size as usize).map(move |b| (a, b))) {
                let miss = (found.of(a, b) - exact.of(a, b)).abs();
                assert!(miss <= found.error, "{rule:?}: S({a}, {b}) misses by {miss}, not {}", found.error);
            }
        }
    }
}

#[test]
fn sums_of_random_graphs_are_those_of_all_pairs() {
    for (size, degree) in [(50, 1), (200, 2), (300, 3), (100, 10)] {
        assert_within(&random(size, degree), 1e-3);
        assert_within(&random(size, degree), 1e-5);
    }
}

#[test]
fn rings_stars_chains_and_what_has_no_edges_are_exact() {
    let ring = Transitions::new(5, (0..5).map(|device| (device, (device + 1) % 5, 1.0)).collect());
    let star = Transitions::new(60, (1..60).map(|device| (device, 0, 1.0)).collect());
    let chain = Transitions::new(50, (1..50).map(|device| (device, device - 1, 1.0)).collect());
    let own = Transitions::new(3, vec![(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0)]);
    for transitions in [ring, star, chain, own, Transitions::new(4, vec![]), Transitions::new(0, vec![])] {
        assert_within(&transitions, 1e-6);
        assert_pairs(&transitions);
    }
}

/// For SimRank* a pair is open as long as one of the two can go on.
#[test]
fn a_circle_beside_devices_that_lead_nowhere_is_within_the_bound() {
    let transitions = Transitions::new(4, vec![(1, 2, 0.87), (1, 1, 0.77), (3, 2, 1.0)]);
    assert_within(&transitions, 1e-5);
    assert_pairs(&transitions);
}

/// Who mostly stays or goes one way meets itself again: what a walk leaves out counts several times.
#[test]
fn walks_that_keep_together_are_within_the_bound() {
    assert_within(&Transitions::new(5, vec![(1, 3, 0.98), (4, 2, 0.17), (1, 1, 0.038), (3, 2, 0.21)]), 1e-4);
}

/// The middle of what is known of one may be wrong to the same side as that of others which it leads to.
#[test]
fn walks_to_where_others_are_not_known_either_are_within_the_bound() {
    let edges = [(8, 1, 0.28), (7, 8, 0.7786), (1, 0, 0.8985), (0, 3, 0.0849), (1, 0, 0.854), (8, 3, 0.2173)];
    let more = [(1, 7, 0.0357), (0, 8, 0.9146)];
    assert_within(&Transitions::new(9, [edges.as_slice(), &more].concat()), 1e-4);
}

/// Devices that call each other: a hub with spokes, and a tree of them.
#[test]
fn those_that_call_back_are_within_the_bound() {
    let star = Transitions::new(61, both_ways((1..61).map(|spoke| (0, spoke))));
    let gateways = (1..5).map(|gateway| (0, gateway));
    let cameras = (5..37).map(|camera| (1 + camera % 4, camera));
    let tree = Transitions::new(37, both_ways(gateways.chain(cameras)));
    // From one to four, from each to all of four, and from each of these back.
    let fan = (1..5).flat_map(|a| (5..9).map(move |b| (a, b, 1.0)));
    let ends = (1..5).map(|a| (0, a, 1.0)).chain((5..9).map(|b| (b, 0, 1.0)));
    let circle = Transitions::new(9, ends.chain(fan).collect());
    for transitions in [star, tree, circle] {
        assert_within(&transitions, 1e-3);
        assert_within(&transitions, 1e-5);
        assert_pairs(&transitions);
    }
}

#[test]
fn devices_at_unequal_depth_are_alike_by_simrank_star_only() {
    // 0 calls 1 and 2; 2 calls 3.
    let transitions = Transitions::new(4, vec![(1, 0, 1.0), (2, 0, 1.0), (3, 2, 1.0)]);
    assert!(all_pairs(&transitions, SIMRANK, 1e-9, ONE).of(1, 3) == 0.0);
    assert!(all_pairs(&transitions, STAR, 1e-9, ONE).of(1, 3) > 0.01);
}

#[test]
fn a_device_with_nobody_like_it_has_exactly_nothing() {
    let chain = Transitions::new(50, (1..50).map(|device| (device, device - 1, 1.0)).collect());
    assert!(row_sums(&chain, DECAY, 1e-3, ONE).sums.iter().all(|sum| *sum < 1e-12));
}

#[test]
fn one_row_is_that_of_all_pairs() {
    let transitions = random(120, 3);
    let (simrank, star) =
        (all_pairs(&transitions, SIMRANK, 1e-12, ONE), all_pairs(&transitions, STAR, 1e-12, ONE));
    for device in [0, 17, 119] {
        let (row, error) = Linear::new(&transitions, DECAY, 1e-6, ONE).row(device);
        assert!((0..120).all(|other| (row[other] - simrank.of(device, other)).abs() <= error), "{error}");
        let (row, error) = star_row(&transitions, DECAY, 1e-6, device);
        assert!((0..120).all(|other| (row[other] - star.of(device, other)).abs() <= error), "{error}");
    }
}

#[test]
fn many_devices_are_summed_up_within_the_bound() {
    // All pairs would take minutes.
    let edge = |device: u32, number: u32| {
        let seed = scrambled((u64::from(device) << 32) | u64::from(number));
        (device, u32::try_from(seed >> 32).unwrap() % 20_000, 1.0)
    };
    let edges = (0..20_000).flat_map(|device| (0..3).map(move |number| edge(device, number)));
    let found = row_sums(&Transitions::new(20_000, edges.collect()), DECAY, 1e-3, ONE);
    assert!(found.error_bound <= 1e-3, "{}", found.error_bound);
    assert!(found.sums.iter().all(|sum| sum.is_finite() && *sum >= 0.0));
}

proptest! {
    #[test]
    fn sums_are_within_what_is_promised(
        size in 1_u32..30,
        edges in proptest::collection::vec((0_u32..30, 0_u32..30, 0.0_f64..1.0), 0..90),
    ) {
        let edges = edges.into_iter().map(|(from, to, weight)| (from % size, to % size, weight)).collect();
        let transitions = Transitions::new(size as usize, edges);
        // Of a device that nearly always goes one way, little is known beside what is wrong with the others: once in thousands of
        // graphs no step makes that less.
        assert_within_promise(&transitions, 1e-4, 2e-4);
        assert_pairs(&transitions);
    }
}
