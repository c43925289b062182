//! What the lanes of one scenario share: a coordinator, a publisher, and the list of points.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use takt_common::api::CampaignState;
use takt_tests::fleet::{CampaignSpec, Fleet, ReleaseSpec};
use takt_workload::Nature;

use super::lane::{Lane, Passed};

/// What all devices begin with.
pub(crate) const BASE: &str = "1.0.0";
/// For anything that a restarted agent must do.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A point that was tried, and how the order ended.
pub(crate) type Tried = (String, String);

pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    /// The agent with failpoints.
    pub(crate) program: PathBuf,
    nature: Nature,
    /// The last version that was published.
    published: Mutex<usize>,
}

impl Stage {
    /// With releases of this nature to try.
    pub(crate) fn start(nature: Nature) -> Self {
        let fleet = Fleet::start().unwrap();
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples/takt-agent-failpoints");
        assert!(
            program.is_file(),
            "{} is missing: build it with `cargo build -p takt-tests --examples`",
            program.display()
        );
        fleet.publish(&release(BASE, Nature::Good)).unwrap();
        Self { fleet, program, nature, published: Mutex::new(1) }
    }

    /// Brings all devices to the first release.
    pub(crate) fn install_base(&self) {
        let release = release(BASE, Nature::Good).name();
        let spec = CampaignSpec { name: "base", release: &release, element_size: 9, deadline: "60s" };
        self.fleet.start_campaign(spec).unwrap();
        let end = self.fleet.wait_campaign("base", LIMIT).unwrap();
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    }

    /// Publishes the next version. Lanes do not share one: its image would be in their engine before.
    pub(crate) fn next_version(&self) -> String {
        let mut published = self.published.lock().unwrap();
        *published += 1;
        let version = format!("{published}.0.0");
        self.fleet.publish(&release(&version, self.nature)).unwrap();
        version
    }
}

/// One round without a kill, and then one for each point that it passed; `check` says how the order ended.
pub(crate) fn try_all(
    mut lanes: Vec<Lane<'_>>,
    check: impl Fn(&Lane<'_>, &Passed) -> String + Sync,
) -> Vec<Tried> {
    let first = &mut lanes[0];
    let passed = first.round(None);
    println!("{:<45} {}", "no kill", check(first, &passed));
    let points = passed.points;
    let count = lanes.len();
    let check = &check;
    let mut tried: Vec<Tried> = Vec::new();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, lane) in lanes.iter_mut().enumerate() {
            let own: Vec<String> = points.iter().skip(number).step_by(count).cloned().collect();
            threads.push(scope.spawn(move || {
                let mut tried = Vec::new();
                for point in own {
                    // Said before as well, so that a failure shows at which point.
                    println!("killing at {point}");
                    let passed = lane.round(Some(&point));
                    let told = check(lane, &passed);
                    println!("{point:<45} {:>6} ms  {told:.60}", passed.took.as_millis());
                    tried.push((point, told));
                }
                lane.rest();
                tried
            }));
        }
        for thread in threads {
            tried.extend(thread.join().unwrap());
        }
    });
    println!("{} points tried", tried.len());
    assert_eq!(tried.len(), points.len());
    tried
}

fn release(version: &str, nature: Nature) -> ReleaseSpec {
    ReleaseSpec {
        start_secs: 1,
        probation_secs: 1,
        interval_millis: 100,
        ..ReleaseSpec::new(version, nature)
    }
}
