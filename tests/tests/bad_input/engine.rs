//! No Docker: the agent says what it waits for, keeps its order, and goes on when the engine is there.

use std::os::unix::fs::symlink;

use takt_common::api::CampaignState;
use takt_common::report::Outcome;
use takt_tests::engine::Engine;
use toml::Value;

use super::world::{BASE, NEXT, World, release};

#[test]
fn without_an_engine_an_order_waits_says_so_and_is_done_when_the_engine_is_there() {
    let mut world = World::enrolled();
    world.publish(&release(BASE));
    let socket = world.device.settings().with_file_name("docker.sock");
    world.set(|settings| {
        settings.insert("docker_socket".to_owned(), Value::String(socket.display().to_string()));
    });
    world.device.run().unwrap();
    world.fleet.wait_online(&mut world.device).unwrap();
    let campaign = world.start(BASE, "10m");
    world.wait_why(&["its agent waits", "container engine", "does not answer"]);
    assert!(world.view().online && world.view().order.is_some_and(|order| order.accepted));
    world.assert_runs_nothing();

    symlink(Engine::shared().unwrap().socket(), &socket).unwrap();
    let end = world.end_of(&campaign);
    assert_eq!(end.state, CampaignState::Finished, "{}", end.reason);
    assert!(matches!(world.outcome(), Outcome::Verified { .. }));
    world.assert_runs(BASE);

    // It goes away again, in the middle of everything: what runs, runs on.
    std::fs::remove_file(&socket).unwrap();
    world.publish(&release(NEXT));
    let campaign = world.start(NEXT, "4s");
    let end = world.fleet.wait_campaign(&campaign, super::world::LIMIT).unwrap();
    assert_eq!(end.state, CampaignState::Aborted);
    let outcome = world.outcome();
    assert!(
        matches!(&outcome, Outcome::GivenUp { cause } if cause.contains("container engine")),
        "{outcome:?}"
    );
    assert!(end.reason.contains("container engine"), "{}", end.reason);
    world.assert_runs(BASE);

    symlink(Engine::shared().unwrap().socket(), &socket).unwrap();
    world.install(NEXT);
}
