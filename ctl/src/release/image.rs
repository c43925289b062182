//! Looking into an image archive (`docker save`): which image it holds and how much space it takes.
//!
//! Both layouts are read: `<id>.json` beside `manifest.json`, and the OCI layout of newer engines, which carries the
//! same `manifest.json` and keeps everything under `blobs/sha256/`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use takt_common::Sha256Digest;
use takt_common::digest::DigestError;

/// The largest `manifest.json` or image configuration that is read; real ones have a few KiB.
const JSON_LENGTH_MAX: u64 = 4 * 1024 * 1024;

/// Reads an image id, with or without the `sha256:` that Docker writes before it; for clap too.
pub(super) fn parse_id(text: &str) -> Result<Sha256Digest, DigestError> {
    text.strip_prefix("sha256:").unwrap_or(text).parse()
}

/// What an image archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image id: the SHA-256 of the image's configuration.
    pub id: Sha256Digest,
    /// The names that it was saved under.
    pub tags: Vec<String>,
    /// Bytes of its layers once unpacked; `None` when they are compressed in a way that does not tell.
    pub unpacked_bytes: Option<u64>,
}

/// A file is no usable image archive.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Out of reach.
    #[error("read the image archive {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a tar archive at all, or a damaged one.
    #[error("{} is not an image archive as `docker save` makes them: it is no readable tar file", path.display())]
    NotTar {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tar archive of something else.
    #[error("{} is not an image archive as `docker save` makes them: there is no {member} in it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        member: String,
    },
    /// The list of images is unreadable.
    #[error("{}: its manifest.json is not one of an image archive", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// No image or several.
    #[error("{} holds {count} images, one is expected: docker save one image alone", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// A configuration that is not what its name says.
    #[error("{}: the configuration {name} has the digest {found}; the archive is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The configuration's name.
        name: String,
        /// Its digest.
        found: Sha256Digest,
    },
}

/// An element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Image {
    /// Looks into the archive at `path`. Layers are passed over, not read.
    pub fn of_archive(path: &Path) -> Result<Self, ImageError> {
        let listed = list(path)?;
        let Listed { config, repo_tags, layers } = listed;
        // Members may stand in any order, so what `manifest.json` names is looked for in a second pass.
        let mut configuration = None;
        let mut unpacked: BTreeMap<String, Option<u64>> = BTreeMap::new();
        members(path, |name, member| {
            if name == config {
                configuration = Some(read_small(member)?);
            } else if layers.contains(&name) {
                let length = member.size();
                unpacked.insert(name, layer_length(member, length)?);
            }
            Ok(())
        })?;
        let missing = |member: &str| ImageError::Missing { path: path.to_owned(), member: member.to_owned() };
        let id = Sha256Digest::of(&configuration.ok_or_else(|| missing(&config))?);
        let named = config.trim_end_matches(".json").rsplit('/').next().unwrap_or_default();
        if named != id.to_string() {
            return Err(ImageError::Damaged { path: path.to_owned(), name: config, found: id });
        }
        let lengths = layers
            .iter()
            .map(|layer| unpacked.get(layer).copied().ok_or_else(|| missing(layer)))
            .collect::<Result<Vec<Option<u64>>, _>>()?;
        let unpacked_bytes = lengths.into_iter().try_fold(0_u64, |sum, length| sum.checked_add(length?));
        Ok(Self { id, tags: repo_tags.unwrap_or_default(), unpacked_bytes })
    }
}

/// The one image that `manifest.json` lists.
fn list(path: &Path) -> Result<Listed, ImageError> {
    let mut found = None;
    members(path, |name, member| {
        if name == "manifest.json" {
            found = Some(read_small(member)?);
        }
        Ok(())
    })?;
    let missing = || ImageError::Missing { path: path.to_owned(), member: "manifest.json".to_owned() };
    let bytes = found.ok_or_else(missing)?;
    let mut images: Vec<Listed> = serde_json::from_slice(&bytes)
        .map_err(|source| ImageError::Malformed { path: path.to_owned(), source })?;
    let count = images.len();
    match images.pop() {
        Some(image) if count == 1 => Ok(image),
        _ => Err(ImageError::Count { path: path.to_owned(), count }),
    }
}

