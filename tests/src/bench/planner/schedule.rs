//! Plans, and how good they are.

use std::f64::consts::TAU;

use fastrand::Rng;
use takt_planner::{
    Call, Drm, Method, Metrics, Network, Plan, Problem, SchedulePolicy, ServeSet, Standby, Takeover,
    check_plan, make_plan, read_policy,
};

use super::super::error::BenchError;
use super::super::figure::{Figure, Goal, Unit};
use super::super::spread::Spread;
use super::timed;
use crate::fleet::Stopwatch;

/// Devices, slots, seconds, and the gap in percent that is left at the most.
const SIZES: [(u32, usize, u64, f64); 2] = [(1_000, 48, 10, 0.5), (10_000, 48, 60, 2.0)];
/// A gateway with those behind it.
const GROUP: u32 = 10;
/// Of those behind a gateway, so many serve at any time.
const SERVE_MIN: usize = 7;
/// So many times the devices that slots must hold on the average are allowed in one.
const ROOM: f64 = 1.5;
const PART_OF_PAPER: f64 = 0.55;

/// A fleet whose devices are busy by day, each at its own time.
struct Fleet {
    network: Network,
    drm: Drm,
    policy: SchedulePolicy,
    loads: Vec<f64>,
}

impl Fleet {
    fn new(devices: u32, slots: usize) -> Self {
        let mut random = Rng::with_seed(u64::from(devices));
        let mut builder = Network::builder();
        for device in 0..devices {
            builder.device(&format!("device-{device:06}"));
        }
        let mut requires = |source, target| {
            let (weight, metrics) = (None, Metrics::default());
            builder.call(Call { source, target, requires: true, weight, metrics });
        };
        for device in 0..devices {
            let gateway = device / GROUP * GROUP;
            if device != gateway {
                requires(device, gateway);
            } else if gateway > 0 && random.u32(0..3) == 0 {
                requires(gateway, random.u32(0..gateway) / GROUP * GROUP);
            }
        }
        let network = builder.build();
        let mut drm = Drm::default();
        for gateway in (0..devices).step_by(GROUP as usize) {
            let members: Vec<u32> = (gateway + 1..gateway + GROUP).collect();
            let takeover = Takeover::Launch;
            let standby = |device, by| Standby { device, by, takeover, capability: None, capacity: 1 };
            drm.standbys.extend([standby(members[0], members[1]), standby(members[1], members[0])]);
            drm.sets.push(ServeSet { name: format!("behind-{gateway}"), members, serve_min: SERVE_MIN });
        }
        let most = (f64::from(devices) / slots as f64 * ROOM).ceil();
        let text = format!("start = \"2026-03-02T00:00:00Z\"\nslots = {slots}\nmax_in_flight = {most}\n");
        let policy = read_policy("policy.toml", text.as_bytes(), &network).expect("it is a policy");
        let mut loads = Vec::new();
        for _ in 0..devices {
            // Busy for some hours, and nearly idle for the rest.
            let (peak, height, idle) =
                (24.0 * random.f64(), 40.0 + 50.0 * random.f64(), 2.0 + 6.0 * random.f64());
            for slot in 0..slots {
                let day = 0.5 + 0.5 * (TAU * (slot as f64 - peak) / 24.0).cos();
                loads.push((idle + height * day * day + 4.0 * random.f64()).min(100.0));
            }
        }
        Self { network, drm, policy, loads }
    }

    fn problem(&self) -> Problem<'_> {
        self.policy.problem(&self.network, &self.drm, &self.loads)
    }

    /// A checked plan, and how many milliseconds it took.
    fn plan(&self, method: Method, seconds: u64) -> Result<(Plan, f64), BenchError> {
        let scores = vec![0.0; self.network.devices().len()];
        let problem = self.problem();
        let begun = Stopwatch::start();
        let enough = || begun.elapsed().as_secs() >= seconds;
        let (plan, millis) = timed(|| make_plan(&problem, &[], &scores, method, &enough))?;
        let other = |went| BenchError::OtherWay { what: format!("a plan ({method:?})"), went };
        let plan = plan.map_err(|conflict| other(conflict.to_string()))?;
        match check_plan(&problem, &plan).as_slice() {
            [] => Ok((plan, millis)),
            [first, ..] => Err(other(first.clone())),
        }
    }
}

pub(super) fn measure(machine: &str, say: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
    let once = |value| {
        let mut spread = Spread::default();
        spread.push(value);
        spread
    };
    let mut figures = Vec::new();
    for (devices, slots, seconds, gap_max) in SIZES {
        let fleet = Fleet::new(devices, slots);
        let (paper, _) = fleet.plan(Method::Paper, seconds)?;
        let (optimal, millis) = fleet.plan(Method::Optimal, seconds)?;
        let gap = 100.0 * optimal.gap;
        say(&format!(
            "{devices} devices on {slots} slots: gap {gap:.2} % after {millis:.0} ms, {:.3} of the paper's",
            optimal.objective / paper.objective
        ));
        let of = format!("{devices} devices on {slots} slots, {seconds} s");
        let name = format!("gap of the best plan, {of}");
        figures.push(Figure::new(&name, Unit::Percent, &once(gap), machine).with(Goal::Value(gap_max)));
        let name = format!("load that the best plan disturbs, {of}");
        let disturbed = Figure::new(&name, Unit::Percent, &once(optimal.objective), machine);
        let disturbed = disturbed.beside("the paper's algorithm", &once(paper.objective));
        figures.push(disturbed.with(Goal::Ratio(PART_OF_PAPER)));
    }
    Ok(figures)
}
