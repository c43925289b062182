use takt_common::Sha256Digest;

use super::super::seen::{Part, Stamp};
use super::*;

fn image() -> OsImage {
    OsImage {
        bundle: Sha256Digest::of(b"bundle"),
        compatible: "cam".to_owned(),
        version: "2.0".to_owned(),
        boot_secs: 600,
    }
}

fn stamp(count: u32) -> Stamp {
    Stamp { time: format!("2026-01-0{count}T00:00:00Z"), count }
}

/// A slot as it is before a step: version 1.0 was installed and activated once.
fn slot(name: &str, bootname: &str) -> Slot {
    Slot {
        name: name.to_owned(),
        class: name.split('.').next().unwrap().to_owned(),
        parent: None,
        bootname: Some(bootname.to_owned()),
        part: Part::Inactive,
        good: Some(true),
        whole: true,
        compatible: Some("cam".to_owned()),
        version: Some("1.0".to_owned()),
        installed: Some(stamp(1)),
        activated: Some(stamp(1)),
    }
}

/// The slots of a device that runs `runs`, with `next` to boot next.
fn slots(runs: &str, next: Option<&str>) -> Slots {
    let mut all = vec![slot("rootfs.0", "A"), slot("rootfs.1", "B"), slot("rescue.0", "R")];
    all.iter_mut().filter(|slot| slot.name == runs).for_each(|slot| slot.part = Part::Booted);
    Slots { all, primary: next.map(str::to_owned).ok_or_else(|| "no slot boots".to_owned()) }
}

trait With {
    fn with(self, name: &str, change: impl Fn(&mut Slot)) -> Self;
}

impl With for Slots {
    fn with(mut self, name: &str, change: impl Fn(&mut Slot)) -> Self {
        self.all.iter_mut().filter(|slot| slot.name == name).for_each(change);
        self
    }
}

/// RAUC has written version 2.0 into it.
fn installed(slot: &mut Slot) {
    slot.version = Some("2.0".to_owned());
    slot.installed = Some(stamp(2));
}

/// RAUC has written version 2.0 into it and made it boot next.
fn activated(slot: &mut Slot) {
    installed(slot);
    slot.activated = Some(stamp(2));
}

/// From A to B, noted in boot 1.
fn prepared() -> Kept {
    Kept::new(Some(TwoSlots {
        old: "rootfs.0".to_owned(),
        old_activated: Some(stamp(1)),
        new: "rootfs.1".to_owned(),
        new_installed: Some(stamp(1)),
        new_activated: Some(stamp(1)),
        version: "2.0".to_owned(),
        boot: "boot-1".to_owned(),
    }))
}

fn begun() -> Kept {
    Kept { begun: Some("boot-1".to_owned()), ..prepared() }
}

/// Version 2.0 in slot B is what Takt has put there.
fn memory() -> Memory {
    Memory::of(&image(), B, stamp(2))
}

fn assert_stands(kept: Option<&Kept>, slots: Slots, boot: &str, expected: &str) {
    let told = format!("{slots:?}");
    let stands = format!("{:?}", stand(&image(), kept, &memory(), &Seen::Slots(slots), boot));
    assert!(stands.starts_with(expected), "{stands} is not {expected}: {kept:?}, {told}, {boot}");
}

const A: &str = "rootfs.0";
const B: &str = "rootfs.1";
const R: &str = "rescue.0";

#[test]
fn a_step_without_a_note_has_changed_nothing() {
    assert_stands(None, slots(A, Some(A)), "boot-1", "Untouched");
    assert_stands(None, slots(B, Some(B)).with(B, activated), "boot-1", "Applied");
    assert_stands(None, slots(B, None).with(B, installed), "boot-1", "Applied");
    // Half of another version: RAUC's record of it is not whole.
    let half = |slot: &mut Slot| {
        installed(slot);
        slot.whole = false;
    };
    assert_stands(None, slots(B, Some(B)).with(B, half), "boot-1", "Untouched");
    let confirmed = Kept { confirmed: true, ..Kept::new(None) };
    assert_stands(Some(&confirmed), slots(B, Some(B)).with(B, activated), "boot-1", "Confirmed");
    let reverted = Kept { reverted: true, ..Kept::new(None) };
    assert_stands(Some(&reverted), slots(B, Some(B)).with(B, activated), "boot-1", "Untouched");
}

