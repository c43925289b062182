//! One real file of every kind, made with the tools that publishers use, and a release of all of them.

use std::path::Path;
use std::process::Command;

use super::Bench;

/// A release with a step of every kind, and two hooks.
pub(crate) const WHOLE: &str = r#"
name = "counter"
version = "2.0.0"
severity = "major"
hardware = ["cam-x"]

[[steps]]
kind = "file"
[[steps.files]]
path = "/etc/counter/settings.toml"
source = "settings.toml"
mode = "0640"
owner = "root:counter"
xattrs = { "user.origin" = "takt" }
[[steps.files]]
path = "/etc/counter/old.toml"
remove = true

[[steps]]
kind = "package"
packages = ["parts/hello.deb", "parts/tool.deb"]

[[steps]]
kind = "package"
packages = ["parts/hello.rpm"]
conffiles = "take"

[[steps]]
kind = "container"
strategies = ["handover", "replace"]
drain_secs = 20
[[steps.containers]]
name = "web"
image = "web.tar"
network = "bridge"
ports = ["port:8080"]
env = { LEVEL = "${level}" }
[[steps.containers]]
name = "db"
image = "db.tar"
volumes = ["db:/var/lib/db"]
memory_mib = 64
stop_grace_secs = 30

[[steps]]
kind = "live-patch"
module = "parts/fix.ko"
stands_for = "6.1.0-42-amd64"

[[steps]]
kind = "os-image"
bundle = "parts/os.raucb"
compatible = "cam-x"
version = "7.1"
boot_secs = 300

[hooks.pre-switch]
program = "quiet.sh"
args = ["--gently"]
timeout_secs = 5

[hooks.healthy]
program = "quiet.sh"

[health]
probes = ["http=http://127.0.0.1:${port}/health", "unit=counter.service", "healthcheck"]
start_secs = 20
probation_secs = 40
baseline = { memory_percent = 300 }
"#;

impl Bench {
    /// All files that [`WHOLE`] names, and itself as `whole.toml`.
    pub(crate) fn whole(&self) {
        std::fs::create_dir_all(self.path("parts")).unwrap();
        self.write("whole.toml", WHOLE);
        self.write("settings.toml", "level = 3\n");
        self.write("quiet.sh", "#!/bin/sh\nexit 75\n");
        self.image("web.tar", "web");
        self.image("db.tar", "db");
        self.deb("parts/hello.deb", "hello", "1:2.10-3+deb12u1~x", "all");
        self.deb("parts/tool.deb", "tool", "0.1", "amd64");
        self.rpm("parts/hello.rpm", "hello", "2.10", Some(3));
        self.bundle("parts/os.raucb", "cam-x", "7.1");
        self.module(
            "parts/fix.ko",
            &["livepatch=Y", "name=livepatch_fix", "vermagic=6.1.0-41-amd64 SMP mod_unload"],
        );
    }

    /// A Debian package with one file of 5 KiB.
    pub(crate) fn deb(&self, name: &str, package: &str, version: &str, architecture: &str) {
        let tree = self.path(&format!("{package}.tree"));
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(tree.join("opt")).unwrap();
        let control = format!(
            "Package: {package}\nVersion: {version}\nArchitecture: {architecture}\nInstalled-Size: 5\n\
             Maintainer: nobody <nobody@device.example>\nDescription: a package of a test\n"
        );
        std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
        std::fs::write(tree.join("opt").join(package), "five KiB ".repeat(569)).unwrap();
        run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(self.path(name)));
    }

    /// An RPM package without files; `None` for the epoch as most have it.
    pub(crate) fn rpm(&self, name: &str, package: &str, version: &str, epoch: Option<u32>) {
        let top = self.path("rpm");
        std::fs::create_dir_all(&top).unwrap();
        let epoch = epoch.map(|epoch| format!("Epoch: {epoch}\n")).unwrap_or_default();
        let spec = format!(
            "Name: {package}\nVersion: {version}\nRelease: 1\n{epoch}Summary: a package of a test\nLicense: MIT\n\
             BuildArch: noarch\n%description\nOf a test.\n%files\n"
        );
        std::fs::write(top.join("spec"), spec).unwrap();
        let define = format!("_topdir {}", top.display());
        run(Command::new("rpmbuild").args(["-ba", "--quiet", "--define", &define]).arg(top.join("spec")));
        std::fs::rename(top.join(format!("RPMS/noarch/{package}-{version}-1.noarch.rpm")), self.path(name))
            .unwrap();
        std::fs::rename(top.join(format!("SRPMS/{package}-{version}-1.src.rpm")), self.path("source.rpm"))
            .unwrap();
    }

    /// A RAUC bundle with a root file system of noise.
    pub(crate) fn bundle(&self, name: &str, compatible: &str, version: &str) {
        let folder = self.path("bundle");
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion={version}\n\n[bundle]\nformat=verity\n\n\
             [image.rootfs]\nfilename=rootfs.img\n"
        );
        std::fs::write(folder.join("manifest.raucm"), manifest).unwrap();
        let noise: Vec<u8> =
            (0_u32..8_192).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(folder.join("rootfs.img"), noise).unwrap();
        let (key, certificate) = (self.path("rauc.key"), self.path("rauc.pem"));
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate));
        let mut rauc = Command::new("rauc");
        rauc.arg("--cert").arg(certificate).arg("--key").arg(key).arg("bundle");
        run(rauc.arg(folder).arg(self.path(name)));
    }

    /// An ELF object with these texts in `.modinfo`, as the kernel's build leaves them.
    pub(crate) fn module(&self, name: &str, says: &[&str]) {
        let texts = says.iter().map(|text| format!(".asciz \"{text}\"")).collect::<Vec<_>>().join("\n");
        let source = self.path("module.s");
        std::fs::write(&source, format!(".section .modinfo,\"a\"\n{texts}\n")).unwrap();
        run(Command::new("cc").arg("-c").arg(&source).arg("-o").arg(self.path(name)));
    }
}

/// A tool that is missing is a reason to fail, with its name.
fn run(command: &mut Command) {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed here (tests/env/install.sh): {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
