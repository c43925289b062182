//! Images: loaded from verified archives, known by id, never pulled and never run by a tag.
//!
//! The engine itself remembers which images are ours: each is tagged `takt-<device>:<id>`. So several devices may
//! share an engine, and pruning removes a device's own tag: the image goes with its last tag and container.

use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::{ImportImageOptions, RemoveImageOptions, TagImageOptions};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use takt_common::Sha256Digest;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tracing::{info, warn};

use super::Engine;
use super::answers::ListedImage;
use super::archive::ArchiveFault;
use super::error::EngineError;
use super::look::LOOK_LIMIT;

/// How long loading may take: a large image on slow storage.
const LOAD_LIMIT: Duration = Duration::from_mins(30);
/// How long removing may take.
const REMOVE_LIMIT: Duration = Duration::from_mins(1);
/// How much of an archive is in memory at a time.
const PIECE_LENGTH: usize = 64 * 1024;
/// What the engine says before the id or the name of what it has loaded.
const LOADED_NAME: &str = "Loaded image: ";
const LOADED: [&str; 2] = ["Loaded image ID: ", LOADED_NAME];

impl Engine {
    fn image_tag(&self, image: &Sha256Digest) -> String {
        format!("{}:{image}", self.image_repository())
    }

    fn image_repository(&self) -> String {
        format!("takt-{}", self.settings.device)
    }

    /// Loads an archive that is on disk; the engine must then know `image`, and keeps it until it is pruned.
    pub async fn load_image(
        &self,
        path: &Path,
        archive: &Sha256Digest,
        image: &Sha256Digest,
    ) -> Result<(), EngineError> {
        let mut brought = Vec::new();
        let id = format!("sha256:{image}");
        if self.inspect_image(&id).await?.is_none() {
            self.check_archive(path, archive).await?;
            let before = self.known_images().await?;
            let loaded = self.load(path, archive).await?;
            if self.inspect_image(&id).await?.is_none() {
                let found = self.name_loaded(&loaded).await;
                self.discard(found.iter().filter(|id| id.starts_with("sha256:")), &before).await;
                return Err(EngineError::OtherImage {
                    archive: *archive,
                    expected: *image,
                    found: found.join(", "),
                });
            }
            brought =
                loaded.iter().filter_map(|line| line.strip_prefix(LOADED_NAME)).map(str::to_owned).collect();
            brought.retain(|name| !before.contains(name));
        }
        let tag = TagImageOptions { repo: Some(self.image_repository()), tag: Some(image.to_string()) };
        self.connection
            .call(format!("tag image {id}"), LOOK_LIMIT, |docker| async move {
                docker.tag_image(&id, Some(tag)).await
            })
            .await?;
        // With the archive's own names on it the image would outlive its pruning.
        self.discard(brought.iter(), &[]).await;
        Ok(())
    }

    /// Refuses an archive that the engine must not unpack.
    async fn check_archive(&self, path: &Path, archive: &Sha256Digest) -> Result<(), EngineError> {
        // Where its disk cannot be seen, it stops by itself when that is full.
        let room = crate::host::space(Path::new(&self.info().await?.root)).map_or(u64::MAX, |(_, free)| free);
        let (path, archive) = (path.to_owned(), *archive);
        let checked = tokio::task::spawn_blocking(move || super::archive::check(&path, room)).await;
        checked.unwrap_or_else(|error| Err(ArchiveFault::Read(std::io::Error::other(error)))).map_err(|why| {
            match why {
                ArchiveFault::Read(source) if source.raw_os_error().is_some() => {
                    EngineError::Archive { archive, source }
                }
                why => EngineError::BadArchive { archive, why },
            }
        })
    }

    /// Streams the archive and returns what the engine says it has loaded.
    async fn load(&self, path: &Path, archive: &Sha256Digest) -> Result<Vec<String>, EngineError> {
        let unreadable = |source| EngineError::Archive { archive: *archive, source };
        let file = File::open(path).await.map_err(unreadable)?;
        let pieces = futures_util::stream::try_unfold(file, next_piece);
        let options = ImportImageOptions { quiet: true, platform: None };
        self.connection
            .call(format!("load the image from archive {archive}"), LOAD_LIMIT, |docker| async move {
                let said = docker.import_image_stream(options, pieces, None);
                let lines = said.try_filter_map(|line| async move { Ok(line.stream) });
                lines.map_ok(|line| line.trim().to_owned()).try_collect().await
            })
            .await
    }

    /// The ids of what was loaded, as far as the engine tells.
    async fn name_loaded(&self, said: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for line in said {
            let Some(name) = LOADED.iter().find_map(|intro| line.strip_prefix(intro)) else { continue };
            let id = self.inspect_image(name).await.ok().flatten().and_then(|image| image.id);
            found.push(id.unwrap_or_else(|| name.to_owned()));
        }
        if found.is_empty() {
            found.push(format!("nothing ({})", said.join(" ")));
        }
        found
    }

    /// Ids and names of all images.
    async fn known_images(&self) -> Result<Vec<String>, EngineError> {
        let list: Vec<ListedImage> = self.connection.list("list images", "images", None).await?;
        let names = |image: ListedImage| image.repo_tags.unwrap_or_default().into_iter().chain([image.id]);
        Ok(list.into_iter().flat_map(names).collect())
    }

    /// Removes what an archive brought, unless it was there before. A name alone goes without its image.
    async fn discard(&self, brought: impl Iterator<Item = &String>, before: &[String]) {
        for image in brought.filter(|image| !before.contains(image)) {
            if let Err(error) = self.remove_image(image, image.starts_with("sha256:")).await {
                warn!(
                    image,
                    error = crate::failure::sentence(&error),
                    "could not remove what an archive brought"
                );
            }
        }
    }

    async fn remove_image(&self, image: &str, force: bool) -> Result<(), EngineError> {
        let options = RemoveImageOptions { force, ..RemoveImageOptions::default() };
        self.connection
            .find(format!("remove image {image}"), REMOVE_LIMIT, |docker| async move {
                docker.remove_image(image, Some(options), None).await
            })
            .await
            .map(drop)
    }

    /// Removes this device's images but `keep`. One that a container still uses stays until the next time.
    pub async fn prune_images(&self, keep: &[Sha256Digest]) -> Result<(), EngineError> {
        let repository = self.image_repository();
        let filter = Some(("reference", repository.as_str()));
        let list: Vec<ListedImage> =
            self.connection.list("list the images of this device", "images", filter).await?;
        let kept: Vec<String> = keep.iter().map(|image| self.image_tag(image)).collect();
        let prefix = format!("{repository}:");
        let tags = list.into_iter().filter_map(|image| image.repo_tags).flatten();
        for tag in tags.filter(|tag| tag.starts_with(&prefix) && !kept.contains(tag)) {
            match self.remove_image(&tag, false).await {
                Ok(()) => info!(image = tag, "removed an image"),
                Err(EngineError::Refused { status: 409, message, .. }) => {
                    info!(image = tag, why = message, "left an image that is in use");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn next_piece(mut file: File) -> std::io::Result<Option<(Bytes, File)>> {
    let mut piece = BytesMut::with_capacity(PIECE_LENGTH);
    let read = file.read_buf(&mut piece).await?;
    Ok((read > 0).then(|| (piece.freeze(), file)))
}
