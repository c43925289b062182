//! The installation itself: begun, or found under way, and watched to its end.

use std::path::Path;
use std::time::Duration;

use takt_common::release::OsImage;
use takt_failpoint::at;

use super::error::OsImageError;
use super::rauc::{Rauc, Work};
use crate::patience::{Patience, pause};

/// How often RAUC is asked how far it is.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// However slow a device is, an installation that takes longer has gone wrong: 4 GiB at 1 MB/s need a bit more than an
/// hour.
const INSTALL_MAX: Duration = Duration::from_hours(6);

/// Writes the bundle into the slots that do not run. `stall_max` is how long it may stand still.
pub(super) async fn install(
    rauc: &Rauc,
    image: &OsImage,
    bundle: &Path,
    stall_max: Duration,
) -> Result<(), OsImageError> {
    tracing::info!(bundle = %bundle.display(), version = image.version, "began to install a system");
    at("os-image.install:before");
    rauc.install(&bundle.to_string_lossy()).await?;
    let ended = watch(rauc, stall_max).await?;
    at("os-image.install:after");
    if ended.last_error.is_empty() {
        tracing::info!(version = image.version, "installed a system");
        return Ok(());
    }
    Err(OsImageError::Install { said: ended.last_error })
}

/// Waits for the end of the installation that is under way, whoever began it.
pub(super) async fn watch(rauc: &Rauc, stall_max: Duration) -> Result<Work, OsImageError> {
    let whole = Patience::of(INSTALL_MAX);
    let mut stall = Patience::of(stall_max);
    let mut last = None;
    loop {
        let work = rauc.work().await?;
        if !work.busy {
            return Ok(work);
        }
        let stands = || format!("{}, {} %", work.progress.1, work.progress.0);
        if last.as_ref() != Some(&work.progress) {
            tracing::debug!(at = stands(), "the installation moves");
            last = Some(work.progress.clone());
            stall.renew();
        }
        if stall.is_over() {
            return Err(OsImageError::Stalled { secs: stall.secs(), at: stands() });
        }
        if whole.is_over() {
            return Err(OsImageError::Endless { secs: whole.secs(), at: stands() });
        }
        pause(ASK_PAUSE).await;
    }
}
