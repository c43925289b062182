//! Requests to the coordinator's API: paths, headers and bodies, through its own router and without a socket.

mod coordinator;

use std::cell::RefCell;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use takt_common::api::Problem;

use crate::json::same;
use coordinator::{ARTIFACT, Answer, DEVICE, Served};

/// After so many requests a coordinator is replaced by a new one: what was stored makes none of them slower, and a find depends on
/// few requests before it.
const REQUESTS_MAX: u32 = 2_000;

thread_local! {
    static COORDINATOR: RefCell<Option<(Served, u32)>> = const { RefCell::new(None) };
}

/// Sends the input to the door that its first byte names.
pub fn run(input: &[u8]) {
    let [door, rest @ ..] = input else { return };
    COORDINATOR.with_borrow_mut(|kept| {
        let (served, requests) = match kept {
            Some((served, requests)) if *requests < REQUESTS_MAX => (served, requests),
            _ => {
                let (served, requests) = kept.insert((Served::new(), 0));
                (served, requests)
            }
        };
        *requests += 1;
        send(served, *door, rest);
    });
}

/// Doors that take a JSON document. What can be read back has `true`.
const DOCUMENTS: [(Method, &str, bool); 12] = [
    (Method::POST, "/api/v1/campaigns/plan", false),
    (Method::POST, "/api/v1/campaigns", false),
    (Method::PUT, "/api/v1/domains/north/graph", true),
    (Method::PUT, "/api/v1/domains/north/drm", true),
    (Method::PUT, "/api/v1/domains/north/schedule", true),
    (Method::PUT, "/api/v1/domains/north/follow/counter", true),
    (Method::POST, "/api/v1/tokens", false),
    (Method::POST, "/api/v1/enrol", false),
    (Method::PUT, "/api/v1/repository", false),
    (Method::PUT, DEVICE, false),
    (Method::POST, "/api/v1/operators", false),
    (Method::POST, "/api/v1/campaigns/all/retry", false),
];

const METHODS: [Method; 5] = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD];

fn send(served: &Served, door: u8, rest: &[u8]) {
    match DOCUMENTS.get(usize::from(door)) {
        Some((method, path, again)) => document(served, method, path, *again, rest),
        None if door & 1 == 0 => range(served, rest),
        None => path(served, &METHODS[usize::from(door >> 1) % METHODS.len()], rest),
    }
}

fn document(served: &Served, method: &Method, path: &str, again: bool, body: &[u8]) {
    let answer = served.ask(request(method, path, body.to_vec()));
    check(&answer, path);
    if !again || !answer.status.is_success() {
        return;
    }
    // What was taken is given back, and taken again as it was given.
    let kept = served.ask(request(&Method::GET, path, Vec::new()));
    assert_eq!(kept.status, StatusCode::OK, "{path} has lost what it took");
    let retaken = served.ask(request(method, path, kept.body.clone()));
    let said = String::from_utf8_lossy(&retaken.body);
    assert!(retaken.status.is_success(), "{path} refuses what it gave: {said}");
    let kept_again = served.ask(request(&Method::GET, path, Vec::new()));
    let read = |answer: &Answer| serde_json::from_slice(&answer.body).expect("an answer is JSON");
    assert!(same(&read(&kept_again), &read(&kept)), "{path}: {}", String::from_utf8_lossy(&kept.body));
}

/// A part of an artifact: exactly those of its bytes.
fn range(served: &Served, value: &[u8]) {
    let path = served.artifact_path();
    let Ok(value) = http::HeaderValue::from_bytes(value) else { return };
    let mut request = request(&Method::GET, &path, Vec::new());
    request.headers_mut().insert(header::RANGE, value.clone());
    let answer = served.ask(request);
    check(&answer, &path);
    match answer.status {
        StatusCode::OK => assert_eq!(answer.body, ARTIFACT),
        StatusCode::PARTIAL_CONTENT => {
            let found = ARTIFACT.windows(answer.body.len().max(1)).any(|part| part == answer.body);
            assert!(found, "{value:?} gives {:?}", answer.body);
        }
        _ => {}
    }
}

/// A path, and a body after a line feed.
fn path(served: &Served, method: &Method, rest: &[u8]) {
    let (path, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let Ok(path) = http::uri::PathAndQuery::try_from(path) else { return };
    // Files of these are written and synchronised: that is the disk's work, and not to be had millions of times.
    if path.path().contains("/artifacts/") && method == Method::PUT || path.path().contains("/checkpoint") {
        return;
    }
    let mut request = request(method, "/", body.to_vec());
    *request.uri_mut() = path.clone().into();
    check(&served.ask(request), path.as_str());
}

fn request(method: &Method, path: &str, body: Vec<u8>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header(header::CONTENT_LENGTH, body.len());
    let builder = builder.header(header::AUTHORIZATION, format!("Bearer {}", coordinator::TOKEN));
    builder.body(Body::from(body)).expect("a request")
}

/// Never the coordinator's own fault, and every refusal is a document of a few lines.
fn check(answer: &Answer, path: &str) {
    let shown = || String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!answer.status.is_server_error(), "{path}: {} {}", answer.status, shown());
    if answer.status.is_client_error() && !answer.is_head {
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
            panic!("{path}: {} is no problem document ({error}): {}", answer.status, shown())
        });
        assert_eq!(problem.status, answer.status.as_u16());
        assert!(!problem.detail.is_empty() && problem.detail.len() <= 8_192, "{path}: {}", problem.detail);
    }
}
