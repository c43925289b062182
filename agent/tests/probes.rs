//! Probes against a real workload of every nature.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use common::{Device, until};
use takt_common::release::Probe;
use takt_workload::Nature;

fn http(path: &str) -> Probe {
    Probe::Http(format!("http://127.0.0.1:${{port}}{path}"))
}

#[tokio::test]
async fn a_good_release_passes_and_the_first_failure_is_told() {
    let device = Device::new();
    let name = device.running("a", "1.0.0").await;
    let tcp = Probe::Tcp("127.0.0.1:${port}".to_owned());
    let round = async |probes| device.round(&name, probes).await;
    assert_eq!(round(vec![http("/health"), tcp.clone()]).await, Ok(()));
    let exec = |command: &[&str]| Probe::Exec(command.iter().map(ToString::to_string).collect());
    // The image holds one program: the latch's own is there to be run, and refuses without a command.
    let said = round(vec![tcp.clone(), exec(&["/.takt/run"])]).await.unwrap_err();
    assert!(said.starts_with("exec /.takt/run: it exited with 125: "), "{said}");
    let said = round(vec![exec(&["/nowhere"]), http("/missing")]).await.unwrap_err();
    assert!(said.starts_with("exec /nowhere: "), "{said}");
    let said = round(vec![http("/missing")]).await.unwrap_err();
    assert!(said.ends_with("/missing: the status is 404"), "{said}");
    let said = round(vec![Probe::Tcp("127.0.0.1:${unknown}".to_owned())]).await.unwrap_err();
    assert!(said.contains("no variable 'unknown'"), "{said}");
    assert!(round(vec![exec(&["/.takt/run", "/takt-demo-counter"])]).await.is_err(), "its port is taken");
}

#[tokio::test]
async fn a_sick_a_mute_and_an_absent_release_fail() {
    let device = Device::new();
    let ask = async |name, probe| device.round(name, vec![probe]).await.unwrap_err();
    let name = device.created("sick", "1.0.0", Nature::Sick).await;
    let said = ask(&name, http("/health")).await;
    assert!(said.contains("no connection"), "{said}");
    device.engine.start(&name).await.unwrap();
    until("it answers", || device.get("/counter").is_some()).await;
    let said = ask(&name, http("/health")).await;
    assert!(said.ends_with("the status is 500"), "{said}");
    device.engine.remove(&name).await.unwrap();

    let name = device.created("mute", "2.0.0", Nature::Mute).await;
    device.engine.start(&name).await.unwrap();
    until("it answers", || device.get("/counter").is_some()).await;
    let said = ask(&name, http("/health")).await;
    assert!(said.ends_with("no answer within 1000 ms"), "{said}");
}
