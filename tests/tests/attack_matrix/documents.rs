//! Documents of trust that are not what they should be: from a hostile cache, which can only show true ones at the wrong time and
//! damaged ones; from a thief of the coordinator's keys, who signs timestamps; from one publisher of two; and from a holder of
//! root keys that were replaced.

use std::path::PathBuf;

use takt_common::envelope::PayloadType;
use takt_common::{Envelope, Sha256Digest, SigningKey, UnixTime};
use takt_matrix::attack::Attack::{
    ArbitrarySoftware, ChangeBetweenCheckAndUse, Drop, EndlessData, FastForward, Freeze, MixAndMatch,
    MixedBundle, PartialBundle, Rollback, WrongHardware, WrongPrecursor,
};
use takt_matrix::attack::Attacker::{Coordinator, HostileCache, OldRoots, OnePublisher};
use takt_matrix::attack::Told;
use takt_tests::fleet::now;
use takt_trust::{ArtifactCustom, Target, TargetCustom, TargetsDocument, names};

use super::loot::{CoordinatorKeys, OnePublisher as Thief, Papers, Roots, key};
use super::scene::{Answer, Scene};
use super::shelf::Serve;

const TIMESTAMP: &str = "repository/timestamp.json";
/// Takt's rule for what the package repository shows, and the two for what it does not show.
const DOCUMENTS: &[&str] = &["package-repository", "snapshot", "expired-documents"];

/// A true order for what was published last, of which the device does not know the documents yet.
fn true_order(scene: &mut Scene) -> Vec<u8> {
    let order = scene.install(&scene.next.clone());
    scene.seal(&order)
}

/// It is refused, or it waits and says for which document.
fn refused_or_waits(scene: &mut Scene, envelope: &[u8]) -> Result<Told, String> {
    match scene.answer(envelope, None)? {
        Answer::Refused { rule, why } if DOCUMENTS.contains(&rule.as_str()) => {
            Ok(Told { happened: format!("refused by rule `{rule}`"), saw: why })
        }
        Answer::Waits(why) => {
            // It would be done as soon as the documents are there: another order takes its place.
            scene.obeys()?;
            Ok(Told { happened: "order waits for documents".to_owned(), saw: why })
        }
        other => Err(format!("{other:?}")),
    }
}

/// Shows these in the place of what is there.
fn show(scene: &Scene, papers: &Papers) {
    scene.shelf.lie(TIMESTAMP, Serve::Bytes(papers.timestamp.clone()));
    scene.shelf.lie_document(&names::snapshot_file(papers.snapshot_version()), papers.snapshot.clone());
    scene.shelf.lie_document(&names::targets_file(papers.targets_version()), papers.targets.clone());
}

fn newest_documents(scene: &Scene) -> [String; 3] {
    let papers = scene.papers();
    [
        "timestamp.json".to_owned(),
        names::snapshot_file(papers.snapshot_version()),
        names::targets_file(papers.targets_version()),
    ]
}

