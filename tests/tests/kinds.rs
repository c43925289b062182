//! What releases can do beside swapping one container: published ports that move without a gap, several containers, hooks,
//! packages. With the real binaries, real containers, a real dpkg and a real broker.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use takt_common::Sha256Digest;
use takt_common::api::{CampaignState, CampaignView, DeviceView, TokenResponse};
use takt_common::release::{
    AGENT_PACKAGE, Conffiles, Container, Hook, HookPoint, Manifest, NOT_NOW, Package, PackageFormat,
    PackageSet, Probe, Step, Strategy,
};
use takt_common::report::{Memory, Outcome};
use takt_load::{Clients, Spec};
use takt_tests::fleet::{
    self, Binaries, CampaignSpec, DOMAIN, Device, DeviceSpec, Fleet, HttpClient, More, ReleaseSpec,
    wait_until,
};
use takt_workload::Nature;
use tempfile::TempDir;

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

/// The agent publishes the port; two strategies are allowed.
fn publish_port(manifest: &mut Manifest) {
    fleet::publish_port(manifest, &[Strategy::Handover, Strategy::Replace], 3);
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
    let set = fleet::containers(manifest);
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

/// A package with these files and lines of configuration files, built by Debian's own tool. Programs may be run.
fn deb(name: &str, version: &str, conffiles: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    );
    let own = [("DEBIAN/control", control.as_bytes()), ("DEBIAN/conffiles", conffiles.as_bytes())];
    for (path, content) in own.iter().chain(files) {
        let file = tree.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        let mode = if path.starts_with("usr/bin/") { 0o755 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = temp.path().join("package.deb");
    let args = ["-Znone", "--root-owner-group", "--build"];
    let built = Command::new("dpkg-deb").args(args).args([&tree, &file]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    fs::read(file).unwrap()
}

/// An application with a configuration file, that says how it is.
fn app(version: &str, state: &str) -> Vec<u8> {
    let (config, state) = (format!("delivered with {version}\n"), format!("{state}\n"));
    let files = [("etc/app.conf", config.as_bytes()), ("usr/share/app/state", state.as_bytes())];
    deb("app", &format!("{version}-1"), "/etc/app.conf\n", &files)
}

/// A folder with a dpkg that knows of nothing but `package`.
fn package_root(package: &[u8]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(root.path().join("var/lib/dpkg").join(folder)).unwrap();
    }
    fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
    let file = root.path().join("first.deb");
    fs::write(&file, package).unwrap();
    let run = format!("--root={}", root.path().display());
    let done = Command::new("dpkg").args([&run, "--log=/dev/null", "-i"]).arg(&file).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    fs::remove_file(file).unwrap();
    root
}

/// The release has no container, only the package `name` that comes as its second artifact.
fn only_a_package(manifest: &mut Manifest, name: &str, probe: &[&str]) {
    manifest.artifacts.remove(0);
    let package = Package {
        file: manifest.artifacts[0].sha256,
        name: name.to_owned(),
        version: format!("{}-1", manifest.release.version),
        architecture: "all".to_owned(),
    };
    let set = PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles: Conffiles::Keep };
    manifest.steps = vec![Step::Package(set)];
    manifest.health.probes = vec![Probe::Exec(probe.iter().map(|word| (*word).to_owned()).collect())];
}

/// It is well when it says so itself.
fn only_the_app(manifest: &mut Manifest) {
    only_a_package(manifest, "app", &["grep", "-q", "well", "${package_root}/usr/share/app/state"]);
}

/// What dpkg says of a package in `root`.
fn version(root: &Path, name: &str) -> String {
    let admin = format!("--admindir={}", root.join("var/lib/dpkg").display());
    let format = "${Version} ${db:Status-Status}";
    let said = Command::new("dpkg-query").args([&admin, "-W", "-f", format, name]).output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// What dpkg says of the application in `root`, and its two files.
fn installed(root: &Path) -> [String; 3] {
    let read = |path| fs::read_to_string(root.join(path)).unwrap();
    [version(root, "app"), read("etc/app.conf"), read("usr/share/app/state")]
}

#[test]
fn a_package_is_upgraded_in_a_root_of_its_own_and_comes_back_when_its_health_check_fails() {
    // Somebody else installed the first version, and changed its configuration.
    let root = package_root(&app("1.0.0", "well"));
    fs::write(root.path().join("etc/app.conf"), "by the device\n").unwrap();
    let fleet = Fleet::start().unwrap();
    let package_root = Some(root.path().to_owned());
    let device = online(&fleet, DeviceSpec { name: "device".into(), package_root, ..DeviceSpec::default() });
    let of = |version: &str, state| {
        let more = More { artifacts: vec![app(version, state)], edit: only_the_app };
        ReleaseSpec { more: Some(more), ..release(version, Nature::Good) }
    };
    let ours = |version: &str| [format!("{version}-1 installed"), "by the device\n".into(), "well\n".into()];
    let of_the_check = |told: &Outcome| matches!(told, Outcome::RolledBack { cause, .. } if cause.contains("exec grep -q well"));

    // Back to the version that was there before Takt: its package is made again from what is installed.
    let end = upgrade(&fleet, &of("1.5.0", "sick"));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
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

fn only_the_agent(manifest: &mut Manifest) {
    only_a_package(manifest, AGENT_PACKAGE, &["true"]);
}

/// The agent as another version of its package would bring it: the same, but another program.
fn agent_of(program: &[u8], version: &str) -> Vec<u8> {
    // What follows an ELF file's sections is not looked at.
    [program, version.as_bytes()].concat()
}

/// What systemd is for the agent: starts the launcher again whenever it ends.
fn service(fleet: &Fleet, device: &Device, root: &Path) -> PathBuf {
    let launcher = Binaries::find().unwrap().agent.with_file_name("takt-launcher");
    assert!(
        launcher.exists(),
        "{} is missing: build it with `cargo build -p takt-launcher`",
        launcher.display()
    );
    let file = fleet.folder().join("service.sh");
    let script = format!(
        "#!/bin/sh\nwhile :; do {} --state {}/state/launcher --agent {} -- \"$@\"; sleep 0.2; done\n",
        launcher.display(),
        device.settings().parent().unwrap().display(),
        root.join("usr/bin/takt-agent").display()
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn the_agent_upgrades_itself_and_one_that_does_not_start_is_given_up_by_its_launcher() {
    let own = concat!(env!("CARGO_PKG_VERSION"), "-1");
    let temp = tempfile::tempdir().unwrap();
    // As a package has it: without what only debuggers read.
    let program = temp.path().join("takt-agent");
    let strip = ["--strip-all", "-o"];
    let agent = Binaries::find().unwrap().agent;
    assert!(Command::new("strip").args(strip).args([&program, &agent]).status().unwrap().success());
    let program = fs::read(program).unwrap();
    let package =
        |version: &str, program: &[u8]| deb(AGENT_PACKAGE, version, "", &[("usr/bin/takt-agent", program)]);

    let root = package_root(&package(own, &program));
    let fleet = Fleet::start().unwrap();
    let package_root = Some(root.path().to_owned());
    let mut device =
        online(&fleet, DeviceSpec { name: "device".into(), package_root, ..DeviceSpec::default() });
    let launcher = device.settings().parent().unwrap().join("state/launcher");
    let trial = || fs::read_dir(&launcher).map_or(0, Iterator::count);
    device.set_program(&service(&fleet, &device, root.path()));
    device.run().unwrap();
    fleet.wait_online(&mut device).unwrap();
    let of = |version: &str, program: Vec<u8>| {
        let more = More { artifacts: vec![package(&format!("{version}-1"), &program)], edit: only_the_agent };
        ReleaseSpec { more: Some(more), ..release(version, Nature::Good) }
    };

    let end = upgrade(&fleet, &of("9.0.0", agent_of(&program, "9.0.0-1")));
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert_eq!(outcome(&fleet), Outcome::Verified { strategy: None });
    assert_eq!(version(root.path(), AGENT_PACKAGE), "9.0.0-1 installed");
    assert_eq!(trial(), 0);

    let end = upgrade(&fleet, &of("9.1.0", b"#!/bin/sh\nexit 1\n".to_vec()));
    assert_eq!(end.state, CampaignState::Aborted, "{}", end.reason);
    let told = outcome(&fleet);
    let why = "agent 9.1.0-1 was given up for 9.0.0-1: 3 starts without a confirmation";
    assert!(matches!(&told, Outcome::RolledBack { cause, .. } if cause.contains(why)), "{told}");
    assert_eq!(version(root.path(), AGENT_PACKAGE), "9.0.0-1 installed");
    assert_eq!(fs::read(root.path().join("usr/bin/takt-agent")).unwrap(), agent_of(&program, "9.0.0-1"));
    assert_eq!(trial(), 0);
}
