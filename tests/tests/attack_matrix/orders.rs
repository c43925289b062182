//! Orders that no honest coordinator sends: by a stolen broker, which has old ones and no key, and by a thief of the coordinator's
//! keys, who signs what he likes.

use std::time::Duration;

use takt_common::envelope::PayloadType;
use takt_common::order::{Action, Order};
use takt_common::release::Manifest;
use takt_common::{DeviceId, Envelope, Sha256Digest, SigningKey, UnixTime};
use takt_matrix::attack::Attack::{
    ArbitrarySoftware, ChangeBetweenCheckAndUse, Drop, Eavesdrop, EndlessData, FastForward, Freeze,
    MixedBundle, PartialBundle, Replay, Rollback, WrongDevice, WrongHardware, WrongPrecursor,
};
use takt_matrix::attack::Attacker::{Broker, Coordinator};
use takt_matrix::attack::Told;
use takt_tests::fleet::now;

use super::loot::CoordinatorKeys;
use super::releases;
use super::scene::Scene;

fn told(happened: &str, saw: impl Into<String>) -> Told {
    Told { happened: happened.to_owned(), saw: saw.into() }
}

fn stranger() -> SigningKey {
    SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap()
}

/// A device that is not this one.
fn another(variant: usize) -> DeviceId {
    Sha256Digest::of(&variant.to_be_bytes()).to_string()[..32].parse().unwrap()
}

#[test]
fn a_stolen_broker_can_delay_and_nothing_else() {
    let mut scene = Scene::begin(1);
    for _ in 0..30 {
        scene.obeys().unwrap();
    }
    scene.cell(Replay, Broker, 25, |scene, variant| {
        // Of what was done, something that is not the last: the last one comes again and again from an honest one too.
        let of = variant % (scene.remembered.len() - 1);
        let old = spelled(&scene.remembered[of].clone(), variant);
        scene.refused(&old, &["never-older"])
    });
    scene.cell(WrongDevice, Broker, 20, |scene, variant| {
        let mut order = scene.install(&scene.next.clone());
        order.device = another(variant);
        let envelope = scene.seal(&order);
        scene.refused(&envelope, &["for-me"])
    });
    scene.cell(ArbitrarySoftware, Broker, 15, |scene, variant| {
        let order = scene.install(&scene.next.clone());
        let forged = match variant % 3 {
            0 => Envelope::seal(PayloadType::Order, &order.to_bytes(), &[&stranger()]).to_bytes(),
            1 => Envelope::seal(PayloadType::Order, &order.to_bytes(), &[]).to_bytes(),
            // The true signature under another text.
            _ => {
                let envelope: serde_json::Value = serde_json::from_slice(&scene.seal(&order)).unwrap();
                let mut other = order.clone();
                other.generation += 1;
                let own = Envelope::seal(PayloadType::Order, &other.to_bytes(), &[]).to_bytes();
                let mut own: serde_json::Value = serde_json::from_slice(&own).unwrap();
                own["signatures"] = envelope["signatures"].clone();
                own.to_string().into_bytes()
            }
        };
        scene.refused(&forged, &["order-signature"])
    });
    scene.cell(ChangeBetweenCheckAndUse, Broker, 15, |scene, variant| {
        // A bit of a true order, on its way.
        let order = scene.install(&scene.next.clone());
        let mut envelope = scene.seal(&order);
        let at = (variant * 97 + 60) % envelope.len();
        envelope[at] ^= 1 << (variant % 7);
        scene.refused(&envelope, &["envelope", "order-signature", "unreadable"])
    });
    scene.cell(EndlessData, Broker, 15, |scene, variant| {
        let length = 60_000 + variant * 400;
        let bytes = if variant % 2 == 0 { vec![b'['; length] } else { vec![0xff - variant as u8; length] };
        scene.refused(&bytes, &["envelope"])
    });
    scene.cell(Freeze, Broker, 15, |scene, variant| {
        // What was held back until nobody may accept it.
        let mut order = scene.install(&scene.next.clone());
        order.not_after = UnixTime::from_secs(1_700_000_000 + variant as u64);
        let envelope = scene.seal(&order);
        scene.refused(&envelope, &["expired"])
    });
    scene.cell(Drop, Broker, 15, |scene, variant| {
        // So many of the coordinator's orders do not arrive; the next one does.
        for _ in 0..=variant {
            scene.order(Action::Withdraw, None);
        }
        scene.obeys().map(|saw| told("the next order was done", saw))
    });
    scene.cell(Eavesdrop, Broker, 15, |scene, _| {
        let saw = scene.obeys()?;
        // It sees orders and reports, but no secret.
        let state = scene.device.state();
        let key = std::fs::read_to_string(state.join("identity/device.key")).unwrap();
        let secret = key.lines().find(|line| !line.starts_with('-')).unwrap().to_owned();
        let seen = scene.gate.heard();
        let shown = seen.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(&secret));
        if shown { Err("a secret was seen".to_owned()) } else { Ok(told("no secret seen, order done", saw)) }
    });
    scene.end();
}