#[test]
fn a_hostile_cache_shows_nothing_that_the_device_takes() {
    let mut scene = Scene::begin(3);
    for _ in 0..3 {
        scene.install_next();
    }
    scene.cell(Freeze, HostileCache, 20, |scene, _| {
        // The state that the device knows, as if there were no newer one.
        let known = scene.history[scene.history.len() - 2].clone();
        show(scene, &known);
        let envelope = true_order(scene);
        scene.refused(&envelope, &["snapshot"])
    });
    scene.cell(Rollback, HostileCache, 20, |scene, variant| {
        let old = scene.history[variant % (scene.history.len() - 2)].clone();
        show(scene, &old);
        let envelope = true_order(scene);
        scene.refused(&envelope, &["package-repository"])
    });
    scene.cell(MixAndMatch, HostileCache, 30, |scene, variant| {
        // The newest, of which one document is of another state.
        let mut papers = scene.papers().clone();
        let other = scene.history[(variant / 3) % (scene.history.len() - 1)].clone();
        let [timestamp, snapshot, targets] = newest_documents(scene);
        match variant % 3 {
            0 => papers.snapshot = other.snapshot,
            1 => papers.targets = other.targets,
            _ => (papers.snapshot, papers.targets) = (other.targets, other.snapshot),
        }
        scene.shelf.lie_document(&timestamp, papers.timestamp);
        scene.shelf.lie_document(&snapshot, papers.snapshot);
        scene.shelf.lie_document(&targets, papers.targets);
        let envelope = true_order(scene);
        refused_or_waits(scene, &envelope)
    });
    scene.cell(ChangeBetweenCheckAndUse, HostileCache, 20, |scene, variant| {
        // A true timestamp, and then other bytes than those that it vouches for.
        let papers = scene.papers().clone();
        let [_, snapshot, targets] = newest_documents(scene);
        let (name, mut bytes) =
            if variant % 2 == 0 { (snapshot, papers.snapshot) } else { (targets, papers.targets) };
        let at = (variant * 131 + 7) % bytes.len();
        bytes[at] ^= 1 << (variant % 7);
        scene.shelf.lie_document(&name, bytes);
        let envelope = true_order(scene);
        refused_or_waits(scene, &envelope)
    });
    scene.cell(EndlessData, HostileCache, 10, |scene, variant| {
        let name = newest_documents(scene)[variant % 3].clone();
        scene.shelf.lie(&format!("repository/{name}"), Serve::Endless(b'[' + variant as u8));
        let envelope = true_order(scene);
        refused_or_waits(scene, &envelope)
    });
    scene.cell(Drop, HostileCache, 15, |scene, variant| {
        let name = newest_documents(scene)[variant % 3].clone();
        let serve = match variant % 5 {
            0 => Serve::Nothing,
            1 => Serve::Status(503),
            2 => Serve::Status(404),
            3 => Serve::Status(302),
            _ => Serve::Part { bytes: vec![b'{'; 100], come: 10 + variant, states: 100 },
        };
        scene.shelf.lie(&format!("repository/{name}"), serve);
        let envelope = true_order(scene);
        refused_or_waits(scene, &envelope)
    });
    scene.end();
}

#[test]
fn a_thief_of_the_timestamp_key_brings_back_nothing() {
    let mut scene = Scene::begin(4);
    let thief = CoordinatorKeys::of(&scene.fleet.coordinator.profile().with_file_name(""));
    for _ in 0..3 {
        scene.install_next();
    }
    scene.cell(MixAndMatch, Coordinator, 25, |scene, variant| {
        // Older snapshots with a fresh timestamp, and older targets under a snapshot that he signs himself.
        let mut papers = scene.history[variant % (scene.history.len() - 2)].clone();
        let ahead = 5_000 + variant as u64;
        if variant % 2 == 1 {
            let version = scene.papers().snapshot_version() + ahead;
            papers.snapshot = thief.snapshot(&papers.targets, version, now());
        }
        papers.timestamp = thief.timestamp(&papers.snapshot, ahead, now());
        show(scene, &papers);
        let envelope = true_order(scene);
        scene.refused(&envelope, &["package-repository"])
    });
    scene.cell(Rollback, Coordinator, 10, |scene, variant| {
        let mut papers = scene.history[variant % (scene.history.len() - 2)].clone();
        papers.timestamp = thief.timestamp(&papers.snapshot, u64::MAX >> (variant + 12), now());
        show(scene, &papers);
        let order = scene.install(&scene.next.clone());
        scene.refused(&thief.order(&order), &["package-repository"])
    });
    scene.cell(Freeze, Coordinator, 10, |scene, variant| {
        // A timestamp that has expired.
        let mut papers = scene.papers().clone();
        let then = UnixTime::from_secs(now().as_secs() - 30 * 24 * 3_600 * (1 + variant as u64));
        papers.timestamp = thief.timestamp(&papers.snapshot, 5_000 + variant as u64, then);
        show(scene, &papers);
        let envelope = true_order(scene);
        scene.refused(&envelope, DOCUMENTS)
    });
    scene.end();
}