/// Shows every member of a tar archive with its name to `look`.
fn members(
    path: &Path,
    mut look: impl FnMut(String, &mut tar::Entry<'_, File>) -> io::Result<()>,
) -> Result<(), ImageError> {
    let file = File::open(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
    let not_tar = |source| ImageError::NotTar { path: path.to_owned(), source };
    let mut archive = tar::Archive::new(file);
    for member in archive.entries_with_seek().map_err(not_tar)? {
        let mut member = member.map_err(not_tar)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).trim_start_matches("./").to_owned();
        look(name, &mut member).map_err(not_tar)?;
    }
    Ok(())
}

fn read_small(member: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take(JSON_LENGTH_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > JSON_LENGTH_MAX {
        return Err(io::Error::other(format!("a document in it has more than {JSON_LENGTH_MAX} bytes")));
    }
    Ok(bytes)
}

/// The length of a layer once unpacked: its own when it is a plain tar file, `None` when it is compressed.
fn layer_length(member: &mut impl Read, length: u64) -> io::Result<Option<u64>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut begin = Vec::new();
    member.take(ZSTD.len() as u64).read_to_end(&mut begin)?;
    let compressed = begin.starts_with(&GZIP) || begin.starts_with(&ZSTD);
    Ok((!compressed).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;

    fn archive(members: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.finish().unwrap();
        file
    }

    fn listing(config: &str) -> String {
        format!(r#"[{{"Config":"{config}","RepoTags":["counter:2"],"Layers":["l/layer.tar"]}}]"#)
    }

    #[test]
    fn both_layouts_give_the_digest_of_the_configuration() {
        let id = Sha256Digest::of(CONFIG);
        for config in [format!("{id}.json"), format!("blobs/sha256/{id}")] {
            let list = listing(&config);
            let members: [(&str, &[u8]); 3] =
                [("l/layer.tar", &[0; 700]), (&config, CONFIG), ("manifest.json", list.as_bytes())];
            let image = Image::of_archive(archive(&members).path()).unwrap();
            assert_eq!(image, Image { id, tags: vec!["counter:2".to_owned()], unpacked_bytes: Some(700) });
        }
    }

    #[test]
    fn compressed_layers_have_no_known_length() {
        let config = format!("{}.json", Sha256Digest::of(CONFIG));
        let list = listing(&config);
        let members: [(&str, &[u8]); 3] =
            [("manifest.json", list.as_bytes()), (&config, CONFIG), ("l/layer.tar", &[0x1f, 0x8b, 8, 0])];
        assert_eq!(Image::of_archive(archive(&members).path()).unwrap().unpacked_bytes, None);
    }

    #[test]
    fn what_is_no_image_archive_is_refused_with_the_reason() {
        let error = |members: &[(&str, &[u8])]| Image::of_archive(archive(members).path()).unwrap_err();
        assert!(matches!(error(&[("etc/hosts", b"x")]), ImageError::Missing { .. }));
        assert!(matches!(error(&[("manifest.json", b"{}")]), ImageError::Malformed { .. }));
        assert!(matches!(error(&[("manifest.json", b"[]")]), ImageError::Count { count: 0, .. }));
        let config = format!("{}.json", Sha256Digest::of(CONFIG));
        let list = listing(&config);
        assert!(matches!(error(&[("manifest.json", list.as_bytes())]), ImageError::Missing { .. }));
        let without_layer: [(&str, &[u8]); 2] = [("manifest.json", list.as_bytes()), (&config, CONFIG)];
        assert!(
            matches!(error(&without_layer), ImageError::Missing { member, .. } if member == "l/layer.tar")
        );
        let other: [(&str, &[u8]); 2] = [("manifest.json", list.as_bytes()), (&config, b"{}")];
        assert!(matches!(error(&other), ImageError::Damaged { .. }));
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), [b'x'; 2_000]).unwrap();
        assert!(matches!(Image::of_archive(text.path()), Err(ImageError::NotTar { .. })));
    }
}
