//! `takt release new`: a release folder, from options for one container or from a description of all kinds.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use takt_common::release::{Artifact, Container, FileSpec, Kind, Manifest, Package, ReleaseId, Step};
use takt_common::{Name, Sha256Digest};

use super::description::{self, DescriptionError};
use super::draft::Draft;
use super::folder::{self, ReleaseError};
use super::one_container::OneContainerArgs;
use crate::cli::Online;
use crate::clock;
use crate::failure::Failure;
use crate::output::Output;
use crate::trust::{self, TrustDir};

/// `takt release new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// A description of the whole release, with steps of any kind (docs/releases.md); instead of the options for one container
    #[arg(long, value_name = "RELEASE.toml")]
    from: Option<PathBuf>,
    /// The component; releases of one component replace each other; required without --from
    #[arg(long, value_name = "COMPONENT", required_unless_present = "from")]
    name: Option<Name>,
    /// The version for people; required without --from
    #[arg(
        long = "version",
        value_name = "VERSION",
        id = "release_version",
        required_unless_present = "from"
    )]
    release_version: Option<Name>,
    /// The release counter, higher than any before; without it, the next after what --trust says is published
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    counter: Option<u64>,
    /// The trust folder, for counting on
    #[arg(long, value_name = "DIR", env = "TAKT_TRUST", hide_env_values = true)]
    trust: Option<PathBuf>,
    /// Count on from the trust folder as it is, without asking the coordinator
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    one: OneContainerArgs,
    /// Where the release folder goes; it must not hold a release yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What a program gets.
#[derive(Serialize)]
struct Made<'a> {
    manifest: PathBuf,
    sha256: Sha256Digest,
    release: &'a ReleaseId,
    counter: u64,
    kinds: Vec<Kind>,
    /// Of a release of one container.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_id: Option<Sha256Digest>,
    artifacts: &'a [Artifact],
    notes: &'a [String],
}

/// Makes a release folder.
pub(super) async fn run(args: NewArgs, online: Online, output: Output) -> Result<(), Failure> {
    folder::check_free(&args.out)?;
    let draft = match &args.from {
        Some(path) => description::read(path).map_err(ReleaseError::from)?,
        None => args.one.draft()?,
    };
    let release = release_id(&args, &draft)?;
    let counter = counter(&args, &draft, &release.name, online).await?;
    let manifest = draft.manifest(release, counter);
    let path = folder::write(&args.out, &draft.sources, &manifest)?;
    let made = Made {
        manifest: path,
        sha256: Sha256Digest::of(&manifest.to_bytes()),
        release: &manifest.release,
        counter,
        kinds: manifest.steps.iter().map(Step::kind).collect(),
        image_id: only_image(&manifest),
        artifacts: &manifest.artifacts,
        notes: &draft.notes,
    };
    Ok(output.give(&made, || lines(&made, &manifest))?)
}

/// The command line comes before the description: a build knows its version.
fn release_id(args: &NewArgs, draft: &Draft) -> Result<ReleaseId, ReleaseError> {
    let missing = |field| {
        let path = args.from.clone().unwrap_or_default();
        DescriptionError::Missing { path, field }
    };
    let name = args.name.clone().or_else(|| draft.name.clone()).ok_or_else(|| missing("name"))?;
    let version = args.release_version.clone().or_else(|| draft.version.clone());
    Ok(ReleaseId { name, version: version.ok_or_else(|| missing("version"))? })
}

async fn counter(args: &NewArgs, draft: &Draft, component: &Name, online: Online) -> Result<u64, Failure> {
    if let Some(counter) = args.counter.or(draft.counter) {
        return Ok(counter);
    }
    let Some(trust) = &args.trust else { return Err(ReleaseError::NoCounter.into()) };
    let dir = TrustDir::open(trust)?;
    if !args.offline {
        trust::fetch(&dir, &online.api()?, clock::now()).await?;
    }
    next_counter(&dir, component)
}

/// One more than the highest counter of the component in the newest targets.
fn next_counter(dir: &TrustDir, component: &Name) -> Result<u64, Failure> {
    let (_, targets) = dir.targets()?;
    let highest = targets.releases(component).map(|release| release.counter).max().unwrap_or(0);
    Ok(highest.saturating_add(1))
}

/// The image of a release that has only one.
fn only_image(manifest: &Manifest) -> Option<Sha256Digest> {
    match manifest.containers()?.containers.as_slice() {
        [container] => Some(container.image_id),
        _ => None,
    }
}

fn lines(made: &Made<'_>, manifest: &Manifest) -> Vec<String> {
    let mut lines = vec![format!("release   {} (counter {})", made.release, made.counter)];
    lines.extend(manifest.steps.iter().map(|step| format!("step      {}", line_of(step))));
    lines.extend(manifest.hooks.iter().map(|(point, hook)| format!("hook      {point} {}", hook.program)));
    let artifact = |file: &Artifact| format!("artifact  {} ({} bytes)", file.sha256, file.length);
    lines.extend(made.artifacts.iter().map(artifact));
    lines.push(format!("manifest  {}", made.manifest.display()));
    lines.extend(made.notes.iter().map(|note| format!("note      {note}")));
    lines
}

/// A step in a line: what the files said of themselves is shown, so that people see what they publish.
fn line_of(step: &Step) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    let what = match step {
        Step::File(set) => {
            let file = |file: &FileSpec| match file.content {
                Some(_) => file.path.clone(),
                None => format!("{} (removed)", file.path),
            };
            join(set.files.iter().map(file).collect())
        }
        Step::Package(set) => {
            let package =
                |package: &Package| format!("{} {} {}", package.name, package.version, package.architecture);
            join(set.packages.iter().map(package).collect())
        }
        Step::Container(set) => {
            let container = |container: &Container| match &container.name {
                Some(name) => format!("{name} {}", container.image_id),
                None => container.image_id.to_string(),
            };
            join(set.containers.iter().map(container).collect())
        }
        Step::OsImage(image) => format!("{} for {}", image.version, image.compatible),
        Step::LivePatch(patch) => {
            format!("{} for kernel {}, until {} runs", patch.name, patch.kernel, patch.stands_for)
        }
    };
    format!("{}: {what}", step.kind())
}