#[test]
fn a_version_that_runs_is_this_image_only_if_takt_has_put_this_very_bundle_there() {
    let runs = || Seen::Slots(slots(B, Some(B)).with(B, activated));
    let told = |memory: &Memory, seen: Seen| format!("{:?}", stand(&image(), None, memory, &seen, "boot-1"));
    assert_eq!(told(&memory(), runs()), "Applied");
    assert_eq!(
        told(&Memory::default(), runs()),
        "Untouched",
        "it came from the factory, or from somebody else"
    );
    let other = OsImage { bundle: Sha256Digest::of(b"other"), ..image() };
    assert_eq!(told(&Memory::of(&other, B, stamp(2)), runs()), "Untouched");
    assert_eq!(told(&Memory::of(&image(), A, stamp(2)), runs()), "Untouched");
    // Somebody has written the slot since.
    let since = |slot: &mut Slot| slot.installed = Some(stamp(3));
    assert_eq!(
        told(&memory(), Seen::Slots(slots(B, Some(B)).with(B, activated).with(B, since))),
        "Untouched"
    );
}

#[test]
fn a_prepared_step_begins_anew_when_others_have_changed_the_slot_that_runs() {
    assert_stands(Some(&prepared()), slots(A, Some(A)), "boot-1", "Prepared");
    assert_stands(Some(&prepared()), slots(A, Some(A)), "boot-2", "Prepared");
    assert_stands(Some(&prepared()), slots(B, Some(B)), "boot-2", "Untouched");
    // Others have installed the very same: the step has not begun.
    assert_stands(Some(&prepared()), slots(A, Some(B)).with(B, activated), "boot-1", "Prepared");
}

#[test]
fn in_the_boot_that_installs_only_what_is_whole_and_boots_next_counts() {
    assert_stands(Some(&begun()), slots(A, Some(A)), "boot-1", "Half");
    // RAUC 1.8 keeps the old record while it writes: the version alone says nothing.
    let same_before = |slot: &mut Slot| slot.version = Some("2.0".to_owned());
    assert_stands(Some(&begun()), slots(A, Some(B)).with(B, same_before), "boot-1", "Half");
    assert_stands(Some(&begun()), slots(A, Some(A)).with(B, installed), "boot-1", "Half");
    assert_stands(Some(&begun()), slots(A, Some(A)).with(B, activated), "boot-1", "Half");
    assert_stands(Some(&begun()), slots(A, None).with(B, activated), "boot-1", "Half");
    assert_stands(Some(&begun()), slots(A, Some(B)).with(B, activated), "boot-1", "NewAfterReboot");
    // RAUC's `install-same=false` leaves out what lies there already: only the choice is new.
    let skipped = |slot: &mut Slot| {
        same_before(slot);
        slot.activated = Some(stamp(2));
    };
    assert_stands(Some(&begun()), slots(A, Some(B)).with(B, skipped), "boot-1", "NewAfterReboot");
}

#[test]
fn after_a_reboot_the_slot_that_runs_decides() {
    assert_stands(Some(&begun()), slots(A, Some(A)), "boot-2", "Half");
    assert_stands(Some(&begun()), slots(A, Some(A)).with(B, installed), "boot-2", "Half");
    assert_stands(Some(&begun()), slots(A, Some(A)).with(B, activated), "boot-2", "FellBack");
    // Whatever the boot loader would do next.
    assert_stands(Some(&begun()), slots(A, Some(B)).with(B, activated), "boot-2", "FellBack");
    assert_stands(Some(&begun()), slots(R, None).with(B, activated), "boot-2", "FellBack");
    assert_stands(Some(&begun()), slots(R, None), "boot-2", "FellBack");
    assert_stands(Some(&begun()), slots(B, Some(B)).with(B, activated), "boot-2", "Applied");
    // GRUB passes over a slot that has booted and is not marked good.
    assert_stands(Some(&begun()), slots(B, Some(A)).with(B, activated), "boot-2", "Applied");
    assert_stands(Some(&begun()), slots(B, None).with(B, activated), "boot-2", "Applied");
    // The power went between RAUC's choice and its record of it.
    assert_stands(Some(&begun()), slots(B, Some(B)).with(B, installed), "boot-2", "Applied");
    // A boot loader that boots what was never written to its end.
    assert_stands(Some(&begun()), slots(B, Some(B)), "boot-2", "Half");
}

