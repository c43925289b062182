//! Who has the wire and no key: TLS leaves nothing to read, change, add or repeat; what is lost or late is done in the end.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use takt_common::Sha256Digest;
use takt_matrix::attack::Attack::{
    ArbitrarySoftware, ChangeBetweenCheckAndUse, Drop, Eavesdrop, EndlessData, Freeze, Replay, SlowDrip,
};
use takt_matrix::attack::Attacker::Network;
use takt_matrix::attack::Told;

use super::scene::Scene;
use super::wire::{Deed, To};

/// A true order is done although this is done to the wire.
fn in_spite_of(scene: &mut Scene, deed: Deed) -> Result<Told, String> {
    let (done, connections) = (scene.broker_wire.done(), scene.gate.connections());
    scene.broker_wire.set(deed);
    let saw = scene.obeys()?;
    scene.broker_wire.set(Deed::Pass);
    let touched = scene.broker_wire.done() > done;
    let again = scene.gate.connections() > connections;
    let happened = match (touched, again) {
        (_, true) => "the link broke and came back, order done",
        (true, false) => "order done over the same link",
        (false, false) => "order done before the deed was due",
    };
    Ok(Told { happened: happened.to_owned(), saw })
}

fn direction(variant: usize) -> To {
    if variant.is_multiple_of(2) { To::Device } else { To::Server }
}

#[test]
fn the_wire_alone_reads_and_changes_nothing() {
    let mut scene = Scene::begin(10);
    scene.cell(Eavesdrop, Network, 20, |scene, _| {
        for wire in [&scene.broker_wire, &scene.api_wire] {
            drop(wire.tapped());
        }
        let saw = scene.obeys()?;
        let tapped = [scene.broker_wire.tapped(), scene.api_wire.tapped()].concat();
        let secrets = [scene.id().to_string(), "payloadType".into(), "counter".into(), "releases/".into()];
        let has = |text: &String| tapped.windows(text.len()).any(|window| window == text.as_bytes());
        match secrets.iter().find(|text| has(text)) {
            Some(text) => Err(format!("'{text}' can be read in {} bytes", tapped.len())),
            None if tapped.is_empty() => Err("nothing was tapped".to_owned()),
            None => Ok(Told { happened: "nothing readable, order done".to_owned(), saw }),
        }
    });
    scene.cell(ChangeBetweenCheckAndUse, Network, 20, |scene, variant| {
        let deed =
            Deed::Flip { to: direction(variant), after: 20 + 7 * variant as u64, bit: (variant % 8) as u8 };
        in_spite_of(scene, deed)
    });
    scene.cell(Replay, Network, 20, |scene, variant| {
        if variant % 2 == 0 {
            return in_spite_of(
                scene,
                Deed::Repeat { to: direction(variant / 2), after: 10 * variant as u64 },
            );
        }
        // All that the device has said, on a connection of the attacker's own.
        let said = scene.broker_wire.said_last();
        let mut own = TcpStream::connect((Ipv4Addr::LOCALHOST, scene.broker_wire.port())).unwrap();
        own.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may end it in the middle.
        let _sent = own.write_all(&said[..said.len().min(600 * variant)]);
        let mut answer = Vec::new();
        let _end = own.read_to_end(&mut answer);
        drop(own);
        let saw = scene.obeys()?;
        let happened = "a recorded conversation is none, order done".to_owned();
        Ok(Told { happened, saw })
    });
    scene.end();
}

#[test]
fn the_wire_alone_delays_and_nothing_else() {
    let mut scene = Scene::begin(11);
    scene.cell(Drop, Network, 25, |scene, variant| {
        let (to, after) = (direction(variant), 15 * variant as u64);
        let deed = match variant % 3 {
            0 => Deed::Cut { to, after },
            1 => Deed::Lose { to, after, bytes: 1 + 5 * variant },
            _ => {
                scene.broker_wire.cut();
                Deed::Pass
            }
        };
        in_spite_of(scene, deed)
    });
    scene.cell(SlowDrip, Network, 22, |scene, variant| {
        let rest = Duration::from_millis(1 + variant as u64 % 5);
        if variant % 3 == 0 {
            // A connection from its first byte on.
            scene.broker_wire.cut();
        }
        in_spite_of(
            scene,
            Deed::Drip { to: direction(variant), bytes: 100 + 20 * variant as u64, pause: rest },
        )
    });
    scene.cell(EndlessData, Network, 12, |scene, variant| {
        let bytes = 64 * 1024 * (1 + variant);
        in_spite_of(scene, Deed::Flood { to: direction(variant), after: 5 * variant as u64, bytes })
    });
    scene.cell(ArbitrarySoftware, Network, 10, |scene, variant| {
        // Bytes of his own in the conversation.
        let bytes = Sha256Digest::of(&variant.to_be_bytes()).to_string().into_bytes();
        in_spite_of(scene, Deed::Inject { to: direction(variant), after: 0, bytes })
    });
    scene.cell(Freeze, Network, 10, |scene, variant| {
        // No way to the coordinator for a while, and then its order.
        scene.broker_wire.set(Deed::Refuse);
        takt_tests::fleet::pause(Duration::from_millis(100 + 50 * variant as u64));
        in_spite_of(scene, Deed::Pass)
    });
    scene.end();
}
