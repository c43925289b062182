//! The whole path with the real binaries, real containers and a real broker: what the demo shows, and what happens when
//! the coordinator goes away in the middle of it.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use takt_common::api::{CampaignState, CampaignView, DeviceStep, ObservedGraphView, WhyView};
use takt_common::release::{Artifact, Hook, HookPoint, Manifest};
use takt_common::report::{Memory, Outcome};
use takt_tests::fleet::{
    CampaignSpec, Device, DeviceSpec, Fleet, HttpClient, HttpWatcher, More, ReleaseSpec, Stopwatch, pause,
    wait_until,
};
use takt_workload::Nature;

/// Many times what a campaign over three devices takes on an idle machine.
const CAMPAIGN_LIMIT: Duration = Duration::from_mins(4);
/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(90);
/// How long what the coordinator knows may take to show elsewhere.
const SHOWN_LIMIT: Duration = Duration::from_secs(10);

/// So that the tests are short.
const PROBATION: Duration = Duration::from_secs(1);

/// A release with a short probation.
fn release(version: &str, nature: Nature) -> ReleaseSpec {
    let probation_secs = u32::try_from(PROBATION.as_secs()).unwrap();
    ReleaseSpec { probation_secs, ..ReleaseSpec::new(version, nature) }
}

fn campaign<'a>(name: &'a str, release: &'a str, element_size: u32) -> CampaignSpec<'a> {
    CampaignSpec { name, release, element_size, deadline: "180s" }
}

/// A fleet whose devices all run version 1.0.0; 2.0.0 is published.
fn fleet(names: &[&str]) -> (Fleet, Vec<Device>) {
    let fleet = Fleet::start().unwrap();
    fleet.publish(&release("1.0.0", Nature::Good)).unwrap();
    fleet.publish(&release("2.0.0", Nature::Good)).unwrap();
    let devices = fleet.devices(names).unwrap();
    let size = u32::try_from(names.len()).unwrap();
    fleet.start_campaign(campaign("install", "counter@1.0.0", size)).unwrap();
    let end = fleet.wait_campaign("install", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    (fleet, devices)
}

fn step<'a>(view: &'a CampaignView, name: &str) -> &'a DeviceStep {
    &view.devices.iter().find(|device| device.name.as_str() == name).unwrap().step
}

fn is_verified(view: &CampaignView, name: &str) -> bool {
    matches!(step(view, name), DeviceStep::Done { outcome: Outcome::Verified { .. }, .. })
}

/// Waits until the step of a device is as wanted.
fn wait_for_step(
    fleet: &Fleet,
    name: &str,
    device: &str,
    wanted: impl Fn(&DeviceStep) -> bool,
) -> CampaignView {
    wait_until(&format!("{device} at its step in {name}"), STEP_LIMIT, || {
        let view = fleet.campaign(name)?;
        let now = step(&view, device).clone();
        Ok(if wanted(&now) { Ok(view) } else { Err(format!("it is {now:?}")) })
    })
    .unwrap()
}

/// Every device's own workload answers with `version`, and the device says so too.
fn assert_all_run(fleet: &Fleet, devices: &[Device], version: &str) {
    for device in devices {
        let answer = HttpClient::new(device.port()).counter().unwrap();
        assert_eq!((answer.version.as_str(), answer.device.as_str()), (version, device.name()));
        let view = fleet.view(device.name()).unwrap();
        let installed: Vec<_> = view.installed.iter().map(|one| one.release.version.as_str()).collect();
        assert_eq!(installed, [version], "{}", device.name());
    }
}

