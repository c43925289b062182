use std::cell::Cell;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::network::{Call, Metrics, Network};
use crate::standby::{Drm, ServeSet, Standby, Takeover};

/// A problem with all that it stands on.
#[derive(Debug, Clone)]
struct Case {
    network: Network,
    drm: Drm,
    slots: Slots,
    max_in_flight: Option<usize>,
    gateways: Vec<Gateway>,
    loads: Vec<f64>,
}

impl Case {
    /// `requires`: the first requires the second.
    fn new(devices: u32, open: Vec<bool>, loads: Vec<f64>, requires: &[(u32, u32)]) -> Self {
        let mut builder = Network::builder();
        for device in 0..devices {
            builder.device(&name(device));
        }
        for (source, target) in requires {
            let (weight, metrics) = (None, Metrics::default());
            builder.call(Call { source: *source, target: *target, requires: true, weight, metrics });
        }
        let slots = Slots { start: 1_800_000_000, seconds: 3_600, open, zone: TimeZone::UTC };
        let drm = Drm::default();
        Self { network: builder.build(), drm, slots, max_in_flight: None, gateways: vec![], loads }
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            network: &self.network,
            drm: &self.drm,
            slots: &self.slots,
            max_in_flight: self.max_in_flight,
            gateways: &self.gateways,
            loads: &self.loads,
            kept: None,
        }
    }

    fn plan(&self, method: Method) -> Result<Plan, Conflict> {
        self.plan_keeping(method, None)
    }

    fn plan_keeping(&self, method: Method, kept: Option<Kept<'_>>) -> Result<Plan, Conflict> {
        let scores = vec![0.0; self.network.devices().len()];
        // A limit for tests that hang; none comes near it.
        let asked = Cell::new(0_u64);
        let enough = || {
            asked.set(asked.get() + 1);
            asked.get() > 3_000_000
        };
        let problem = Problem { kept, ..self.problem() };
        make_plan(&problem, &[], &scores, method, &enough)
    }

    /// All plans, by trying each assignment.
    fn all_plans(&self) -> Vec<Vec<usize>> {
        let devices = self.network.devices().len();
        let open: Vec<usize> = (0..self.slots.open.len()).filter(|slot| self.slots.open[*slot]).collect();
        let mut all = Vec::new();
        let mut digits = vec![0; devices];
        loop {
            let slots: Vec<usize> = digits.iter().map(|digit| open[*digit]).collect();
            if self.is_allowed(&slots) {
                all.push(slots);
            }
            let Some(place) = digits.iter().position(|digit| *digit + 1 < open.len()) else { return all };
            digits[..place].fill(0);
            digits[place] += 1;
        }
    }

    fn cost(&self, slots: &[usize]) -> f64 {
        slots.iter().enumerate().map(|(device, slot)| self.load(device, *slot)).sum()
    }

    /// The least load of all plans and how soon one with it is done.
    fn brute_force(&self) -> Option<(f64, usize)> {
        let all = self.all_plans();
        let least = all.iter().map(|slots| self.cost(slots)).min_by(f64::total_cmp)?;
        let good = all.iter().filter(|slots| self.cost(slots) < least + 1e-6);
        Some((least, good.filter_map(|slots| slots.iter().max()).min()? + 1))
    }

    /// How many devices have another slot than before.
    fn moves(slots: &[usize], before: &[Option<usize>]) -> usize {
        slots
            .iter()
            .zip(before)
            .filter(|(slot, before)| before.is_some_and(|before| before != **slot))
            .count()
    }

    fn load(&self, device: usize, slot: usize) -> f64 {
        self.loads[device * self.slots.open.len() + slot]
    }

    fn is_allowed(&self, slots: &[usize]) -> bool {
        let in_order =
            self.network.edges().iter().all(|edge| slots[edge.target as usize] < slots[edge.source as usize]);
        in_order
            && (0..self.slots.open.len()).all(|slot| {
                let away: Vec<u32> =
                    (0..).zip(slots).filter(|(_, own)| **own == slot).map(|(device, _)| device).collect();
                let away_of = |members: &[u32]| members.iter().filter(|member| away.contains(member)).count();
                self.max_in_flight.is_none_or(|most| away.len() <= most)
                    && self
                        .drm
                        .sets
                        .iter()
                        .all(|set| set.members.len() - away_of(&set.members) >= set.serve_min)
                    && self.gateways.iter().all(|gateway| {
                        let behind = away_of(&gateway.members);
                        behind <= gateway.max_in_flight && (behind == 0 || !away.contains(&gateway.device))
                    })
                    && self.gateways.iter().all(|gateway| gateway.agreed || self.is_last(gateway, slots))
                    && self.can_stand_in(&away, &mut vec![0; slots.len()], 0)
            })
    }

    /// Whether a gateway comes after those behind it that do not require it.
    fn is_last(&self, gateway: &Gateway, slots: &[usize]) -> bool {
        gateway.members.iter().all(|member| {
            self.requires(*member, gateway.device) || slots[*member as usize] < slots[gateway.device as usize]
        })
    }

    fn requires(&self, device: u32, other: u32) -> bool {
        self.network.required(device).iter().any(|next| *next == other || self.requires(*next, other))
    }

    /// Whether each of `away[from..]` can have a standby besides what is `taken`, by trying each.
    fn can_stand_in(&self, away: &[u32], taken: &mut Vec<usize>, from: usize) -> bool {
        let Some(device) = away.get(from) else { return true };
        let mut own = self.drm.standbys.iter().filter(|standby| standby.device == *device).peekable();
        if own.peek().is_none() {
            return self.can_stand_in(away, taken, from + 1);
        }
        own.any(|standby| {
            let all = self.drm.standbys.iter().filter(|other| other.by == standby.by);
            let capacity = all.map(|other| other.capacity).min().unwrap();
            if away.contains(&standby.by) || taken[standby.by as usize] >= capacity {
                return false;
            }
            taken[standby.by as usize] += 1;
            let found = self.can_stand_in(away, taken, from + 1);
            taken[standby.by as usize] -= 1;
            found
        })
    }
}

