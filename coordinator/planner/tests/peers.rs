//! What the planner finds is what others find: NetworkX, scikit-learn and the solver HiGHS, each asked by `peers.py`, and smartcore.

#![allow(clippy::unwrap_used)] // A test fails by it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use fastrand::Rng;
use serde_json::{Value, json};
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::linear_regression::{LinearRegression, LinearRegressionParameters};
use takt_planner::{
    Call, Direction, Drm, LeastSquares, Likeness, Method, Metrics, Network, Problem, SchedulePolicy,
    ServeSet, Standby, Takeover, check_plan, make_plan, read_policy,
};

/// What a peer says to each question.
fn ask(what: &str, questions: &[Value]) -> Vec<Value> {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/env/python.sh");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers.py");
    let mut peer =
        Command::new(run).args([script, what]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    peer.stdin.take().unwrap().write_all(Value::from(questions).to_string().as_bytes()).unwrap();
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success(), "peers.py {what} failed: {}", output.status);
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), questions.len());
    answers
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Calls between devices: source, target, weight.
struct Graph {
    size: u32,
    edges: Vec<(u32, u32, f64)>,
}

/// Graphs of each sort, one after the other.
fn graph(number: u64) -> Graph {
    let mut random = Rng::with_seed(number);
    let size = random.u32(1..50);
    let count = random.u32(0..=3 * size);
    let mut edges = Vec::new();
    for _ in 0..count {
        let (a, b) = (random.u32(0..size), random.u32(0..size));
        let weight = f64::from(random.u32(1..=1_000)) / 1_000.0;
        let edge = match number % 5 {
            // No circles.
            0 if a == b => continue,
            0 => (a.max(b), a.min(b), weight),
            // The first ones only: the others stand alone.
            1 => (a / 2, b / 2, weight),
            // Many call themselves.
            2 if random.bool() => (a, a, weight),
            // Some call twice.
            3 => {
                edges.push((a, b, 0.5));
                (a, b, weight)
            }
            _ => (a, b, weight),
        };
        edges.push(edge);
    }
    Graph { size, edges }
}

fn network(graph: &Graph) -> Network {
    let mut builder = Network::builder();
    for device in 0..graph.size {
        builder.device(&format!("device-{device:04}"));
    }
    for (source, target, weight) in &graph.edges {
        let (weight, metrics) = (Some(*weight), Metrics::default());
        builder.call(Call { source: *source, target: *target, requires: false, weight, metrics });
    }
    builder.build()
}

#[test]
fn similarities_are_those_of_networkx() {
    let graphs: Vec<Graph> = (0..60).map(graph).collect();
    let likeness = Likeness { threads: NonZeroUsize::new(2).unwrap(), ..Likeness::default() };
    let question = |graph: &Graph| json!({"size": graph.size, "edges": graph.edges, "decay": likeness.decay});
    let answers = ask("similarities", &graphs.iter().map(question).collect::<Vec<_>>());
    let mut compared = 0;
    for (number, (graph, answer)) in graphs.iter().zip(&answers).enumerate() {
        let pairs = network(graph).pairs(Direction::Incoming, likeness);
        for (a, row) in (0..).zip(answer.as_array().unwrap()) {
            for (b, theirs) in (0..).zip(numbers(row)) {
                let ours = pairs.of(a, b);
                assert!((ours - theirs).abs() < 1e-6, "graph {number}, {a} and {b}: {ours}, not {theirs}");
                compared += usize::from(a != b && theirs > 0.0);
            }
        }
    }
    assert!(compared > 5_000, "{compared} pairs with something in common");
}

