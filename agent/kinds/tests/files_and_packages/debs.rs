//! Sets of Debian packages, with a real dpkg.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use serde_json::json;

use crate::deb::{Deb, device, dpkg, file, install, install_all, packages, read, run, set, whole};
use crate::shot::make;
use crate::world::{Ended, World};

/// An application of two packages, and one that wants to know of every change of its files.
pub(crate) fn old() -> [Deb; 3] {
    let app = Deb::new("app", "1.0-1")
        .field("Depends: lib")
        .conffile("etc/app.conf", "delivered with 1\n")
        .conffile("etc/app.extra", "extra of 1\n")
        .file("usr/share/app/only-old", "old\n")
        .link("usr/share/app/link", "data")
        .link("usr/share/app/hard", "hard:usr/share/app/data")
        .script("postinst", "echo \"app 1 $1 $2\" > /var/app.state")
        .script("postrm", "[ \"$1\" != purge ] || rm -f /var/app.state");
    let lib = Deb::new("lib", "1:1.0").file("usr/lib/lib.so", "lib 1\n");
    let watch = Deb::new("watch", "1")
        .control("triggers", "interest /usr/share/app\n")
        .script("postinst", "mkdir -p /var; echo \"$1\" > /var/watch.state");
    [lib, app, watch]
}

/// What the release brings: two new versions, and a package that was not there.
pub(crate) fn new() -> [Deb; 3] {
    let app = Deb::new("app", "2.0-1")
        .field("Depends: lib (>= 1:2.0), more")
        .conffile("etc/app.conf", "delivered with 2\n")
        .conffile("etc/app.extra", "extra of 2\n")
        .conffile("etc/app.new", "new in 2\n")
        .script("postinst", "echo \"app 2 $1 $2\" > /var/app.state");
    let lib = Deb::new("lib", "1:2.0").file("usr/lib/lib.so", "lib 2\n").field("Breaks: app (<< 2)");
    let more = Deb::new("more", "7").conffile("etc/more.conf", "more\n");
    [lib, app, more]
}

/// A device on which people installed the application, and changed its configuration.
pub(crate) fn filled() -> World {
    let mut world = device();
    fs::create_dir_all(world.on("var")).unwrap();
    for deb in old() {
        install(&world, &deb);
    }
    make(&world.on("etc/app.conf"), "by the device\n", 0o640, (5, 6), &[("user.who", b"me")]);
    let [lib, app, more] = new();
    let step = set(&world, &[&lib, &app, &more], "keep");
    world.step(step);
    world
}

pub(crate) fn assert_new(world: &World) {
    let all = packages(world);
    for line in
        ["app 2.0-1 install ok installed", "lib 1:2.0 install ok installed", "more 7 install ok installed"]
    {
        assert!(all.contains(line), "{all}");
    }
    assert_eq!(read(world, "usr/share/app/data"), "app 2.0-1\n");
    assert_eq!(read(world, "usr/lib/lib.so"), "lib 2\n");
    assert_eq!(read(world, "etc/app.conf"), "by the device\n");
    assert_eq!(read(world, "etc/app.extra"), "extra of 2\n");
    assert!(!world.on("usr/share/app/only-old").exists());
    assert!(all.contains("watch 1 install ok installed"), "{all}");
}

/// Scripts of the previous packages have run again: what they write is theirs.
pub(crate) fn assert_back(world: &World, before: &(crate::shot::Shot, String)) {
    let mut now = whole(world);
    let mut before = before.clone();
    for state in ["var/app.state", "var/watch.state"] {
        now.0.remove(state);
        before.0.remove(state);
    }
    for name in before.0.keys().chain(now.0.keys()) {
        assert_eq!(now.0.get(name), before.0.get(name), "{name}");
    }
    assert_eq!(now.1, before.1);
}

#[test]
fn packages_that_others_installed_are_replaced_and_come_back_byte_for_byte() {
    let world = filled();
    let before = whole(&world);
    world.must("look", "Untouched");
    world.must("stage", "Prepared");
    assert_eq!(whole(&world), before, "preparing changes nothing that is in force");
    world.must("switch", "Applied");
    assert_new(&world);
    assert_eq!(read(&world, "etc/app.conf.dpkg-dist"), "delivered with 2\n");
    assert_eq!(read(&world, "var/watch.state"), "triggered\n");
    world.must("confirm", "Confirmed");
    world.must("back", "Prepared");
    assert_back(&world, &before);
    world.must("switch", "Applied");
    world.must("settle", "Applied");
}

