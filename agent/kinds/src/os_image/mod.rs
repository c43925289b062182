//! Kind `os-image`: a whole system, written by RAUC into the slot that does not run.
//!
//! * **prepare** checks the bundle and the device, makes sure that the slot that runs is one the boot loader falls back
//!   to, and notes both slots.
//! * **apply** keeps the device's identity ([`identity`]), and lets RAUC write the other slot and let it boot next.
//! * The reboot is the core's. Until the step is confirmed the boot loader goes back by itself when the new system does
//!   not come up often enough; the device then says so, and never that it is up to date.
//! * **confirm** marks the slot that runs good. Nothing else does that for a new system: a device on which a unit marks
//!   slots good at boot is refused in `prepare`.
//! * **revert** marks the new slot bad and lets the old one boot next. It also follows a fall-back: a boot loader that
//!   has counted all slots out may begin again, and must not begin with the system that failed. A rescue system that came
//!   up instead of both is left by one reboot; when it comes up again, the way back has failed and says so.
//!
//! Where a step stands is told from RAUC's own records (`stand.rs`); the note in the step's folder only says from which
//! state on a change of them counts. A rescue system, a slot that has nobody to take turns with, is never written and
//! never upgraded from.
//!
//! Points at which tests let the agent die, each `:before` and `:after` an effect:
//!
//! | point | effect |
//! |---|---|
//! | `os-image.keep-old` | the slot that runs is marked good |
//! | `os-image.prepare` | both slots are noted |
//! | `os-image.identity` | the identity file is written |
//! | `os-image.begin` | the begin of the installation is noted |
//! | `os-image.install` | RAUC installs; `:after` its end |
//! | `os-image.activate` | an installed slot that does not boot next is made to |
//! | `os-image.confirm` | the slot that runs is marked good |
//! | `os-image.remembered` | which bundle is in the slot that runs is noted |
//! | `os-image.confirmed` | that the slot was marked is noted |
//! | `os-image.mark-bad` | the new slot is marked bad |
//! | `os-image.mark-active` | the old slot is made to boot next |
//! | `os-image.reverted` | that is noted |
//! | `os-image.at-rest` | a device at rest marks the slot that runs good |

mod error;
pub mod identity;
mod install;
mod kept;
mod memory;
mod others;
mod rauc;
mod seen;
mod stand;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use takt_agent_core::failure::{failure, sentence};
use takt_agent_core::{ActionFailure, StepState};
use takt_common::release::OsImage;
use takt_failpoint::at;

use crate::ArtifactFiles;
use crate::way_back::StepFolder;
pub use error::OsImageError;
use identity::IdentitySettings;
use kept::{Kept, TwoSlots};
use memory::Memory;
pub use rauc::RaucError;
use rauc::{Mark, Rauc};
use seen::{Seen, Slot, Slots};
use stand::{activated, in_words, stand, stand_at_rest, written};

/// What the device allows and where its parts are.
#[derive(Debug, Clone)]
pub struct OsImageSettings {
    /// The address of the D-Bus on which RAUC is; the system's when it is none.
    pub bus: Option<String>,
    /// RAUC's settings: a device without any of these files has no slots.
    pub rauc_settings: Vec<PathBuf>,
    /// The kernel's file of the boot id.
    pub boot_id: PathBuf,
    /// Where the slot that runs is mounted: the agent's folder and the identity file must lie elsewhere. Not checked when it
    /// is none.
    pub slot_root: Option<PathBuf>,
    /// How long an installation may stand still. RAUC 1.8 tells of steps and not of bytes: this is the time that the
    /// largest image may take.
    pub stall_max: Duration,
    /// How long a device at rest waits for RAUC: nothing that an order waits for, and tried again.
    pub at_rest_max: Duration,
    /// `systemctl` with its first arguments.
    pub systemctl: Vec<String>,
    /// Units that mark slots good at boot.
    pub mark_good_units: Vec<String>,
    /// The identity file.
    pub identity: IdentitySettings,
}

impl Default for OsImageSettings {
    fn default() -> Self {
        Self {
            bus: None,
            // RAUC 1.8 knows the first only.
            rauc_settings: ["/etc/rauc/system.conf", "/run/rauc/system.conf", "/usr/lib/rauc/system.conf"]
                .map(PathBuf::from)
                .to_vec(),
            boot_id: PathBuf::from("/proc/sys/kernel/random/boot_id"),
            slot_root: Some(PathBuf::from("/")),
            stall_max: Duration::from_mins(30),
            at_rest_max: Duration::from_mins(2),
            systemctl: vec!["systemctl".to_owned()],
            mark_good_units: vec!["rauc-mark-good.service".to_owned()],
            identity: IdentitySettings::default(),
        }
    }
}

