//! Container images without a container engine: the archive that `docker load` takes, made from a static binary
//! and its environment. Equal input gives equal bytes, so digests can be known before anything is loaded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ring::digest::{SHA256, digest};
use serde_json::json;
use takt_workload::Nature;

/// Where a recipe's binary stands in its image, and what the image starts.
const ENTRYPOINT: &str = "/takt-demo-counter";
/// No clock goes into an image.
const CREATED: &str = "1970-01-01T00:00:00Z";
const MODE_PROGRAM: u32 = 0o755;
const MODE_DATA: u32 = 0o644;

/// What goes into an image.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name and tag, such as `takt-demo-counter:2.0.0`; without one the image is known by its id only.
    pub name: Option<String>,
    /// The static binary that the image starts.
    pub binary: PathBuf,
    /// Its environment, in this order.
    pub env: Vec<(String, String)>,
    /// Bytes of a further file, `/ballast`, that only makes the image larger; none where 0.
    pub ballast_bytes: usize,
}

/// An image archive on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The archive, as `docker save` writes and `docker load` reads it.
    pub archive: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the archive in hex: the digest of the artifact.
    pub sha256: String,
    /// SHA-256 of the image's config, `sha256:…`: what Docker calls the image's id once it is loaded.
    pub id: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The workload could not be built.
    #[error("build the workload with {script}: {said}")]
    Workload {
        /// The build script.
        script: PathBuf,
        /// What it said.
        said: String,
    },
    /// The build script could not be started.
    #[error("run {script}")]
    Run {
        /// The build script.
        script: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The binary cannot be read.
    #[error("read the binary {path}")]
    Binary {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("write the image archive {path}")]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tar entry was refused, which only too long a name does.
    #[error("put '{name}' into a tar archive")]
    Entry {
        /// The entry.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Recipe {
    /// The demo's workload in one version and nature; `binary` as from [`workload_binary`].
    pub fn counter(version: &str, nature: Nature, binary: PathBuf) -> Self {
        Self {
            name: Some(format!("takt-demo-counter:{version}")),
            binary,
            env: vec![("VERSION".into(), version.into()), ("NATURE".into(), nature.to_string())],
            ballast_bytes: 0,
        }
    }

    /// Writes the image's archive to `archive`.
    pub fn build(&self, archive: &Path) -> Result<Image, ImageError> {
        let binary = fs::read(&self.binary)
            .map_err(|source| ImageError::Binary { path: self.binary.clone(), source })?;
        let ballast = vec![0; self.ballast_bytes];
        let mut files = vec![File { name: &ENTRYPOINT[1..], mode: MODE_PROGRAM, bytes: &binary }];
        if !ballast.is_empty() {
            files.push(File { name: "ballast", mode: MODE_DATA, bytes: &ballast });
        }
        let layer = tar(&files)?;
        let layer_hex = sha256_hex(&layer);
        let config = self.config(&layer_hex);
        let config_hex = sha256_hex(&config);
        let layer_name = format!("{layer_hex}/layer.tar");
        let config_name = format!("{config_hex}.json");
        let manifest = json!([{ "Config": config_name, "RepoTags": self.name.iter().collect::<Vec<_>>(), "Layers": [layer_name] }]);
        let whole = tar(&[
            File { name: &config_name, mode: MODE_DATA, bytes: &config },
            File { name: &layer_name, mode: MODE_DATA, bytes: &layer },
            File { name: "manifest.json", mode: MODE_DATA, bytes: manifest.to_string().as_bytes() },
        ])?;
        fs::write(archive, &whole)
            .map_err(|source| ImageError::Write { path: archive.to_path_buf(), source })?;
        Ok(Image {
            archive: archive.to_path_buf(),
            bytes: whole.len() as u64,
            sha256: sha256_hex(&whole),
            id: format!("sha256:{config_hex}"),
        })
    }

    fn config(&self, layer_hex: &str) -> Vec<u8> {
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "architecture": docker_architecture(),
            "os": "linux",
            "created": CREATED,
            "config": { "Env": env, "Entrypoint": [ENTRYPOINT], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_hex}")] },
            "history": [{ "created": CREATED, "created_by": "takt" }],
        })
        .to_string()
        .into_bytes()
    }
}

/// The static binary of the workload: the one `TAKT_DEMO_COUNTER` names, else freshly built by
/// `tests/env/build-workload.sh`, which takes a moment where nothing changed.
pub fn workload_binary() -> Result<PathBuf, ImageError> {
    if let Some(path) = std::env::var_os("TAKT_DEMO_COUNTER") {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("env/build-workload.sh");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ImageError::Run { script: script.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ImageError::Workload { script, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

struct File<'a> {
    name: &'a str,
    mode: u32,
    bytes: &'a [u8],
}

/// A tar archive whose bytes depend on nothing but the files.
fn tar(files: &[File<'_>]) -> Result<Vec<u8>, ImageError> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let refused = |source| ImageError::Entry { name: file.name.to_owned(), source };
        let mut header = tar::Header::new_ustar();
        header.set_path(file.name).map_err(refused)?;
        header.set_mode(file.mode);
        header.set_size(file.bytes.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        archive.append(&header, file.bytes).map_err(refused)?;
    }
    Ok(archive.into_inner().expect("writing to memory does not fail"))
}

fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}

/// The name Docker gives to what this machine, and so the binary, is.
fn docker_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn recipe(folder: &Path) -> Recipe {
        let binary = folder.join("binary");
        fs::write(&binary, b"no program, but bytes").unwrap();
        Recipe { name: None, binary, env: vec![("VERSION".into(), "1".into())], ballast_bytes: 0 }
    }

    #[test]
    fn equal_recipes_give_equal_bytes_and_each_ingredient_counts() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path());
        let build = |recipe: &Recipe, name: &str| recipe.build(&folder.path().join(name)).unwrap();
        let first = build(&recipe, "first");
        let again = build(&recipe, "again");
        assert_eq!((&first.sha256, &first.id), (&again.sha256, &again.id));
        assert_eq!(fs::read(first.archive).unwrap(), fs::read(again.archive).unwrap());

        let named = build(&Recipe { name: Some("a:1".into()), ..recipe.clone() }, "named");
        assert_eq!(named.id, first.id, "a name is no part of an image");
        assert_ne!(named.sha256, first.sha256);
        let other = build(&Recipe { env: vec![("VERSION".into(), "2".into())], ..recipe.clone() }, "other");
        assert_ne!(other.id, first.id);
        let heavy = build(&Recipe { ballast_bytes: 1 << 20, ..recipe }, "heavy");
        assert_ne!(heavy.id, first.id);
        assert!(heavy.bytes > first.bytes + (1 << 20));
    }

    #[test]
    fn the_archive_holds_what_its_manifest_names() {
        let folder = tempfile::tempdir().unwrap();
        let image = recipe(folder.path()).build(&folder.path().join("image.tar")).unwrap();
        let archive = fs::read(&image.archive).unwrap();
        assert_eq!(sha256_hex(&archive), image.sha256);
        assert_eq!(archive.len() as u64, image.bytes);

        let mut entries = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            entries.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&entries["manifest.json"]).unwrap();
        let config = &entries[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(format!("sha256:{}", sha256_hex(config)), image.id);
        let layer = &entries[manifest[0]["Layers"][0].as_str().unwrap()];
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256_hex(layer)));
    }
}
