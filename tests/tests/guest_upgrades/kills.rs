//! `kill -9` of the agent before and after each of its durable effects, of kinds that need a whole machine. `make test` tries
//! some points, drawn anew each time; with `TAKT_SOAK=1` each is tried.

use std::process::Command;
use std::time::Duration;

use takt_common::api::CampaignState;
use takt_common::report::Outcome;
use takt_matrix::{KILLED, Row};
use takt_tests::fleet::{ReleaseSpec, wait_until};

use super::cuts::{self, Random};
use super::device::Device;

/// Where the agent with failpoints is in the guest, and what its unit reads (tests/guest/system).
const FOLDER: &str = "/data/failpoints";

/// How long a device may take from the end of its order until it has been at rest.
const AT_REST_LIMIT: Duration = Duration::from_mins(1);

/// Rounds with an agent that dies at a point.
pub(crate) struct Kills<'d> {
    pub(crate) device: &'d mut Device,
    row: Row,
    rounds: usize,
}

impl<'d> Kills<'d> {
    /// Puts the agent with failpoints beside the package's own.
    pub(crate) fn of(device: &'d mut Device, release: &str) -> Self {
        let tests = std::env::current_exe().unwrap();
        let armed = tests.parent().unwrap().with_file_name("examples/takt-agent-failpoints");
        let small = device.guest.folder().join("takt-agent-failpoints");
        let stripped = Command::new("strip").arg("-o").args([&small, &armed]).status().unwrap();
        assert!(stripped.success(), "strip {}", armed.display());
        device.text(&format!("mkdir -p {FOLDER}"));
        // A copy of a program can be run; the small systems have no chmod.
        let program = format!("{FOLDER}/takt-agent");
        device.text(&format!("cp -p /usr/bin/takt-agent {program}"));
        device.guest.copy_in(&small, &program).unwrap();
        Self { device, row: Row::new(release, KILLED), rounds: 0 }
    }

    /// One round without a fault, and then one with a kill at some or each of the points that it passed. `round` makes the
    /// release with this number and checks what came of it.
    pub(crate) fn at_points(
        mut self,
        usual: usize,
        release: impl Fn(usize) -> ReleaseSpec,
        check: impl Fn(&mut Device, &ReleaseSpec, CampaignState, &Outcome),
    ) {
        let mut points = self.round("", &release, &check);
        let mut random = Random::new();
        let tries = if cuts::soak() { points.len() } else { usual.min(points.len()) };
        for _ in 0..tries {
            let count = u64::try_from(points.len()).unwrap();
            let point = points.swap_remove(usize::try_from(random.below(count)).unwrap());
            eprintln!("the agent dies at {point}");
            self.round(&point, &release, &check);
            self.row.tried += 1;
        }
        self.row.write().unwrap();
        // The package's own agent first: the other one notes points for as long as it runs.
        self.device.text(&format!(
            "rm {FOLDER}/environment && systemctl restart takt-agent && rm -r {FOLDER} && sync"
        ));
    }

    /// Gives the points that were passed, each once.
    fn round(
        &mut self,
        point: &str,
        release: &impl Fn(usize) -> ReleaseSpec,
        check: &impl Fn(&mut Device, &ReleaseSpec, CampaignState, &Outcome),
    ) -> Vec<String> {
        self.rounds += 1;
        let folder = format!("{FOLDER}/{}", self.rounds);
        let told = self.device.outcomes().len();
        self.device.text(&format!(
            "mkdir {folder} && printf '%s\\n' AGENT={FOLDER}/takt-agent TAKT_FAILPOINT_DIR={folder} \
             'TAKT_FAILPOINT={point}' >{FOLDER}/environment && sync && systemctl restart takt-agent"
        ));
        let release = release(self.rounds);
        let (end, outcome) = self.device.upgrade(&release);
        check(self.device, &release, end.state, &outcome);
        assert_eq!(self.device.outcomes().len(), told + 1, "one report for each order");
        let mut died = || {
            let found = self.device.guest.run(&format!("test -e {folder}/died"), super::device::LIMIT);
            found.unwrap().code == 0
        };
        if point.is_empty() {
            assert!(!died(), "nothing was to kill it");
        } else {
            // Some points are passed when the order has ended, and the device is at rest again.
            wait_until(&format!("the agent's death at {point}"), AT_REST_LIMIT, || {
                Ok(if died() { Ok(()) } else { Err("it was not reached".to_owned()) })
            })
            .unwrap();
        }
        let mut points: Vec<String> = Vec::new();
        for point in self.device.text(&format!("cat {folder}/reached")).lines() {
            if !point.starts_with("no-order/") && !points.iter().any(|known| known == point) {
                points.push(point.to_owned());
            }
        }
        points
    }
}
