//! The engine adapter against a real engine with CRIU, a real workload and the real latch.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::time::Duration;

use common::{Device, docker, get, until};
use takt_agent::engine::{Engine, EngineError, EngineSettings};
use takt_agent::failure;
use takt_agent::variables::RoleVariables;
use takt_agent_core::phase::Role;
use takt_agent_core::{ContainerState, Nature as FailureNature, Presence};
use takt_common::Sha256Digest;
use takt_common::release::Container;
use takt_workload::Nature;

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_engine_that_is_away_is_unknown_and_found_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let device = Device::new();
    let engine = Engine::new(EngineSettings {
        socket: socket.clone(),
        device: device.id,
        name: "away".parse().unwrap(),
        variables: RoleVariables::default(),
        latch: None,
    });
    let name = device.name("a");
    assert_eq!(engine.state(&name).await, ContainerState::Unknown);
    assert_eq!(engine.image_presence(&Sha256Digest::of(b"x")).await, Presence::Unknown);
    let error = failure::failure(&engine.ping().await.unwrap_err());
    assert_eq!(error.nature, FailureNature::Transient);
    assert!(error.text.contains(&socket.display().to_string()), "{}", error.text);
    std::os::unix::fs::symlink(common::socket(), &socket).unwrap();
    engine.ping().await.unwrap();
    assert_eq!(engine.state(&name).await, ContainerState::Absent);
}

#[tokio::test]
async fn an_image_is_loaded_once_known_by_id_and_pruned_when_nobody_needs_it() {
    let device = Device::new();
    let one = device.loaded("1.0.0", Nature::Good).await;
    let (archive, _) = device.image("1.0.0", Nature::Good);
    device.engine.load_image(&archive.archive, &one.archive, &one.image_id).await.unwrap();
    let two = device.loaded("2.0.0", Nature::Good).await;
    assert_eq!(device.engine.image_presence(&one.image_id).await, Presence::Present);
    let name = device.name("keeps-two");
    device.engine.create(&name, Role::Own, &two).await.unwrap();

    device.engine.prune_images(&[one.image_id]).await.unwrap();
    assert_eq!(device.engine.image_presence(&one.image_id).await, Presence::Present, "it is kept");
    assert_eq!(device.engine.image_presence(&two.image_id).await, Presence::Present, "a container uses it");
    device.engine.remove(&name).await.unwrap();
    device.engine.prune_images(&[]).await.unwrap();
    assert_eq!(device.engine.image_presence(&one.image_id).await, Presence::Absent);
    assert_eq!(device.engine.image_presence(&two.image_id).await, Presence::Absent);
    device.engine.prune_images(&[]).await.unwrap();
}

#[tokio::test]
async fn pruning_leaves_what_another_device_on_the_same_engine_keeps() {
    let (device, neighbour) = (Device::new(), Device::new());
    let (archive, container) = device.image("1.0.0", Nature::Good);
    for engine in [&device.engine, &neighbour.engine] {
        engine.load_image(&archive.archive, &container.archive, &container.image_id).await.unwrap();
    }
    device.engine.prune_images(&[]).await.unwrap();
    assert_eq!(neighbour.engine.image_presence(&container.image_id).await, Presence::Present);
    neighbour.engine.prune_images(&[]).await.unwrap();
    assert_eq!(neighbour.engine.image_presence(&container.image_id).await, Presence::Absent);
}

#[tokio::test]
async fn a_name_in_an_archive_does_not_keep_its_image_alive() {
    let device = Device::new();
    let name = format!("takt-named-{}:1", device.id);
    let (archive, container) = device.named_image("1.0.0", Nature::Good, Some(name.clone()));
    device.engine.load_image(&archive.archive, &container.archive, &container.image_id).await.unwrap();
    assert_eq!(docker(&["images", "-q", &name]), "");
    assert_eq!(device.engine.image_presence(&container.image_id).await, Presence::Present);
    device.engine.prune_images(&[]).await.unwrap();
    assert_eq!(device.engine.image_presence(&container.image_id).await, Presence::Absent);
}

#[tokio::test]
async fn an_archive_with_another_image_is_corrupt_and_leaves_nothing() {
    let device = Device::new();
    let (archive, container) = device.image("1.0.0", Nature::Good);
    let expected = Sha256Digest::of(b"another");
    let error = device.engine.load_image(&archive.archive, &container.archive, &expected).await.unwrap_err();
    let failure = failure::failure(&error);
    assert_eq!(failure.nature, FailureNature::Corrupt);
    assert!(
        failure.text.contains(&expected.to_string()) && failure.text.contains(&archive.id),
        "{}",
        failure.text
    );
    assert_eq!(device.engine.image_presence(&container.image_id).await, Presence::Absent);

    std::fs::write(&archive.archive, "no archive at all").unwrap();
    let error = device.engine.load_image(&archive.archive, &container.archive, &container.image_id).await;
    assert!(error.is_err());
    assert_eq!(device.engine.image_presence(&container.image_id).await, Presence::Absent);
}

