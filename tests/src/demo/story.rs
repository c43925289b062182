//! The acts of the demo, in their order.

use std::time::Duration;

use takt_common::api::WhyView;
use takt_workload::Nature;

use super::follow::{Followed, follow};
use super::scene::{CAMERAS, GATEWAY, NAMES, Scene};
use crate::fleet::{CampaignSpec, DOMAIN, Fleet, FleetError, HttpWatcher, ReleaseSpec, Said};

/// The release that the devices begin with.
pub(super) const FIRST: &str = "1.0.0";
/// The good upgrade.
pub(super) const GOOD: &str = "2.0.0";
/// The bad one.
pub(super) const BAD: &str = "3.0.0";

/// Requests that drive up the counters of the three devices.
const COUNTS: [u64; 3] = [41, 42, 43];
/// How long a slot is; an hour would be usual.
const SLOT: &str = "3s";
/// Seconds within which the bad release must be well once: it never is, so this only makes the demo longer.
const BAD_START_SECS: u32 = 2;
/// How long the clients may take to see what the coordinator knows.
const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// What was seen.
pub(super) struct Acts {
    /// When the devices were enrolled and online.
    pub(super) enrolled_at: Duration,
    /// The campaign that brought the first release.
    pub(super) first: Followed,
    /// What was said to the good release while one of two publishers had signed it: to its publication, and to a
    /// campaign with it.
    pub(super) half_signed: [Said; 2],
    /// The good upgrade.
    pub(super) good: Followed,
    /// When all three devices were upgraded and verified.
    pub(super) upgraded_at: Duration,
    /// The bad upgrade.
    pub(super) bad: Followed,
    /// The counter of the gateway just before the bad upgrade.
    pub(super) counter_before: u64,
    /// The containers of the cameras, before and after the bad upgrade.
    pub(super) containers_before: Vec<Vec<String>>,
    pub(super) containers_after: Vec<Vec<String>>,
    /// What `takt why` says of the cameras after the bad upgrade was stopped.
    pub(super) whys_after: Vec<WhyView>,
}

/// Plays all acts.
pub(super) fn play(scene: &mut Scene) -> Result<Acts, FleetError> {
    scene.say(&format!("coordinator at {}, trust roots signed and published", scene.fleet.coordinator.url()));
    scene.fleet.publish(&ReleaseSpec::new(FIRST, Nature::Good))?;
    scene.say(&format!("published counter {FIRST}, built from source, signed by both publishers"));
    scene.enrol()?;
    scene.wait_able()?;
    let enrolled_at = scene.fleet.stopwatch.elapsed();
    scene.say(&format!("enrolled {}; all online and able to checkpoint", NAMES.join(", ")));

    let first = campaign(scene, "install", FIRST, NAMES.len())?;
    for ((name, clients), count) in NAMES.iter().zip(&scene.clients).zip(COUNTS) {
        let_show(&clients.own, FIRST)?;
        let shown = scene.drive(name, count)?;
        scene.say(&format!("{name}: {count} requests, its counter shows {shown}"));
    }
    let requires = CAMERAS.map(|camera| format!("{camera}:{GATEWAY}:requires"));
    scene.fleet.set_graph(&[&requires[0], &requires[1]])?;
    let [one, other] = CAMERAS;
    scene.fleet.set_drm(&[&format!("{one}:{other}"), &format!("{other}:{one}")])?;
    scene.say(&format!("declared: {one} and {other} require {GATEWAY}, and stand in for each other"));
    scene.fleet.set_schedule(&["--slot", SLOT, "--slots", "100"])?;
    scene.say(&format!(
        "declared: devices are upgraded in slots of {SLOT}, each in the least busy one that can be"
    ));

    let half_signed = publish_in_two_steps(scene)?;
    let good = campaign(scene, "upgrade", GOOD, 1)?;
    let upgraded_at = scene.fleet.stopwatch.elapsed();
    for ((name, clients), count) in NAMES.iter().zip(&scene.clients).zip(COUNTS) {
        let_show(&clients.own, GOOD)?;
        let shown = scene.drive(name, 2 * count)?;
        scene.say(&format!("{name}: {} requests, its counter shows {shown}", 2 * count));
    }

    let bad = ReleaseSpec { start_secs: BAD_START_SECS, ..ReleaseSpec::new(BAD, Nature::Sick) };
    scene.fleet.publish(&bad)?;
    scene.say(&format!("published counter {BAD}, signed as well, but its health check answers 500"));
    let containers = |scene: &Scene| -> Result<Vec<Vec<String>>, FleetError> {
        CAMERAS.iter().map(|camera| scene.of(camera).0.containers()).collect()
    };
    let containers_before = containers(scene)?;
    let counter_before = scene.drive(GATEWAY, 1)?;
    let bad = campaign(scene, "bad-upgrade", BAD, 1)?;
    let_show(&scene.of(GATEWAY).1.own, GOOD)?;
    let containers_after = containers(scene)?;
    let whys_after = CAMERAS.iter().map(|camera| scene.fleet.why(camera)).collect::<Result<_, _>>()?;
    Ok(Acts {
        enrolled_at,
        first,
        half_signed,
        good,
        upgraded_at,
        bad,
        counter_before,
        containers_before,
        containers_after,
        whys_after,
    })
}

/// The good release gets the signature of one publisher, which is not enough, and then that of the other one.
fn publish_in_two_steps(scene: &Scene) -> Result<[Said; 2], FleetError> {
    let Fleet { takt, trust, .. } = &scene.fleet;
    let [one, other] = trust.publisher_keys();
    let release = ReleaseSpec::new(GOOD, Nature::Good);
    let out = scene.fleet.make(&release)?;
    trust.sign(takt, &out, &[one])?;
    let published = takt.run(&["release", "publish", "--dir", &out, "--trust", &trust.documents()])?;
    scene.say(&format!("counter {GOOD}, signed by one of two publishers: {}", published.err));
    let start = ["campaign", "start", "too-early", "--release", &release.name(), "--domain", DOMAIN];
    let started = takt.run(&start)?;
    scene.say(&format!("a campaign with it: {}", started.err));
    trust.sign(takt, &out, &[other])?;
    scene.fleet.publish_signed(&out)?;
    scene.say(&format!("published counter {GOOD}, signed by both"));
    Ok([published, started])
}

/// Gives a client the time to see a version. What it does not see then is missing among the facts, with all the rest.
fn let_show(watcher: &HttpWatcher, version: &str) -> Result<(), FleetError> {
    match watcher.wait_for_version(version, SEEN_LIMIT) {
        Ok(_) | Err(FleetError::NotInTime { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn campaign(scene: &Scene, name: &str, version: &str, element_size: usize) -> Result<Followed, FleetError> {
    let release = format!("{}@{version}", crate::fleet::COMPONENT);
    let element_size = u32::try_from(element_size).expect("there are three devices");
    scene.say(&format!(
        "takt campaign start {name} --release {release} --element-size {element_size} --observe 0s"
    ));
    let spec = CampaignSpec { name, release: &release, element_size, deadline: "120s" };
    follow(scene, scene.fleet.start_campaign(spec)?)
}
