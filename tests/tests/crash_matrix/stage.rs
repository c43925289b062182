//! What the lanes of one scenario share: a coordinator, a publisher, and the list of points.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takt_matrix::{Fault, KILLED, Row};
use takt_tests::engine::Engine;
use takt_tests::fleet::{Fleet, ReleaseSpec};
use takt_workload::Nature;

use super::lane::{Inject, Lane, Passed};
use super::releases::version;

/// For anything that a restarted agent must do.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

const HOLD: &str = "\
#!/bin/sh
cd \"$TAKT_FAILPOINT_DIR\" && touch held && while [ -e held ] && [ ! -e go ]; do sleep 0.05; done
";

/// Makes a release from its version and nature.
pub(crate) type Make = fn(&str, Nature) -> ReleaseSpec;

/// A point that was tried.
pub(crate) type Tried = String;

pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) engine: Arc<Engine>,
    /// The agent with failpoints.
    pub(crate) program: PathBuf,
    /// Where a failpoint waits for the test: it makes the file `held` beside its own and goes on once there is `go`.
    pub(crate) hold: PathBuf,
    make: Make,
    nature: Nature,
    /// The last version that was published.
    published: Mutex<usize>,
}

impl Stage {
    /// With releases of this nature to try.
    pub(crate) fn start(make: Make, nature: Nature) -> Self {
        Self::on(Engine::shared().unwrap(), make, nature)
    }

    /// On this engine.
    pub(crate) fn on(engine: Arc<Engine>, make: Make, nature: Nature) -> Self {
        let fleet = Fleet::start_on(Arc::clone(&engine)).unwrap();
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().with_file_name("examples/takt-agent-failpoints");
        assert!(
            program.is_file(),
            "{} is missing: build it with `cargo build -p takt-tests --examples`",
            program.display()
        );
        let hold = fleet.folder().join("hold");
        std::fs::write(&hold, HOLD).unwrap();
        std::fs::set_permissions(&hold, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { fleet, engine, program, hold, make, nature, published: Mutex::new(1) }
    }

    /// Publishes what a lane begins with.
    pub(crate) fn base(&self, lane: usize) -> ReleaseSpec {
        let release = (self.make)(&version(1, lane), Nature::Good);
        self.fleet.publish(&release).unwrap();
        release
    }

    /// Publishes the next version. Lanes do not share one: its image would be in their engine before.
    pub(crate) fn next_version(&self, lane: usize) -> String {
        let mut published = self.published.lock().unwrap();
        *published += 1;
        let version = version(*published, lane);
        self.fleet.publish(&(self.make)(&version, self.nature)).unwrap();
        version
    }
}

/// Whether the long version is wanted.
pub(crate) fn soak() -> bool {
    std::env::var_os("TAKT_SOAK").is_some_and(|soak| soak == "1")
}

/// How often each point is tried in the long version.
const SOAK_TIMES: usize = 10;

/// Checks how a round ended.
pub(crate) type Check<'c> = &'c (dyn Fn(&Lane<'_>, &Passed) -> Result<(), Fault> + Sync);

/// With the new release.
pub(crate) fn verified() -> Check<'static> {
    &|lane, round| lane.verified(round)
}

/// With the old one.
pub(crate) fn rolled_back() -> Check<'static> {
    &|lane, round| lane.rolled_back(round)
}

/// With one of them, as it was told.
pub(crate) fn either() -> Check<'static> {
    &|lane, round| lane.ended(round)
}

/// One round without a fault, and then one with a kill at each point that it passed. The row is kept, and whatever is wrong
/// ends the test.
pub(crate) fn kill_at_each_point(release: &str, lanes: Vec<Lane<'_>>, check: Check<'_>) -> Vec<Tried> {
    at_each_point(Row::new(release, KILLED), lanes, |_| true, Inject::Kill, check)
}

/// The same with another fault, at the points that `wanted` names.
pub(crate) fn at_each_point<'f>(
    row: Row,
    mut lanes: Vec<Lane<'_>>,
    wanted: impl Fn(&str) -> bool,
    inject: impl Fn(String) -> Inject<'f> + Sync,
    check: Check<'_>,
) -> Vec<Tried> {
    let passed = lanes[0].round(&Inject::Nothing).unwrap();
    check(&lanes[0], &passed).unwrap();
    let times = if soak() { SOAK_TIMES } else { 1 };
    let points = passed.points.into_iter().filter(|point| wanted(point));
    let points: Vec<String> = points.flat_map(|point| std::iter::repeat_n(point, times)).collect();
    at_these_points(row, lanes, &points, |lane, point| lane.round(&inject(point.to_owned())), check)
}

/// One round, done by `round`, for each of these points.
pub(crate) fn at_these_points(
    mut row: Row,
    mut lanes: Vec<Lane<'_>>,
    points: &[String],
    round: impl Fn(&mut Lane<'_>, &str) -> Result<Passed, Fault> + Sync,
    check: Check<'_>,
) -> Vec<Tried> {
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let (next, ended, round) = (&next, &ended, &round);
        for lane in &mut lanes {
            scope.spawn(move || {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Said before as well, so that a failure shows at which point.
                    println!("now at {point}");
                    let result =
                        round(lane, point).and_then(|passed| check(lane, &passed).map(|()| passed.recovery));
                    println!("{point:<60} {result:?}");
                    let failed = result.is_err();
                    ended.lock().unwrap().push((point.clone(), result));
                    if failed {
                        // The device may be in any state: what it would show next proves nothing.
                        break;
                    }
                }
                lane.rest();
            });
        }
    });
    // What files and packages were put in.
    std::fs::remove_dir_all(super::releases::folder()).unwrap();
    let ended = ended.into_inner().unwrap();
    let tried: Vec<Tried> = ended.iter().map(|(point, _)| point.clone()).collect();
    for (point, result) in ended {
        row.count(&point, result);
    }
    row.write().unwrap();
    println!("{} points tried", tried.len());
    assert_eq!(row.faults(), 0, "{:?}", row.said);
    assert_eq!(tried.len(), points.len());
    tried
}
