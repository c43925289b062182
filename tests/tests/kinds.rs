//! What releases can do beside swapping one container: published ports that move without a gap, several containers, hooks,
//! packages. With the real binaries, real containers, a real dpkg and a real broker.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use takt_common::Sha256Digest;
use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::release::{
    Conffiles, Container, ContainerSet, Hook, HookPoint, Manifest, NOT_NOW, Package, PackageFormat,
    PackageSet, Port, Probe, Step, Strategy,
};
use takt_common::report::{Memory, Outcome};
use takt_load::{Clients, Spec};
use takt_tests::fleet::{
    CampaignSpec, DOMAIN, Device, DeviceSpec, Fleet, HttpClient, More, ReleaseSpec, wait_until,
};
use takt_workload::Nature;

/// Many times what a campaign over one device takes on an idle machine.
const CAMPAIGN_LIMIT: Duration = Duration::from_mins(3);

fn release(version: &str, nature: Nature) -> ReleaseSpec {
    ReleaseSpec {
        strategies: "replace".to_owned(),
        probation_secs: 1,
        start_secs: 2,
        interval_millis: 100,
        ..ReleaseSpec::new(version, nature)
    }
}

fn upgrade(fleet: &Fleet, spec: &ReleaseSpec) -> CampaignView {
    fleet.publish(spec).unwrap();
    let name = format!("to-{}", spec.version);
    let campaign = CampaignSpec { name: &name, release: &spec.name(), element_size: 1, deadline: "120s" };
    fleet.start_campaign(campaign).unwrap();
    fleet.wait_campaign(&name, CAMPAIGN_LIMIT).unwrap()
}

/// A device of its own, brought to `spec`.
fn running(spec: &ReleaseSpec) -> (Fleet, Device) {
    let fleet = Fleet::start().unwrap();
    let device = fleet.devices(&["device"]).unwrap().pop().unwrap();
    let end = upgrade(&fleet, spec);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    (fleet, device)
}

/// A device of its own that runs nothing yet.
fn online(fleet: &Fleet, spec: DeviceSpec) -> Device {
    let mut device = fleet.device(spec).unwrap();
    let token: TokenResponse =
        fleet.takt.json(&["enrol", "token", "--domain", DOMAIN, "--uses", "1"]).unwrap();
    device.enrol(&token.token).unwrap();
    device.run().unwrap();
    fleet.wait_online(&mut device).unwrap();
    device
}

fn outcome(fleet: &Fleet) -> Outcome {
    let view: DeviceView = fleet.view("device").unwrap();
    view.last_outcome.unwrap()
}

fn containers(manifest: &mut Manifest) -> &mut ContainerSet {
    let set = manifest.steps.iter_mut().find_map(|step| match step {
        Step::Container(set) => Some(set),
        _ => None,
    });
    set.unwrap()
}

/// The agent publishes the port; two strategies are allowed.
fn publish_port(manifest: &mut Manifest) {
    let set = containers(manifest);
    set.strategies = vec![Strategy::Handover, Strategy::Replace];
    set.drain_secs = 3;
    set.containers[0].ports = vec![Port { variable: "port".parse().unwrap(), container_port: None }];
}

fn handed_over(version: &str, nature: Nature) -> ReleaseSpec {
    let more = More { artifacts: Vec::new(), edit: publish_port };
    ReleaseSpec { more: Some(more), ..release(version, nature) }
}

/// Only so many containers are left once all is cleared up, and they run.
fn assert_left(device: &Device, count: usize) {
    wait_until("all is cleared up", CAMPAIGN_LIMIT, || {
        let left = device.containers()?;
        let well = left.len() == count && left.iter().all(|one| one.ends_with(" running"));
        Ok(if well { Ok(()) } else { Err(format!("{left:?}")) })
    })
    .unwrap();
}

fn clients(device: &Device) -> Clients {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, device.port()));
    // A steady stream that this machine bears beside a fleet; the benchmark asks for all it can.
    Clients::start(&Spec { clients: 4, per_sec: Some(200), ..Spec::http(target, "/counter") }).unwrap()
}

#[test]
fn a_handover_loses_no_connection_and_a_sick_release_never_serves_a_client() {
    let (fleet, device) = running(&handed_over("1.0.0", Nature::Good));
    let load = clients(&device);
    let end = upgrade(&fleet, &handed_over("2.0.0", Nature::Good));
    let report = load.stop();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_eq!(outcome(&fleet), Outcome::Verified { strategy: Some(Strategy::Handover) });
    assert_eq!(HttpClient::new(device.port()).counter().unwrap().version, "2.0.0");
    assert!(report.answered > 100, "{report:?}");
    assert_eq!(report.failed, 0, "{:?}", report.failures);

    // One that is not well ahead is never reached: the old one has not even stopped.
    let before = (0..5).map(|_| HttpClient::new(device.port()).count().unwrap().counter).max().unwrap();
    let load = clients(&device);
    let end = upgrade(&fleet, &handed_over("3.0.0", Nature::Sick));
    let report = load.stop();
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
    assert!(matches!(&told, Outcome::RolledBack { memory: Memory::Untouched, .. }), "{told}");
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    let answer = HttpClient::new(device.port()).counter().unwrap();
    assert_eq!((answer.version.as_str(), answer.counter), ("2.0.0", before));
}

