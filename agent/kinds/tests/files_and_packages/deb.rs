//! Tiny Debian packages, and a device's dpkg in a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use takt_common::Sha256Digest;

use crate::shot::{Shot, shot};
use crate::world::{World, need};

/// A package.
#[derive(Debug, Clone)]
pub(crate) struct Deb {
    name: String,
    version: String,
    fields: Vec<String>,
    files: Vec<(String, String)>,
    links: Vec<(String, String)>,
    conffiles: Vec<String>,
    control: Vec<(String, String)>,
}

impl Deb {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            fields: Vec::new(),
            files: vec![(format!("usr/share/{name}/data"), format!("{name} {version}\n"))],
            links: Vec::new(),
            conffiles: Vec::new(),
            control: Vec::new(),
        }
    }

    pub(crate) fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    pub(crate) fn conffile(mut self, path: &str, content: &str) -> Self {
        self.conffiles.push(format!("/{path}"));
        self.file(path, content)
    }

    /// A maintainer script's body, or another control file.
    pub(crate) fn control(mut self, name: &str, content: &str) -> Self {
        self.control.push((name.to_owned(), content.to_owned()));
        self
    }

    pub(crate) fn script(self, name: &str, body: &str) -> Self {
        self.control(name, &format!("#!/bin/sh\nset -e\n{body}\n"))
    }

    /// The .deb.
    pub(crate) fn build(&self) -> Vec<u8> {
        need(&[("dpkg-deb", "dpkg")]);
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        let write = |path: &str, content: &str, mode: u32| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (path, content) in &self.files {
            write(path, content, if path.starts_with("usr/bin/") { 0o755 } else { 0o644 });
        }
        for (path, target) in &self.links {
            fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
            match target.strip_prefix("hard:") {
                Some(target) => fs::hard_link(tree.join(target), tree.join(path)).unwrap(),
                None => symlink(target, tree.join(path)).unwrap(),
            }
        }
        let fields: String = self.fields.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let architecture = if fields.contains("Architecture:") { "" } else { "Architecture: all\n" };
        let control = format!(
            "Package: {}\nVersion: {}\n{architecture}Maintainer: Test <test@example.org>\n{fields}Description: test\n",
            self.name, self.version
        );
        write("DEBIAN/control", &control, 0o644);
        if !self.conffiles.is_empty() {
            write("DEBIAN/conffiles", &(self.conffiles.join("\n") + "\n"), 0o644);
        }
        for (name, content) in &self.control {
            write(&format!("DEBIAN/{name}"), content, if content.starts_with("#!") { 0o755 } else { 0o644 });
        }
        let file = temp.path().join("file.deb");
        run(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&file));
        fs::read(file).unwrap()
    }

    /// What a manifest says of it.
    pub(crate) fn entry(&self, file: Sha256Digest) -> Value {
        json!({"file": file, "name": self.name, "version": self.version, "architecture": "all"})
    }
}

/// Runs a program that must end well.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A device with an empty dpkg.
pub(crate) fn device() -> World {
    need(&[("dpkg", "dpkg"), ("busybox", "busybox-static")]);
    let mut world = World::new();
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(world.on("var/lib/dpkg").join(folder)).unwrap();
    }
    for file in ["status", "available"] {
        fs::write(world.on("var/lib/dpkg").join(file), "").unwrap();
    }
    fs::create_dir_all(world.on("bin")).unwrap();
    fs::copy("/bin/busybox", world.on("bin/busybox")).unwrap();
    for name in ["sh", "kill", "cat", "touch", "sleep", "mkdir", "rm", "cut"] {
        symlink("busybox", world.on("bin").join(name)).unwrap();
    }
    world.settings["package_root"] = json!(world.on(""));
    world
}

/// dpkg, by hand.
pub(crate) fn dpkg(world: &World) -> Command {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", world.on("").display())).arg("--log=/dev/null");
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Installs a package by hand, as apt or people would.
#[track_caller]
pub(crate) fn install(world: &World, deb: &Deb) {
    install_all(world, &[deb]);
}

/// The same for several at once, by the policy that replaces what the device has not changed.
#[track_caller]
pub(crate) fn install_all(world: &World, debs: &[&Deb]) {
    let files: Vec<PathBuf> = debs.iter().map(|deb| file(world, deb)).collect();
    run(dpkg(world).args(["--force-confdef", "--force-confold", "--auto-deconfigure", "-i"]).args(files));
}

/// A package as a file beside the device.
pub(crate) fn file(world: &World, deb: &Deb) -> PathBuf {
    let file = world.beside(&format!("{}-{}.deb", deb.name, deb.version));
    fs::write(&file, deb.build()).unwrap();
    file
}

/// The step that installs these.
pub(crate) fn set(world: &World, debs: &[&Deb], conffiles: &str) -> Value {
    let packages: Vec<Value> = debs.iter().map(|deb| deb.entry(world.artifact(&deb.build()))).collect();
    json!({"kind": "package", "format": "deb", "conffiles": conffiles, "packages": packages})
}

/// Everything of a device that a way back must bring back: its files, and what dpkg says of its packages.
pub(crate) fn whole(world: &World) -> (Shot, String) {
    let mut files = shot(&world.on(""));
    files.retain(|name, _| !name.starts_with("var/lib/dpkg") && !name.starts_with("bin/"));
    (files, packages(world))
}

/// What dpkg says of its packages, with the digests of their configuration files as they were delivered.
pub(crate) fn packages(world: &World) -> String {
    let format = "${Package} ${Version} ${Status} ${Conffiles}\n";
    let admin = format!("--admindir={}", world.on("var/lib/dpkg").display());
    let said = run(Command::new("dpkg-query").arg(admin).args(["-W", "-f", format]).env("LC_ALL", "C"));
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines().filter(|line| !line.contains(" not-installed")).flat_map(|line| [line, "\n"]).collect()
}

/// The content of a file on the device.
#[track_caller]
pub(crate) fn read(world: &World, path: &str) -> String {
    let path: &Path = &world.on(path);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
