//! The two ways: a patch into the running kernel, and out of it again. Each looks, takes one step, and looks again; so
//! it does not matter where the one before was cut off.

use std::path::Path;
use std::time::Duration;

use takt_failpoint::at;

use super::error::LivePatchError;
use super::kernel::{Found, Kernel};
use super::load::Loader;
use crate::patience::{Patience, pause};

/// How often the kernel is asked whether all tasks have come.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// A kernel that can be patched.
pub(super) struct Moves<'a> {
    pub kernel: &'a Kernel,
    pub loader: &'a Loader,
    pub name: &'a str,
}

impl Moves<'_> {
    /// Puts the patch in `file` in force before `limit` is over, else takes it back; for that `back` may pass.
    pub(super) async fn bring_in(
        &self,
        file: &Path,
        limit: Duration,
        back: Duration,
    ) -> Result<(), LivePatchError> {
        let Err(error) = self.until_in_force(file, limit).await else { return Ok(()) };
        let found = self.kernel.find(self.name)?;
        // A module that is there and not in force is never left behind.
        match (error, found) {
            (error, Found::Absent) => Err(error),
            (error, _) => match (error, self.take_out(back).await) {
                (error, Ok(())) => Err(error),
                (LivePatchError::Stalled { name, secs }, Err(source)) => {
                    Err(LivePatchError::StalledHalf { name, secs, source: Box::new(source) })
                }
                (_, Err(source)) => Err(source),
            },
        }
    }

    async fn until_in_force(&self, file: &Path, limit: Duration) -> Result<(), LivePatchError> {
        let patience = Patience::of(limit);
        let mut loaded = false;
        loop {
            let found = self.kernel.find(self.name)?;
            match found {
                Found::InForce => return Ok(()),
                Found::Absent | Found::Idle if loaded => {
                    let stands = found.to_string();
                    return Err(LivePatchError::NotInForce { name: self.name.to_owned(), stands });
                }
                Found::Absent => {
                    at("live-patch.load:before");
                    self.loader.load(self.name, file, patience.left()).await?;
                    at("live-patch.load:after");
                    loaded = true;
                    continue;
                }
                // It cannot be enabled again as it is.
                Found::Idle => {
                    self.unload().await?;
                }
                Found::Moving | Found::Coming | Found::Leaving => {}
            }
            if patience.is_over() {
                return Err(LivePatchError::Stalled { name: self.name.to_owned(), secs: patience.secs() });
            }
            pause(ASK_PAUSE).await;
        }
    }

    /// Takes the patch out of force and its module out of the kernel. Force is never used: a task that stays in patched
    /// code keeps the module, and the kernel itself reminds such tasks.
    pub(super) async fn take_out(&self, limit: Duration) -> Result<(), LivePatchError> {
        let patience = Patience::of(limit);
        loop {
            let found = self.kernel.find(self.name)?;
            match found {
                Found::Absent => return Ok(()),
                Found::Coming | Found::InForce => {
                    at("live-patch.disable:before");
                    self.kernel.disable(self.name)?;
                    at("live-patch.disable:after");
                }
                Found::Idle => {
                    if self.unload().await? {
                        continue;
                    }
                }
                Found::Moving | Found::Leaving => {}
            }
            if patience.is_over() {
                let (name, stands) = (self.name.to_owned(), found.to_string());
                return Err(LivePatchError::Stays { name, secs: patience.secs(), stands });
            }
            pause(ASK_PAUSE).await;
        }
    }

    /// Waits until nothing moves, for `limit` at the most, and says how the patch stands then.
    pub(super) async fn until_still(&self, limit: Duration) -> Result<Found, LivePatchError> {
        let patience = Patience::of(limit);
        loop {
            let found = self.kernel.find(self.name)?;
            if matches!(found, Found::Absent | Found::Idle | Found::InForce) || patience.is_over() {
                return Ok(found);
            }
            pause(ASK_PAUSE).await;
        }
    }

    async fn unload(&self) -> Result<bool, LivePatchError> {
        at("live-patch.unload:before");
        let gone = self.loader.unload(self.name).await?;
        at("live-patch.unload:after");
        Ok(gone)
    }
}
