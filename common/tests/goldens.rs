//! The formats on the wire and on disk, held against files that are read in review. `TAKT_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used)] // In tests.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use takt_common::api::{CampaignRequest, CampaignState, EnrolRequest, Problem, RetryPolicy, StepLimits};
use takt_common::audit::{Control, End, Entry, Head, IssuedOrders, StepInputs, Stepped, What, Who};
use takt_common::envelope::{PayloadType, Signers};
use takt_common::health::{
    HEALTH_FORMAT, HealthSample, HostFacts, Link, PeerSeen, PeersSeen, Talk, Unwell, WorkloadFacts,
};
use takt_common::order::{
    Action, AtDeadline, Member, Mode, ORDER_FORMAT, Order, Policy, Position, SnapshotRef, Takeover, Window,
};
use takt_common::regulation::Regulation;
use takt_common::release::{
    Artifact, Conffiles, Container, ContainerSet, FileSet, FileSpec, Health, Hook, HookPoint, LivePatch,
    MANIFEST_FORMAT, Manifest, Network, OsImage, Package, PackageFormat, PackageSet, Port, Probe, ReleaseId,
    Requirements, Severity, Step, Strategy,
};
use takt_common::report::{
    Ack, Installed, Memory, OrderRef, Outcome, PhaseName, REPORT_FORMAT, Refused, Report, Timing,
};
use takt_common::{DeviceId, Envelope, Name, Sha256Digest, SigningKey, UnixTime, strict_json};

/// A key for goldens only: its seed is 32 bytes of `0x07`.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";