#[tokio::test]
async fn a_created_container_does_not_serve_until_it_is_started() {
    let device = Device::new();
    let name = device.created("a", "1.0.0", Nature::Good).await;
    assert_eq!(device.engine.state(&name).await, ContainerState::Created);
    assert_eq!(device.engine.containers().await.unwrap(), std::slice::from_ref(&name));
    assert!(device.get("/counter").is_none());
    let container = device.loaded("1.0.0", Nature::Good).await;
    device.engine.create(&name, Role::Own, &container).await.unwrap();

    device.engine.start(&name).await.unwrap();
    assert_eq!(device.engine.state(&name).await, ContainerState::Running);
    device.until_serving().await;
    device.engine.start(&name).await.unwrap();
    device.engine.create(&name, Role::Own, &container).await.unwrap();
    assert_eq!(device.engine.state(&name).await, ContainerState::Running, "creating again changes nothing");

    device.engine.stop(&name, GRACE).await.unwrap();
    assert!(device.get("/counter").is_none(), "it has ended when stop returns");
    assert!(matches!(device.engine.state(&name).await, ContainerState::Exited(_)));
    device.engine.stop(&name, GRACE).await.unwrap();
    device.engine.start(&name).await.unwrap();
    device.until_serving().await;
    device.engine.remove(&name).await.unwrap();
    device.engine.remove(&name).await.unwrap();
    assert_eq!(device.engine.state(&name).await, ContainerState::Absent);
    assert!(!device.folder.path().join("latch").join(&name.0).exists());
}

#[tokio::test]
async fn without_a_latch_the_same_is_true() {
    let device = Device::without_latch();
    let name = device.created("a", "1.0.0", Nature::Good).await;
    assert_eq!(device.engine.state(&name).await, ContainerState::Created);
    device.engine.start(&name).await.unwrap();
    device.until_serving().await;
    assert_eq!(device.engine.state(&name).await, ContainerState::Running);
    device.engine.stop(&name, GRACE).await.unwrap();
    assert!(matches!(device.engine.state(&name).await, ContainerState::Exited(_)));
    device.engine.start(&name).await.unwrap();
    device.until_serving().await;
}

#[tokio::test]
async fn a_restarted_agent_starts_what_it_had_created_and_one_that_was_killed_meanwhile() {
    let device = Device::new();
    let name = device.created("a", "1.0.0", Nature::Good).await;
    let engine = device.restarted();
    assert_eq!(engine.state(&name).await, ContainerState::Created);
    engine.start(&name).await.unwrap();
    device.until_serving().await;
    engine.stop(&name, GRACE).await.unwrap();
    let container = device.loaded("1.0.0", Nature::Good).await;

    let other = device.name("b");
    engine.create(&other, Role::Own, &container).await.unwrap();
    docker(&["kill", &other.0]);
    assert_eq!(engine.state(&other).await, ContainerState::Created, "it has never been started");
    engine.start(&other).await.unwrap();
    device.until_serving().await;
    assert_eq!(engine.state(&other).await, ContainerState::Running);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_known_before_the_start() {
    let device = Device::new();
    let (archive, container) = device.image("1.0.0", Nature::Good);
    // The image's entrypoint cannot be replaced by a release; so the archive itself is changed.
    let bytes = std::fs::read(&archive.archive).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("takt-demo-counter"));
    device.engine.load_image(&archive.archive, &container.archive, &container.image_id).await.unwrap();
    let id = format!("sha256:{}", container.image_id);
    let made = docker(&["create", &id]);
    let missing = docker(&["commit", "--change", "ENTRYPOINT [\"/nowhere\"]", &made]);
    docker(&["rm", &made]);
    let image_id = missing.strip_prefix("sha256:").unwrap().parse().unwrap();
    let broken = Container { image_id, ..container };
    let error = device.engine.create(&device.name("a"), Role::Own, &broken).await.unwrap_err();
    let failure = failure::failure(&error);
    assert_eq!(failure.nature, FailureNature::Fatal);
    assert!(failure.text.contains("127") && failure.text.contains("/nowhere"), "{}", failure.text);

    let plain = Device::without_latch();
    plain.engine.create(&plain.name("a"), Role::Own, &broken).await.unwrap();
    let error = plain.engine.start(&plain.name("a")).await.unwrap_err();
    let failure = failure::failure(&error);
    assert_eq!(failure.nature, FailureNature::Fatal);
    assert!(failure.text.contains("/nowhere"), "{}", failure.text);
    plain.engine.remove(&plain.name("a")).await.unwrap();
    device.engine.remove(&device.name("a")).await.unwrap();
    docker(&["rmi", "-f", &missing]);
}

