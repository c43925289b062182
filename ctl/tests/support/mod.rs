//! What the tests of the `takt` binary share: a folder to work in, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use takt_common::Sha256Digest;
use tempfile::TempDir;

#[allow(dead_code, reason = "not every test binary needs all of it")]
pub(crate) mod kinds;

/// A folder with the binary run in it, away from the profile and environment of whoever tests.
pub(crate) struct Bench {
    folder: TempDir,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

#[allow(dead_code, reason = "not every test binary needs all of it")]
impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs `takt` with the words of `line` as arguments.
    pub(crate) fn takt(&self, line: &str) -> Run {
        self.takt_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn takt_args(&self, args: &[&str]) -> Run {
        self.takt_in(&[], args)
    }

    /// The same with these variables in its environment.
    pub(crate) fn takt_in(&self, variables: &[(&str, &Path)], args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_takt"));
        for name in ["TAKT_PROFILE", "TAKT_URL", "TAKT_CA", "TAKT_TOKEN", "TAKT_TRUST"] {
            command.env_remove(name);
        }
        let Output { status, stdout, stderr } = command
            .args(args)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    /// A key pair `<name>.key`, and its public half.
    pub(crate) fn key(&self, name: &str) -> String {
        let run = self.takt(&format!("key new --out {name}.key --json"));
        run.json()["public_key"].as_str().unwrap().to_owned()
    }

    /// The coordinator's public keys in `coordinator.json`, with the private ones in `order.key` and `timestamp.key`.
    pub(crate) fn coordinator_keys(&self) {
        let (order, timestamp) = (self.key("order"), self.key("timestamp"));
        self.write(
            "coordinator.json",
            serde_json::json!({"order": order, "timestamp": timestamp}).to_string(),
        );
    }

    /// An image archive in the classic layout, and its image id.
    pub(crate) fn image(&self, name: &str, content: &str) -> String {
        let config = format!(r#"{{"architecture":"amd64","os":"linux","comment":"{content}"}}"#);
        let id = Sha256Digest::of(config.as_bytes()).to_string();
        let list = format!(
            r#"[{{"Config":"{id}.json","RepoTags":["counter:{content}"],"Layers":["a/layer.tar"]}}]"#
        );
        let layer = content.repeat(100);
        let file = format!("{id}.json");
        let members = [("a/layer.tar", layer.as_str()), (&file, &config), ("manifest.json", &list)];
        write_tar(&self.path(name), &members);
        id
    }
}

#[allow(dead_code, reason = "not every test binary needs all of it")]
impl Run {
    /// Standard output of a successful run, as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// A successful run.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// A run that ended with `code` and said all of `parts` in one line on standard error.
    pub(crate) fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "'{part}' is not in {self:?}");
        }
        self
    }
}

pub(crate) fn write_tar(path: &Path, members: &[(&str, &str)]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.finish().unwrap();
}