/// The same envelope, spelled in another way: its digest is new.
fn spelled(envelope: &[u8], variant: usize) -> Vec<u8> {
    let text = String::from_utf8(envelope.to_vec()).unwrap();
    text.replacen(':', &format!(":{}", " ".repeat(variant + 1)), 1).into_bytes()
}

/// A release of a component of which the device has none, which goes only over an earlier one.
fn far_ahead(manifest: &mut Manifest) {
    releases::only_a_file(manifest);
    manifest.release.name = "extra".parse().unwrap();
    manifest.counter = 20;
    manifest.requires.counter_min = Some(10);
}

/// A release for hardware that is not the device's.
fn other_hardware(manifest: &mut Manifest) {
    releases::only_a_file(manifest);
    manifest.hardware = vec!["other-board".parse().unwrap()];
}

#[test]
fn a_thief_of_the_coordinator_s_keys_installs_nothing_that_does_not_fit() {
    let mut scene = Scene::begin(2);
    let thief = CoordinatorKeys::of(&scene.fleet.coordinator.profile().with_file_name(""));
    let edited = |edit: fn(&mut Manifest)| {
        move |release: &mut takt_tests::fleet::ReleaseSpec| release.more.as_mut().unwrap().edit = edit
    };
    let base = scene.runs.clone();
    let foreign = scene.publish(edited(other_hardware));
    let needy = scene.publish(edited(far_ahead));
    scene.install_next();
    // Publishing on between leaves the two where they are.
    scene.cell(WrongHardware, Coordinator, 55, |scene, variant| {
        let mut order = scene.install(&foreign);
        let mut rules = &["hardware"][..];
        if variant % 2 == 1 {
            // As if the publishers had said that it fits.
            let hardware = if variant % 4 == 1 { vec![] } else { vec!["generic".parse().unwrap()] };
            order.members.iter_mut().for_each(|member| member.hw.clone_from(&hardware));
            rules = &["member"];
        }
        scene.refused(&thief.order(&order), rules)
    });
    scene.cell(WrongPrecursor, Coordinator, 55, |scene, variant| {
        let mut order = scene.install(&needy);
        order.policy.downgrade = true;
        order.policy.retain = variant as u32;
        scene.fails(&thief.order(&order), order.position(), &["with counter 10 or higher here before"])
    });
    scene.cell(WrongDevice, Coordinator, 20, |scene, variant| {
        let mut order = scene.install(&scene.next.clone());
        order.device = another(variant);
        scene.refused(&thief.order(&order), &["for-me"])
    });
    scene.cell(Rollback, Coordinator, 25, |scene, variant| {
        let mut order = scene.install(&base);
        let rules = match variant % 3 {
            0 => &["older-release"][..],
            1 => {
                order.generation = variant as u64;
                &["never-older"][..]
            }
            _ => {
                order.epoch = 0;
                &["epoch"][..]
            }
        };
        scene.refused(&thief.order(&order), rules)
    });
    scene.cell(Replay, Coordinator, 20, |scene, variant| {
        // The number of an order that was done, with another content.
        let mut order = scene.install(&scene.next.clone());
        order.generation -= 1 + variant as u64;
        // No two are the same: an envelope that was refused is not refused again.
        order.policy.retain = variant as u32;
        scene.refused(&thief.order(&order), &["never-older"])
    });
    scene.cell(FastForward, Coordinator, 25, |scene, variant| {
        let mut order = scene.install(&scene.next.clone());
        let far = if variant % 2 == 0 { u64::MAX - variant as u64 } else { 2 + variant as u64 };
        let rules = if variant % 4 < 2 {
            order.epoch = far;
            &["epoch"][..]
        } else {
            order.snapshot.version += far.min(1 << 40);
            &["snapshot"][..]
        };
        scene.refused(&thief.order(&order), rules)
    });
    scene.cell(MixedBundle, Coordinator, 30, |scene, variant| mixed(scene, &thief, &needy, variant));
    scene.cell(PartialBundle, Coordinator, 30, |scene, variant| {
        let mut order = scene.install(&scene.next.clone());
        let keep_manifest = variant % 2 == 0;
        order.members.retain(|member| member.path.starts_with("releases/") == keep_manifest);
        order.policy.retain = variant as u32 / 2;
        let words = &["is not in the order", "names no release manifest"];
        scene.fails(&thief.order(&order), order.position(), words)
    });
    scene.cell(ArbitrarySoftware, Coordinator, 30, |scene, variant| {
        let order = arbitrary(scene, variant);
        scene.refused(&thief.order(&order), &["publisher-signature", "member", "members"])
    });
    scene.cell(ChangeBetweenCheckAndUse, Coordinator, 15, |scene, variant| {
        // In the place of an order that was judged, another one.
        scene.obeys()?;
        let mut order = scene.install(&scene.next.clone());
        order.generation -= 1;
        order.deadline = now() + Duration::from_secs(variant as u64 + 1);
        scene.refused(&thief.order(&order), &["never-older"])
    });
    scene.cell(EndlessData, Coordinator, 15, |scene, variant| {
        // Well signed, and deeper or longer than anything that is read.
        let payload = match variant % 3 {
            0 => b"[".repeat(10_000 + variant),
            1 => format!("{{\"format\":1,\"device\":\"{}\"}}", "a".repeat(30_000 + variant)).into_bytes(),
            _ => vec![b' '; 40_000 + variant],
        };
        scene.refused(&thief.payload(&payload), &["unreadable", "envelope"])
    });
    scene.cell(Freeze, Coordinator, 15, |scene, variant| {
        // The newest state is hidden: an order for what is newer shows it.
        let mut order = scene.install(&scene.next.clone());
        order.snapshot.version += 1;
        order.issued = UnixTime::from_secs(now().as_secs() - variant as u64);
        scene.refused(&thief.order(&order), &["snapshot"])
    });
    // The one thing that he can do is to use up the numbers: new roots take that away, and the device is back with its next order.
    scene.cell(FastForward, Coordinator, 3, |scene, variant| {
        let mut order = scene.order(Action::Withdraw, None);
        order.generation = u64::MAX - variant as u64;
        let envelope = thief.order(&order);
        scene.answer(&envelope, Some(order.position()))?;
        let honest = scene.order(Action::Withdraw, None);
        let envelope = scene.seal(&honest);
        let stuck = scene.refused(&envelope, &["never-older"])?;
        scene.rotate(None);
        scene.obeys()?;
        Ok(told("numbers used up, back with the next roots", stuck.saw))
    });
    scene.end();
}