/// A release that nobody but the thief has made, in the place of the next one.
fn with_evil(targets: &TargetsDocument, variant: usize) -> TargetsDocument {
    let mut evil = targets.clone();
    evil.version += 1;
    let path = evil.targets.keys().rfind(|path| path.starts_with("releases/")).unwrap().clone();
    let mut target = evil.targets[&path].clone();
    target.sha256 = Sha256Digest::of(&variant.to_le_bytes());
    let TargetCustom::Manifest(about) = &mut target.custom else { panic!("{path} is not a manifest") };
    about.release = format!("66.{variant}.6").parse().unwrap();
    about.counter += 1_000 + variant as u64;
    evil.targets.insert(format!("releases/counter/66.{variant}.6.json"), target);
    let file = Target {
        length: 100 + variant as u64,
        sha256: Sha256Digest::of(b"evil"),
        custom: TargetCustom::Artifact(ArtifactCustom {
            releases: [format!("releases/counter/66.{variant}.6.json")].into(),
        }),
    };
    evil.targets.insert(format!("artifacts/{}", file.sha256), file);
    evil
}

fn change_manifests(targets: &mut TargetsDocument, change: impl Fn(&mut Target)) {
    targets.version += 1;
    targets.targets.values_mut().for_each(change);
}

#[test]
fn one_publisher_of_two_publishes_nothing_even_with_all_of_the_coordinator() {
    let mut scene = Scene::begin(5);
    let folder = scene.fleet.coordinator.profile().with_file_name("");
    let thief = Thief::of(&folder, &scene.fleet.trust);
    for _ in 0..3 {
        scene.install_next();
    }
    let signed = |scene: &mut Scene, targets: &TargetsDocument, ahead: u64| {
        let snapshot = scene.papers().snapshot_version() + ahead;
        let papers = thief.papers(thief.targets(targets), snapshot, 5_000 + ahead, now());
        show(scene, &papers);
        let mut order = scene.install(&scene.next.clone());
        order.snapshot.version = snapshot;
        order.snapshot.sha256 = Sha256Digest::of(&papers.snapshot);
        scene.refused(&thief.coordinator.order(&order), &["package-repository"])
    };
    scene.cell(ArbitrarySoftware, OnePublisher, 20, |scene, variant| {
        let targets = with_evil(&scene.papers().read_targets(), variant);
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(MixedBundle, OnePublisher, 20, |scene, variant| {
        // All artifacts belong to all releases.
        let mut targets = scene.papers().read_targets();
        let paths: Vec<String> =
            targets.targets.keys().filter(|path| path.starts_with("rel")).cloned().collect();
        change_manifests(&mut targets, |target| {
            if let TargetCustom::Artifact(artifact) = &mut target.custom {
                artifact.releases.extend(paths.iter().cloned());
            }
        });
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(WrongHardware, OnePublisher, 10, |scene, variant| {
        let mut targets = scene.papers().read_targets();
        change_manifests(&mut targets, |target| {
            if let TargetCustom::Manifest(about) = &mut target.custom {
                about.hardware = vec!["other-board".parse().unwrap()];
            }
        });
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(PartialBundle, OnePublisher, 10, |scene, variant| {
        // Releases without their files.
        let mut targets = scene.papers().read_targets();
        targets.version += 1;
        targets.targets.retain(|path, _| path.starts_with("releases/"));
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(WrongPrecursor, OnePublisher, 10, |scene, variant| {
        // Every release is the latest, and follows everything.
        let mut targets = scene.papers().read_targets();
        change_manifests(&mut targets, |target| {
            if let TargetCustom::Manifest(about) = &mut target.custom {
                about.counter += 1_000;
                about.requires.clear();
            }
        });
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(MixAndMatch, OnePublisher, 10, |scene, variant| {
        // What was published before, as the next version.
        let mut targets = scene.history[variant % (scene.history.len() - 2)].read_targets();
        targets.version = scene.papers().targets_version() + 1;
        signed(scene, &targets, 1 + variant as u64)
    });
    scene.cell(FastForward, OnePublisher, 20, |scene, variant| {
        let mut targets = scene.papers().read_targets();
        targets.version = (u64::MAX >> 12) - variant as u64;
        signed(scene, &targets, (1 << 40) + variant as u64)
    });
    scene.cell(Rollback, OnePublisher, 15, |scene, variant| {
        // True targets of before under a snapshot of his own, which he may sign.
        let old = scene.history[variant % (scene.history.len() - 2)].targets.clone();
        let snapshot = scene.papers().snapshot_version() + 1 + variant as u64;
        let papers = thief.papers(old, snapshot, 5_000 + variant as u64, now());
        show(scene, &papers);
        let mut order = scene.install(&scene.next.clone());
        order.snapshot.version = snapshot;
        scene.refused(&thief.coordinator.order(&order), &["package-repository"])
    });
    scene.cell(Freeze, OnePublisher, 15, |scene, variant| {
        // An old snapshot, signed as it is now.
        let old = scene.papers().clone();
        let long_ago = UnixTime::from_secs(now().as_secs() - 3_600 * 24 * (100 + variant as u64));
        let snapshot = scene.papers().snapshot_version() + 1;
        let mut papers = thief.papers(old.targets, snapshot, 5_000 + variant as u64, long_ago);
        papers.timestamp = thief.coordinator.timestamp(&papers.snapshot, 5_000 + variant as u64, now());
        show(scene, &papers);
        let mut order = scene.install(&scene.next.clone());
        order.snapshot.version = snapshot;
        scene.refused(&thief.coordinator.order(&order), DOCUMENTS)
    });
    scene.end();
}

#[test]
fn root_keys_that_were_replaced_make_no_roots() {
    let mut scene = Scene::begin(6);
    let old = Roots(key(&scene.fleet.trust.root_key()));
    let documents = PathBuf::from(scene.fleet.trust.documents());
    let fresh = documents.with_file_name("root-2.key").display().to_string();
    scene.fleet.takt.text(&["key", "new", "--out", &fresh]).unwrap();
    scene.rotate(Some(&fresh));
    scene.install_next();
    let read = |file: String| std::fs::read(documents.join(file)).unwrap();
    let (package, director) = (read(names::root_file(2)), read(names::director_file(2)));
    let stranger = SigningKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    scene.cell(ArbitrarySoftware, OldRoots, 30, |scene, variant| {
        // The next package root, by which the thief says who publishes, or the next director root, by which he orders.
        let (own, order) = (variant % 4 < 2, scene.install(&scene.next.clone()));
        if variant % 2 == 0 {
            scene.shelf.lie_document(&names::root_file(3), old.forge(&package, 3, own));
            let envelope = scene.seal(&order);
            return scene.refused(&envelope, &["package-repository"]);
        }
        scene.shelf.lie_document(&names::director_file(3), old.forge(&director, 3, own));
        let envelope = Envelope::seal(PayloadType::Order, &order.to_bytes(), &[&stranger]).to_bytes();
        scene.refused(&envelope, &["director-root"])
    });
    scene.cell(FastForward, OldRoots, 20, |scene, variant| {
        // Roots that skip versions.
        let forged = old.forge(&package, 4 + (variant as u64) * 1_000, variant % 2 == 1);
        scene.shelf.lie_document(&names::root_file(3), forged);
        let envelope = true_order(scene);
        scene.refused(&envelope, &["package-repository"])
    });
    scene.cell(Rollback, OldRoots, 10, |scene, variant| {
        // The old root as the next one, as it was signed.
        let bytes = if variant % 2 == 0 { read(names::root_file(1)) } else { package.clone() };
        scene.shelf.lie_document(&names::root_file(3), bytes);
        let envelope = true_order(scene);
        scene.refused(&envelope, &["package-repository"])
    });
    scene.cell(MixAndMatch, OldRoots, 15, |scene, variant| {
        // A director root in the place of a package root and the other way round, and orders by who would be in it.
        let (wrong, file) = if variant % 2 == 0 {
            (&director, names::root_file(3))
        } else {
            (&package, names::director_file(3))
        };
        scene.shelf.lie_document(&file, old.forge(wrong, 3, variant % 4 < 2));
        let order = scene.install(&scene.next.clone());
        let envelope = if variant % 2 == 0 {
            scene.seal(&order)
        } else {
            Envelope::seal(PayloadType::Order, &order.to_bytes(), &[&stranger]).to_bytes()
        };
        scene.refused(&envelope, &["package-repository", "director-root"])
    });
    scene.end();
}