fn key() -> SigningKey {
    SigningKey::from_pem(KEY).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn device() -> DeviceId {
    DeviceId::of_key(&key().public())
}

fn release() -> ReleaseId {
    ReleaseId { name: name("counter"), version: name("2.0.0") }
}

fn manifest() -> Manifest {
    let archive = Sha256Digest::of(b"archive");
    Manifest {
        format: MANIFEST_FORMAT,
        release: release(),
        counter: 2,
        severity: Severity::Minor,
        hardware: vec![name("cam-x")],
        artifacts: vec![Artifact { sha256: archive, length: 7 }],
        steps: vec![Step::Container(ContainerSet::of_one(
            Container {
                name: None,
                archive,
                image_id: Sha256Digest::of(b"image"),
                env: [("PORT".to_owned(), "${port}".to_owned())].into(),
                command: vec![],
                volumes: vec!["state:/var/lib/counter".into()],
                memory_mib: Some(64),
                network: Network::Host,
                ports: vec![],
                stop_grace_secs: 5,
            },
            vec![Strategy::Preserve, Strategy::Replace],
        ))],
        hooks: [].into(),
        health: Health {
            probes: vec![
                Probe::Http("http://127.0.0.1:${port}/health".into()),
                Probe::Tcp("127.0.0.1:${port}".into()),
                Probe::Exec(vec!["/check".into(), "--fast".into()]),
            ],
            ..Health::default()
        },
        unpacked_bytes: 1_000_000,
        requires: Requirements {
            counter_min: Some(1),
            battery_percent_min: Some(40),
            links: [Link::Wired, Link::Wifi].into(),
            storage_free_bytes_min: Some(1 << 30),
            features: [("camera".to_owned(), "on".to_owned())].into(),
        },
    }
}

fn order() -> Order {
    let manifest = manifest();
    Order {
        format: ORDER_FORMAT,
        device: device(),
        epoch: 1,
        generation: 7,
        nonce: None,
        issued: UnixTime::from_secs(1_795_248_000),
        not_after: UnixTime::from_secs(1_795_251_600),
        previous_order_digest: Some(Sha256Digest::of(b"order 6")),
        snapshot: SnapshotRef { version: 3, sha256: Sha256Digest::of(b"snapshot") },
        action: Action::Install,
        members: vec![
            Member {
                path: release().target_path(),
                length: manifest.to_bytes().len() as u64,
                sha256: Sha256Digest::of(&manifest.to_bytes()),
                release: release(),
                hw: vec![name("cam-x")],
            },
            Member {
                path: manifest.artifacts[0].target_path(),
                length: 7,
                sha256: manifest.artifacts[0].sha256,
                release: release(),
                hw: vec![name("cam-x")],
            },
        ],
        mode: Mode::Rolling { standby: device() },
        window: Some(Window {
            from: UnixTime::from_secs(1_795_248_000),
            until: UnixTime::from_secs(1_795_255_200),
        }),
        deadline: UnixTime::from_secs(1_795_251_600),
        policy: Policy { at_deadline: AtDeadline::GoAhead, retry: true, retain: 3, downgrade: false },
        permission: None,
    }
}

fn report() -> Report {
    Report {
        format: REPORT_FORMAT,
        device: device(),
        sequence: 41,
        previous_report_digest: Some(Sha256Digest::of(b"report 40")),
        boot_id: "0f1e2d3c-0000-4000-8000-000000000000".into(),
        nonce: "00112233445566778899aabbccddeeff".into(),
        installed: vec![Installed {
            release: release(),
            counter: 2,
            manifest: Sha256Digest::of(b"manifest"),
        }],
        standing_in_for: Some(device()),
        order: Some(OrderRef {
            position: Position { epoch: 1, generation: 7 },
            digest: Sha256Digest::of(b"order 7"),
        }),
        phase: PhaseName::Ended,
        outcome: Some(Outcome::RolledBack { cause: "exited with code 1".into(), memory: Memory::Kept }),
        warnings: vec!["slow".into()],
        waiting_on: None,
        refused: Some(Refused {
            envelope: Sha256Digest::of(b"envelope"),
            rule: "for-me".into(),
            why: "the order is for another device".into(),
        }),
        hooks: [(HookPoint::ExportState, "exported".to_owned())].into(),
        timing: Some(Timing { switch_millis: 120, rollback_millis: Some(340) }),
        made: UnixTime::from_secs(1_795_248_100),
        skipped: None,
        time_floor: UnixTime::from_secs(1_795_248_000),
    }
}

fn health() -> HealthSample {
    HealthSample {
        format: HEALTH_FORMAT,
        device: device(),
        made: UnixTime::from_secs(1_795_248_100),
        agent: "0.1.0".into(),
        phase: PhaseName::Staged,
        waiting_on: Some("low disk: 310 MiB free, 900 MiB needed".into()),
        host: HostFacts {
            cpu_busy: 0.25,
            cpus: 4,
            load_1m: 0.5,
            memory_total_bytes: 1 << 30,
            memory_available_bytes: 1 << 29,
            storage_total_bytes: 1 << 34,
            storage_free_bytes: 1 << 33,
            uptime_secs: 3600,
            boot_id: "0f1e2d3c-0000-4000-8000-000000000000".into(),
            kernel: "6.1.0".into(),
            battery_percent: Some(80),
            link: Some(Link::Cellular),
        },
        workloads: vec![WorkloadFacts {
            component: name("counter"),
            container: "takt-counter".into(),
            running: true,
            cpu: Some(0.5),
            memory_bytes: Some(1 << 20),
            restarts: 0,
        }],
        checkpoint: Err("criu is not installed".into()),
        peers: Some(PeersSeen {
            own: vec!["10.9.0.1".parse().unwrap(), "fd09::1".parse().unwrap()],
            peers: vec![PeerSeen {
                address: "10.9.0.2".parse().unwrap(),
                outgoing: Talk { connections: 3, bytes: 4096 },
                incoming: Talk::default(),
            }],
            left_out: 1,
        }),
        response_millis: [(name("counter"), 12)].into(),
        unwell: vec![Unwell {
            release: ReleaseId { name: name("camera"), version: name("1.0.0") },
            why: "tcp=127.0.0.1:1: no connection".into(),
        }],
        features: [("camera".to_owned(), "on".to_owned())].into(),
    }
}

/// Holds `value` against its file, in both directions.
fn hold<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(file: &str, value: &T) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(file);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("TAKT_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden, "{file} differs; read the change, then bless it with TAKT_BLESS=1");
    let read: T = strict_json::from_slice(golden.as_bytes(), 64 * 1024).unwrap();
    assert_eq!(&read, value, "{file} does not read back as itself");
}

#[test]
fn documents_have_the_form_of_their_goldens() {
    manifest().check().unwrap();
    hold("manifest.json", &manifest());
    hold("order.json", &order());
    hold("report.json", &report());
    hold("health.json", &health());
    hold(
        "ack.json",
        &Ack {
            device: device(),
            sequence: 41,
            nonce: "00112233445566778899aabbccddeeff".into(),
            time: UnixTime::from_secs(1_795_248_101),
        },
    );
}

#[test]
fn every_action_mode_and_outcome_has_the_form_of_its_golden() {
    let other = device();
    hold(
        "actions.json",
        &vec![
            Action::Install,
            Action::TakeOver { device: other, name: name("camera-1"), how: Takeover::Notify, lease: 12 },
            Action::TakeOver { device: other, name: name("camera-1"), how: Takeover::Restore, lease: 13 },
            Action::Checkpoint { standby: other, name: name("camera-2"), lease: 13 },
            Action::HandBack { device: other, name: name("camera-1") },
            Action::Withdraw,
        ],
    );
    hold("modes.json", &vec![Mode::InPlace, Mode::Rolling { standby: other }]);
    let cause = || "cause".to_owned();
    hold(
        "outcomes.json",
        &vec![
            Outcome::Verified { strategy: Some(Strategy::Replace) },
            Outcome::Verified { strategy: Some(Strategy::Handover) },
            Outcome::Verified { strategy: None },
            Outcome::RolledBack { cause: cause(), memory: Memory::Lost },
            Outcome::RolledBack { cause: cause(), memory: Memory::Untouched },
            Outcome::Failed { cause: cause() },
            Outcome::GivenUp { cause: cause() },
            Outcome::Withdrawn,
            Outcome::Serving,
            Outcome::Checkpointed,
            Outcome::HandedBack,
            Outcome::Stranded { cause: cause() },
        ],
    );
}

/// A release with a step of each kind and a hook.
fn manifest_of_all_kinds() -> Manifest {
    let artifact = |name: &str| Artifact { sha256: Sha256Digest::of(name.as_bytes()), length: 7 };
    let names = ["archive", "file", "package", "bundle", "module", "hook"];
    let [archive, file, package, bundle, module, hook] = names.map(|name| artifact(name).sha256);
    let container = Container {
        name: Some(name("web")),
        archive,
        image_id: Sha256Digest::of(b"image"),
        env: [].into(),
        command: vec![],
        volumes: vec![],
        memory_mib: None,
        network: Network::Bridge,
        ports: vec![Port { variable: name("port"), container_port: Some(80) }],
        stop_grace_secs: 5,
    };
    let kept = FileSpec {
        path: "/etc/app/kept.conf".into(),
        content: Some(file),
        mode: None,
        owner: None,
        xattrs: [].into(),
    };
    Manifest {
        artifacts: names.map(artifact).into(),
        steps: vec![
            Step::File(FileSet {
                files: vec![
                    FileSpec {
                        path: "/etc/app/app.conf".into(),
                        mode: Some("0640".into()),
                        owner: Some("root:app".into()),
                        xattrs: [("user.origin".to_owned(), "takt".to_owned())].into(),
                        ..kept.clone()
                    },
                    kept.clone(),
                    FileSpec { path: "/etc/app/old.conf".into(), content: None, ..kept },
                ],
            }),
            Step::Package(PackageSet {
                format: PackageFormat::Deb,
                packages: vec![Package {
                    file: package,
                    name: "app".into(),
                    version: "1:2.0-1".into(),
                    architecture: "amd64".into(),
                }],
                conffiles: Conffiles::Keep,
            }),
            Step::Container(ContainerSet {
                containers: vec![container],
                strategies: vec![Strategy::Handover, Strategy::Replace],
                drain_secs: 20,
            }),
            Step::LivePatch(LivePatch {
                module,
                name: "livepatch_app".into(),
                kernel: "6.1.0-30-amd64".into(),
                stands_for: "6.1.0-31-amd64".into(),
                transition_secs: 60,
            }),
            Step::OsImage(OsImage {
                bundle,
                compatible: "cam-x".into(),
                version: "2026.11".into(),
                boot_secs: 600,
            }),
        ],
        hooks: [(
            HookPoint::ExportState,
            Hook { program: hook, args: vec!["--all".into()], timeout_secs: 30 },
        )]
        .into(),
        ..manifest()
    }
}

#[test]
fn a_manifest_of_all_kinds_has_the_form_of_its_golden() {
    let manifest = manifest_of_all_kinds();
    hold("manifest-kinds.json", &manifest);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
}

#[test]
fn a_step_with_an_unknown_field_is_refused() {
    for step in 0..5 {
        let mut value = serde_json::to_value(manifest_of_all_kinds()).unwrap();
        value["steps"][step]["colour"] = "red".into();
        let error = Manifest::from_bytes(value.to_string().as_bytes()).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("colour"), "{text}");
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused_with_the_field() {
    type Spoil = fn(&mut serde_json::Value);
    let cases: [(&str, Spoil); 18] = [
        ("steps", |m| m["steps"] = serde_json::json!([])),
        ("steps", |m| m["steps"] = serde_json::json!([m["steps"][2], m["steps"][2]])),
        ("file.path", |m| m["steps"][0]["files"][0]["path"] = "etc/app".into()),
        ("file.path", |m| m["steps"][0]["files"][0]["path"] = "/etc/../shadow".into()),
        ("file.path", |m| m["steps"][0]["files"][0]["path"] = "/etc/app/kept.conf".into()),
        ("file.path", |m| m["steps"][0]["files"][0]["path"] = "/etc/app/kept.conf/below".into()),
        ("file.mode", |m| m["steps"][0]["files"][0]["mode"] = "u+x".into()),
        ("file.owner", |m| m["steps"][0]["files"][0]["owner"] = "root".into()),
        ("file.content", |m| m["steps"][0]["files"][0]["content"] = "0".repeat(64).into()),
        ("package.name", |m| m["steps"][1]["packages"][0]["name"] = "--purge".into()),
        ("package.version", |m| m["steps"][1]["packages"][0]["version"] = "1/2".into()),
        ("strategies", |m| m["steps"][2]["containers"][0]["ports"] = serde_json::json!([])),
        ("container.ports", |m| m["steps"][2]["containers"][0]["network"] = "host".into()),
        ("live-patch.name", |m| m["steps"][3]["name"] = "../x".into()),
        ("live-patch.kernel", |m| m["steps"][3]["stands_for"] = "6.1.0-30-amd64".into()),
        ("hooks", |m| m["hooks"]["export-state"]["timeout_secs"] = 0.into()),
        ("health", |m| m["health"]["timeout_millis"] = 0.into()),
        ("health", |m| m["health"]["timeout_millis"] = 30_001.into()),
    ];
    for (field, spoil) in cases {
        let mut value = serde_json::to_value(manifest_of_all_kinds()).unwrap();
        spoil(&mut value);
        let error = Manifest::from_bytes(value.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("'{field}'")), "{field}: {error}");
    }
}

#[test]
fn a_sealed_order_has_the_form_of_its_golden_and_opens() {
    let envelope = Envelope::seal(PayloadType::Order, &order().to_bytes(), &[&key()]);
    hold("order-envelope.json", &envelope);
    let signers = Signers { role: "the order keys".into(), keys: vec![key().public()], threshold: 1 };
    assert_eq!(envelope.open(PayloadType::Order, &signers).unwrap(), order().to_bytes());
}

#[test]
fn bodies_of_the_api_have_the_form_of_their_goldens() {
    hold(
        "api-enrol-request.json",
        &EnrolRequest {
            secret: "c2VjcmV0".into(),
            name: name("camera-1"),
            hardware: name("cam-x"),
            public_key: key().public(),
            proof: "cHJvb2Y=".into(),
        },
    );
    hold(
        "api-campaign-request.json",
        &CampaignRequest {
            name: name("counter-2"),
            release: release(),
            domain: name("north"),
            devices: vec![name("camera-1")],
            element_size: Some(1),
            deadline_secs: 600,
            steps: StepLimits { fetch_secs: Some(1_800), ..StepLimits::default() },
            policy: Policy::default(),
            regulation: Regulation::default(),
            query: Some("model = \"cam-x\"".into()),
            retry: RetryPolicy { attempts: 3, backoff_secs: 60, bytes: Some(1 << 30) },
            expires_secs: Some(86_400),
            complete_by_secs: Some(43_200),
            weight: 2,
            stays_open: true,
            approval: true,
            superseded: true,
            permission: None,
        },
    );
    hold(
        "api-problem.json",
        &Problem {
            kind: "urn:takt:problem:not-found".into(),
            title: "Not found".into(),
            status: 404,
            detail: "there is no device 'camera-9'".into(),
        },
    );
}

#[test]
fn an_order_with_an_unknown_field_is_refused() {
    let mut value = serde_json::to_value(order()).unwrap();
    value["colour"] = "red".into();
    let error = strict_json::from_slice::<Order>(value.to_string().as_bytes(), 64 * 1024).unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}

#[test]
fn a_report_with_a_field_of_a_later_version_is_read() {
    let mut value = serde_json::to_value(report()).unwrap();
    value["colour"] = "red".into();
    assert_eq!(strict_json::from_slice::<Report>(value.to_string().as_bytes(), 64 * 1024).unwrap(), report());
}

#[test]
fn entries_of_the_audit_log_and_its_heads_have_the_form_of_their_goldens() {
    let (domain, campaign) = (name("north"), name("week-47"));
    let sha256 = Sha256Digest::of(b"document");
    let stepped = Stepped {
        campaign: campaign.clone(),
        state: CampaignState::Ongoing,
        reason: "element 1 is in work".into(),
        devices: 40,
        ended: 2,
        decided: vec!["element 1 has 2 devices".into()],
        events: 3,
        orders: Some(IssuedOrders {
            count: 2,
            lowest: Position { epoch: 1, generation: 6 },
            highest: Position { epoch: 1, generation: 7 },
            sha256: Sha256Digest::of(b"orders"),
        }),
        inputs: Some(StepInputs { rules: sha256, known: 44, room: 500, response_millis: Some(12), lease: 3 }),
    };
    let operator = || Who::operator(name("anna"));
    let token = What::token_name(&Sha256Digest::of(b"secret"));
    let (not_after, documents) = (UnixTime::from_secs(1_795_251_600), [("2.root.json".to_owned(), sha256)]);
    let told = [
        (operator(), What::TokenMade { token: token.clone(), domain: domain.clone(), uses: 40, not_after }),
        (
            Who::Device { device: device() },
            What::DeviceEnrolled {
                device: device(),
                name: name("camera-1"),
                domain: domain.clone(),
                token,
                again: false,
            },
        ),
        (
            Who::Coordinator,
            What::DeviceQuarantined { device: device(), name: name("camera-1"), why: "it forks".into() },
        ),
        (operator(), What::DeviceReleased { device: device(), name: name("camera-1") }),
        (
            operator(),
            What::DeviceRevoked { device: device(), name: name("camera-1"), why: "it was stolen".into() },
        ),
        (operator(), What::DeviceReinstated { device: device(), name: name("camera-1") }),
        (operator(), What::DeviceApproved { device: device(), name: name("camera-1") }),
        (operator(), What::DeviceDecommissioned { device: device(), name: name("camera-1") }),
        (operator(), What::OperatorAdded { name: name("ben") }),
        (operator(), What::OperatorRemoved { name: name("ben") }),
        (operator(), What::GraphSet { domain: domain.clone(), sha256 }),
        (operator(), What::DrmSet { domain: domain.clone(), sha256 }),
        (operator(), What::ScheduleSet { domain: domain.clone(), sha256 }),
        (operator(), What::ScheduleCleared { domain: domain.clone() }),
        (operator(), What::FollowSet { domain: domain.clone(), component: name("counter"), sha256 }),
        (operator(), What::FollowEnded { domain: domain.clone(), component: name("counter") }),
        (operator(), What::Published { documents: documents.into() }),
        (
            operator(),
            What::CampaignStarted {
                campaign: campaign.clone(),
                release: release(),
                domain,
                devices: 40,
                request: sha256,
            },
        ),
        (operator(), What::CampaignControlled { campaign, control: Control::Approve }),
        (Who::Coordinator, What::CampaignStepped(Box::new(stepped))),
    ];
    let (mut end, mut entries) = (End::start(), Vec::new());
    for (who, what) in told {
        let entry = Entry::after(end, UnixTime::from_secs(1_795_248_000), who, what);
        end = End::at(entry.number, &entry.to_bytes());
        entries.push(entry);
    }
    hold("audit-entries.json", &entries);
    let head = Head::new(end, UnixTime::from_secs(1_795_248_001));
    hold("audit-head.json", &head);
    hold("audit-head-envelope.json", &head.seal(&key()));
}