#[test]
fn coefficients_are_those_of_scikit_learn_and_smartcore() {
    let sample = |number: u64| {
        let mut random = Rng::with_seed(number);
        let (features, samples) = (random.usize(1..=12), random.usize(60..=400));
        let mut value = |spread: f64| spread * (random.f64() - 0.5);
        let truth: Vec<f64> = (0..features).map(|_| value(4.0)).collect();
        let rows: Vec<Vec<f64>> =
            (0..samples).map(|_| (0..features).map(|_| value(2.0) + 0.3).collect()).collect();
        let explained = |row: &Vec<f64>| row.iter().zip(&truth).map(|(a, b)| a * b).sum::<f64>();
        let targets: Vec<f64> = rows.iter().map(|row| explained(row) + value(0.5)).collect();
        (rows, targets)
    };
    let samples: Vec<_> = (0..50).map(sample).collect();
    let questions: Vec<Value> =
        samples.iter().map(|(rows, targets)| json!({"features": rows, "targets": targets})).collect();
    for ((rows, targets), answer) in samples.iter().zip(ask("regressions", &questions)) {
        let mut fit = LeastSquares::new(rows[0].len());
        for (row, target) in rows.iter().zip(targets) {
            fit.add(row, *target);
        }
        let (ours, theirs) = (fit.solve().unwrap(), numbers(&answer));
        for theirs in [theirs, smartcore_fit(rows, targets)] {
            assert_eq!(ours.len(), theirs.len());
            let close = ours.iter().zip(&theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-8);
            assert!(close, "{ours:?}, not {theirs:?}");
        }
    }
}

/// Constant first, as ours.
fn smartcore_fit(rows: &[Vec<f64>], targets: &Vec<f64>) -> Vec<f64> {
    // Here only: it has methods of slices too, and says of one with elements that it is empty.
    use smartcore::linalg::basic::arrays::Array as _;
    let features = DenseMatrix::from_2d_vec(&rows.to_vec()).unwrap();
    let fit = LinearRegression::fit(&features, targets, LinearRegressionParameters::default()).unwrap();
    let slopes = (0..rows[0].len()).map(|feature| *fit.coefficients().get((feature, 0)));
    std::iter::once(*fit.intercept()).chain(slopes).collect()
}

/// What a plan is made of.
struct Case {
    network: Network,
    drm: Drm,
    policy: SchedulePolicy,
    loads: Vec<f64>,
}

impl Case {
    /// Up to 40 devices with something of everything.
    fn new(number: u64) -> Self {
        let mut random = Rng::with_seed(number);
        let devices = random.u32(2..=40);
        let slots = random.usize(5..=12);
        let name = |device: u32| format!("device-{device:04}");
        let mut builder = Network::builder();
        for device in 0..devices {
            builder.device(&name(device));
        }
        for _ in 0..random.u32(0..=devices) {
            let (a, b) = (random.u32(0..devices), random.u32(0..devices));
            if a != b && random.u32(0..3) > 0 {
                let (source, target) = (a.max(b), a.min(b));
                let (weight, metrics) = (None, Metrics::default());
                builder.call(Call { source, target, requires: true, weight, metrics });
            }
        }
        let network = builder.build();
        let mut all: Vec<u32> = (0..devices).collect();
        random.shuffle(&mut all);
        let mut some = |most: usize| -> Vec<u32> {
            let count = random.usize(1..=most.min(all.len()));
            let begin = random.usize(0..=all.len() - count);
            all[begin..begin + count].to_vec()
        };
        let sets: Vec<Vec<u32>> = (0..2).map(|_| some(6)).collect();
        let behind: Vec<u32> = some(5);
        let pairs: Vec<Vec<u32>> = (0..4).map(|_| some(3)).collect();
        let mut drm = Drm::default();
        for (number, members) in sets.into_iter().enumerate() {
            let serve_min = members.len() - random.usize(1..=members.len());
            drm.sets.push(ServeSet { name: format!("set-{number}"), members, serve_min });
        }
        // The first of each is served for by the others; whoever is served for once is so no further.
        for served in pairs {
            if drm.standbys_of(served[0]).next().is_some() {
                continue;
            }
            for by in &served[1..] {
                let takeover = Takeover::Launch;
                let capacity = random.usize(1..=2);
                drm.standbys.push(Standby {
                    device: served[0],
                    by: *by,
                    takeover,
                    capability: None,
                    capacity,
                });
            }
        }
        let mut text = format!("start = \"2026-03-02T00:00:00Z\"\nslots = {slots}\n");
        if random.bool() {
            text += "windows = [\"01:00-03:00\", \"04:00-24:00\"]\n";
        }
        if random.bool() {
            let least = (devices as usize).div_ceil(slots);
            writeln!(text, "max_in_flight = {}", random.usize(least..=least + 3)).unwrap();
        }
        if let Some((gateway, members)) = behind.split_first().filter(|(_, members)| !members.is_empty()) {
            let members: Vec<String> = members.iter().map(|member| name(*member)).collect();
            let most = random.usize(1..=members.len());
            let gateway = name(*gateway);
            write!(
                text,
                "[[gateway]]\ndevice = \"{gateway}\"\nmembers = {members:?}\nmax_in_flight = {most}\nagreed = true\n"
            )
            .unwrap();
        }
        let policy = read_policy("policy.toml", text.as_bytes(), &network).unwrap();
        let loads = (0..devices as usize * slots).map(|_| f64::from(random.u32(0..=1_000)) / 10.0).collect();
        Self { network, drm, policy, loads }
    }