#[tokio::test]
async fn somebody_elses_container_is_never_touched() {
    let device = Device::new();
    let container = device.loaded("1.0.0", Nature::Good).await;
    let neighbour = Device::new();
    let name = device.name("a");
    let image = format!("sha256:{}", container.image_id);
    docker(&[
        "run",
        "-d",
        "--name",
        &name.0,
        "--network",
        "host",
        "-e",
        &format!("PORT={}", device.port),
        &image,
    ]);
    device.until_serving().await;
    let engine = &device.engine;
    let errors = [
        engine.create(&name, Role::Own, &container).await,
        engine.start(&name).await,
        engine.stop(&name, GRACE).await,
        engine.keep_running(&name).await,
        engine.checkpoint(&name, "memory").await,
        engine.restore(&name, "memory").await,
        engine.delete_checkpoint(&name, "memory").await,
        engine.remove(&name).await,
    ];
    for error in errors {
        let failure = failure::failure(&error.unwrap_err());
        assert_eq!(failure.nature, FailureNature::Fatal);
        assert!(failure.text.contains("was not made by this device's agent"), "{}", failure.text);
    }
    assert!(device.get("/counter").is_some());
    docker(&["rm", "-f", &name.0]);

    let name = device.running("b", "1.0.0").await;
    assert!(matches!(neighbour.engine.remove(&name).await, Err(EngineError::Foreign { .. })));
    assert!(device.get("/counter").is_some());
}

#[tokio::test]
async fn a_running_container_made_from_something_else_is_an_error_and_a_leftover_is_replaced() {
    let device = Device::new();
    let name = device.created("a", "1.0.0", Nature::Good).await;
    let container = device.loaded("1.0.0", Nature::Good).await;
    let other = Container { memory_mib: Some(32), ..container.clone() };
    device.engine.create(&name, Role::Own, &other).await.unwrap();
    assert_eq!(docker(&["inspect", "-f", "{{.HostConfig.Memory}}", &name.0]), (32 << 20).to_string());
    device.engine.start(&name).await.unwrap();
    let error = device.engine.create(&name, Role::Own, &container).await.unwrap_err();
    assert!(matches!(error, EngineError::OtherSettings { .. }), "{error}");
    let unknown = Container { env: [("A".to_owned(), "${nowhere}".to_owned())].into(), ..container };
    let error = failure::failure(&device.engine.create(&name, Role::Own, &unknown).await.unwrap_err());
    assert_eq!(error.nature, FailureNature::Fatal);
    assert!(error.text.contains("nowhere"), "{}", error.text);
}

#[tokio::test]
async fn what_does_not_stop_is_killed_after_its_grace() {
    let device = Device::new();
    let name = device.running("a", "1.0.0").await;
    // A process that the kernel does not let handle SIGTERM.
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &name.0]);
    let stopped = std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    assert!(stopped.success());
    let grace = Duration::from_millis(300);
    let begun = takt_agent::host::uptime().unwrap();
    device.engine.stop(&name, grace).await.unwrap();
    assert!(takt_agent::host::uptime().unwrap() >= begun + grace);
    device.until_state(&name, ContainerState::Exited(137)).await;
}

/// How often the engine is killed here: what it leaves then, it leaves in one of five kills or so.
const ENGINE_KILLS: u32 = 12;

#[tokio::test]
async fn an_engine_that_is_killed_right_after_a_container_has_stopped_starts_it_again() {
    let engine = takt_tests::engine::Engine::start().unwrap();
    let device = Device::on(&engine);
    let name = device.running("a", "1.0.0").await;
    for kill in 0..ENGINE_KILLS {
        device.engine.stop(&name, GRACE).await.unwrap();
        // The engine hears of the end some 40 ms later: it dies before, while and after it does what that takes.
        takt_agent::clock::sleep(Duration::from_millis(u64::from(kill % 6) * 10)).await;
        engine.kill().unwrap();
        engine.start_again().unwrap();
        device.engine.start(&name).await.unwrap_or_else(|error| {
            panic!("kill {kill}: {}", takt_agent_core::failure::sentence(&error));
        });
        device.until_serving().await;
    }
}

