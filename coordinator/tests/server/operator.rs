//! The operator's part of the API: credentials, graph, DRM, and connections that say nothing.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::device::FakeDevice;
use crate::support::{PATIENCE, World, client, problem};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_the_operator_needs_the_operator_s_token() {
    let mut world = World::start().await;
    world.init_trust().await;
    let device = FakeDevice::enrol(&world, "camera-1").await;
    let own = client(world.data(), Some(&device.identity_pem()));
    for (method, path) in [
        ("GET", "/api/v1/keys"),
        ("POST", "/api/v1/tokens"),
        ("PUT", "/api/v1/repository"),
        ("GET", "/api/v1/devices"),
        ("GET", "/api/v1/devices/camera-1"),
        ("GET", "/api/v1/devices/camera-1/why"),
        ("GET", "/api/v1/domains/north/graph"),
        ("PUT", "/api/v1/domains/north/graph"),
        ("GET", "/api/v1/domains/north/drm"),
        ("PUT", "/api/v1/domains/north/drm"),
        ("GET", "/api/v1/domains/north/schedule"),
        ("PUT", "/api/v1/domains/north/schedule"),
        ("DELETE", "/api/v1/domains/north/schedule"),
        ("GET", "/api/v1/devices/camera-1/forecast"),
        ("GET", "/api/v1/campaigns"),
        ("POST", "/api/v1/campaigns"),
        ("GET", "/api/v1/campaigns/x"),
        ("POST", "/api/v1/campaigns/x/pause"),
        ("POST", "/api/v1/campaigns/x/resume"),
        ("POST", "/api/v1/campaigns/x/abort"),
        ("PUT", "/api/v1/artifacts/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("GET", "/metrics"),
    ] {
        let nobody = world.stranger(method, path).body("{}").send().await.unwrap();
        assert_eq!(nobody.headers()["www-authenticate"], "Bearer");
        assert_eq!(problem(nobody).await.status, 401, "{method} {path}");
        let guess = world.stranger(method, path).bearer_auth("0".repeat(64)).body("{}").send().await.unwrap();
        assert_eq!(problem(guess).await.status, 401, "{method} {path}");
        let device = own.request(method.parse().unwrap(), world.path(path)).body("{}").send().await.unwrap();
        assert_eq!(problem(device).await.status, 401, "{method} {path}");
    }
    assert_eq!(world.stranger("GET", "/healthz").send().await.unwrap().status(), 200);
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/devices", 405),
        ("GET", "/api/v1/devices/nobody", 404),
        ("GET", "/api/v1/campaigns/none", 404),
        ("POST", "/api/v1/campaigns/none/abort", 404),
        ("GET", "/api/v1/domains/NORTH/graph", 400),
        ("POST", "/api/v1/campaigns", 400),
    ] {
        let answer = problem(world.operator(method, path).send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let hash = std::fs::read_to_string(world.data().join("operator-token.sha256")).unwrap();
    assert!(!hash.contains(&world.token));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_in_the_graph_is_refused_with_its_members() {
    let mut world = World::start().await;
    world.init_trust().await;
    for name in ["gateway", "camera-1", "camera-2"] {
        FakeDevice::enrol(&world, name).await;
    }
    let edge = |source: &str, target: &str| serde_json::json!({"source": source, "target": target, "requires": true});
    let graph = |edges: Vec<serde_json::Value>| {
        world.operator("PUT", "/api/v1/domains/north/graph").json(&serde_json::json!({"edges": edges}))
    };
    let good = vec![edge("camera-1", "gateway"), edge("camera-2", "gateway")];
    assert_eq!(graph(good.clone()).send().await.unwrap().status(), 204);

    let circle = vec![edge("camera-1", "gateway"), edge("gateway", "camera-2"), edge("camera-2", "camera-1")];
    let answer = problem(graph(circle).send().await.unwrap()).await;
    assert_eq!(answer.status, 422);
    for member in ["gateway", "camera-1", "camera-2"] {
        assert!(answer.detail.contains(member), "{answer:?}");
    }
    let unknown = problem(graph(vec![edge("camera-1", "camera-7")]).send().await.unwrap()).await;
    assert!(unknown.status == 422 && unknown.detail.contains("camera-7"), "{unknown:?}");
    let kept: serde_json::Value = world.get("/api/v1/domains/north/graph").await;
    assert_eq!(kept["edges"].as_array().unwrap().len(), good.len());

    let drm = |row: serde_json::Value| {
        world.operator("PUT", "/api/v1/domains/north/drm").json(&serde_json::json!({"rows": [row]}))
    };
    let row = serde_json::json!({"device": "camera-1", "standbys": ["camera-2"], "takeover": "launch"});
    assert_eq!(drm(row).send().await.unwrap().status(), 204);
    let own = serde_json::json!({"device": "camera-1", "standbys": ["camera-1"], "takeover": "launch"});
    assert!(problem(drm(own).send().await.unwrap()).await.detail.contains("camera-1"));
    let kept: serde_json::Value = world.get("/api/v1/domains/north/drm").await;
    assert_eq!(kept["rows"][0]["standbys"][0], "camera-2");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_keep_others_out_and_are_ended() {
    let limits = "connections_max = 6\nhandshake_secs_max = 2\n";
    let mut world = World::start_with_api(limits).await;
    let port = world.url.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let begin = Instant::now();
    assert_eq!(world.stranger("GET", "/healthz").send().await.unwrap().status(), 200);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for stream in &mut silent {
        let read =
            tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("it is ended in time");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    // A connection that has said nothing after its handshake is ended too.
    let mut stream = crate::support::tls_stream(&world).await;
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("it is ended in time");
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(world.stranger("GET", "/healthz").send().await.unwrap().status(), 200);
    world.stop().await;
}
