//! The guest itself, before any of Takt runs in it: it boots, changes its slot, comes back from every slot that does not
//! boot and from every power cut, and takes live patches. What is proved with the agent in it stands on this.
//!
//! It needs what `tests/env/install.sh` installs, and root to build the guest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use takt_tests::fleet::{FleetError, wait_until};
use takt_tests::guest::{BOOT_LIMIT, Forward, Guest, GuestImage, GuestSpec, Nature, Slot};

/// For a command in the guest.
const LIMIT: Duration = Duration::from_secs(90);
/// For writing a bundle into a slot: 15 s on an idle machine.
const INSTALL_LIMIT: Duration = Duration::from_mins(5);
/// For three boots that fail, and one that does not.
const FALL_BACK_LIMIT: Duration = Duration::from_mins(10);

fn image() -> GuestImage {
    GuestImage::ready().unwrap()
}

fn booted() -> Guest {
    Guest::booted(&image(), GuestSpec::default()).unwrap()
}

fn text(guest: &mut Guest, command: &str) -> String {
    guest.text(command, LIMIT).unwrap()
}

/// What RAUC tells: booted, primary, and how it calls A and B.
fn rauc(guest: &mut Guest) -> Value {
    let status: Value = serde_json::from_str(&text(guest, "rauc status --output-format=json")).unwrap();
    let slot = |name: &str| {
        let slots = status["slots"].as_array().unwrap();
        slots.iter().find_map(|slot| slot.get(name)).unwrap()["boot_status"].clone()
    };
    json!({
        "booted": status["booted"], "primary": status["boot_primary"],
        "A": slot("rootfs.0"), "B": slot("rootfs.1"),
    })
}

fn install(guest: &mut Guest, bundle: &Path) {
    guest.copy_in(bundle, "/data/bundle.raucb").unwrap();
    guest.text("rauc install /data/bundle.raucb", INSTALL_LIMIT).unwrap();
}

/// Waits until the console has said something.
fn wait_for_console(guest: &Guest, what: &str, limit: Duration) {
    let serial = guest.serial();
    let seen = wait_until(&format!("'{what}' on the console"), limit, || {
        let said = std::fs::read(&serial).map_err(FleetError::file("read", &serial))?;
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().last().unwrap_or_default().to_owned();
        Ok(if said.contains(what) { Ok(()) } else { Err(last) })
    });
    seen.unwrap();
}

#[test]
fn a_guest_that_is_switched_on_boots_a_within_the_limit_and_a_kept_one_goes_on_at_once() {
    let mut guest = Guest::new(&image(), GuestSpec::default()).unwrap();
    guest.power_on().unwrap();
    assert_eq!(guest.wait_booted().unwrap(), Slot::A);
    let loader = guest.boot_loader().unwrap();
    assert_eq!((loader.order, loader.a_ok, loader.a_tries), (vec![Slot::A, Slot::B], true, 1));
    assert!(!loader.b_ok, "B is empty");
    assert_eq!(text(&mut guest, "uname -r"), image().kernel_release().unwrap());
    assert_eq!(text(&mut guest, "systemctl --failed --no-legend"), "");

    let mut kept = booted();
    assert_eq!(kept.slot().unwrap(), Slot::A);
    assert_eq!(kept.boot_loader().unwrap().a_tries, 0, "it was marked good");
    assert_eq!(rauc(&mut kept), json!({ "booted": "A", "primary": "rootfs.0", "A": "good", "B": "bad" }));
    let said = kept.run("echo out; echo err >&2; exit 7", LIMIT).unwrap();
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out", "err"));
}

