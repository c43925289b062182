//! `takt release publish`: uploads what devices will fetch, then the documents that tell them of it.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use takt_common::Sha256Digest;
use takt_common::api::RepositoryUpload;
use takt_common::release::ReleaseId;

use super::folder::{ReleaseError, ReleaseFolder};
use super::sign::release_of;
use crate::api::Api;
use crate::cli::Online;
use crate::failure::Failure;
use crate::output::{Output, Reader};
use crate::trust::{Role, Stored, TrustDir, TrustDirError};

/// `takt release publish`
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The release folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The trust folder
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    trust: PathBuf,
}

/// What a program gets.
#[derive(Serialize)]
struct Published<'a> {
    release: &'a ReleaseId,
    uploaded: Vec<Sha256Digest>,
    present: Vec<Sha256Digest>,
    documents: Vec<String>,
}

/// A file to upload.
struct Upload {
    sha256: Sha256Digest,
    path: PathBuf,
    length: u64,
}

/// Publishes a signed release.
pub(super) async fn run(args: PublishArgs, online: Online, output: Output) -> Result<(), Failure> {
    let folder = ReleaseFolder::open(&args.dir)?;
    let dir = TrustDir::open(&args.trust)?;
    check_signed(&dir, &folder)?;
    let documents = dir.complete(&dir.published()?)?;
    let api = online.api()?;

    let release = &folder.manifest.release;
    let mut published = Published {
        release,
        uploaded: Vec::new(),
        present: Vec::new(),
        documents: documents.keys().cloned().collect(),
    };
    for upload in uploads(&folder) {
        if api.has_artifact(&upload.sha256).await? {
            published.present.push(upload.sha256);
        } else {
            send(&api, &upload, output).await?;
            published.uploaded.push(upload.sha256);
        }
    }
    api.put("/api/v1/repository", &RepositoryUpload { documents }).await?;
    Ok(output.give(&published, || {
        vec![
            format!("uploaded {} files, {} were there", published.uploaded.len(), published.present.len()),
            format!("published {} ({})", release, published.documents.join(", ")),
        ]
    })?)
}

/// Whether what is to be published holds exactly this release.
fn check_signed(dir: &TrustDir, folder: &ReleaseFolder) -> Result<(), Failure> {
    let everything = dir.everything()?;
    let mut again = everything.clone();
    again.add_release(&release_of(folder, &everything, None)?).map_err(TrustDirError::from)?;
    let release = folder.manifest.release.to_string();
    if again != everything {
        let targets = dir.targets()?.0.path;
        return Err(ReleaseError::NotSigned { release, targets }.into());
    }
    // In a document of a role that waits for signatures it is not published yet.
    let path = folder.manifest.release.target_path();
    for role in dir.published()?.into_iter().filter(|role| matches!(role, Role::Delegated(_))) {
        let holds =
            |stored: &Stored| Ok::<bool, TrustDirError>(stored.targets()?.targets.contains_key(&path));
        let newest = dir.demand(&role)?;
        let signed = dir.newest_signed(&role)?;
        if holds(&newest)? && !signed.as_ref().map(holds).transpose()?.unwrap_or(false) {
            return Err(ReleaseError::NotSigned { release, targets: newest.path }.into());
        }
    }
    Ok(())
}

/// Artifacts first: nobody hears of a manifest whose files are not there.
fn uploads(folder: &ReleaseFolder) -> Vec<Upload> {
    let artifacts = folder.manifest.artifacts.iter().map(|artifact| Upload {
        sha256: artifact.sha256,
        path: folder.artifact_path(artifact),
        length: artifact.length,
    });
    let manifest = Upload {
        sha256: Sha256Digest::of(&folder.manifest_bytes),
        path: folder.manifest_path(),
        length: folder.manifest_bytes.len() as u64,
    };
    artifacts.chain([manifest]).collect()
}

async fn send(api: &Api, upload: &Upload, output: Output) -> Result<(), Failure> {
    let bar = progress(&upload.path, upload.length, output);
    let sent = {
        let bar = bar.clone();
        move |bytes| bar.inc(bytes)
    };
    let result = api.upload(&upload.sha256, &upload.path, upload.length, sent).await;
    bar.finish_and_clear();
    Ok(result?)
}

/// A bar on a terminal, nothing anywhere else.
fn progress(path: &Path, length: u64, output: Output) -> ProgressBar {
    let target = match output.reader() {
        Reader::Terminal => ProgressDrawTarget::stderr(),
        Reader::Plain | Reader::Program => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template)
        .expect("the template is a constant that has been seen to work");
    bar.set_style(style.progress_chars("━╸─"));
    let name: String = path.file_name().unwrap_or_default().to_string_lossy().chars().take(16).collect();
    bar.set_message(name);
    bar
}