fn mixed(scene: &mut Scene, thief: &CoordinatorKeys, needy: &str, variant: usize) -> Result<Told, String> {
    let mut order = scene.install(&scene.next.clone());
    let other = scene.install(needy);
    order.generation = other.generation;
    order.policy.downgrade = true;
    match variant % 3 {
        // The manifest of one with the artifact of the other.
        0 => {
            order.members.truncate(1);
            order.members.extend(other.members.into_iter().skip(1));
        }
        // All of both.
        1 => order.members.extend(other.members),
        // The artifact of one, said to be of the other.
        _ => {
            let release = other.members[0].release.clone();
            for member in order.members.iter_mut().filter(|member| member.path.starts_with("artifacts/")) {
                member.release = release.clone();
            }
            return scene.refused(&thief.order(&order), &["member"]);
        }
    }
    order.policy.retain = variant as u32;
    let words = &["mixes", "is not in the order", "differ in hardware"];
    scene.fails(&thief.order(&order), order.position(), words)
}

/// An order for something that no publisher has signed.
fn arbitrary(scene: &mut Scene, variant: usize) -> Order {
    let mut order = scene.install(&scene.next.clone());
    let unknown = Sha256Digest::of(&variant.to_be_bytes());
    let member = order.members.iter_mut().find(|member| member.path.starts_with("artifacts/")).unwrap();
    match variant % 5 {
        0 => member.path = format!("artifacts/{unknown}"),
        1 => member.sha256 = unknown,
        2 => member.length += 1 + variant as u64,
        3 => member.path = format!("releases/counter/{variant}.9.9.json"),
        _ => order.members.clear(),
    }
    order
}