fn name(device: u32) -> String {
    format!("d{device:04}")
}

fn standby(device: u32, by: u32, capacity: usize) -> Standby {
    Standby { device, by, takeover: Takeover::Launch, capability: None, capacity }
}

/// Small problems of all sorts, many of them without any plan.
fn cases() -> impl Strategy<Value = Case> {
    let size = (2_u32..6, 2_usize..5);
    size.prop_flat_map(|(devices, slots)| {
        let loads = prop::collection::vec(0_u32..20, devices as usize * slots);
        let open = prop::collection::vec(prop::bool::weighted(0.85), slots);
        let pairs = || prop::collection::vec((0..devices, 0..devices), 0..4);
        let limit = prop::option::of(1_usize..4);
        (
            Just(devices),
            loads,
            open,
            pairs(),
            pairs(),
            limit,
            prop::collection::vec(0..devices, 0..4),
            (1_usize..3, any::<bool>()),
        )
    })
    .prop_map(
        |(devices, loads, mut open, requires, standbys, max_in_flight, mut members, (small, agreed))| {
            open[0] = true;
            let requires: Vec<(u32, u32)> = requires.into_iter().filter(|(a, b)| a > b).collect();
            let mut case = Case::new(devices, open, loads.into_iter().map(f64::from).collect(), &requires);
            case.max_in_flight = max_in_flight;
            members.sort_unstable();
            members.dedup();
            if members.len() > 1 {
                let (name, serve_min) = ("set".to_owned(), members.len() - small.min(members.len() - 1));
                case.drm.sets.push(ServeSet { name, members: members.clone(), serve_min });
                let device = members.pop().unwrap();
                case.gateways.push(Gateway { device, members, max_in_flight: small, agreed });
            }
            let mut known = std::collections::BTreeSet::new();
            for (device, by) in standbys {
                if device != by && known.insert((device, by)) {
                    case.drm.standbys.push(standby(device, by, small));
                }
            }
            case
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_optimal_plan_is_as_good_as_the_best_of_all(case in cases()) {
        let best = case.brute_force();
        match (case.plan(Method::Optimal), best) {
            (Ok(plan), Some((least, soonest))) => {
                prop_assert_eq!(check_plan(&case.problem(), &plan), Vec::<String>::new());
                prop_assert!((plan.objective - least).abs() < 1e-6, "{} is not {}", plan.objective, least);
                prop_assert!(plan.lower_bound <= least + 1e-6 && plan.gap < 1e-6, "{:?}", plan);
                prop_assert_eq!(plan.makespan_slots, soonest);
            }
            (Err(conflict), None) => prop_assert!(!conflict.to_string().contains("time_limit_ms"), "{}", conflict),
            (plan, best) => prop_assert!(false, "{:?}, but {:?}", plan, best),
        }
    }

    #[test]
    fn a_plan_that_keeps_another_moves_as_few_devices_as_can_be(
        case in cases(),
        before in prop::collection::vec(prop::option::weighted(0.8, 0_usize..4), 6),
    ) {
        let (devices, slots) = (case.network.devices().len(), case.slots.open.len());
        let before: Vec<Option<usize>> =
            before[..devices].iter().map(|slot| slot.filter(|slot| *slot < slots)).collect();
        let moves = |slots: &[usize]| Case::moves(slots, &before);
        let all = case.all_plans();
        let fewest = all.iter().map(|slots| moves(slots)).min();
        let plan = case.plan_keeping(Method::Optimal, Some(Kept::fewest_moves(&before)));
        prop_assert_eq!(plan.is_ok(), fewest.is_some());
        let (Ok(plan), Some(fewest)) = (plan, fewest) else { return Ok(()) };
        prop_assert_eq!(check_plan(&case.problem(), &plan), Vec::<String>::new());
        let mut found = vec![0; devices];
        for assignment in &plan.assignments {
            found[case.network.find(&assignment.device).unwrap() as usize] = assignment.slot;
        }
        prop_assert_eq!(moves(&found), fewest);
        let as_few = all.iter().filter(|slots| moves(slots) == fewest);
        let least = as_few.map(|slots| case.cost(slots)).min_by(f64::total_cmp).unwrap();
        prop_assert!((plan.objective - least).abs() < 1e-6, "{} is not {}", plan.objective, least);
        let (bound, _) = case.brute_force().unwrap();
        prop_assert!(plan.lower_bound <= bound + 1e-6, "the bound is that of any plan: {:?}", plan);
    }

    #[test]
    fn what_the_paper_plans_keeps_to_the_rules(case in cases()) {
        if let Ok(plan) = case.plan(Method::Paper) {
            prop_assert_eq!(check_plan(&case.problem(), &plan), Vec::<String>::new());
            let (least, _) = case.brute_force().expect("there is a plan");
            prop_assert!(plan.lower_bound <= least + 1e-6, "{} is above {}", plan.lower_bound, least);
            prop_assert!(plan.objective >= least - 1e-6);
        }
    }
}

/// Prices that grew without need lost digits, and with them a bound rose above the best plan.
#[test]
fn a_bound_is_none_too_high_where_a_price_changes_nothing() {
    let loads = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [8.0, 9.0, 0.0], [0.0, 0.0, 11.0], [2.0, 2.0, 2.0]];
    let mut case = Case::new(5, vec![true; 3], loads.concat(), &[(1, 0), (3, 1)]);
    case.drm.standbys.push(standby(3, 2, 1));
    let plan = case.plan(Method::Paper).unwrap();
    assert!(plan.lower_bound <= 21.0 + 1e-9, "{plan:?}");
}

/// Directions of two rounds that cancel each other do not end the search for better prices.
#[test]
fn a_bound_is_close_where_directions_cancel_each_other() {
    let rows =
        [[0.0, 100.0, 100.0]; 2].iter().chain(&[[0.0, 10.0, 100.0]; 4]).chain(&[[0.0, 100.0, 10.0]; 4]);
    let mut case = Case::new(10, vec![true; 3], rows.flatten().copied().collect(), &[]);
    case.max_in_flight = Some(5);
    let plan = case.plan(Method::Paper).unwrap();
    assert!(plan.lower_bound > 49.9 && plan.lower_bound <= 50.0 + 1e-6, "{plan:?}");
}

/// A gateway that feeds any number is not upgraded together with those behind it all the same.
#[test]
fn limits_may_be_as_large_as_can_be() {
    let mut case = Case::new(2, vec![true; 2], vec![0.0; 4], &[]);
    case.gateways.push(Gateway { device: 0, members: vec![1], max_in_flight: usize::MAX, agreed: true });
    case.drm.standbys.push(standby(1, 0, usize::MAX));
    let plan = case.plan(Method::Optimal).unwrap();
    assert_eq!(check_plan(&case.problem(), &plan), Vec::<String>::new());
}

/// Three devices in three slots: the first requires the second.
fn three() -> Case {
    let loads = vec![10.0, 50.0, 90.0, 20.0, 30.0, 40.0, 5.0, 60.0, 70.0];
    Case::new(3, vec![true; 3], loads, &[(0, 1)])
}

#[test]
fn each_assignment_says_why() {
    let mut case = three();
    case.drm.standbys.push(standby(2, 1, 1));
    case.max_in_flight = Some(1);
    let scores = [0.5, 0.0, 1.0];
    let intervals = vec![(0.0, 100.0); 9];
    let plan = make_plan(&case.problem(), &intervals, &scores, Method::Optimal, &|| false).unwrap();
    let reasons: Vec<(&str, usize, &str)> = plan
        .assignments
        .iter()
        .map(|assignment| (assignment.device.as_str(), assignment.slot, assignment.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("d0002", 0, "slot 08:00: lowest predicted load 5 % (0-100 %); d0001 stands in"),
            (
                "d0001",
                1,
                "slot 09:00: predicted load 30 % (0-100 %), the lowest would be 20 % at 08:00; before d0000"
            ),
            (
                "d0000",
                2,
                "slot 10:00: predicted load 90 % (0-100 %), the lowest would be 10 % at 08:00; after d0001"
            ),
        ]
    );
    assert_eq!(plan.assignments[0].slot_start, "2027-01-15T08:00:00+00:00");
}

#[test]
fn no_plan_is_explained_by_the_least_that_cannot_hold_together() {
    let mut case = three();
    case.slots.open = vec![true, false, false];
    assert_eq!(
        case.plan(Method::Optimal).unwrap_err().to_string(),
        "2 devices require each other in a line and need as many open slots, but only 1 are open: d0001, d0000"
    );
    let mut case = Case::new(4, vec![true, false, true], vec![1.0; 12], &[]);
    case.max_in_flight = Some(1);
    let expected = "max_in_flight: 4 devices do not fit into 2 open slots with 1 at a time";
    assert_eq!(case.plan(Method::Optimal).unwrap_err().to_string(), expected);
    assert_eq!(case.plan(Method::Paper).unwrap_err().to_string(), expected);
    // Two that stand in for each other, and a third that must be between them: three slots are needed.
    let mut case = Case::new(3, vec![true, true], vec![1.0; 6], &[(1, 0)]);
    case.drm.standbys = vec![standby(2, 1, 1), standby(2, 0, 1)];
    case.drm.sets.push(ServeSet { name: "ends".to_owned(), members: vec![0, 2], serve_min: 1 });
    case.drm.sets.push(ServeSet { name: "more".to_owned(), members: vec![1, 2], serve_min: 1 });
    assert_eq!(
        case.plan(Method::Optimal).unwrap_err().to_string(),
        "these cannot hold together within 2 open slots: the order of devices that require each other; serve_min of set \
         'ends'; serve_min of set 'more'"
    );
}

#[test]
fn a_checker_that_shares_no_code_finds_what_is_broken() {
    let mut case = three();
    case.max_in_flight = Some(2);
    case.drm.standbys.push(standby(2, 1, 1));
    let good = case.plan(Method::Optimal).unwrap();
    let broken = |change: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        check_plan(&case.problem(), &plan).join("; ")
    };
    let place =
        |plan: &Plan, device: &str| plan.assignments.iter().position(|found| found.device == device).unwrap();
    assert_eq!(broken(&|_| {}), "");
    assert_eq!(broken(&|plan| drop(plan.assignments.pop())), "d0000: it has no slot");
    assert!(
        broken(&|plan| plan.assignments[0].device = "x".to_owned()).contains("x: no edge names this device")
    );
    assert!(broken(&|plan| plan.objective -= 1.0).contains("the objective is"));
    assert!(broken(&|plan| plan.lower_bound = plan.objective + 1.0).contains("is above the objective"));
    assert!(broken(&|plan| plan.makespan_slots += 1).contains("makespan_slots is"));
    assert!(broken(&|plan| plan.assignments[0].slot_start = "noon".to_owned()).contains("begins"));
    assert!(
        broken(&|plan| {
            let at = place(plan, "d0000");
            plan.assignments[at].slot = 0;
            plan.assignments[at].slot_start = plan.assignments[place(plan, "d0002")].slot_start.clone();
        })
        .contains("it requires d0001")
    );
    assert!(
        broken(&|plan| {
            let at = place(plan, "d0002");
            (plan.assignments[at].mode, plan.assignments[at].standby) = (Mode::InPlace, None);
        })
        .contains("d0002: a standby is declared, and none serves")
    );
}

#[test]
fn time_that_is_up_gives_the_best_plan_so_far() {
    let loads: Vec<f64> = (0..60 * 24).map(|number| f64::from((number * 7_919) % 101)).collect();
    let mut case = Case::new(60, vec![true; 24], loads, &[(5, 1), (6, 1), (7, 2), (9, 5)]);
    case.max_in_flight = Some(4);
    let scores = vec![0.0; 60];
    let plan = make_plan(&case.problem(), &[], &scores, Method::Optimal, &|| true).unwrap();
    assert_eq!(check_plan(&case.problem(), &plan), Vec::<String>::new());
    let best = case.plan(Method::Optimal).unwrap();
    assert!(best.objective <= plan.objective && best.gap < 0.01, "{} and {}", best.objective, best.gap);
}