#[test]
fn a_handover_waits_for_clients_that_are_served_but_not_for_ever() {
    let (fleet, device) = running(&handed_over("1.0.0", Nature::Good));
    let mut client = HttpClient::new(device.port());
    assert_eq!(client.counter().unwrap().version, "1.0.0");
    fleet.publish(&handed_over("2.0.0", Nature::Good)).unwrap();
    let spec = CampaignSpec { name: "to-2", release: "counter@2.0.0", element_size: 1, deadline: "120s" };
    fleet.start_campaign(spec).unwrap();
    // New clients come to the new release while this one stays where it was.
    wait_until("the new release serves", CAMPAIGN_LIMIT, || {
        let version = HttpClient::new(device.port()).counter().map(|answer| answer.version);
        Ok(match version {
            Ok(version) if version == "2.0.0" => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })
    .unwrap();
    let end = fleet.wait_campaign("to-2", CAMPAIGN_LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_left(&device, 1);
}

/// A second container, whose port is the one for stand-ins, so that it is free.
fn two_containers(manifest: &mut Manifest) {
    let set = containers(manifest);
    let first = &mut set.containers[0];
    first.name = Some("first".parse().unwrap());
    let mut second = Container { name: Some("second".parse().unwrap()), ..first.clone() };
    second.env.insert("PORT".to_owned(), "${second}".to_owned());
    second.env.insert("DEVICE".to_owned(), "second".to_owned());
    set.containers.push(second);
    manifest.health.probes.push(Probe::Http("http://127.0.0.1:${second}/health".into()));
}

#[test]
fn containers_of_one_workload_swap_as_one_and_come_back_as_one() {
    let fleet = Fleet::start().unwrap();
    let second = takt_tests::fleet::Port::lease().unwrap();
    let vars = [("second".to_owned(), second.number().to_string())].into();
    let device = online(&fleet, DeviceSpec { name: "device".into(), vars, ..DeviceSpec::default() });
    let of = |version, nature| ReleaseSpec {
        strategies: "preserve,replace".to_owned(),
        more: Some(More { artifacts: Vec::new(), edit: two_containers }),
        ..release(version, nature)
    };
    let versions = || {
        let ask = |port| HttpClient::new(port).counter().unwrap().version;
        [ask(device.port()), ask(second.number())]
    };
    for version in ["1.0.0", "2.0.0"] {
        let end = upgrade(&fleet, &of(version, Nature::Good));
        assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
        assert_eq!(versions(), [version, version]);
    }
    let count = |port| (0..4).map(|_| HttpClient::new(port).count().unwrap().counter).max().unwrap();
    let before = [count(device.port()), count(second.number())];
    let end = upgrade(&fleet, &of("3.0.0", Nature::Sick));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    assert_eq!(versions(), ["2.0.0", "2.0.0"]);
    if let Outcome::RolledBack { memory: Memory::Kept, .. } = outcome(&fleet) {
        let now =
            [device.port(), second.number()].map(|port| HttpClient::new(port).counter().unwrap().counter);
        assert_eq!(now, before);
    }
    assert_left(&device, 2);
}

const EXPORT: &[u8] = b"#!/bin/sh\necho state of $TAKT_OLD_RELEASE > $TAKT_STATE_DIR/state; echo exported";
const IMPORT: &[u8] = b"#!/bin/sh\ncat $TAKT_STATE_DIR/state";
const HOLD: &[u8] =
    b"#!/bin/sh\nif [ -e $TAKT_STATE_DIR/asked ]; then exit 0; fi\ntouch $TAKT_STATE_DIR/asked; exit 75";
const FAIL: &[u8] = b"#!/bin/sh\necho no power for this; exit 1";

fn hook(program: &[u8]) -> Hook {
    Hook { program: Sha256Digest::of(program), args: Vec::new(), timeout_secs: 10 }
}

fn with_state(manifest: &mut Manifest) {
    manifest.hooks = [
        (HookPoint::PreSwitch, hook(HOLD)),
        (HookPoint::ExportState, hook(EXPORT)),
        (HookPoint::ImportState, hook(IMPORT)),
    ]
    .into();
}

fn with_a_failing_hook(manifest: &mut Manifest) {
    manifest.hooks = [(HookPoint::PostSwitch, hook(FAIL))].into();
}

#[test]
fn hooks_hold_a_switch_carry_state_over_it_and_turn_it_back() {
    assert_eq!(NOT_NOW, 75);
    let (fleet, device) = running(&release("1.0.0", Nature::Good));
    let programs = [HOLD, EXPORT, IMPORT].map(<[u8]>::to_vec).into();
    let more = More { artifacts: programs, edit: with_state };
    let end = upgrade(&fleet, &ReleaseSpec { more: Some(more), ..release("2.0.0", Nature::Good) });
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    let log = std::fs::read_to_string(device.log()).unwrap();
    assert!(log.contains("the hook pre-switch says not now"), "{log}");

    let more = More { artifacts: vec![FAIL.to_vec()], edit: with_a_failing_hook };
    let end = upgrade(&fleet, &ReleaseSpec { more: Some(more), ..release("3.0.0", Nature::Good) });
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
    assert!(
        matches!(&told, Outcome::RolledBack { cause, .. } if cause.contains("no power for this")),
        "{told}"
    );
    assert_eq!(HttpClient::new(device.port()).counter().unwrap().version, "2.0.0");
}

/// A small package with a configuration file, built by Debian's own tool.
fn deb(version: &str, state: &str) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    let control = format!(
        "Package: app\nVersion: {version}-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    );
    for (path, content) in [
        ("DEBIAN/control", control.as_str()),
        ("DEBIAN/conffiles", "/etc/app.conf\n"),
        ("etc/app.conf", &format!("delivered with {version}\n")),
        ("usr/share/app/state", &format!("{state}\n")),
    ] {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), content).unwrap();
    }
    let file = temp.path().join("app.deb");
    let args = ["-Znone", "--root-owner-group", "--build"];
    let built = Command::new("dpkg-deb").args(args).args([&tree, &file]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    fs::read(file).unwrap()
}

/// The release has no container, only the package that comes as its second artifact; it is well when that says so.
fn only_a_package(manifest: &mut Manifest) {
    manifest.artifacts.remove(0);
    let package = Package {
        file: manifest.artifacts[0].sha256,
        name: "app".to_owned(),
        version: format!("{}-1", manifest.release.version),
        architecture: "all".to_owned(),
    };
    let set = PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles: Conffiles::Keep };
    manifest.steps = vec![Step::Package(set)];
    let look = ["grep", "-q", "well", "${package_root}/usr/share/app/state"];
    manifest.health.probes = vec![Probe::Exec(look.map(str::to_owned).to_vec())];
}

/// What dpkg says of the package in `root`, and its two files.
fn installed(root: &Path) -> [String; 3] {
    let admin = format!("--admindir={}", root.join("var/lib/dpkg").display());
    let format = "${Version} ${db:Status-Status}";
    let said = Command::new("dpkg-query").args([&admin, "-W", "-f", format, "app"]).output().unwrap();
    let read = |path| fs::read_to_string(root.join(path)).unwrap();
    [String::from_utf8(said.stdout).unwrap(), read("etc/app.conf"), read("usr/share/app/state")]
}

#[test]
fn a_package_is_upgraded_in_a_root_of_its_own_and_comes_back_when_its_health_check_fails() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.path().join("var/lib/dpkg").join(folder)).unwrap();
    }
    fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
    let fleet = Fleet::start().unwrap();
    // Somebody else installed the first version, and changed its configuration.
    let first = fleet.folder().join("app.deb");
    fs::write(&first, deb("1.0.0", "well")).unwrap();
    let run = format!("--root={}", root.path().display());
    let done = Command::new("dpkg").args([&run, "--log=/dev/null", "-i"]).arg(&first).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    fs::write(root.path().join("etc/app.conf"), "by the device\n").unwrap();

    let package_root = Some(root.path().to_owned());
    let device = online(&fleet, DeviceSpec { name: "device".into(), package_root, ..DeviceSpec::default() });
    let of = |version: &str, state| {
        let more = More { artifacts: vec![deb(version, state)], edit: only_a_package };
        ReleaseSpec { more: Some(more), ..release(version, Nature::Good) }
    };
    let ours = |version: &str| [format!("{version}-1 installed"), "by the device\n".into(), "well\n".into()];

    // Back to the version that was there before Takt: its package is made again from what is installed.
    let end = upgrade(&fleet, &of("1.5.0", "sick"));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
    let of_the_check = |told: &Outcome| matches!(told, Outcome::RolledBack { cause, .. } if cause.contains("exec grep -q well"));
    assert!(of_the_check(&told), "{told}");
    assert_eq!(installed(root.path()), ours("1.0.0"));

    let end = upgrade(&fleet, &of("2.0.0", "well"));
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_eq!(outcome(&fleet), Outcome::Verified { strategy: None });
    assert_eq!(installed(root.path()), ours("2.0.0"));
    let beside = fs::read_to_string(root.path().join("etc/app.conf.dpkg-dist")).unwrap();
    assert_eq!(beside, "delivered with 2.0.0\n");

    // Back to a version of Takt's own.
    let end = upgrade(&fleet, &of("3.0.0", "sick"));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
    assert!(of_the_check(&told), "{told}");
    assert_eq!(installed(root.path()), ours("2.0.0"));
    assert_eq!(fs::read_to_string(root.path().join("etc/app.conf.dpkg-dist")).unwrap(), beside);
    assert_eq!(device.containers().unwrap(), [""; 0]);
}