#[test]
fn a_good_bundle_boots_b_on_trial_and_stays_once_it_is_marked_good() {
    let mut guest = booted();
    text(
        &mut guest,
        "mkdir -p /etc/takt && echo mine >/etc/takt/kept && echo slot >/etc/of-the-slot && sync",
    );
    install(&mut guest, &image().bundle(Nature::Good));
    assert_eq!(rauc(&mut guest), json!({ "booted": "A", "primary": "rootfs.1", "A": "good", "B": "good" }));

    assert_eq!(guest.reboot(BOOT_LIMIT).unwrap(), Slot::B);
    assert_eq!(text(&mut guest, "cat /etc/takt-os-version"), "2.0.0");
    assert_eq!(text(&mut guest, "cat /etc/takt/kept"), "mine");
    assert_ne!(guest.run("cat /etc/of-the-slot", LIMIT).unwrap().code, 0);
    assert_eq!(guest.boot_loader().unwrap().b_tries, 1);
    assert_eq!(rauc(&mut guest), json!({ "booted": "B", "primary": "rootfs.0", "A": "good", "B": "bad" }));

    text(&mut guest, "rauc status mark-good");
    assert_eq!(rauc(&mut guest), json!({ "booted": "B", "primary": "rootfs.1", "A": "good", "B": "good" }));
    assert_eq!(guest.reboot(BOOT_LIMIT).unwrap(), Slot::B);
    assert_eq!(guest.boot_loader().unwrap().order, [Slot::B, Slot::A]);
}

#[test]
fn a_slot_without_anything_to_start_falls_back_by_itself_and_rauc_shows_it() {
    let mut guest = booted();
    install(&mut guest, &image().bundle(Nature::NoInit));
    assert_eq!(guest.reboot(FALL_BACK_LIMIT).unwrap(), Slot::A);
    let loader = guest.boot_loader().unwrap();
    assert_eq!((loader.b_ok, loader.b_tries, loader.a_tries), (true, 3, 1));
    assert_eq!(rauc(&mut guest), json!({ "booted": "A", "primary": null, "A": "bad", "B": "bad" }));
    text(&mut guest, "rauc status mark-good");
    assert_eq!(rauc(&mut guest), json!({ "booted": "A", "primary": "rootfs.0", "A": "good", "B": "bad" }));
    let console = std::fs::read_to_string(guest.serial()).unwrap();
    assert_eq!(console.matches(": boots B").count(), 3, "{console}");
}

