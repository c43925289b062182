//! Tiny RPM packages, and a device's rpm in a folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use takt_common::Sha256Digest;

use crate::deb::run;
use crate::shot::{Shot, shot};
use crate::world::{World, need};

/// A package.
#[derive(Debug, Clone)]
pub(crate) struct Rpm {
    name: String,
    version: String,
    preamble: String,
    install: String,
    files: String,
    scripts: String,
}

impl Rpm {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let folder = format!("%dir /usr/share/{name}\n");
        let package = Self {
            name: name.to_owned(),
            version: version.to_owned(),
            preamble: String::new(),
            install: String::new(),
            files: folder,
            scripts: String::new(),
        };
        package.file("", &format!("/usr/share/{name}/data"), &format!("{name} {version}"))
    }

    pub(crate) fn preamble(mut self, line: &str) -> Self {
        self.preamble.extend([line, "\n"]);
        self
    }

    /// A file; `how` is `%config` and the like.
    pub(crate) fn file(mut self, how: &str, path: &str, content: &str) -> Self {
        let install =
            format!("mkdir -p $(dirname %{{buildroot}}{path}); echo '{content}' > %{{buildroot}}{path}\n");
        self.install.push_str(&install);
        self.files.extend([how, " ", path, "\n"]);
        self
    }

    pub(crate) fn script(mut self, name: &str, body: &str) -> Self {
        self.scripts.extend(["%", name, "\n", body, "\n"]);
        self
    }

    /// The .rpm; what was built once lies in the folder for such things.
    pub(crate) fn build(&self) -> Vec<u8> {
        need(&[("rpmbuild", "rpm")]);
        let Self { name, version, preamble, install, files, scripts } = self;
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: test\nLicense: none\nBuildArch: noarch\n{preamble}\
             %description\ntest\n%install\n{install}\n{scripts}\n%files\n{files}\n"
        );
        let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}.rpm", Sha256Digest::of(spec.as_bytes())));
        if let Ok(bytes) = fs::read(&built) {
            return bytes;
        }
        let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = temp.path().join("test.spec");
        fs::write(&file, spec).unwrap();
        let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
        let folder = temp.path().to_str().unwrap();
        let mut command = Command::new("rpmbuild");
        command.arg("-bb").args(define("_topdir", folder)).args(define("_rpmdir", folder));
        command.args(define("_build_id_links", "none")).args(define("_binary_payload", "w1.gzdio"));
        run(command.args(define("_rpmfilename", "out.rpm")).arg(&file).env("HOME", folder));
        fs::rename(temp.path().join("out.rpm"), &built).unwrap();
        fs::read(built).unwrap()
    }

    pub(crate) fn entry(&self, file: Sha256Digest) -> Value {
        let version = format!("{}-1", self.version);
        json!({"file": file, "name": self.name, "version": version, "architecture": "noarch"})
    }
}

/// The package that provides a shell.
const SHELL: &str = "shell";

/// A device with an rpm that knows of nothing but a shell.
pub(crate) fn device() -> World {
    need(&[("rpm", "rpm"), ("busybox", "busybox-static")]);
    let mut world = World::new();
    fs::create_dir_all(world.on("bin")).unwrap();
    fs::create_dir_all(world.on("var")).unwrap();
    fs::copy("/bin/busybox", world.on("bin/busybox")).unwrap();
    for name in ["sh", "kill", "cat", "touch", "sleep"] {
        symlink("busybox", world.on("bin").join(name)).unwrap();
    }
    run(rpm(&world).arg("--initdb"));
    // rpm asks its database, not the disk, for the shell that scripts need.
    let shell = world.beside("shell.rpm");
    fs::write(&shell, Rpm::new(SHELL, "1").preamble("Provides: /bin/sh").build()).unwrap();
    run(rpm(&world).arg("-U").arg(shell));
    world.settings["package_root"] = json!(world.on(""));
    world
}

/// rpm, by hand.
pub(crate) fn rpm(world: &World) -> Command {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(world.on("")).env("LC_ALL", "C").env("HOME", "/root");
    command
}

/// The step that installs these.
pub(crate) fn set(world: &World, rpms: &[&Rpm], conffiles: &str) -> Value {
    let packages: Vec<Value> = rpms.iter().map(|rpm| rpm.entry(world.artifact(&rpm.build()))).collect();
    json!({"kind": "package", "format": "rpm", "conffiles": conffiles, "packages": packages})
}

/// Everything of a device that a way back must bring back: its files, and what rpm says of its packages but the shell.
pub(crate) fn whole(world: &World) -> (Shot, String) {
    let mut files = shot(&world.on(""));
    // What rpm itself writes: its database, and the scripts that it runs, which stay when it is killed.
    let of_rpm = ["root", "bin/", "var/tmp"];
    files.retain(|name, _| !of_rpm.iter().any(|beginning| name.starts_with(beginning)));
    let said = run(rpm(world).args(["-qa", "--qf", "%{NAME} %{EVR}\n"]));
    let mut packages: Vec<String> =
        String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect();
    packages.retain(|package| !package.starts_with(SHELL));
    packages.sort();
    (files, packages.join("\n"))
}