#[tokio::test]
async fn a_kept_container_comes_back_and_one_that_is_stopped_does_not() {
    let device = Device::new();
    let name = device.running("a", "1.0.0").await;
    assert!(!device.engine.container_facts(&name).await.kept_running);
    device.engine.keep_running(&name).await.unwrap();
    device.engine.keep_running(&name).await.unwrap();
    let state = device.engine.container_facts(&name).await;
    assert!(state.kept_running && state.state == ContainerState::Running);
    get(device.port, "/").unwrap();
    assert_eq!(device.counter(), 1);
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &name.0]);
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    until("it is back", || device.get("/counter").is_some_and(|body| body.contains("\"counter\":0"))).await;
    let component = "counter".parse().unwrap();
    let facts = device.engine.workload_facts(&component, &name).await;
    assert!(facts.running && facts.restarts == 1 && facts.cpu.is_none(), "{facts:?}");
    assert!(facts.memory_bytes.is_some_and(|bytes| bytes > 0 && bytes < 64 << 20), "{facts:?}");
    let facts = device.engine.workload_facts(&component, &name).await;
    assert!(facts.cpu.is_some_and(|cpu| (0.0..8.0).contains(&cpu)), "{facts:?}");

    device.engine.stop(&name, GRACE).await.unwrap();
    device.until_state(&name, ContainerState::Exited(0)).await;
    assert!(!device.engine.container_facts(&name).await.kept_running);
}

#[tokio::test]
async fn memory_survives_a_checkpoint_and_a_stale_one_is_replaced() {
    let device = Device::new();
    device.engine.checkpoint_ability().await.unwrap();
    let name = device.running("a", "1.0.0").await;
    device.engine.keep_running(&name).await.unwrap();
    for _count in 0..7 {
        get(device.port, "/").unwrap();
    }
    device.engine.checkpoint(&name, "before").await.unwrap();
    assert!(matches!(device.engine.state(&name).await, ContainerState::Exited(_)));
    assert!(device.get("/counter").is_none());
    device.engine.checkpoint(&name, "before").await.unwrap();
    let root = device.engine.info().await.unwrap().root;
    let id = docker(&["inspect", "-f", "{{.Id}}", &name.0]);
    let folder = std::path::Path::new(&root).join("containers").join(id).join("checkpoints/before");
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "it holds all memory");

    device.engine.restore(&name, "before").await.unwrap();
    device.engine.restore(&name, "before").await.unwrap();
    device.until_serving().await;
    assert_eq!(device.counter(), 7);
    assert_eq!(device.engine.state(&name).await, ContainerState::Running);
    get(device.port, "/").unwrap();
    device.engine.checkpoint(&name, "before").await.unwrap();
    device.engine.restore(&name, "before").await.unwrap();
    device.until_serving().await;
    assert_eq!(device.counter(), 8, "not from the first checkpoint");

    device.engine.delete_checkpoint(&name, "before").await.unwrap();
    device.engine.delete_checkpoint(&name, "before").await.unwrap();
    device.engine.stop(&name, GRACE).await.unwrap();
    let error = device.engine.restore(&name, "before").await.unwrap_err();
    assert!(matches!(error, EngineError::NotRestored { .. }), "{error}");
    assert_eq!(failure::failure(&error).nature, FailureNature::Fatal);
    device.engine.start(&name).await.unwrap();
    device.until_serving().await;
    assert_eq!(device.counter(), 0);
}

#[tokio::test]
async fn a_checkpoint_that_criu_refuses_leaves_the_container_running() {
    let device = Device::new();
    let name = device.running("a", "1.0.0").await;
    device.engine.keep_running(&name).await.unwrap();
    get(device.port, "/").unwrap();
    // A process has one tracer at a time, and CRIU must be that.
    let pid: i32 = docker(&["inspect", "-f", "{{.State.Pid}}", &name.0]).parse().unwrap();
    let pid = nix::unistd::Pid::from_raw(pid);
    let (seized, is_seized) = std::sync::mpsc::channel();
    let (done, until_done) = std::sync::mpsc::channel::<()>();
    // The kernel lets go of what a thread traces when the thread ends.
    let tracer = std::thread::spawn(move || {
        seized.send(nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty())).unwrap();
        let _ended = until_done.recv();
    });
    is_seized.recv().unwrap().unwrap();
    let error = device.engine.checkpoint(&name, "memory").await.unwrap_err();
    assert!(
        matches!(error, EngineError::NoCheckpoint { .. }) && error.to_string().contains("criu"),
        "{error}"
    );
    assert_eq!(failure::failure(&error).nature, FailureNature::Fatal);
    let state = device.engine.container_facts(&name).await;
    assert!(state.state == ContainerState::Running && state.kept_running, "{state:?}");
    assert_eq!(device.counter(), 1);
    drop(done);
    tracer.join().unwrap();
    device.engine.checkpoint(&name, "memory").await.unwrap();
}
