//! `takt` against a real coordinator on free ports of this machine.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use serde_json::Value;
use takt_common::api::{EnrolRequest, EnrolResponse, Problem};
use takt_common::{Name, SigningKey};
use takt_coordinator::settings::{ApiSettings, GateSettings};
use takt_coordinator::{Running, Settings, serve};
use takt_ctl::api::Api;
use takt_ctl::profile::Overrides;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

mod support;
use support::{Bench, Run};

const PROFILE: &str = "coordinator/operator.toml";

/// How long a campaign may take to find a device silent: its deadline of 3 s, and 14 s in which it might still have
/// switched and reported.
const WATCH_MAX: Duration = Duration::from_mins(1);

/// A coordinator with an empty data folder, and a bench beside it.
struct Site {
    bench: Bench,
    runtime: Runtime,
    shutdown: CancellationToken,
    running: Option<Running>,
}

impl Site {
    fn new() -> Self {
        let bench = Bench::new();
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            data_dir: bench.path("coordinator"),
            api: ApiSettings { listen: any, ..ApiSettings::default() },
            gate: GateSettings { listen: any, ..GateSettings::default() },
            ..Settings::default()
        };
        let runtime = Runtime::new().unwrap();
        let shutdown = CancellationToken::new();
        let running = Some(runtime.block_on(serve(settings, shutdown.clone())).unwrap());
        Self { bench, runtime, shutdown, running }
    }

    /// Runs `takt` as the coordinator's operator.
    fn takt(&self, line: &str) -> Run {
        self.bench.takt(&format!("--profile {PROFILE} {line}"))
    }

    /// A site whose trust has been set up by a ceremony.
    fn with_trust() -> Self {
        let site = Self::new();
        site.bench.key("root");
        site.bench.key("publisher");
        site.takt("trust init --dir trust --root-key root.key --publisher-key publisher.key").ok();
        site
    }

    /// A release of the component `counter`, published from the folder `trust`.
    fn publish(&self, version: &str) {
        self.new_release(version, "trust");
        self.takt(&format!("release sign --dir r{version} --trust trust --publisher-key publisher.key")).ok();
        self.takt(&format!("release publish --dir r{version} --trust trust")).ok();
    }

    /// Makes the release folder `r<version>`; gives its counter.
    fn new_release(&self, version: &str, trust: &str) -> u64 {
        self.bench.image(&format!("{version}.tar"), version);
        let line = format!(
            "release new --name counter --version {version} --image {version}.tar --probe tcp=127.0.0.1:80 \
             --start-secs 1 --probation-secs 0 --stop-grace-secs 0 \
             --trust {trust} --out r{version} --json"
        );
        self.takt(&line).json()["counter"].as_u64().unwrap()
    }

    /// Enrols a device as its agent would, and leaves it offline.
    fn enrol(&self, name: &str) {
        let token =
            self.takt("enrol token --domain line-7 --json").json()["token"].as_str().unwrap().to_owned();
        let secret = token.split('.').nth(1).unwrap().to_owned();
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let (name, hardware): (Name, Name) = (name.parse().unwrap(), "test".parse().unwrap());
        let message = EnrolRequest::proof_message(&secret, &name, &hardware, &key.public());
        let proof = STANDARD.encode(key.sign(&message));
        let request = EnrolRequest { secret, name, hardware, public_key: key.public(), proof };
        let api = self.api();
        let answer: EnrolResponse = self.runtime.block_on(api.post("/api/v1/enrol", &request)).unwrap();
        assert_eq!(answer.domain.as_str(), "line-7");
    }

    fn api(&self) -> Api {
        let profile = Some(self.bench.path(PROFILE));
        Api::new(Overrides { profile, ..Overrides::default() }.resolve().unwrap()).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
        let ended = self.running.take().map(|running| self.runtime.block_on(running.stopped()));
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_release_goes_from_an_image_to_what_devices_fetch() {
    let site = Site::with_trust();
    assert_eq!(site.new_release("1.0.0", "trust"), 1);
    let signed = site.takt("release sign --dir r1.0.0 --trust trust --publisher-key publisher.key").ok();
    assert!(signed.out.contains("2.targets.json") && signed.out.contains("can be published"), "{signed:?}");
    let published = site.takt("release publish --dir r1.0.0 --trust trust --json").json();
    assert_eq!(published["uploaded"].as_array().unwrap().len(), 2);
    assert_eq!(published["documents"], serde_json::json!(["2.snapshot.json", "2.targets.json"]));

    // What devices fetch is what was made, byte for byte.
    let api = site.api();
    let fetch = |path: String| site.runtime.block_on(api.get_bytes(&path)).unwrap().unwrap();
    assert_eq!(
        fetch("/api/v1/repository/2.targets.json".to_owned()),
        site.bench.read("trust/2.targets.json")
    );
    let manifest: Value = serde_json::from_slice(&site.bench.read("r1.0.0/manifest.json")).unwrap();
    let archive = manifest["steps"][0]["containers"][0]["archive"].as_str().unwrap();
    assert_eq!(fetch(format!("/api/v1/artifacts/{archive}")), site.bench.read("1.0.0.tar"));

    // A second time there is nothing left to do, and the next release counts on.
    let again = site.takt("release publish --dir r1.0.0 --trust trust --json").json();
    assert_eq!(
        (again["uploaded"].as_array().unwrap().len(), again["present"].as_array().unwrap().len()),
        (0, 2)
    );
    assert_eq!(site.new_release("2.0.0", "trust"), 2);
}

#[test]
fn a_release_of_every_kind_is_published_with_all_its_files() {
    let site = Site::with_trust();
    site.bench.whole();
    let made = site.takt("release new --from whole.toml --trust trust --out r --json").json();
    let artifacts = made["artifacts"].as_array().unwrap();
    assert_eq!((artifacts.len(), &made["counter"]), (9, &1.into()));
    site.takt("release sign --dir r --trust trust --publisher-key publisher.key").ok();
    let published = site.takt("release publish --dir r --trust trust --json").json();
    assert_eq!(published["uploaded"].as_array().unwrap().len(), 10);
    let api = site.api();
    for artifact in artifacts {
        let sha256 = artifact["sha256"].as_str().unwrap();
        let fetched = site.runtime.block_on(api.get_bytes(&format!("/api/v1/artifacts/{sha256}"))).unwrap();
        assert_eq!(fetched.unwrap(), site.bench.read(&format!("r/artifacts/{sha256}")));
    }
    let targets: Value = serde_json::from_slice(&site.bench.read("trust/2.targets.json")).unwrap();
    let custom = &targets["signed"]["targets"]["releases/counter/2.0.0.json"]["custom"];
    assert_eq!(custom["kind"], "file, package, package, container, live-patch, os-image");
}

#[test]
fn a_publisher_signs_on_top_of_what_others_have_published() {
    let site = Site::with_trust();
    copy_folder(&site.bench.path("trust"), &site.bench.path("theirs"));
    copy_folder(&site.bench.path("trust"), &site.bench.path("stale"));
    site.publish("1.0.0");

    assert_eq!(site.new_release("2.0.0", "theirs"), 2);
    assert_eq!(site.bench.read("theirs/2.targets.json"), site.bench.read("trust/2.targets.json"));
    // Somebody who signed without looking has another second version: it is neither published nor overwritten.
    let stale = "release sign --dir r2.0.0 --trust stale --publisher-key publisher.key";
    site.takt(&format!("{stale} --offline")).ok();
    let mine = site.bench.read("stale/2.targets.json");
    site.takt(stale).refused(5, &["stale/2.targets.json", "another publisher was first"]);
    site.takt("release publish --dir r2.0.0 --trust stale").refused(5, &["2."]);
    assert_eq!(site.bench.read("stale/2.targets.json"), mine);

    // Without the stale documents it goes on like everybody else.
    std::fs::remove_file(site.bench.path("stale/2.targets.json")).unwrap();
    std::fs::remove_file(site.bench.path("stale/2.snapshot.json")).unwrap();
    let signed = site.takt(stale).ok();
    assert!(signed.out.contains("3.targets.json"), "{signed:?}");
    site.takt("release publish --dir r2.0.0 --trust stale").ok();
}

#[test]
fn an_artifact_that_changed_after_signing_is_not_taken() {
    let site = Site::with_trust();
    site.new_release("1.0.0", "trust");
    site.takt("release sign --dir r1.0.0 --trust trust --publisher-key publisher.key").ok();
    let artifact =
        std::fs::read_dir(site.bench.path("r1.0.0/artifacts")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&artifact).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(&artifact).unwrap();
    std::fs::write(&artifact, bytes).unwrap();
    let digest = artifact.file_name().unwrap().to_str().unwrap().to_owned();
    site.takt("release publish --dir r1.0.0 --trust trust").refused(5, &[&digest]);
    let document = site.runtime.block_on(site.api().get_bytes("/api/v1/repository/2.targets.json")).unwrap();
    assert_eq!(document, None);
}

#[test]
fn refusals_keep_the_coordinators_reason_and_have_their_exit_code() {
    let site = Site::with_trust();
    site.takt("device show camera-9").refused(4, &["camera-9"]);
    site.takt("why camera-9").refused(4, &["camera-9"]);
    site.takt("campaign show week-1").refused(4, &["week-1"]);
    site.takt("campaign watch week-1").refused(4, &["week-1"]);
    site.takt("campaign abort week-1").refused(4, &["week-1"]);
    site.takt("device list --token wrong").refused(5, &["token"]);
    site.takt("graph set --domain line-7 --edge a:b:requires --edge b:a:requires").refused(5, &["a"]);
    site.takt("campaign start week-1 --release counter@9 --domain line-7").refused(5, &["counter 9"]);
    let run = site.takt("--json device show camera-9").refused(4, &[]);
    let problem: Problem = serde_json::from_str(&run.err).unwrap();
    assert_eq!((problem.kind.as_str(), problem.status), ("urn:takt:problem:not-found", 404));
    assert_eq!(site.takt("device list --json").json(), serde_json::json!([]));
}

#[test]
fn a_campaign_whose_devices_stay_silent_is_watched_to_its_end() {
    let site = Site::with_trust();
    site.publish("1.0.0");
    let token = site.takt("enrol token --domain line-7 --uses 3 --valid 10m").ok();
    assert!(token.out.starts_with("takt1.") && token.out.contains("3 devices of domain line-7"), "{token:?}");
    for name in ["gateway", "camera-1", "camera-2"] {
        site.enrol(name);
    }
    let list = site.takt("device list --domain line-7").ok();
    assert!(list.out.starts_with("NAME") && list.out.lines().count() == 4, "{list:?}");
    assert_eq!(site.takt("device list --domain other --json").json(), serde_json::json!([]));
    assert!(site.takt("device show camera-1").ok().out.contains("hardware        test"));

    site.takt("graph set --domain line-7 --edge camera-1:gateway:requires --edge camera-2:gateway:0.5").ok();
    let graph = site.takt("graph show --domain line-7").ok();
    assert!(graph.out.contains("camera-2  gateway  no        0.500"), "{graph:?}");
    site.takt("drm set --domain line-7 --row camera-1:camera-2 --row camera-2:camera-1").ok();
    assert_eq!(site.takt("drm show --domain line-7 --json").json()["rows"][0]["standbys"][0], "camera-2");

    let set =
        "schedule set --domain line-7 --slot 30m --slots 8 --window 00:00-24:00 --time-zone Europe/Berlin";
    assert!(site.takt(set).ok().out.contains("domain line-7 has a schedule now"));
    let schedule = site.takt("schedule show --domain line-7").ok();
    assert!(schedule.out.contains("8 of 1800 s") && schedule.out.contains("Europe/Berlin"), "{schedule:?}");
    site.takt("schedule set --domain line-7 --window never").refused(5, &["field 'windows'", "never"]);
    site.takt("schedule clear --domain line-7").ok();
    site.takt("schedule show --domain line-7").refused(4, &["line-7 has no schedule"]);
    site.takt("device forecast camera-1").refused(4, &["camera-1"]);

    let start = "campaign start week-47 --release counter@1.0.0 --domain line-7 --deadline 3s";
    let started = site.takt(start).ok();
    assert!(started.out.contains("brings line-7 to counter 1.0.0"), "{started:?}");
    assert!(started.out.contains("upgrade order: gateway"), "{started:?}");
    site.takt(start).refused(5, &["week-47"]);
    let show = site.takt("campaign show week-47").ok();
    assert!(show.out.contains("camera-1") && show.out.contains("DEVICE"), "{show:?}");
    let why = site.takt("why gateway").ok();
    assert!(why.out.contains("gateway is waiting:") && why.out.contains("  - "), "{why:?}");
    assert!(site.takt("campaign pause week-47").ok().out.contains("is paused"));
    assert!(site.takt("campaign resume week-47").ok().out.contains("week-47"));

    let (done, watched) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| done.send(site.takt("--json campaign watch week-47")));
        let run = watched.recv_timeout(WATCH_MAX).unwrap();
        assert_eq!(run.code, 3, "{run:?}");
        let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (end, events) = lines.split_last().unwrap();
        assert_eq!((&end["type"], &end["campaign"]["state"]), (&"end".into(), &"aborted".into()));
        assert!(!events.is_empty() && events.iter().all(|event| event["type"] == "event"), "{run:?}");
        let problem: Problem = serde_json::from_str(&run.err).unwrap();
        assert!(
            problem.kind.ends_with("cli-campaign-aborted") && problem.detail.contains("gateway"),
            "{problem:?}"
        );
    });
    assert!(site.takt("campaign list").ok().out.contains("week-47  aborted"));
    site.takt("campaign abort week-47").refused(5, &["week-47"]);
    let plain = site.takt("campaign watch week-47");
    assert_eq!(plain.code, 3);
    assert!(plain.out.contains("Z  gateway: ") && plain.out.contains("is aborted: "), "{plain:?}");

    site.takt("campaign start week-48 --release counter@1.0.0 --domain line-7").ok();
    let aborted = site.takt("campaign abort week-48").ok();
    assert!(aborted.out.contains("campaign week-48") && aborted.out.contains("aborted"), "{aborted:?}");
}