#[test]
fn one_signed_upgrade_rolls_through_a_fleet() {
    let (fleet, devices) = fleet(&["gateway", "camera-1", "camera-2"]);
    fleet.set_graph(&["camera-1:gateway:requires", "camera-2:gateway:requires"]).unwrap();
    fleet.set_drm(&["camera-1:camera-2", "camera-2:camera-1"]).unwrap();
    let watch = |port| HttpWatcher::start(port, fleet.stopwatch);
    let own: Vec<_> = devices.iter().map(|device| watch(device.port())).collect();
    let stand_in: Vec<_> = devices.iter().map(|device| watch(device.stand_in_port())).collect();

    fleet.start_campaign(campaign("upgrade", "counter@2.0.0", 1)).unwrap();
    let end = fleet.wait_campaign("upgrade", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_all_run(&fleet, &devices, "2.0.0");
    let switch = |index: usize| {
        let gaps = own[index].gaps();
        gaps.into_iter().find(|gap| gap.before.version == "1.0.0" && gap.after.version == "2.0.0").unwrap()
    };
    for (camera, standby) in [(1, 2), (2, 1)] {
        let gap = switch(camera);
        assert!(gap.before.to > switch(0).after.from, "the gateway goes first");
        let spells = stand_in[standby].spells();
        let covered = spells.iter().any(|spell| spell.from <= gap.before.to && spell.to >= gap.after.from);
        assert!(covered, "the standby serves while the camera switches: {gap:?} in {spells:?}");
    }
    // At rest all of them are asked how long they take to answer.
    wait_until("response times of all three", STEP_LIMIT, || {
        let times = fleet.campaign("upgrade")?.upgraded_answer;
        Ok(if times.is_some_and(|times| times.devices == 3) { Ok(()) } else { Err(format!("{times:?}")) })
    })
    .unwrap();

    // The bad release: the first device comes back with its memory, and no other one is touched.
    let mut client = HttpClient::new(devices[0].port());
    let before = (0..7).map(|_| client.count().unwrap().counter).last().unwrap();
    fleet.publish(&ReleaseSpec { start_secs: 1, ..release("3.0.0", Nature::Sick) }).unwrap();
    let containers = |index: usize| devices[index].containers().unwrap();
    let untouched = [containers(1), containers(2)];
    fleet.start_campaign(campaign("bad", "counter@3.0.0", 1)).unwrap();
    let end = fleet.wait_campaign("bad", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let outcome = step(&end, "gateway");
    let kept = Memory::Kept;
    assert!(
        matches!(outcome, DeviceStep::Done { outcome: Outcome::RolledBack { memory, .. }, .. } if *memory == kept),
        "{outcome:?}"
    );
    for camera in ["camera-1", "camera-2"] {
        assert_eq!(*step(&end, camera), DeviceStep::Pending);
    }
    own[0].wait_for_version("2.0.0", SHOWN_LIMIT).unwrap();
    assert_eq!(client.counter().or_else(|_| client.counter()).unwrap().counter, before);
    assert_eq!([containers(1), containers(2)], untouched);
    assert_all_run(&fleet, &devices, "2.0.0");
}

/// The last two artifacts are told that this device is to serve, and that it is not any more.
fn told(manifest: &mut Manifest) {
    let [.., take_over, hand_back] = manifest.artifacts.as_slice() else { return };
    let hook = |program: &Artifact, args: &[&str]| Hook {
        program: program.sha256,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        timeout_secs: Hook::TIMEOUT_SECS_DEFAULT,
    };
    manifest.hooks = [
        (HookPoint::Takeover, hook(take_over, &["{device}", "{lease}"])),
        (HookPoint::HandBack, hook(hand_back, &["{device}"])),
    ]
    .into();
}

/// A service of the standby's own: well as long as the file is there. What it has read in it.
fn serve_while(flag: PathBuf, port: u16) -> Arc<Mutex<BTreeSet<String>>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let read = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&read);
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _request = stream.read(&mut [0; 1_024]);
            let status = match std::fs::read_to_string(&flag) {
                Ok(text) => {
                    seen.lock().unwrap().insert(text.trim().to_owned());
                    "200 OK"
                }
                Err(_) => "503 Service Unavailable",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    read
}

#[test]
fn a_standby_that_is_only_told_serves_by_a_service_of_its_own() {
    let fleet = Fleet::start().unwrap();
    let flag = fleet.folder().join("camera-2-serves");
    let file = flag.display();
    let programs = [format!("#!/bin/sh\necho \"$1 $2\" >'{file}'\n"), format!("#!/bin/sh\nrm '{file}'\n")];
    let more = More { artifacts: programs.map(String::into_bytes).to_vec(), edit: told };
    fleet.publish(&ReleaseSpec { more: Some(more), ..release("1.0.0", Nature::Good) }).unwrap();
    fleet.publish(&release("2.0.0", Nature::Good)).unwrap();
    let devices = fleet.devices(&["camera-1", "camera-2"]).unwrap();
    fleet.start_campaign(campaign("install", "counter@1.0.0", 2)).unwrap();
    let end = fleet.wait_campaign("install", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert!(!flag.exists(), "nobody has been asked to serve");

    fleet.set_drm(&["camera-1:camera-2:notify"]).unwrap();
    let read = serve_while(flag.clone(), devices[1].stand_in_port());
    fleet.start_campaign(campaign("upgrade", "counter@2.0.0", 1)).unwrap();
    let end = fleet.wait_campaign("upgrade", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_all_run(&fleet, &devices, "2.0.0");
    // It served for the device, under the lease, and not longer than it had to.
    assert_eq!(*read.lock().unwrap(), BTreeSet::from(["camera-1 1".to_owned()]));
    assert!(!flag.exists(), "it has handed back");
    let text = |wanted: &str| end.events.iter().any(|event| event.text.contains(wanted));
    assert!(text("camera-2 is asked to take over") && text("camera-2 has handed back"), "{:?}", end.events);
}

#[test]
fn an_aborted_campaign_brings_back_what_it_has_upgraded() {
    let (fleet, devices) = fleet(&["camera-1", "camera-2"]);
    fleet.set_drm(&["camera-1:camera-2", "camera-2:camera-1"]).unwrap();
    // The second device waits for an hour, so that there is something to abort.
    let options = [
        "campaign",
        "start",
        "new",
        "--release",
        "counter@2.0.0",
        "--domain",
        "line-7",
        "--element-size",
        "1",
        "--deadline",
        "180s",
        "--observe",
        "4h",
        "--on-abort",
        "rollback",
    ];
    let begun: CampaignView = fleet.takt.json(&options).unwrap();
    let first = begun.devices[0].name.clone();
    wait_for_step(&fleet, "new", first.as_str(), |step| {
        matches!(step, DeviceStep::Done { outcome: Outcome::Verified { .. }, .. })
    });
    let waiting: WhyView = fleet.takt.json(&["why", begun.devices[1].name.as_str()]).unwrap();
    assert!(
        waiting.reasons.iter().any(|reason| reason.contains("element 1 is observed until")),
        "{waiting:?}"
    );
    fleet.takt.text(&["campaign", "abort", "new"]).unwrap();
    let end = fleet.wait_campaign("new", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    assert!(end.reason.contains("1 of 1 devices are brought back to what they ran before"), "{}", end.reason);
    assert_all_run(&fleet, &devices, "1.0.0");
    let served =
        |event: &takt_common::api::CampaignEvent| event.text.contains("ordered back: counter 1.0.0, rolling");
    assert!(end.events.iter().any(served), "{:?}", end.events);
}

#[test]
fn killing_the_coordinator_in_mid_campaign_and_starting_it_again_finishes_the_campaign() {
    let (mut fleet, devices) = fleet(&["first", "second"]);
    fleet.set_graph(&["second:first:requires"]).unwrap();
    fleet.start_campaign(campaign("upgrade", "counter@2.0.0", 1)).unwrap();
    // Once while a device is on probation, so that its report of the end meets nobody, and once with an order that is
    // just going out.
    let first = HttpWatcher::start(devices[0].port(), fleet.stopwatch);
    first.wait_for_version("2.0.0", STEP_LIMIT).unwrap();
    fleet.coordinator.kill();
    let killed = fleet.stopwatch.elapsed();
    wait_until("the first device past its probation, alone", STEP_LIMIT, || {
        let served = first.current().map(|spell| (spell.version, spell.to.saturating_sub(killed)));
        let passed = |(version, alone): &(String, Duration)| version == "2.0.0" && *alone > 2 * PROBATION;
        Ok(if served.as_ref().is_some_and(passed) { Ok(()) } else { Err(format!("{served:?}")) })
    })
    .unwrap();
    fleet.coordinator.restart().unwrap();
    let seen = wait_for_step(&fleet, "upgrade", "second", |step| !matches!(step, DeviceStep::Pending));
    assert!(is_verified(&seen, "first"), "the second device begins only when the first is verified");
    fleet.coordinator.kill();
    fleet.coordinator.restart().unwrap();
    let end = fleet.wait_campaign("upgrade", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_all_run(&fleet, &devices, "2.0.0");
}

#[test]
fn an_order_goes_out_again_after_the_broker_vanished_for_a_minute() {
    // The time is shorter here: what counts is that it is longer than every pause between two tries of the agent's link
    // and that the order was made while the device was away.
    const AWAY: Duration = Duration::from_secs(10);
    let (mut fleet, mut devices) = fleet(&["alone"]);
    // The device does not run while the order is made, so the order meets nobody.
    devices[0].kill();
    wait_until("the device offline", STEP_LIMIT, || {
        Ok(if fleet.view("alone")?.online { Err("it is online".to_owned()) } else { Ok(()) })
    })
    .unwrap();
    fleet.start_campaign(campaign("upgrade", "counter@2.0.0", 1)).unwrap();
    wait_for_step(&fleet, "upgrade", "alone", |step| matches!(step, DeviceStep::Upgrading { .. }));
    fleet.coordinator.stop().unwrap();
    let vanished = Stopwatch::start();
    devices[0].run().unwrap();
    while vanished.elapsed() < AWAY {
        devices[0].check().unwrap();
        let answer = HttpClient::new(devices[0].port()).counter().unwrap();
        assert_eq!(answer.version, "1.0.0", "without the broker there is no order");
        pause(Duration::from_millis(250));
    }
    fleet.coordinator.restart().unwrap();
    let end = fleet.wait_campaign("upgrade", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_all_run(&fleet, &devices, "2.0.0");
}

#[test]
fn takt_why_explains_every_waiting_device() {
    let (fleet, mut devices) = fleet(&["gateway", "camera"]);
    fleet.set_graph(&["camera:gateway:requires"]).unwrap();
    let says = |device: &str, wanted: &[&str]| -> WhyView {
        wait_until(&format!("takt why {device} name {wanted:?}"), STEP_LIMIT, || {
            let why = fleet.why(device)?;
            let told = why.reasons.iter().any(|reason| wanted.iter().all(|word| reason.contains(word)));
            Ok(if told { Ok(why) } else { Err(format!("{:?}", why.reasons)) })
        })
        .unwrap()
    };
    let why = says("camera", &["up to date"]);
    assert!(!why.waiting, "{why:?}");

    // Somebody holds an update lock on the gateway.
    let locks = devices[0].locks();
    std::fs::create_dir_all(&locks).unwrap();
    let lock = std::fs::File::create(locks.join("maintenance")).unwrap();
    lock.lock().unwrap();
    fleet.start_campaign(campaign("upgrade", "counter@2.0.0", 1)).unwrap();
    assert!(says("gateway", &["maintenance"]).waiting);
    assert!(says("camera", &["gateway", "requires"]).waiting);

    // The gateway goes away with its order in hand.
    devices[0].kill();
    assert!(says("gateway", &["offline since"]).waiting);

    // It comes back, the lock is gone: everything goes on, and at the end nobody waits.
    drop(lock);
    devices[0].run().unwrap();
    let end = fleet.wait_campaign("upgrade", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    for device in ["gateway", "camera"] {
        assert!(!says(device, &["up to date", "2.0.0"]).waiting);
    }

    // The brake: what was not begun says why.
    fleet.publish(&ReleaseSpec { start_secs: 1, ..release("3.0.0", Nature::Sick) }).unwrap();
    fleet.start_campaign(campaign("bad", "counter@3.0.0", 1)).unwrap();
    let end = fleet.wait_campaign("bad", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    assert!(says("camera", &["bad", "aborted", "gateway"]).waiting);
}

/// How long an agent may take to look again: on a busy machine a look takes longer, and so does the pause after it.
const LOOK_LIMIT: Duration = Duration::from_mins(3);
/// Bytes that a camera sends, over a connection that stays.
const SENT: usize = 100_000;

#[test]
fn agents_see_who_calls_whom() {
    let fleet = Fleet::start().unwrap();
    let (gateway, camera) = (Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 77, 0, 2));
    let spec =
        |name: &str, at| DeviceSpec { name: name.to_owned(), peers_at: Some(at), ..DeviceSpec::default() };
    let _devices = fleet.devices_of(vec![spec("gateway", gateway), spec("camera", camera)]).unwrap();
    // What is there when an agent begins to look is not new.
    wait_until("both have looked", STEP_LIMIT, || {
        let looked = |seen: &ObservedGraphView| seen.devices == 2;
        let seen = fleet.observed()?;
        Ok(if looked(&seen) { Ok(()) } else { Err(format!("{seen:?}")) })
    })
    .unwrap();

    let listener = TcpListener::bind((gateway, 0)).unwrap();
    let call = || -> (TcpStream, TcpStream) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((camera, 0)).into()).unwrap();
        socket.connect(&listener.local_addr().unwrap().into()).unwrap();
        (socket.into(), listener.accept().unwrap().0)
    };
    let seen = |what: &str, is_so: &dyn Fn(u64, u64) -> bool| {
        wait_until(what, LOOK_LIMIT, || {
            let seen = fleet.observed()?;
            let told = match seen.edges.as_slice() {
                [edge] if edge.source.as_str() == "camera" && edge.target.as_str() == "gateway" => {
                    is_so(edge.connections, edge.bytes)
                }
                _ => false,
            };
            Ok(if told { Ok(()) } else { Err(format!("{seen:?}")) })
        })
        .unwrap();
    };
    let (mut to, mut from) = call();
    seen("the call", &|connections, _| connections == 1);
    to.write_all(&vec![0; SENT]).unwrap();
    from.read_exact(&mut vec![0; SENT]).unwrap();
    seen("its bytes", &|connections, bytes| connections == 1 && bytes >= SENT as u64);
    // One that is over before anybody looks; whoever ends it remembers it for a minute.
    drop(call());
    seen("a short call", &|connections, _| connections == 2);

    // Whether one comes before the other is for people to say.
    fleet.set_graph(&["camera:gateway:requires"]).unwrap();
    assert_eq!(fleet.observed().unwrap().edges[0].requires, Some(true));
}
