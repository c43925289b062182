//! Artifacts: upload, ranges, conditions, and what is left of a bad upload.

use tokio::io::AsyncWriteExt as _;

use crate::support::device::FakeDevice;
use crate::support::{World, client, files_in, problem, until};
use takt_common::Sha256Digest;

fn path(sha256: &Sha256Digest) -> String {
    format!("/api/v1/artifacts/{sha256}")
}

fn stored(world: &World) -> Vec<String> {
    let mut all = files_in(world.data().join("artifacts"));
    all.retain(|name| name != ".incoming");
    all.extend(files_in(world.data().join("artifacts/.incoming")));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_tags_and_conditions_work_as_http_has_them() {
    let mut world = World::start().await;
    world.init_trust().await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let artifact = world.upload(&bytes).await;
    let path = path(&artifact.sha256);
    let etag = format!("\"{}\"", artifact.sha256);

    let whole = world.operator("GET", &path).send().await.unwrap();
    assert_eq!((whole.status().as_u16(), whole.headers()["etag"].to_str().unwrap()), (200, etag.as_str()));
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.bytes().await.unwrap(), bytes);

    let part = world.operator("GET", &path).header("range", "bytes=100000-299999").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 100000-299999/300000");
    assert_eq!(part.bytes().await.unwrap(), bytes[100_000..]);
    let last = world.operator("GET", &path).header("range", "bytes=-5").send().await.unwrap();
    assert_eq!(last.bytes().await.unwrap(), bytes[299_995..]);

    let beyond = world.operator("GET", &path).header("range", "bytes=300000-").send().await.unwrap();
    assert_eq!(beyond.headers()["content-range"], "bytes */300000");
    assert_eq!(problem(beyond).await.status, 416);

    for (name, value, range, expected) in [
        ("if-none-match", etag.as_str(), None, 304),
        ("if-none-match", "\"other\"", None, 200),
        ("if-range", etag.as_str(), Some("bytes=0-9"), 206),
        ("if-range", "\"other\"", Some("bytes=0-9"), 200),
    ] {
        let mut request = world.operator("GET", &path).header(name, value);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        assert_eq!(request.send().await.unwrap().status(), expected, "{name} {value}");
    }
    let head = world.operator("HEAD", &path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "300000"));
    assert!(head.bytes().await.unwrap().is_empty());

    // A device reads by its certificate, a stranger not at all.
    let device = FakeDevice::enrol(&world, "camera-1").await;
    let own = client(world.data(), Some(&device.identity_pem()));
    assert_eq!(own.get(world.path(&path)).send().await.unwrap().bytes().await.unwrap(), bytes);
    let upload = own.put(world.path(&path)).body(bytes.clone()).send().await.unwrap();
    assert_eq!(problem(upload).await.status, 401);
    assert_eq!(problem(world.stranger("GET", &path).send().await.unwrap()).await.status, 401);
    let missing = world.operator("GET", &self::path(&Sha256Digest::of(b"missing"))).send().await.unwrap();
    assert_eq!(problem(missing).await.status, 404);
    assert_eq!(
        problem(world.operator("GET", "/api/v1/artifacts/abc").send().await.unwrap()).await.status,
        400
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let mut world = World::start_with("[artifacts]\nbytes_max = 1000\n").await;
    let sha256 = Sha256Digest::of(b"announced");

    let wrong = world.operator("PUT", &path(&sha256)).body("something else").send().await.unwrap();
    let answer = problem(wrong).await;
    assert!(answer.status == 422 && answer.detail.contains(&sha256.to_string()), "{answer:?}");

    let large = world.operator("PUT", &path(&sha256)).body(vec![0; 1001]).send().await.unwrap();
    let answer = problem(large).await;
    assert!(answer.status == 413 && answer.detail.contains("artifacts.bytes_max"), "{answer:?}");

    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>("announced")]);
    let unknown = world.operator("PUT", &path(&sha256)).body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(problem(unknown.send().await.unwrap()).await.status, 411);
    assert_eq!(stored(&world), Vec::<String>::new());

    let artifact = world.upload(b"announced").await;
    assert_eq!(artifact.sha256, sha256);
    let again = world.operator("PUT", &path(&sha256)).body("announced").send().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(stored(&world), [sha256.to_string()]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_connection_breaks_leaves_nothing() {
    let mut world = World::start().await;
    let sha256 = Sha256Digest::of(b"never whole");
    let mut stream = crate::support::tls_stream(&world).await;
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n",
        path(&sha256),
        world.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 5_000]).await.unwrap();
    stream.flush().await.unwrap();
    let incoming = world.data().join("artifacts/.incoming");
    until("the upload to begin", || async { (!files_in(incoming.clone()).is_empty()).then_some(()) }).await;
    drop(stream);
    until("the upload to be forgotten", || async { stored(&world).is_empty().then_some(()) }).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_much_and_is_refused_still_hears_why() {
    let mut world = World::start().await;
    // More than the buffers of both ends hold, so that the client still writes when it is refused.
    let much = vec![7_u8; 24 * 1024 * 1024];
    let artifact = path(&Sha256Digest::of(&much));
    for (method, path, status) in [
        ("PUT", artifact.as_str(), 401),
        ("PUT", "/api/v1/repository", 401),
        ("POST", artifact.as_str(), 405),
        ("PUT", "/api/v1/no-such-path", 404),
    ] {
        let answer = world.stranger(method, path).body(much.clone()).send().await.unwrap();
        assert_eq!(problem(answer).await.status, status, "{method} {path}");
    }
    let answer = world.operator("PUT", "/api/v1/artifacts/abc").body(much.clone()).send().await.unwrap();
    assert_eq!(problem(answer).await.status, 400);
    let answer = world.operator("PUT", "/api/v1/repository").body(much).send().await.unwrap();
    assert_eq!(problem(answer).await.status, 413);
    world.stop().await;
}