#[test]
fn confirmed_is_what_was_confirmed_and_is_called_good() {
    let confirmed = Kept { confirmed: true, ..begun() };
    assert_stands(Some(&confirmed), slots(B, Some(B)).with(B, activated), "boot-2", "Confirmed");
    let counts = |slot: &mut Slot| {
        activated(slot);
        slot.good = Some(false);
    };
    assert_stands(Some(&confirmed), slots(B, Some(A)).with(B, counts), "boot-3", "Applied");
    assert_stands(Some(&begun()), slots(B, Some(B)).with(B, activated), "boot-2", "Applied");
}

#[test]
fn what_takes_the_new_slot_back_is_seen() {
    let chosen = |slot: &mut Slot| slot.activated = Some(stamp(3));
    let back = slots(B, Some(A)).with(B, activated).with(A, chosen);
    assert_stands(Some(&begun()), back, "boot-2", "OldAfterReboot");
    let reverted = Kept { reverted: true, ..begun() };
    assert_stands(Some(&reverted), slots(B, Some(A)).with(B, activated), "boot-2", "OldAfterReboot");
    assert_stands(Some(&reverted), slots(B, Some(B)).with(B, activated), "boot-2", "Applied");
    assert_stands(Some(&reverted), slots(A, Some(A)).with(B, activated), "boot-3", "Prepared");
    assert_stands(Some(&reverted), slots(A, None).with(B, activated), "boot-3", "Prepared");
    assert_stands(Some(&reverted), slots(A, Some(B)).with(B, activated), "boot-3", "NewAfterReboot");
    // Neither of the two: one reboot is to bring the old one back.
    let from_rescue = Kept { reverted_in: Some("boot-2".to_owned()), ..reverted };
    assert_stands(Some(&from_rescue), slots(R, Some(A)).with(B, activated), "boot-2", "OldAfterReboot");
    assert_stands(Some(&from_rescue), slots(R, None).with(B, activated), "boot-2", "Half");
    assert_stands(Some(&from_rescue), slots(R, Some(A)).with(B, activated), "boot-3", "Half");
    assert_stands(Some(&from_rescue), slots(A, Some(A)).with(B, activated), "boot-3", "Prepared");
}

#[test]
fn at_rest_an_image_runs_or_the_device_says_what_does() {
    let told = |slots: Slots| format!("{:?}", stand_at_rest(&image(), &Seen::Slots(slots)));
    assert_eq!(told(slots(B, Some(B)).with(B, activated)), "Confirmed");
    let left = slots(A, Some(A)).with(B, activated);
    let text = "slot rootfs.0 (A) runs with version 1.0, and not version 2.0";
    assert_eq!(told(left), format!("FellBack({text:?})"));
    let text = "the rescue system in slot rescue.0 (R) runs with version 1.0, and not version 2.0";
    assert_eq!(told(slots(R, None).with(B, activated)), format!("FellBack({text:?})"));
    let no_record = |slot: &mut Slot| slot.version = None;
    let text = "slot rootfs.0 (A) runs, and not version 2.0";
    assert_eq!(told(slots(A, None).with(A, no_record).with(B, activated)), format!("FellBack({text:?})"));
    // RAUC's records are gone: nothing is known.
    let text = "RAUC has no record of what is in slot rootfs.0 (A), which runs";
    assert_eq!(told(slots(A, None).with(A, no_record)), format!("Unknown({text:?})"));
    assert!(told(slots("nfs", None)).starts_with("Unknown"));
    let busy = Seen::Busy("Updating slots, 40 %".to_owned());
    assert!(matches!(stand_at_rest(&image(), &busy), StepState::Unknown(_)));
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    assert_stands(None, slots("nfs", Some(A)), "boot-1", "Unknown");
    let mut without = slots(A, Some(A));
    without.all.retain(|slot| slot.name != B);
    assert_stands(Some(&begun()), without, "boot-1", "Unknown");
    let busy = Seen::Busy("Updating slots, 40 %".to_owned());
    let told = |kept: Option<&Kept>| format!("{:?}", stand(&image(), kept, &memory(), &busy, "boot-1"));
    assert_eq!(told(Some(&begun())), "Half(\"RAUC is at work: Updating slots, 40 %\")");
    assert_eq!(told(Some(&prepared())), "Unknown(\"RAUC is at work for others: Updating slots, 40 %\")");
    assert_eq!(told(None), "Unknown(\"RAUC is at work for others: Updating slots, 40 %\")");
}