/// A B with a kernel and a first process that does nothing, and one boot left of its three.
const LAST_BOOT_OF_B: &str = "set -e
    mkfs.ext4 -q -F -O ^metadata_csum_seed,^orphan_file /dev/vda4 && mount /dev/vda4 /mnt
    mkdir -p /mnt/{boot,bin,sbin,data,dev,proc,sys} && cp /boot/* /mnt/boot && cp /bin/busybox /mnt/bin
    printf '#!/bin/busybox sh\\nexec /bin/busybox sleep infinity\\n' >/mnt/sbin/init && chmod +x /mnt/sbin/init
    BREAK
    umount /mnt && grub-editenv /dev/loop7 set 'ORDER=B A' B_OK=1 B_TRY=2 && sync";

/// Boots such a B, broken further by `command`, and waits until the boot loader has gone back to A.
fn falls_back(command: &str) -> Guest {
    let spec = GuestSpec { watchdog_stage: Duration::from_secs(8), ..GuestSpec::default() };
    let mut guest = Guest::booted(&image(), spec).unwrap();
    text(&mut guest, &LAST_BOOT_OF_B.replace("BREAK", command));
    guest.power_cut();
    guest.power_on().unwrap();
    wait_for_console(&guest, "B_TRY=3: boots B", BOOT_LIMIT);
    wait_for_console(&guest, "B_TRY=3: boots A", BOOT_LIMIT);
    guest
}

#[test]
fn a_slot_without_a_kernel_falls_back() {
    let guest = falls_back("truncate --size 4096 /mnt/boot/vmlinuz");
    wait_for_console(&guest, "slot B has no kernel to boot", LIMIT);
}

#[test]
fn a_kernel_that_hangs_before_it_has_any_driver_falls_back() {
    // Its first instructions (behind the setup sectors, whose number is at 0x1f1) become: no interrupts, and a jump to itself.
    falls_back(
        "at=$(( ($(od -An -tu1 -j $((0x1f1)) -N 1 /mnt/boot/vmlinuz) + 1) * 512 ))
         printf '\\xfa\\xeb\\xfe' | dd of=/mnt/boot/vmlinuz bs=1 seek=$at conv=notrunc status=none",
    );
}

#[test]
fn a_first_process_that_does_nothing_falls_back() {
    let mut guest = falls_back("true");
    assert_eq!(guest.wait_booted().unwrap(), Slot::A);
}

/// When the power is cut during an installation.
#[derive(Debug)]
enum Moment {
    /// When so many sectors of the slot were written.
    Sectors(u64),
    /// So long after the whole image was: while it is flushed, noted down and activated.
    AtTheEnd(Duration),
}

/// Sectors that were written to B since the machine's start, or nothing once RAUC has finished.
fn written(guest: &mut Guest) -> (u64, bool) {
    let command = "cut -c 1-200 /sys/block/vda/vda4/stat | awk '{print $7}'; \
        test -e /run/install-ended && echo ended";
    let said = guest.run(command, LIMIT).unwrap().out;
    let sectors = said.lines().next().unwrap().parse().unwrap();
    (sectors, said.contains("ended"))
}

#[test]
fn a_power_cut_at_any_moment_of_an_installation_leaves_a_slot_that_boots() {
    let random = || RandomState::new().build_hasher().finish();
    let sectors_all = 168 * 2048;
    let moments = [
        Moment::Sectors(random() % (sectors_all / 3)),
        Moment::Sectors(sectors_all / 3 + random() % (sectors_all / 2)),
        Moment::AtTheEnd(Duration::from_millis(random() % 3000)),
    ];
    for moment in moments {
        eprintln!("power cut at {moment:?}");
        let mut guest = booted();
        guest.copy_in(&image().bundle(Nature::Good), "/data/bundle.raucb").unwrap();
        text(&mut guest, "echo flushed >/data/flushed && sync /data/flushed");
        guest.begin("rauc install /data/bundle.raucb; touch /run/install-ended").unwrap();
        cut(&mut guest, &moment);
        guest.power_on().unwrap();
        let slot = guest.wait_booted().unwrap();
        let loader = guest.boot_loader().unwrap();
        eprintln!("after the power cut at {moment:?}: booted {slot}, {loader:?}");
        assert_eq!(text(&mut guest, "cat /data/flushed"), "flushed");
        if slot == Slot::A {
            assert_eq!(text(&mut guest, "cat /etc/takt-os-version"), "1.0.0");
            assert!(!loader.b_ok && loader.a_ok, "half an image may not boot: {loader:?}");
        } else {
            assert_eq!(text(&mut guest, "cat /etc/takt-os-version"), "2.0.0");
            assert!(loader.a_ok && loader.order == [Slot::B, Slot::A], "{loader:?}");
        }
    }
}

fn cut(guest: &mut Guest, moment: &Moment) {
    let wanted = match moment {
        Moment::Sectors(sectors) => *sectors,
        Moment::AtTheEnd(_) => 168 * 2048 - 8,
    };
    let reached = wait_until("the moment of the power cut", INSTALL_LIMIT, || {
        let (sectors, ended) = written(guest);
        Ok(if sectors >= wanted || ended { Ok(()) } else { Err(format!("{sectors} of {wanted} sectors")) })
    });
    reached.unwrap();
    if let Moment::AtTheEnd(after) = moment {
        takt_tests::fleet::pause(*after);
    }
    guest.power_cut();
}

#[test]
fn a_power_cut_loses_what_was_not_flushed_and_nothing_else() {
    let mut guest = booted();
    text(&mut guest, "dd if=/dev/urandom of=/data/flushed bs=1M count=4 conv=fsync status=none");
    let sum = text(&mut guest, "sha256sum </data/flushed");
    // Through the page cache and to the disk, but without a flush: QEMU has it, and loses it.
    text(&mut guest, "dd if=/dev/zero bs=1M count=1 oflag=direct of=/dev/vda4 seek=20 status=none");
    text(
        &mut guest,
        "dd if=/data/flushed of=/dev/vda4 bs=1M count=1 oflag=direct seek=40 status=none; echo >/data/unflushed",
    );
    guest.power_cut();
    guest.power_on().unwrap();
    guest.wait_booted().unwrap();
    assert_eq!(text(&mut guest, "sha256sum </data/flushed"), sum);
    assert_ne!(
        guest.run("test -e /data/unflushed", LIMIT).unwrap().code,
        0,
        "it was never written to the disk"
    );
    let same = "cmp --silent --bytes 1048576 --ignore-initial $((40 << 20)):0 /dev/vda4 /data/flushed";
    assert_ne!(guest.run(same, LIMIT).unwrap().code, 0, "the disk's own cache outlived the power cut");
}

#[test]
fn a_live_patch_loads_reaches_its_end_is_seen_and_goes_and_one_for_another_kernel_is_refused() {
    let mut guest = booted();
    let image = image();
    guest.copy_in(&image.live_patch(), "/run/takt_cmdline.ko").unwrap();
    guest.copy_in(&image.live_patch_of_another_release(), "/run/other.ko").unwrap();
    let before = text(&mut guest, "cat /proc/cmdline");
    let state = "/sys/kernel/livepatch/takt_cmdline";
    let in_place =
        format!("timeout 60 bash -c 'until [ $(cat {state}/transition) = 0 ]; do sleep 0.2; done'");

    let refused = guest.run("insmod /run/other.ko", LIMIT).unwrap();
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("Invalid module format"), "{refused:?}");

    text(&mut guest, &format!("insmod /run/takt_cmdline.ko && {in_place}"));
    assert_eq!(text(&mut guest, &format!("cat {state}/enabled /proc/cmdline")), "1\ntakt live patch");
    text(
        &mut guest,
        &format!("echo 0 >{state}/enabled; timeout 60 bash -c 'while [ -e {state} ]; do sleep 0.2; done'"),
    );
    text(&mut guest, "rmmod takt_cmdline");
    assert_eq!(text(&mut guest, "cat /proc/cmdline"), before);
}

#[test]
fn the_guest_reaches_the_ports_that_are_forwarded_and_nothing_else() {
    let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, other) = (open.local_addr().unwrap().port(), closed.local_addr().unwrap().port());
    let spec = GuestSpec { forwards: vec![Forward::same(port)], ..GuestSpec::default() };
    let mut guest = Guest::booted(&image(), spec).unwrap();
    let server = std::thread::spawn(move || {
        for stream in open.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut word = [0; 5];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(&word.map(|byte| byte.to_ascii_uppercase())).unwrap();
        }
    });
    for _ in 0..2 {
        let talk = format!("exec 3<>/dev/tcp/10.0.2.2/{port}; echo -n hello >&3; head -c 5 <&3");
        assert_eq!(text(&mut guest, &talk), "HELLO");
    }
    server.join().unwrap();
    for address in [format!("10.0.2.2/{other}"), format!("10.0.2.1/{other}"), format!("10.0.2.1/{port}")] {
        let said = guest.run(&format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{address}'"), LIMIT).unwrap();
        assert_ne!(said.code, 0, "{address} was reached");
    }
}

#[test]
fn a_machine_ends_with_the_thread_that_started_it() {
    let folder = std::thread::spawn(|| {
        let mut guest = Guest::new(&image(), GuestSpec::default()).unwrap();
        guest.power_on().unwrap();
        wait_for_console(&guest, "boots A", BOOT_LIMIT);
        let folder = guest.folder().to_owned();
        assert_eq!(machines_in(&folder), 1);
        // What a killed process does not do either.
        std::mem::forget(guest);
        folder
    });
    let folder = folder.join().unwrap();
    let gone = wait_until("the machine's end", LIMIT, || {
        Ok(if machines_in(&folder) == 0 { Ok(()) } else { Err("it runs".to_owned()) })
    });
    gone.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

fn machines_in(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands
        .filter(|command| {
            let command = String::from_utf8_lossy(command);
            command.starts_with("qemu-system-x86_64") && command.contains(folder)
        })
        .count()
}
