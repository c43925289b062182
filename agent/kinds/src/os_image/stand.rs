//! Where a step stands: from what is kept of it, what RAUC says, and which boot this is. Pure.
//!
//! RAUC's own records tell whether an installation came to its end, not our note: the note says only from which state on
//! a change counts as this step's.

use takt_agent_core::StepState;
use takt_common::release::OsImage;

use super::kept::{Kept, TwoSlots};
use super::memory::Memory;
use super::seen::{Seen, Slot, Slots};

/// Where a step stands. `boot` is the boot that is in progress.
pub(super) fn stand(
    image: &OsImage,
    kept: Option<&Kept>,
    memory: &Memory,
    seen: &Seen,
    boot: &str,
) -> StepState {
    let already = |booted, confirmed| already(memory.holds(image, booted), booted, confirmed);
    let begun = kept.and_then(|kept| kept.begun.as_deref());
    let slots = match (seen, begun) {
        (Seen::Slots(slots), _) => slots,
        (Seen::Busy(what), Some(_)) => return StepState::Half(format!("RAUC is at work: {what}")),
        (Seen::Busy(what), None) => return StepState::Unknown(format!("RAUC is at work for others: {what}")),
    };
    let Some(booted) = slots.booted() else {
        return StepState::Unknown("RAUC does not know which slot runs".to_owned());
    };
    let Some(kept) = kept else {
        return already(booted, false);
    };
    let Some(two) = &kept.slots else {
        return if kept.reverted { StepState::Untouched } else { already(booted, kept.confirmed) };
    };
    let Some(begun) = begun else {
        // Whoever has changed slots in the meantime has changed what the way back is, too.
        return if booted.name == two.old { StepState::Prepared } else { StepState::Untouched };
    };
    if booted.name == two.new {
        return new_runs(image, kept, two, booted, slots);
    }
    if kept.reverted {
        return after_the_way_back(kept, two, booted, slots, boot);
    }
    let Some(new) = slots.named(&two.new) else {
        return StepState::Unknown(format!("slot {} is gone from RAUC's settings", two.new));
    };
    if booted.name == two.old && begun == boot {
        return in_first_boot(image, two, new, slots);
    }
    if booted.name == two.old && !activated(two, new) {
        return StepState::Half(format!("the installation into {new} was cut off by a reboot"));
    }
    StepState::FellBack(fell_back(two, booted, new, slots))
}

/// Where an image that is installed stands on a device without an order in hand: it runs, or the boot loader has left it.
pub(super) fn stand_at_rest(image: &OsImage, seen: &Seen) -> StepState {
    let slots = match seen {
        Seen::Slots(slots) => slots,
        Seen::Busy(what) => return StepState::Unknown(format!("RAUC is at work: {what}")),
    };
    let Some(booted) = slots.booted() else {
        return StepState::Unknown("RAUC does not know which slot runs".to_owned());
    };
    let runs = match &booted.version {
        _ if booted.holds(image) => return StepState::Confirmed,
        Some(version) => format!("{booted} runs with version {version}"),
        // What came from the factory has no record; but then the other slot has one.
        None if slots.all.iter().any(|slot| slot.holds(image)) => format!("{booted} runs"),
        None => return StepState::Unknown(format!("RAUC has no record of what is in {booted}, which runs")),
    };
    let rescue = if slots.is_rescue(booted) { "the rescue system in " } else { "" };
    StepState::FellBack(format!("{rescue}{runs}, and not version {}", image.version))
}

/// The step has changed nothing: the image may be in force all the same, if it is this very one that Takt has put there. A
/// version alone is what a bundle says of itself.
fn already(holds: bool, booted: &Slot, confirmed: bool) -> StepState {
    match (holds, confirmed && booted.good == Some(true)) {
        (false, _) => StepState::Untouched,
        (true, true) => StepState::Confirmed,
        (true, false) => StepState::Applied,
    }
}

/// True when the new slot has been made the one that boots next since the step was prepared: RAUC does that last, after
/// all that belongs to the slot has been written.
pub(super) fn activated(two: &TwoSlots, new: &Slot) -> bool {
    new.activated.is_some() && new.activated != two.new_activated
}

/// True when the new slot holds the image, and because of this step.
pub(super) fn written(image: &OsImage, two: &TwoSlots, new: &Slot) -> bool {
    let installed = new.installed.is_some() && new.installed != two.new_installed;
    new.holds(image) && (installed || activated(two, new))
}

fn in_first_boot(image: &OsImage, two: &TwoSlots, new: &Slot, slots: &Slots) -> StepState {
    match (written(image, two, new), activated(two, new), slots.boots_next(&new.name)) {
        (true, true, true) => StepState::NewAfterReboot,
        (true, true, false) => StepState::Half(format!("{new} is written and does not boot next")),
        _ => StepState::Half(format!("the installation into {new} has not come to its end")),
    }
}

fn new_runs(image: &OsImage, kept: &Kept, two: &TwoSlots, booted: &Slot, slots: &Slots) -> StepState {
    // Where GRUB counts boots the old slot is said to boot next as long as the new one is not marked good: it must have
    // been chosen anew.
    let chosen = slots
        .named(&two.old)
        .is_some_and(|old| old.activated.is_some() && old.activated != two.old_activated);
    if (kept.reverted || chosen) && slots.boots_next(&two.old) {
        return StepState::OldAfterReboot;
    }
    if !written(image, two, booted) {
        let version = booted.version.as_deref().unwrap_or("none");
        return StepState::Half(format!(
            "{booted} runs, and RAUC has no record that version {} was written to it (its record says: {version})",
            image.version
        ));
    }
    // With each boot GRUB's count begins again, and so does the marking.
    if kept.confirmed && booted.good == Some(true) { StepState::Confirmed } else { StepState::Applied }
}

/// The new system does not run, and was told not to. A rescue system is left by one reboot; one that comes up again
/// says that the old system does not.
fn after_the_way_back(kept: &Kept, two: &TwoSlots, booted: &Slot, slots: &Slots, boot: &str) -> StepState {
    if slots.boots_next(&two.new) {
        return StepState::NewAfterReboot;
    }
    if booted.name == two.old {
        return StepState::Prepared;
    }
    if kept.reverted_in.as_deref() == Some(boot) && slots.boots_next(&two.old) {
        return StepState::OldAfterReboot;
    }
    StepState::Half(format!("{booted} runs, and not the old system in slot {}", two.old))
}

fn fell_back(two: &TwoSlots, booted: &Slot, new: &Slot, slots: &Slots) -> String {
    let verdict = match new.good {
        Some(true) => "good",
        Some(false) => "bad",
        None => "nothing",
    };
    let rescue = if slots.is_rescue(booted) { "the rescue system in " } else { "" };
    format!(
        "the device came up with {rescue}{booted} and not with version {} in {new}, which the boot loader calls \
         {verdict}",
        two.version
    )
}

/// Where a step stands, for people.
pub(super) fn in_words(stands: &StepState) -> String {
    match stands {
        StepState::Unknown(why) | StepState::Half(why) | StepState::FellBack(why) => return why.clone(),
        StepState::Untouched => "the slot has not been written",
        StepState::Prepared => "the slot is still to be written",
        StepState::NewAfterReboot => "the new system boots next",
        StepState::Applied => "the new system runs",
        StepState::Confirmed => "the new system runs and is marked good",
        StepState::OldAfterReboot => "the old system boots next",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
