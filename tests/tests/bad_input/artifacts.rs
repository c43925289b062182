//! Artifacts that are not what was signed: the device tells which, and runs what it ran.

use std::fs;
use std::path::{Path, PathBuf};

use takt_common::api::CampaignState;
use takt_common::report::Outcome;
use takt_tests::fleet::ReleaseSpec;

use super::world::{BASE, World, release};

/// The files of the coordinator that were not there before.
fn fresh(folder: &Path, before: &[PathBuf]) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file() && !before.contains(path))
        .collect()
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn artifacts_that_are_not_what_was_signed_are_refused_and_what_ran_runs_on() {
    let mut world = World::running();
    let folder = world.coordinator_file("artifacts");
    let cases: [(&str, Damage, &str); 3] = [
        ("3.0.0", |bytes| bytes[4096] ^= 1, "what came has the digest"),
        ("4.0.0", |bytes| bytes.extend([0; 4096]), "artifact larger than stated"),
        ("5.0.0", |bytes| bytes.truncate(bytes.len() / 2), "artifact smaller than stated"),
    ];
    for (version, damage, words) in cases {
        let before = fresh(&folder, &[]);
        world.publish(&ReleaseSpec { ballast_bytes: 1 << 20, ..release(version) });
        let files = fresh(&folder, &before);
        let archive = files.iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        let mut bytes = fs::read(archive).unwrap();
        damage(&mut bytes);
        fs::write(archive, bytes).unwrap();
        let digest = archive.file_name().unwrap().to_str().unwrap();

        let campaign = world.start(version, "60s");
        let end = world.end_of(&campaign);
        assert_eq!(end.state, CampaignState::Aborted);
        let outcome = world.outcome();
        let Outcome::Failed { cause } = &outcome else { panic!("{outcome:?}") };
        assert!(cause.contains(words) && cause.contains(digest), "{cause}");
        assert!(end.reason.contains(words) && end.reason.contains("camera-1"), "{}", end.reason);
        world.assert_runs(BASE);
        assert_eq!(fs::read_dir(world.state("artifacts")).unwrap().count(), 0, "something of it is left");
    }
    world.publish(&release("6.0.0"));
    world.install("6.0.0");
}