/// The kind.
#[derive(Debug)]
pub struct OsImages {
    settings: OsImageSettings,
    /// Where it is noted which bundle is in which slot.
    memory: StepFolder,
}

impl OsImages {
    /// `way_back` is the folder of all ways back. Nothing is touched.
    pub fn new(settings: OsImageSettings, way_back: &Path) -> Self {
        Self { settings, memory: StepFolder::of_no_step(way_back, "os-images") }
    }

    pub(crate) async fn look(&self, folder: &StepFolder, image: &OsImage) -> StepState {
        let looked = async {
            let kept = Kept::read(folder)?;
            let seen = self.rauc().await?.look().await?;
            Ok(stand(image, kept.as_ref(), &Memory::read(&self.memory)?, &seen, &self.boot()?))
        };
        looked.await.unwrap_or_else(|error: OsImageError| StepState::Unknown(sentence(&error)))
    }

    pub(crate) async fn prepare(
        &self,
        folder: &StepFolder,
        image: &OsImage,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        self.keep(folder, image, artifacts).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn apply(
        &self,
        folder: &StepFolder,
        image: &OsImage,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), ActionFailure> {
        self.put_in_force(folder, image, artifacts).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn revert(&self, folder: &StepFolder, _: &OsImage) -> Result<(), ActionFailure> {
        self.take_back(folder).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn confirm(&self, folder: &StepFolder, image: &OsImage) -> Result<(), ActionFailure> {
        self.mark_verified(folder, image).await.map_err(|error| failure(&error))
    }

    /// Where an image that is installed stands on a device at rest.
    pub(crate) async fn look_at_rest(&self, image: &OsImage) -> StepState {
        let looked = async { Ok(stand_at_rest(image, &self.rauc().await?.look().await?)) };
        within(self.settings.at_rest_max, "tell of its slots", looked)
            .await
            .unwrap_or_else(|error| StepState::Unknown(sentence(&error)))
    }

    /// Marks the slot that runs good, where it is not: what a unit does at each boot on devices without Takt. Boot loaders
    /// that count boots would otherwise count a device at rest out of its slot. `kept` are the ways back that are kept.
    pub(crate) async fn at_rest(&self, kept: &[StepFolder]) -> Result<(), ActionFailure> {
        within(self.settings.at_rest_max, "mark the slot that runs good", self.keep_booting(kept))
            .await
            .map_err(|error| failure(&error))
    }

    async fn rauc(&self) -> Result<Rauc, OsImageError> {
        Ok(Rauc::connect(self.settings.bus.as_deref()).await?)
    }

    /// The boot that is in progress.
    fn boot(&self) -> Result<String, OsImageError> {
        let path = &self.settings.boot_id;
        fs::read_to_string(path)
            .map(|id| id.trim().to_owned())
            .map_err(|source| OsImageError::Boot { path: path.clone(), source })
    }

    async fn keep(
        &self,
        folder: &StepFolder,
        image: &OsImage,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), OsImageError> {
        let rauc = self.rauc().await?;
        let mut slots = idle(&rauc).await?;
        if let Some(root) = &self.settings.slot_root {
            others::both_outlive_the_slot(folder, &self.settings.identity.path, root)?;
        }
        others::nothing_marks_good(&self.settings.systemctl, &self.settings.mark_good_units).await?;
        let runs = two_slots(&slots)?.0.clone();
        check_bundle(&rauc, image, artifacts).await?;
        if Kept::read(folder)?.is_some_and(|kept| kept.begun.is_some()) {
            // What has begun is finished or taken back from what was noted then.
            return Ok(());
        }
        if runs.good == Some(false) {
            at("os-image.keep-old:before");
            slots = mark_good(&rauc, &runs.name).await?;
            at("os-image.keep-old:after");
        }
        let (old, new) = two_slots(&slots)?;
        if let Err(said) = &slots.primary {
            return Err(OsImageError::NoChoice { said: said.clone() });
        }
        let two = TwoSlots {
            old: old.name.clone(),
            old_activated: old.activated.clone(),
            new: new.name.clone(),
            new_installed: new.installed.clone(),
            new_activated: new.activated.clone(),
            version: image.version.clone(),
            boot: self.boot()?,
        };
        at("os-image.prepare:before");
        Kept::new(Some(two)).write(folder)?;
        at("os-image.prepare:after");
        Ok(())
    }

    async fn put_in_force(
        &self,
        folder: &StepFolder,
        image: &OsImage,
        artifacts: &dyn ArtifactFiles,
    ) -> Result<(), OsImageError> {
        let unprepared = || OsImageError::NotPrepared { stands: "its slots are not noted".to_owned() };
        let mut kept = Kept::read(folder)?.ok_or_else(unprepared)?;
        let mut two = kept.slots.clone().ok_or_else(unprepared)?;
        let rauc = self.rauc().await?;
        if kept.begun.is_some() {
            // An agent that was started anew finds its installation under way.
            install::watch(&rauc, self.settings.stall_max).await?;
        }
        let slots = idle(&rauc).await?;
        let runs = slots.booted().ok_or(OsImageError::NoSlotRuns)?;
        if runs.name != two.old {
            // RAUC writes the slot that does not run, and that would be the way back.
            return Err(OsImageError::OtherSlotRuns { runs: runs.name.clone(), expected: two.old });
        }
        let (boot, memory) = (self.boot()?, Memory::read(&self.memory)?);
        match stand(image, Some(&kept), &memory, &Seen::Slots(slots.clone()), &boot) {
            StepState::NewAfterReboot => return Ok(()),
            StepState::Prepared | StepState::Half(_) => {}
            // A system that fell back is not tried again by the same order.
            stands => return Err(OsImageError::NotPrepared { stands: in_words(&stands) }),
        }
        identity::keep(&self.settings.identity, &name(folder))?;
        let went_before = kept.begun.is_some() && !kept.reverted;
        // What was chosen before now says nothing of what is chosen after the new slot.
        two.old_activated.clone_from(&runs.activated);
        let slots_now = Some(two.clone());
        kept = Kept { begun: Some(boot.clone()), ..Kept::new(slots_now) };
        at("os-image.begin:before");
        kept.write(folder)?;
        at("os-image.begin:after");
        let whole = |new: &Slot| went_before && written(image, &two, new) && activated(&two, new);
        if !slots.named(&two.new).is_some_and(whole) {
            let bundle = artifacts.file(&image.bundle);
            install::install(&rauc, image, &bundle, self.settings.stall_max).await?;
        }
        let mut slots = idle(&rauc).await?;
        if slots.named(&two.new).is_some_and(|new| written(image, &two, new)) && !slots.boots_next(&two.new) {
            // RAUC's `activate-installed=false`, or somebody who has chosen the old one since.
            at("os-image.activate:before");
            rauc.mark(Mark::Active, &two.new).await?;
            at("os-image.activate:after");
            slots = idle(&rauc).await?;
        }
        match stand(image, Some(&kept), &memory, &Seen::Slots(slots), &boot) {
            StepState::NewAfterReboot => Ok(()),
            stands => Err(OsImageError::NotThere { slot: two.new, stands: in_words(&stands) }),
        }
    }

    async fn take_back(&self, folder: &StepFolder) -> Result<(), OsImageError> {
        let mut kept = Kept::read(folder)?.unwrap_or_else(|| Kept::new(None));
        if let (Some(two), true) = (&kept.slots, kept.begun.is_some()) {
            let rauc = self.rauc().await?;
            install::watch(&rauc, self.settings.stall_max).await?;
            at("os-image.mark-bad:before");
            came_back_to_rescue(&kept, two, &idle(&rauc).await?, &self.boot()?)?;
            rauc.mark(Mark::Bad, &two.new).await?;
            at("os-image.mark-bad:after");
            at("os-image.mark-active:before");
            rauc.mark(Mark::Active, &two.old).await?;
            at("os-image.mark-active:after");
            let slots = idle(&rauc).await?;
            if !slots.boots_next(&two.old) {
                let said = slots.primary.map_or_else(|said| said, |next| format!("slot {next} boots next"));
                return Err(OsImageError::Unmarked { slot: two.old.clone(), mark: "active", said });
            }
        }
        kept.reverted = true;
        kept.reverted_in = Some(self.boot()?);
        kept.confirmed = false;
        at("os-image.reverted:before");
        kept.write(folder)?;
        at("os-image.reverted:after");
        Ok(())
    }

    async fn mark_verified(&self, folder: &StepFolder, image: &OsImage) -> Result<(), OsImageError> {
        let rauc = self.rauc().await?;
        let slots = idle(&rauc).await?;
        let kept = Kept::read(folder)?;
        let memory = Memory::read(&self.memory)?;
        let runs = slots.booted().cloned().ok_or(OsImageError::NoSlotRuns)?;
        match stand(image, kept.as_ref(), &memory, &Seen::Slots(slots), &self.boot()?) {
            StepState::Confirmed => return Ok(()),
            StepState::Applied => {}
            stands => return Err(OsImageError::NotInForce { stands: in_words(&stands) }),
        }
        let kept = kept.unwrap_or_else(|| Kept::new(None));
        if kept.begun.is_some() {
            identity::check(&self.settings.identity, &name(folder))?;
        }
        at("os-image.confirm:before");
        mark_good(&rauc, &runs.name).await?;
        at("os-image.confirm:after");
        if kept.begun.is_some() {
            at("os-image.remembered:before");
            memory.remember(image, &runs, &self.memory)?;
            at("os-image.remembered:after");
        }
        at("os-image.confirmed:before");
        Kept { confirmed: true, ..kept }.write(folder)?;
        at("os-image.confirmed:after");
        tracing::info!(slot = runs.name, version = image.version, "marked a verified system good");
        Ok(())
    }

    async fn keep_booting(&self, kept: &[StepFolder]) -> Result<(), OsImageError> {
        if !self.settings.rauc_settings.iter().any(|path| path.exists()) {
            return Ok(());
        }
        let rauc = self.rauc().await?;
        let slots = idle(&rauc).await?;
        let to_mark = |runs: &&Slot| runs.good == Some(false) && !slots.is_rescue(runs);
        let Some(runs) = slots.booted().filter(to_mark) else { return Ok(()) };
        for folder in kept {
            if Kept::read(folder)?.is_some_and(|kept| !kept.lets_mark(&runs.name)) {
                return Ok(());
            }
        }
        at("os-image.at-rest:before");
        mark_good(&rauc, &runs.name).await?;
        at("os-image.at-rest:after");
        tracing::info!(slot = runs.name, "marked the slot that runs good");
        Ok(())
    }
}

/// The key of a step, from the name of its folder.
fn name(folder: &StepFolder) -> String {
    folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Ends `work` after `limit`; `what` RAUC was to do then stands in the error.
async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, OsImageError>>,
) -> Result<T, OsImageError> {
    let slow = |_| OsImageError::Rauc(RaucError::Slow { what: what.to_owned(), secs: limit.as_secs() });
    tokio::time::timeout(limit, work).await.map_err(slow)?
}

/// Refuses to go back once more when a reboot on the way back has led to neither of the two slots.
fn came_back_to_rescue(kept: &Kept, two: &TwoSlots, slots: &Slots, boot: &str) -> Result<(), OsImageError> {
    let tried = kept.reverted && kept.reverted_in.as_deref().is_some_and(|before| before != boot);
    match slots.booted().filter(|runs| tried && runs.name != two.old && runs.name != two.new) {
        Some(runs) => Err(OsImageError::OldDoesNotBoot { runs: runs.name.clone(), old: two.old.clone() }),
        None => Ok(()),
    }
}

/// The slots of a RAUC that does nothing else.
async fn idle(rauc: &Rauc) -> Result<Slots, OsImageError> {
    match rauc.look().await? {
        Seen::Slots(slots) => Ok(slots),
        Seen::Busy(what) => Err(OsImageError::Busy { what }),
    }
}

/// The slot that runs, and the only one that RAUC can write.
fn two_slots(slots: &Slots) -> Result<(&Slot, &Slot), OsImageError> {
    let old = slots.booted().ok_or(OsImageError::NoSlotRuns)?;
    match slots.turns_with(old).as_slice() {
        [new] => Ok((old, new)),
        [] => Err(OsImageError::Rescue { slot: old.name.clone() }),
        more => Err(OsImageError::Slots { slot: old.name.clone(), count: more.len() }),
    }
}

async fn check_bundle(
    rauc: &Rauc,
    image: &OsImage,
    artifacts: &dyn ArtifactFiles,
) -> Result<(), OsImageError> {
    let file = artifacts.file(&image.bundle);
    let bundle = rauc.info(&file.to_string_lossy()).await.map_err(|error| match error {
        RaucError::Refused { said, .. } => OsImageError::Bundle { said },
        error => OsImageError::Rauc(error),
    })?;
    let device = rauc.compatible().await?;
    for (whose, expected) in [("the release", &image.compatible), ("this device's RAUC", &device)] {
        if bundle.compatible != *expected {
            let expected = expected.clone();
            return Err(OsImageError::Compatible { bundle: bundle.compatible, whose, expected });
        }
    }
    if bundle.version != image.version {
        return Err(OsImageError::Version { bundle: bundle.version, expected: image.version.clone() });
    }
    Ok(())
}

/// Marks a slot good and sees to it that the boot loader says so; the slots as they are then.
async fn mark_good(rauc: &Rauc, slot: &str) -> Result<Slots, OsImageError> {
    rauc.mark(Mark::Good, slot).await?;
    let slots = idle(rauc).await?;
    match slots.named(slot).and_then(|slot| slot.good) {
        Some(true) => Ok(slots),
        other => {
            let said = if other.is_some() { "bad" } else { "nothing" }.to_owned();
            Err(OsImageError::Unmarked { slot: slot.to_owned(), mark: "good", said })
        }
    }
}