    fn problem(&self) -> Problem<'_> {
        self.policy.problem(&self.network, &self.drm, &self.loads)
    }

    fn question(&self) -> Value {
        let devices = (0..).take(self.network.devices().len());
        let order: Vec<(u32, u32)> = devices
            .flat_map(|device| self.network.required(device).iter().map(move |required| (*required, device)))
            .collect();
        let gateways = self.policy.gateways.iter();
        let gateways: Vec<_> =
            gateways.map(|gateway| (gateway.device, &gateway.members, gateway.max_in_flight)).collect();
        let sets: Vec<_> =
            self.drm.sets.iter().map(|set| (&set.members, set.members.len() - set.serve_min)).collect();
        let standbys = self.drm.standbys.iter();
        let standbys: Vec<_> =
            standbys.map(|standby| (standby.device, standby.by, standby.capacity)).collect();
        json!({
            "loads": self.loads.chunks(self.policy.slots.open.len()).collect::<Vec<_>>(),
            "open": self.policy.slots.open,
            "order": order,
            "max_in_flight": self.policy.max_in_flight,
            "gateways": gateways,
            "sets": sets,
            "standbys": standbys,
        })
    }
}

/// That nothing costs less is known after some hundreds of looks; whether the same can be done sooner may take longer.
const LOOKS_MAX: usize = 5_000;

#[test]
fn plans_cost_what_those_of_an_exact_solver_do() {
    let cases: Vec<Case> = (0..120).map(Case::new).collect();
    let answers = ask("plans", &cases.iter().map(Case::question).collect::<Vec<_>>());
    let mut planned = 0;
    for (number, (case, answer)) in cases.iter().zip(answers).enumerate() {
        let looks = Cell::new(0);
        let enough = || {
            looks.set(looks.get() + 1);
            looks.get() > LOOKS_MAX
        };
        let problem = case.problem();
        let scores = vec![0.0; case.network.devices().len()];
        let plan = make_plan(&problem, &[], &scores, Method::Optimal, &enough);
        match (plan, answer.as_f64()) {
            (Ok(plan), Some(least)) => {
                planned += 1;
                assert_eq!(check_plan(&problem, &plan), [""; 0], "case {number}");
                let (found, bound) = (plan.objective, plan.lower_bound);
                assert!((found - least).abs() < 1e-5, "case {number}: {found}, not {least}");
                assert!(bound < least + 1e-5, "case {number}: no plan is said to cost less than {bound}");
                assert!(plan.gap < 1e-6, "case {number}: the gap is {}", plan.gap);
            }
            (Err(_), None) => {}
            (ours, theirs) => panic!("case {number}: {ours:?}, not {theirs:?}"),
        }
    }
    assert!(planned >= 100, "{planned} cases have a plan");
}
