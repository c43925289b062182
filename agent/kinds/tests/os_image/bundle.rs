//! Bundles by the real `rauc bundle`, signed with a key that lives as long as the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::boot::run;

/// Bytes that a system has here.
pub(crate) const SYSTEM_BYTES: usize = 64 * 1024;

/// A key and its certificate.
pub(crate) struct Keys {
    pub(crate) certificate: PathBuf,
    key: PathBuf,
}

impl Keys {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "3650", "-subj", &format!("/CN={name}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate));
        Self { certificate, key }
    }
}

/// What a bundle says and does.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) compatible: &'static str,
    pub(crate) version: &'static str,
    /// What the system is made of: see [`system`].
    pub(crate) content: &'static str,
    /// The installation waits twice, before and after the slot is written, as long as the device says so.
    pub(crate) holds: bool,
}

impl Spec {
    pub(crate) const fn version(version: &'static str) -> Self {
        Self { compatible: "takt-test", version, content: version, holds: false }
    }

    /// Another system that claims the same version.
    pub(crate) const fn made_of(self, content: &'static str) -> Self {
        Self { content, ..self }
    }

    pub(crate) const fn holds(self) -> Self {
        Self { holds: true, ..self }
    }
}

/// A system made of this text, which is its version unless a test says otherwise.
pub(crate) fn system(content: &str) -> Vec<u8> {
    content.bytes().chain([b'\n']).cycle().take(SYSTEM_BYTES).collect()
}

/// A hook that says where the installation is and waits while `hold-<where>` is there: for a minute at the most.
const HOOK: &str = r#"#!/bin/sh
touch "FOLDER/at-$1"
for _ in $(seq 600); do
    [ -e "FOLDER/hold-$1" ] || exit 0
    sleep 0.1
done
exit 1
"#;

/// Makes a bundle.
pub(crate) fn make(folder: &Path, keys: &Keys, spec: &Spec, file: &Path) {
    let content = folder.join(format!("bundle-{}-{}", spec.compatible, spec.version));
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join("rootfs.img"), system(spec.content)).unwrap();
    let Spec { compatible, version, .. } = spec;
    let mut manifest = format!(
        "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.img\n"
    );
    if spec.holds {
        manifest.push_str("hooks=pre-install;post-install\n[hooks]\nfilename=hook.sh\n");
        let hook = HOOK.replace("FOLDER", &folder.display().to_string());
        fs::write(content.join("hook.sh"), hook).unwrap();
        run(Command::new("chmod").arg("0755").arg(content.join("hook.sh")));
    }
    fs::write(content.join("manifest.raucm"), manifest).unwrap();
    run(Command::new("rauc")
        .arg("bundle")
        .arg(format!("--cert={}", keys.certificate.display()))
        .arg(format!("--key={}", keys.key.display()))
        .arg(&content)
        .arg(file));
}
