//! Artifacts from a hostile cache: other bytes, no end, a part only, one byte at a time, and other bytes the second time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use takt_common::Sha256Digest;
use takt_common::order::Order;
use takt_common::report::{Outcome, PhaseName};
use takt_common::topic::Down;
use takt_matrix::attack::Attack::{
    ArbitrarySoftware, ChangeBetweenCheckAndUse, EndlessData, MixedBundle, PartialBundle, Replay, SlowDrip,
};
use takt_matrix::attack::Attacker::HostileCache;
use takt_matrix::attack::Told;

use super::scene::{Answer, Scene};
use super::shelf::Serve;

/// The file that the order brings, and its path at the server. Every second time its manifest instead.
fn file_of(scene: &Scene, order: &Order, variant: usize) -> (String, Vec<u8>) {
    let manifest = variant % 2 == 1;
    let member =
        order.members.iter().find(|member| member.path.starts_with("releases/") == manifest).unwrap();
    (format!("artifacts/{}", member.sha256), stored(scene, member.sha256))
}

fn stored(scene: &Scene, sha256: Sha256Digest) -> Vec<u8> {
    let folder = scene.fleet.coordinator.profile().with_file_name("artifacts");
    fs::read(Path::new(&folder).join(sha256.to_string())).unwrap()
}

/// A true order, of which one file is served so.
fn fetches(
    scene: &mut Scene,
    variant: usize,
    words: &[&str],
    serve: impl Fn(Vec<u8>) -> Serve,
) -> Result<Told, String> {
    let order = scene.install(&scene.next.clone());
    let (path, bytes) = file_of(scene, &order, variant);
    scene.shelf.lie(&path, serve(bytes));
    let envelope = scene.seal(&order);
    let told = scene.fails(&envelope, order.position(), words)?;
    let left = fs::read_dir(scene.device.state().join("artifacts")).unwrap().count();
    if left == 0 { Ok(told) } else { Err(format!("{left} files of the order are left")) }
}

#[test]
fn a_hostile_cache_brings_no_other_bytes_to_disk() {
    let mut scene = Scene::begin(7);
    scene.cell(ArbitrarySoftware, HostileCache, 10, |scene, variant| {
        fetches(scene, variant, &["what came has the digest"], |bytes| {
            Serve::Bytes(vec![b'a' + variant as u8; bytes.len()])
        })
    });
    scene.cell(MixedBundle, HostileCache, 10, |scene, variant| {
        let running = scene.runs.clone();
        let other = scene.install(&running);
        let (_, other) = file_of(scene, &other, variant);
        let words = &["what came has the digest", "larger than stated", "smaller than stated"];
        fetches(scene, variant, words, |_| Serve::Bytes(other.clone()))
    });
    scene.cell(ChangeBetweenCheckAndUse, HostileCache, 20, |scene, variant| {
        // A true beginning, and after the connection broke another end.
        fetches(scene, variant, &["what came has the digest"], |bytes| {
            let at = 1 + (variant * 37) % (bytes.len() - 2);
            let mut other = bytes.clone();
            other[bytes.len() - 1] ^= 1;
            Serve::Turns(vec![Serve::Part { come: at, states: bytes.len(), bytes }, Serve::Bytes(other)])
        })
    });
    scene.end();
}

#[test]
fn a_hostile_cache_fills_no_disk_and_holds_no_newer_order_up() {
    let mut scene = Scene::begin(8);
    scene.cell(EndlessData, HostileCache, 15, |scene, variant| {
        fetches(scene, variant, &["larger than stated"], |bytes| match variant % 3 {
            0 => Serve::Endless(b'a'),
            1 => Serve::Bytes([bytes, vec![b'x'; 1 << (variant + 4)]].concat()),
            _ => Serve::Part { come: bytes.len(), states: usize::MAX >> (2 + variant), bytes },
        })
    });
    scene.cell(PartialBundle, HostileCache, 20, |scene, variant| {
        fetches(scene, variant, &["smaller than stated"], |mut bytes| {
            bytes.truncate(bytes.len() * (variant + 1) / 40);
            Serve::Bytes(bytes)
        })
    });
    scene.cell(Replay, HostileCache, 10, |scene, variant| {
        // What the device runs, in the place of what it was ordered to install.
        let old = scene.install(&scene.runs.clone());
        let (_, old) = file_of(scene, &old, variant);
        let words = &["what came has the digest", "larger than stated", "smaller than stated"];
        fetches(scene, variant, words, |_| Serve::Bytes(old.clone()))
    });
    scene.cell(SlowDrip, HostileCache, 30, |scene, variant| {
        let rest = Duration::from_millis(20 + 10 * (variant as u64 % 10));
        dripped(scene, variant, rest)
    });
    scene.end();
}

/// While a file drips, the next order of the coordinator takes its place.
fn dripped(scene: &mut Scene, variant: usize, rest: Duration) -> Result<Told, String> {
    let order = scene.install(&scene.next.clone());
    let (path, bytes) = file_of(scene, &order, variant);
    scene.shelf.lie(&path, Serve::Drip { bytes, piece: 1 + variant % 3, pause: rest });
    let envelope = scene.seal(&order);
    scene.gate.say(Down::Order, &envelope);
    scene.wait_phase(PhaseName::Fetching)?;
    let next = scene.order(takt_common::order::Action::Withdraw, None);
    let (next_envelope, position) = (scene.seal(&next), order.position());
    scene.gate.say(Down::Order, &next_envelope);
    match scene.ended(position)? {
        outcome @ Outcome::Withdrawn => {
            let saw = format!("phase fetching; {outcome}");
            scene.wait_rest()?;
            Ok(Told { happened: "the next order took its place".to_owned(), saw })
        }
        other => Err(format!("it ended so: {other}")),
    }
}

#[test]
fn a_file_that_drips_for_half_a_minute_is_given_up_and_said_so() {
    let mut scene = Scene::begin(9);
    scene.cell(SlowDrip, HostileCache, 2, |scene, variant| {
        let mut order = scene.install(&scene.next.clone());
        order.deadline = takt_tests::fleet::now() + Duration::from_secs(20);
        let (path, bytes) = file_of(scene, &order, variant);
        scene.shelf.lie(&path, Serve::Drip { bytes, piece: 1, pause: Duration::from_millis(400) });
        let envelope = scene.seal(&order);
        match scene.answer(&envelope, Some(order.position()))? {
            Answer::Ended(outcome @ Outcome::Failed { .. })
                if outcome.to_string().contains("came within") =>
            {
                scene.wait_rest()?;
                let saw = outcome.to_string();
                Ok(Told { happened: "order failed before the switch".to_owned(), saw })
            }
            other => Err(format!("{other:?}")),
        }
    });
    scene.end();
}