#[test]
fn the_audit_log_is_shown_exported_and_verified_and_an_edit_of_it_is_found() {
    let site = Site::with_trust();
    site.takt("operator add anna --out anna.toml").ok();
    site.bench.takt("--profile anna.toml enrol token --domain line-7").ok();
    site.enrol("camera-1");
    let shown = site.takt("audit show").ok();
    assert!(shown.out.starts_with("NUMBER"), "{shown:?}");
    let token = shown.out.lines().find(|line| line.contains("  anna  ")).unwrap();
    assert!(token.contains("made token") && token.contains("line-7"), "{token}");
    let last = site.takt("audit show --last 1 --json").json();
    assert_eq!(last[0]["what"]["do"], "device-enrolled");

    let exported = site.takt("audit export first.jsonl").ok();
    assert!(exported.out.contains("first.jsonl holds all"), "{exported:?}");
    site.takt("audit export first.jsonl").refused(5, &["first.jsonl", "not overwritten"]);
    site.takt("graph set --domain line-7 --edge camera-1:camera-9:0.5").refused(5, &["camera-9"]);
    site.takt("schedule set --domain line-7 --slot 30m --slots 8").ok();
    site.takt("audit export second.jsonl").ok();
    let verify = "audit verify second.jsonl --head first.jsonl --director-root trust/1.director.root.json";
    let verified = site.bench.takt(verify).ok();
    assert!(verified.out.contains("second.jsonl is whole"), "{verified:?}");
    let text = String::from_utf8(site.bench.read("second.jsonl")).unwrap();
    assert!(text.contains("schedule-set") && !text.contains("graph-set"), "what was refused did not happen");
    site.bench.write("second.jsonl", text.replace("\"anna\"", "\"otto\""));
    site.bench.takt(verify).refused(5, &["second.jsonl is not whole", "entry "]);
}
