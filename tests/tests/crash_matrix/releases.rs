//! The releases that are tried.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use takt_common::Sha256Digest;
use takt_common::release::{
    Conffiles, FileSet, FileSpec, Manifest, Package, PackageFormat, PackageSet, Probe, Step, Strategy,
};
use takt_tests::fleet::{self, More, ReleaseSpec};
use takt_workload::Nature;

fn of_one_container(version: &str, nature: Nature, strategies: &str) -> ReleaseSpec {
    ReleaseSpec {
        strategies: strategies.to_owned(),
        start_secs: 1,
        probation_secs: 1,
        interval_millis: 100,
        ..ReleaseSpec::new(version, nature)
    }
}

pub(crate) fn preserve(version: &str, nature: Nature) -> ReleaseSpec {
    of_one_container(version, nature, "preserve,replace")
}

pub(crate) fn replace(version: &str, nature: Nature) -> ReleaseSpec {
    of_one_container(version, nature, "replace")
}

pub(crate) fn handover(version: &str, nature: Nature) -> ReleaseSpec {
    let more = More { artifacts: Vec::new(), edit: publish_port };
    ReleaseSpec { more: Some(more), ..of_one_container(version, nature, "replace") }
}

/// The agent publishes the port.
fn publish_port(manifest: &mut Manifest) {
    fleet::publish_port(manifest, &[Strategy::Handover, Strategy::Replace], 1);
}

/// The version of a lane's release, which says for which lane it is: files and packages of each have a place of their own
/// on this machine.
pub(crate) fn version(number: usize, lane: usize) -> String {
    format!("{number}.{lane}.0")
}

fn lane_of(manifest: &Manifest) -> usize {
    manifest.release.version.as_str().split('.').nth(1).unwrap().parse().unwrap()
}

/// What lies on the machine for the releases of this process.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("takt-matrix-{}", std::process::id()))
}

/// Where files of a lane's releases may lie.
pub(crate) fn root(lane: usize) -> PathBuf {
    let root = folder().join(format!("lane-{lane}"));
    fs::create_dir_all(&root).unwrap();
    root
}

/// The file that releases of kind `file` bring.
pub(crate) fn file(lane: usize) -> PathBuf {
    root(lane).join("app.conf")
}

/// What is in it.
pub(crate) fn content(version: &str) -> String {
    format!("version = {version}\n{}", "x".repeat(4_000))
}

/// What is in it where its download is to last.
pub(crate) fn large_content(version: &str) -> String {
    format!("version = {version}\n{}", "x".repeat(LARGE_BYTES))
}

/// Enough for tenths of a download to be told apart.
const LARGE_BYTES: usize = 2 << 20;

/// A container whose image is large.
pub(crate) fn large(version: &str, nature: Nature) -> ReleaseSpec {
    ReleaseSpec { ballast_bytes: LARGE_BYTES, ..replace(version, nature) }
}

/// A release without containers; it is well when the file says so.
pub(crate) fn files(version: &str, nature: Nature) -> ReleaseSpec {
    let sick = if nature == Nature::Good { "" } else { "sick\n" };
    one_file(version, format!("{}{sick}", content(version)))
}

/// The same of a large file, always a good one.
pub(crate) fn large_file(version: &str, _nature: Nature) -> ReleaseSpec {
    one_file(version, large_content(version))
}

fn one_file(version: &str, content: String) -> ReleaseSpec {
    let content = content.into_bytes();
    let more = More { artifacts: vec![content], edit: only_a_file };
    ReleaseSpec { more: Some(more), ..of_one_container(version, Nature::Good, "replace") }
}

pub(crate) fn only_a_file(manifest: &mut Manifest) {
    manifest.artifacts.remove(0);
    put_file(manifest, 0);
    manifest.steps.remove(0);
    manifest.health.probes = vec![well(lane_of(manifest))];
}

fn put_file(manifest: &mut Manifest, artifact: usize) {
    let content: Sha256Digest = manifest.artifacts[artifact].sha256;
    let file = FileSpec {
        path: file(lane_of(manifest)).display().to_string(),
        content: Some(content),
        mode: Some("0640".to_owned()),
        owner: None,
        xattrs: [].into(),
    };
    manifest.steps.push(Step::File(FileSet { files: vec![file] }));
}

fn well(lane: usize) -> Probe {
    let file = file(lane).display().to_string();
    Probe::Exec(["sh", "-c", &format!("! grep -q sick {file}")].map(str::to_owned).to_vec())
}

/// A file and then a container: both or neither.
pub(crate) fn file_and_container(version: &str, nature: Nature) -> ReleaseSpec {
    let more = More { artifacts: vec![content(version).into_bytes()], edit: file_first };
    ReleaseSpec { more: Some(more), ..of_one_container(version, nature, "replace") }
}

fn file_first(manifest: &mut Manifest) {
    put_file(manifest, 1);
    manifest.steps.reverse();
}

/// The system in which packages of a lane's releases are installed; it has an empty database of dpkg.
pub(crate) fn package_root(lane: usize) -> PathBuf {
    let root = root(lane).join("packages");
    let database = root.join("var/lib/dpkg");
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(folder)).unwrap();
    }
    let status = database.join("status");
    if !status.exists() {
        fs::write(status, "").unwrap();
    }
    root
}

/// What a version of the package puts in its place; a file of configuration comes with it.
pub(crate) fn packaged(version: &str) -> String {
    format!("version {version}\n")
}

fn deb(version: &str, more: &str) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    let control = format!(
        "Package: app\nVersion: {version}-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    );
    for (path, content) in [
        ("DEBIAN/control", control),
        ("DEBIAN/conffiles", "/etc/app.conf\n".to_owned()),
        ("etc/app.conf", format!("delivered with {version}\n")),
        ("usr/share/app/version", format!("{}{more}", packaged(version))),
    ] {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), content).unwrap();
    }
    let file = temp.path().join("app.deb");
    let args = ["-Znone", "--root-owner-group", "--build"];
    let built = Command::new("dpkg-deb").args(args).args([&tree, &file]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    fs::read(file).unwrap()
}

/// A release without containers, of one package.
pub(crate) fn package(version: &str, nature: Nature) -> ReleaseSpec {
    let sick = if nature == Nature::Good { "" } else { "sick\n" };
    let more = More { artifacts: vec![deb(version, sick)], edit: only_a_package };
    ReleaseSpec { more: Some(more), ..of_one_container(version, Nature::Good, "replace") }
}

fn only_a_package(manifest: &mut Manifest) {
    manifest.artifacts.remove(0);
    let package = Package {
        file: manifest.artifacts[0].sha256,
        name: "app".to_owned(),
        version: format!("{}-1", manifest.release.version),
        architecture: "all".to_owned(),
    };
    let set = PackageSet { format: PackageFormat::Deb, packages: vec![package], conffiles: Conffiles::Keep };
    manifest.steps = vec![Step::Package(set)];
    let look = ["sh", "-c", "! grep -q sick '${package_root}/usr/share/app/version'"];
    manifest.health.probes = vec![Probe::Exec(look.map(str::to_owned).to_vec())];
}
