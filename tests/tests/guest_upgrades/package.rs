//! Debian packages in the guest, by its own dpkg.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use takt_common::api::CampaignState;
use takt_common::release::{Conffiles, Manifest, Package, PackageFormat, PackageSet, Step};
use takt_common::report::Outcome;
use takt_tests::fleet::ReleaseSpec;

use super::device::{Device, only, release};

/// A package that says how it is, with a configuration file and with scripts that say on the console that they run.
fn app(version: &str, state: &str) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    let control = format!(
        "Package: app\nVersion: {version}-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    );
    // The first words of a script, and a pause that a power cut can hit.
    let script = |name| format!("#!/bin/sh\necho app: {name} {version} >/dev/console\nsleep 0.5\n");
    let files = [
        ("DEBIAN/control", control.as_str(), 0o644),
        ("DEBIAN/conffiles", "/etc/app.conf\n", 0o644),
        ("DEBIAN/preinst", &script("preinst"), 0o755),
        ("DEBIAN/postinst", &script("postinst"), 0o755),
        ("etc/app.conf", &format!("delivered with {version}\n"), 0o644),
        ("usr/share/app/state", &format!("{state} {version}\n"), 0o644),
    ];
    for (path, content, mode) in files {
        let file = tree.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = temp.path().join("app.deb");
    let args = ["-Znone", "--root-owner-group", "--build"];
    let built = Command::new("dpkg-deb").args(args).args([&tree, &file]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    fs::read(file).unwrap()
}

fn only_the_app(manifest: &mut Manifest) {
    let package = Package {
        file: manifest.artifacts[1].sha256,
        name: "app".to_owned(),
        version: format!("{}-1", manifest.release.version),
        architecture: "all".to_owned(),
    };
    let set = PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles: Conffiles::Keep };
    only(manifest, Step::Package(set), &["grep", "-q", "well", "/usr/share/app/state"]);
}

/// A release of the application in this state.
pub(crate) fn app_release(version: &str, state: &str) -> ReleaseSpec {
    release(version, app(version, state), only_the_app)
}

/// The application is there in this version, whole, as dpkg itself and its files say, and so is every other package.
pub(crate) fn assert_installed(device: &mut Device, version: &str) {
    let look = "dpkg-query -W -f '${Version} ${db:Status-Status}\\n' app; cat /etc/app.conf /usr/share/app/state; \
        dpkg --audit; dpkg --verify app";
    // The configuration file differs from the delivered one, which is what the device wants.
    let verified = "??5?????? c /etc/app.conf";
    let expected = format!("{version}-1 installed\nby the device\nwell {version}\n{verified}");
    assert_eq!(device.text(look), expected, "{}", device.last_words());
}

/// The device has the application in version 1.0.0, which somebody installed by hand and configured; in the end, 2.0.0.
pub(crate) fn is_upgraded_and_a_sick_one_comes_back(device: &mut Device) {
    let file = device.guest.folder().join("app.deb");
    fs::write(&file, app("1.0.0", "well")).unwrap();
    device.guest.copy_in(&file, "/run/app.deb").unwrap();
    device.text("dpkg --install /run/app.deb && echo 'by the device' >/etc/app.conf && sync");

    // Back to what was there before Takt: its package is made again from what is installed.
    let (end, outcome) = device.upgrade(&app_release("1.5.0", "sick"));
    assert_eq!(end.state, CampaignState::Aborted, "{}: {outcome}", end.reason);
    let of_the_check = |told: &Outcome| matches!(told, Outcome::RolledBack { cause, .. } if cause.contains("exec grep -q well"));
    assert!(of_the_check(&outcome), "{outcome}");
    assert_installed(device, "1.0.0");

    device.verify(&app_release("2.0.0", "well"));
    assert_installed(device, "2.0.0");
    assert_eq!(device.installed(), ["counter@2.0.0"]);
    assert_eq!(device.outcomes().len(), 2, "one report for each order");
}