#[test]
fn after_a_way_back_dpkg_still_knows_what_the_device_has_changed() {
    let world = filled();
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    install_all(&world, &new().each_ref());
    assert_eq!(read(&world, "etc/app.conf"), "by the device\n");
    assert_eq!(read(&world, "etc/app.extra"), "extra of 2\n");
}

#[test]
fn the_packages_configuration_takes_the_place_of_the_devices_where_the_release_says_so() {
    let mut world = filled();
    fs::remove_file(world.on("etc/app.extra")).unwrap();
    let before = whole(&world);
    world.settings["step"]["conffiles"] = json!("take");
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert_eq!(read(&world, "etc/app.conf"), "delivered with 2\n");
    assert_eq!(read(&world, "etc/app.extra"), "extra of 2\n");
    assert_eq!(read(&world, "etc/app.conf.dpkg-old"), "by the device\n");
    world.must("back", "Prepared");
    assert_back(&world, &before);
}

#[test]
fn what_takt_installed_comes_back_from_its_own_file() {
    let mut world = device();
    let (one, two) = (Deb::new("app", "1"), Deb::new("app", "2"));
    let step = set(&world, &[&one], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("settle", "Applied");
    let artifact =
        world.beside("artifacts").join(world.settings["step"]["packages"][0]["file"].as_str().unwrap());
    world.settings["key"]["index"] = json!(2);
    let step = set(&world, &[&two], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let kept = world.way_back().join("takt-00-app-g1-7.2/0.deb");
    assert_eq!(fs::metadata(&kept).unwrap().ino(), fs::metadata(&artifact).unwrap().ino());
    // The store may forget it from now on.
    fs::remove_file(&artifact).unwrap();
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    assert_eq!(read(&world, "usr/share/app/data"), "app 1\n");
    // Now it is gone, and is made again from what is installed.
    fs::remove_file(&kept).unwrap();
    world.must("settle", "Untouched");
    world.must("stage", "Prepared");
    assert_ne!(fs::metadata(&kept).unwrap().nlink(), 2);
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    assert_eq!(read(&world, "usr/share/app/data"), "app 1\n");
}

#[test]
fn a_file_whose_control_data_lies_is_refused_before_anything_changes() {
    let mut world = filled();
    let before = whole(&world);
    let [_, app, _] = new();
    let honest = app.entry(world.artifact(&app.build()));
    for (field, value, why) in [
        ("name", "other", "use package 'other': the manifest says Package other, its file says app"),
        ("version", "2.0-2", "use package 'app': the manifest says Version 2.0-2, its file says 2.0-1"),
        (
            "architecture",
            "amd64",
            "use package 'app': the manifest says Architecture amd64, its file says all",
        ),
    ] {
        let mut lie = honest.clone();
        lie[field] = json!(value);
        world.step(json!({"kind": "package", "format": "deb", "packages": [lie]}));
        world.must_fail("stage", &format!("Prepare failed (Fatal): {why}"));
    }
    let mut no_deb = honest.clone();
    no_deb["file"] = json!(world.artifact(b"no package"));
    world.step(json!({"kind": "package", "format": "deb", "packages": [no_deb]}));
    world.must_fail("stage", "run 'dpkg-deb': it ended with code 2: ");
    let mut absent = honest;
    absent["file"] = json!("0".repeat(64));
    world.step(json!({"kind": "package", "format": "deb", "packages": [absent]}));
    world.must_fail("stage", "use package 'app': its file '");
    let astray = Deb::new("astray", "1").conffile("../outside", "content\n");
    let step = set(&world, &[&astray], "take");
    world.step(step);
    world.must_fail("stage", "use package 'astray': its list of configuration files names '/../outside'");
    let swollen = Deb::new("swollen", "1").control("md5sums", &"0".repeat(40 << 20));
    let step = set(&world, &[&swollen], "take");
    world.step(step);
    world.must_fail("stage", "use package 'swollen': its control data unpacks to more than 32 MiB");
    // What is missing by its own word, although the manifest is right.
    let needy = Deb::new("needy", "1").field("Depends: nothing-has-this");
    let step = set(&world, &[&needy], "keep");
    world.step(step);
    world.must_fail(
        "stage",
        "needy depends on nothing-has-this; however: Package nothing-has-this is not installed",
    );
    assert_eq!(whole(&world), before);
    world.must("settle", "Untouched");
    assert!(!world.way_back().join("takt-00-app-g1-7.1").exists());
}

#[test]
fn what_is_missing_or_in_the_way_is_refused_with_its_name() {
    let mut world = filled();
    let before = whole(&world);
    let [lib, app, more] = new();
    let cases = [
        (
            vec![app.clone(), more.clone()],
            "app depends on lib (>= 1:2.0); however: Version of lib on system is 1:1.0",
        ),
        (vec![app.clone(), lib.clone()], "app depends on more; however: Package more is not installed"),
        (vec![lib.clone()], "breaks"),
        (vec![Deb::new("rival", "1").field("Conflicts: app")], "conflicting packages - not installing rival"),
        (
            vec![Deb::new("early", "1").field("Pre-Depends: late"), Deb::new("late", "1")],
            "early pre-depends on late",
        ),
        (
            vec![Deb::new("foreign", "1").field("Architecture: s390x")],
            "the manifest says Architecture all, its file says s390x",
        ),
    ];
    for (debs, why) in cases {
        let step = set(&world, &debs.iter().collect::<Vec<_>>(), "keep");
        world.step(step);
        world.must_fail("stage", why);
        assert_eq!(whole(&world), before, "{why}");
    }
    // Somebody's package that needs the previous version.
    install(&world, &Deb::new("addon", "1").field("Depends: app (<< 2)"));
    let step = set(&world, &[&lib, &app, &more], "keep");
    world.step(step);
    world.must_fail("stage", "addon depends on app (<< 2); however: Version of app on system is 2.0-1");
    // One that was broken before is no reason.
    run(dpkg(&world)
        .args(["--force-depends", "-i"])
        .arg(file(&world, &Deb::new("addon", "2").field("Depends: app, nothing"))));
    world.must("stage", "Prepared");
}

#[test]
fn a_package_that_does_not_configure_fails_and_the_way_back_is_whole() {
    let mut world = filled();
    let before = whole(&world);
    let [lib, app, more] = new();
    let step = set(&world, &[&lib, &app.script("postinst", "echo no such luck >&2; exit 1"), &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let failed = world.go("switch").said;
    assert!(failed.starts_with("Apply failed (Fatal): run 'dpkg': it ended with code 1: "), "{failed}");
    assert!(failed.contains("no such luck"), "{failed}");
    world.must("look", "Half(\"'app' 2.0-1 is half-configured\")");
    world.must("back", "Prepared");
    assert_back(&world, &before);
}

/// dpkg is killed by one of the release's scripts, once: what power cuts leave.
fn killed_in(name: &str, script: &str) -> (World, (crate::shot::Shot, String)) {
    let mut world = filled();
    let before = whole(&world);
    let [lib, app, more] = new();
    let once = "if [ ! -e /var/killed ]; then touch /var/killed; kill -9 $PPID; exit 1; fi";
    let pick = |deb: Deb, own: &str| if name == own { deb.script(script, once) } else { deb };
    let (lib, app, more) = (pick(lib, "lib"), pick(app, "app"), pick(more, "more"));
    let step = set(&world, &[&lib, &app, &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let died = world.go("switch");
    assert!(
        died.said.starts_with("Apply failed (Transient): run 'dpkg': it was ended by signal 9"),
        "{died:?}"
    );
    (world, before)
}

#[test]
fn a_dpkg_that_was_killed_is_seen_and_repaired() {
    for (name, script) in [
        ("lib", "preinst"),
        ("app", "preinst"),
        ("lib", "postinst"),
        ("app", "postinst"),
        ("more", "postinst"),
        ("more", "preinst"),
    ] {
        let (world, _) = killed_in(name, script);
        let now = world.go("look").said;
        assert!(now.starts_with("Half("), "{name} {script}: {now}");
        world.must("switch", "Applied");
        fs::remove_file(world.on("var/killed")).unwrap();
        assert_new(&world);
        assert!(fs::read_dir(world.on("var/lib/dpkg/updates")).unwrap().next().is_none());
    }
}

#[test]
fn a_dpkg_that_was_killed_is_taken_back() {
    for (name, script) in [
        ("lib", "preinst"),
        ("app", "preinst"),
        ("lib", "postinst"),
        ("app", "postinst"),
        ("more", "postinst"),
        ("more", "preinst"),
    ] {
        let (world, before) = killed_in(name, script);
        world.must("back", "Prepared");
        fs::remove_file(world.on("var/killed")).unwrap();
        assert_back(&world, &before);
        world.must("settle", "Untouched");
    }
}

#[test]
fn a_dpkg_that_is_killed_on_the_way_back_is_taken_back_by_the_next_try() {
    let world = filled();
    let before = whole(&world);
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    // The previous package's own script; it lies in the kept file too, and there it does no harm.
    let script = world.on("var/lib/dpkg/info/app.postrm");
    fs::write(&script, "#!/bin/sh\n[ -e /var/killed ] || { touch /var/killed; kill -9 $PPID; }\n").unwrap();
    make(&script, &fs::read_to_string(&script).unwrap(), 0o755, (0, 0), &[]);
    assert!(world.go("back").said.contains("it was ended by signal 9"));
    world.must("back", "Prepared");
    fs::remove_file(world.on("var/killed")).unwrap();
    assert_back(&world, &before);
}

#[test]
fn what_dpkg_was_cut_off_in_before_the_order_is_mended_or_named() {
    let mut world = filled();
    let once = "if [ ! -e /var/failed ]; then touch /var/failed; exit 1; fi";
    let [_, app, _] = old();
    let again = file(&world, &app.script("postinst", once));
    assert!(!dpkg(&world).args(["--force-confold", "-i"]).arg(again).output().unwrap().status.success());
    world.must("look", "Half(\"'app' 1.0-1 is half-configured\")");
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert_new(&world);
    world.must("settle", "Applied");
    // What is half unpacked cannot be made into a file again.
    let dies = file(
        &world,
        &Deb::new("app", "2.0-2").field("Depends: lib").script("preinst", "kill -9 $PPID; exit 1"),
    );
    assert!(!dpkg(&world).args(["-i"]).arg(dies).output().unwrap().status.success());
    let [lib, _, more] = new();
    let step = set(&world, &[&lib, &Deb::new("app", "3"), &more], "keep");
    world.step(step);
    let named = "keep package 'app': it is half-installed and must be reinstalled since before this order, and \
                 cannot be mended; install it anew first";
    world.must_fail("stage", named);
}

#[test]
fn a_lock_that_somebody_else_holds_is_waited_for_within_its_limit() {
    let mut world = filled();
    let hold = "echo > /var/holding; while [ ! -e /var/go-on ]; do sleep 0.05; done";
    let slow = file(&world, &Deb::new("slow", "1").script("postinst", hold));
    let mut other = dpkg(&world).arg("-i").arg(slow).stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_for(|| world.on("var/holding").exists());
    world.settings["lock_wait_millis"] = json!(300);
    let busy = format!("held by process {} (dpkg)", other.id());
    let failed = world.go("stage").said;
    assert!(failed.starts_with("Prepare failed (Transient): lock the package database: "), "{failed}");
    assert!(failed.contains(&busy.replace("held by ", "")), "{failed}");
    world.settings["lock_wait_millis"] = json!(60_000);
    let mut waiting = world.command("stage").stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    fs::write(world.on("var/go-on"), "").unwrap();
    let ended = Ended::of(&waiting.wait_with_output().unwrap());
    assert_eq!(ended.said, "Prepared");
    assert!(other.wait().unwrap().success());
}

/// Waits, with a limit.
#[track_caller]
pub(crate) fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        run(Command::new("sleep").arg("0.01"));
    }
    panic!("it did not happen within 10 s");
}

#[test]
fn dpkg_goes_on_when_the_agent_is_killed_and_the_agent_sees_it() {
    let mut world = filled();
    let [lib, app, more] = new();
    let hold = "echo > /var/holding; while [ ! -e /var/go-on ]; do sleep 0.05; done; echo and much to say";
    let step = set(&world, &[&lib, &app.script("postinst", hold), &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let mut agent = world.command("switch").spawn().unwrap();
    wait_for(|| world.on("var/holding").exists());
    agent.kill().unwrap();
    agent.wait().unwrap();
    let now = world.go("look").said;
    assert!(
        now.starts_with("Half(\"the package database is being changed by process ")
            && now.ends_with("(dpkg)\")"),
        "{now}"
    );
    let waiting = world.command("switch").stdout(std::process::Stdio::piped()).spawn().unwrap();
    fs::write(world.on("var/go-on"), "").unwrap();
    assert_eq!(Ended::of(&waiting.wait_with_output().unwrap()).said, "Applied");
    fs::remove_file(world.on("var/go-on")).unwrap();
    fs::remove_file(world.on("var/holding")).unwrap();
    assert_new(&world);
}

#[test]
fn a_script_that_hangs_is_ended_at_the_limit_and_taken_back() {
    let mut world = filled();
    let before = whole(&world);
    let [lib, app, more] = new();
    let step = set(&world, &[&lib, &app.script("postinst", "echo hanging; sleep 600"), &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    world.settings["run_millis_max"] = json!(2000);
    let failed = world.go("switch").said;
    assert!(
        failed.starts_with("Apply failed (Fatal): run 'dpkg': it did not end within 2 s, and was killed"),
        "{failed}"
    );
    assert!(failed.contains("hanging"), "{failed}");
    world.settings["run_millis_max"] = json!(60_000);
    world.must("back", "Prepared");
    assert_back(&world, &before);
}

#[test]
fn a_package_that_was_removed_but_not_purged_comes_back_as_that() {
    let mut world = filled();
    run(dpkg(&world).args(["--remove", "app"]));
    let before = whole(&world);
    assert!(before.1.contains("app 1.0-1 deinstall ok config-files"));
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert_new(&world);
    world.must("back", "Prepared");
    let mut after = whole(&world);
    // dpkg remembers which version was removed last, and that is true.
    assert!(after.1.contains("app 2.0-1 deinstall ok config-files"), "{}", after.1);
    after.1 = after.1.replace("app 2.0-1", "app 1.0-1");
    after.0.remove("var/watch.state");
    let mut before = before;
    before.0.remove("var/watch.state");
    before.0.remove("var/app.state");
    after.0.remove("var/app.state");
    assert_eq!(after, before);
    world.settings["step"]["conffiles"] = json!("take");
    world.must("settle", "Untouched");
}

#[test]
fn what_is_installed_already_is_in_force_and_an_order_for_it_takes_nothing_back() {
    let mut world = filled();
    world.must("stage", "Prepared");
    install_all(&world, &new().each_ref());
    world.must("look", "Applied");
    world.must("settle", "Applied");
    world.settings["key"]["index"] = json!(2);
    world.must("stage", "Applied");
    world.must("switch", "Applied");
    let before = whole(&world);
    world.must("back", "Untouched");
    assert_eq!(whole(&world), before);
}

#[test]
fn a_version_that_somebody_installs_in_between_is_kept_anew() {
    let world = filled();
    world.must("stage", "Prepared");
    install(&world, &Deb::new("lib", "1:1.5").file("usr/lib/lib.so", "lib 1.5\n"));
    fs::write(world.on("etc/app.extra"), "changed after it was kept\n").unwrap();
    let before = whole(&world);
    world.must("look", "Untouched");
    world.must("switch", "Applied");
    world.must("back", "Prepared");
    assert_back(&world, &before);
}

#[test]
fn a_configuration_that_changes_until_the_last_moment_comes_back_as_it_was_then() {
    let world = filled();
    world.must("stage", "Prepared");
    fs::write(world.on("etc/app.conf"), "changed after it was kept\n").unwrap();
    let before = whole(&world);
    world.must("switch", "Applied");
    assert_eq!(read(&world, "etc/app.conf"), "changed after it was kept\n");
    world.must("back", "Prepared");
    assert_back(&world, &before);
}

#[test]
fn what_is_made_again_has_links_moved_files_and_the_devices_own_changes() {
    let mut world = device();
    fs::create_dir_all(world.on("usr/bin")).unwrap();
    // As on a merged /usr: the package says /sbin, the device has a link there.
    fs::create_dir_all(world.on("usr/sbin")).unwrap();
    symlink("usr/sbin", world.on("sbin")).unwrap();
    // dpkg takes a link away with the last package that has a folder of its name.
    install(&world, &Deb::new("base", "1").file("sbin/base", "base\n"));
    let one = Deb::new("tool", "1")
        .file("sbin/tool", "tool 1\n")
        .file("usr/bin/moved", "moved 1\n")
        .file(&format!("usr/share/tool/{}/file", "long-name-".repeat(20)), "deep\n")
        .link("usr/share/tool/link", "../nowhere")
        .link("usr/share/tool/hard", "hard:sbin/tool")
        .conffile("etc/tool/one.conf", "one\n")
        .conffile("etc/tool/gone.conf", "gone\n")
        .script("prerm", "true");
    install(&world, &Deb::new("mover", "1").script("preinst", "true"));
    let divert = ["--local", "--rename", "--divert", "/usr/bin/moved.away", "--add", "/usr/bin/moved"];
    let admin = format!("--root={}", world.on("").display());
    run(Command::new("dpkg-divert").arg(admin).args(divert));
    install(&world, &one);
    assert_eq!(read(&world, "usr/bin/moved.away"), "moved 1\n");
    // People's own work: a link for a configuration file, one deleted, a patched file.
    fs::rename(world.on("etc/tool/one.conf"), world.on("etc/one.real")).unwrap();
    symlink("/etc/one.real", world.on("etc/tool/one.conf")).unwrap();
    fs::write(world.on("etc/one.real"), "edited\n").unwrap();
    fs::remove_file(world.on("etc/tool/gone.conf")).unwrap();
    make(&world.on("usr/sbin/tool"), "patched\n", 0o4711, (3, 4), &[]);
    let before = whole(&world);
    let two = Deb::new("tool", "2").conffile("etc/tool/one.conf", "two\n");
    let step = set(&world, &[&two], "take");
    world.step(step);
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    // What dpkg does with a configuration file that is a link is dpkg's own matter; it leaves another name there.
    assert!(world.on("etc/tool/one.conf.dpkg-new").exists());
    assert!(!world.on("usr/sbin/tool").exists());
    world.must("back", "Prepared");
    let mut after = whole(&world);
    let mut before = before;
    // A .deb knows whole seconds; the link's own time is dpkg's.
    for files in [&mut after.0, &mut before.0] {
        for entry in files.values_mut() {
            entry.modified = entry.modified.map(|(secs, _)| (secs, 0));
        }
    }
    assert_eq!(after, before);
    let linked = fs::metadata(world.on("usr/sbin/tool")).unwrap();
    assert_eq!(linked.nlink(), fs::metadata(world.on("usr/share/tool/hard")).unwrap().nlink());
}

#[test]
fn what_cannot_be_kept_is_named() {
    let mut world = device();
    install(&world, &Deb::new("odd", "1").file("usr/share/odd/pipe", ""));
    fs::remove_file(world.on("usr/share/odd/pipe")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, world.on("usr/share/odd/pipe"), rustix::fs::Mode::RUSR).unwrap();
    let step = set(&world, &[&Deb::new("odd", "2")], "keep");
    world.step(step);
    world.must_fail("stage", "usr/share/odd/pipe' is a pipe, which cannot be kept");
}

#[test]
fn a_device_without_dpkg_says_so() {
    // A root without a database is a device on which dpkg has nothing to say.
    let mut world = World::new();
    world.settings["package_root"] = json!(world.on(""));
    let step = set(&world, &[&Deb::new("app", "1")], "keep");
    world.step(step);
    let now = world.go("look").said;
    assert!(now.starts_with("Unknown(") || now == "Untouched", "{now}");
    assert!(!world.on("var").exists());
}
