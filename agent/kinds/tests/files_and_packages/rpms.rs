//! Sets of RPM packages, with a real rpm.

use std::fs;

use serde_json::json;

use crate::deb::{read, run};
use crate::rpm::{Rpm, device, rpm, set, whole};
use crate::shot::make;
use crate::world::World;

fn old() -> [Rpm; 2] {
    let app = Rpm::new("app", "1.0")
        .preamble("Requires: lib")
        .file("%config", "/etc/app.conf", "delivered with 1")
        .file("%config(noreplace)", "/etc/app.keep", "keep of 1")
        .file("%config", "/etc/app.same", "same")
        .file("", "/usr/share/app/only-old", "old");
    [app, Rpm::new("lib", "1.0")]
}

fn new() -> [Rpm; 3] {
    let app = Rpm::new("app", "2.0")
        .preamble("Requires: lib >= 2, more")
        .file("%config", "/etc/app.conf", "delivered with 2")
        .file("%config(noreplace)", "/etc/app.keep", "keep of 2")
        .file("%config", "/etc/app.same", "same")
        .file("%config", "/etc/app.new", "new in 2");
    [app, Rpm::new("lib", "2.0"), Rpm::new("more", "7").file("%config", "/etc/more.conf", "more")]
}

/// A device on which Takt installed the application, and people changed its configuration.
fn filled() -> World {
    let mut world = device();
    let [app, lib] = old();
    let step = set(&world, &[&app, &lib], "keep");
    world.step(step);
    world.settings["key"]["index"] = json!(0);
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    world.must("settle", "Applied");
    world.settings["key"]["index"] = json!(1);
    make(&world.on("etc/app.conf"), "by the device\n", 0o640, (5, 6), &[]);
    make(&world.on("etc/app.keep"), "kept by the device\n", 0o644, (0, 0), &[]);
    let [app, lib, more] = new();
    let step = set(&world, &[&app, &lib, &more], "keep");
    world.step(step);
    world
}

fn assert_new(world: &World) {
    assert_eq!(whole(world).1, "app 2.0-1\nlib 2.0-1\nmore 7-1");
    assert_eq!(read(world, "usr/share/app/data"), "app 2.0\n");
    assert_eq!(read(world, "etc/app.conf"), "by the device\n");
    assert_eq!(read(world, "etc/app.keep"), "kept by the device\n");
    assert_eq!(read(world, "etc/app.conf.rpmnew"), "delivered with 2\n");
    assert_eq!(read(world, "etc/app.keep.rpmnew"), "keep of 2\n");
    assert!(!world.on("etc/app.conf.rpmsave").exists());
    assert!(!world.on("usr/share/app/only-old").exists());
}

#[test]
fn rpm_packages_of_takt_are_replaced_and_come_back_byte_for_byte() {
    let world = filled();
    let before = whole(&world);
    world.must("look", "Untouched");
    world.must("stage", "Prepared");
    assert_eq!(whole(&world), before);
    world.must("switch", "Applied");
    assert_new(&world);
    world.must("confirm", "Confirmed");
    world.must("back", "Prepared");
    assert_eq!(whole(&world), before);
    world.must("switch", "Applied");
    world.must("settle", "Applied");
}

#[test]
fn rpm_configuration_of_the_package_takes_the_place_of_the_devices_where_the_release_says_so() {
    let mut world = filled();
    let before = whole(&world);
    world.settings["step"]["conffiles"] = json!("take");
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert_eq!(read(&world, "etc/app.conf"), "delivered with 2\n");
    assert_eq!(read(&world, "etc/app.keep"), "keep of 2\n");
    assert_eq!(read(&world, "etc/app.keep.rpmsave"), "kept by the device\n");
    assert!(!world.on("etc/app.keep.rpmnew").exists());
    world.must("back", "Prepared");
    assert_eq!(whole(&world), before);
}

#[test]
fn an_rpm_that_takt_did_not_install_has_no_way_back_and_is_refused() {
    let mut world = device();
    for package in [Rpm::new("lib", "1.0"), Rpm::new("other", "3")] {
        let file = world.beside("by-hand.rpm");
        fs::write(&file, package.build()).unwrap();
        run(rpm(&world).arg("-U").arg(file));
    }
    let before = whole(&world);
    let step = set(&world, &[&Rpm::new("lib", "2.0")], "keep");
    world.step(step);
    world.must_fail(
        "stage",
        "Prepare failed (Fatal): keep package 'lib': version 1.0-1 was not installed by Takt",
    );
    assert_eq!(whole(&world), before);
    // What was not there before needs none, and what stays as it is neither.
    let step = set(&world, &[&Rpm::new("more", "7"), &Rpm::new("lib", "1.0")], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    world.must("switch", "Applied");
    assert!(whole(&world).1.contains("more 7-1"));
    world.must("back", "Prepared");
    assert_eq!(whole(&world), before);
}

#[test]
fn an_rpm_that_lies_or_lacks_something_is_refused_before_anything_changes() {
    let mut world = filled();
    let before = whole(&world);
    let [app, lib, _] = new();
    let honest = lib.entry(world.artifact(&lib.build()));
    for (field, value, why) in [
        ("name", "other", "the manifest says Name other, its file says lib"),
        ("version", "2.0-2", "the manifest says EVR 2.0-2, its file says 2.0-1"),
        ("architecture", "x86_64", "the manifest says Arch x86_64, its file says noarch"),
    ] {
        let mut lie = honest.clone();
        lie[field] = json!(value);
        world.step(json!({"kind": "package", "format": "rpm", "packages": [lie]}));
        world.must_fail("stage", why);
    }
    // A list of addresses, which rpm would fetch.
    let mut list = honest;
    list["file"] = json!(world.artifact(b"http://127.0.0.1:9/lib.rpm\n"));
    world.step(json!({"kind": "package", "format": "rpm", "packages": [list]}));
    world.must_fail("stage", "Prepare failed (Fatal): run 'rpm'");
    let step = set(&world, &[&app, &lib], "keep");
    world.step(step);
    world.must_fail(
        "stage",
        "install the packages: error: Failed dependencies: more is needed by app-2.0-1.noarch",
    );
    assert_eq!(whole(&world), before);
}

/// rpm is killed by one of the release's scripts, once.
fn killed_in(script: &str) -> (World, (crate::shot::Shot, String)) {
    let mut world = filled();
    let before = whole(&world);
    let [app, lib, more] = new();
    let once = "if [ ! -e /var/killed ]; then touch /var/killed; kill -9 $PPID; exit 1; fi";
    let step = set(&world, &[&app.script(script, once), &lib, &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let died = world.go("switch");
    assert!(died.said.contains("run 'rpm': it was ended by signal 9"), "{died:?}");
    (world, before)
}

#[test]
fn an_rpm_that_was_killed_is_seen_and_repaired() {
    for script in ["pre", "post", "posttrans"] {
        let (world, _) = killed_in(script);
        let now = world.go("look").said;
        assert!(now.starts_with("Half(") || now == "Prepared" && script == "pre", "{script}: {now}");
        world.must("switch", "Applied");
        assert_new(&world);
    }
}

#[test]
fn an_rpm_that_was_killed_is_taken_back() {
    for script in ["pre", "post", "posttrans"] {
        let (world, before) = killed_in(script);
        world.must("back", "Prepared");
        fs::remove_file(world.on("var/killed")).unwrap();
        assert_eq!(whole(&world), before, "{script}");
    }
}

#[test]
fn an_rpm_that_was_cut_off_before_it_noted_anything_is_seen_by_its_files() {
    let world = filled();
    let before = whole(&world);
    world.must("stage", "Prepared");
    // As after a power cut in the middle of the files: the database knows only the previous version.
    fs::write(world.way_back().join("takt-00-app-g1-7.1/began"), "").unwrap();
    fs::write(world.on("usr/share/app/data"), "app 2").unwrap();
    world.must("look", "Half(\"'/usr/share/app/data' of 'app' is not as it was delivered\")");
    world.must("back", "Prepared");
    let mut after = whole(&world);
    after.0.get_mut("usr/share/app/data").unwrap().modified = before.0["usr/share/app/data"].modified;
    assert_eq!(after, before);
    world.must("switch", "Applied");
    assert_new(&world);
}

#[test]
fn a_script_of_an_rpm_that_fails_leaves_the_way_back_whole() {
    let mut world = filled();
    let before = whole(&world);
    let [app, lib, more] = new();
    let step = set(&world, &[&app.script("pre", "echo no such luck; exit 1"), &lib, &more], "keep");
    world.step(step);
    world.must("stage", "Prepared");
    let failed = world.go("switch").said;
    assert!(failed.starts_with("Apply failed (Fatal): "), "{failed}");
    assert!(failed.contains("no such luck"), "{failed}");
    world.must("back", "Prepared");
    assert_eq!(whole(&world), before);
}

#[test]
fn an_rpm_step_cut_at_every_point_goes_both_ways() {
    let world = filled();
    let before = whole(&world);
    world.save();
    let mut cuts = 0;
    for (gone, part) in [(None, "stage"), (Some("stage"), "switch"), (Some("switch"), "back")] {
        world.load();
        assert!(gone.is_none_or(|gone| world.go(gone).well));
        world.save();
        for (index, point) in world.points(part).iter().enumerate() {
            world.load();
            let died = world.go_armed(part, point);
            assert!(died.killed, "{part} at {point}: {died:?}");
            cuts += 1;
            // Forward after every second cut only: the way back is what must never fail.
            if part == "switch" && index % 2 == 0 {
                world.must("switch", "Applied");
                assert_new(&world);
            }
            let back = world.go("back");
            assert!(back.well, "{part} at {point}: {back:?}");
            assert_eq!(whole(&world), before, "{part} at {point}");
        }
    }
    assert!(cuts >= 40, "{cuts}");
}

#[test]
fn an_rpm_step_that_takes_the_packages_configuration_is_completed_after_a_cut_at_every_point() {
    let mut world = filled();
    world.settings["step"]["conffiles"] = json!("take");
    world.must("stage", "Prepared");
    world.save();
    for point in world.points("switch").iter().filter(|point| point.contains(":place.")) {
        world.load();
        let died = world.go_armed("switch", point);
        assert!(died.killed, "{point}: {died:?}");
        world.must("switch", "Applied");
        for (name, brought, own) in [
            ("app.conf", "delivered with 2\n", "by the device\n"),
            ("app.keep", "keep of 2\n", "kept by the device\n"),
        ] {
            assert_eq!(read(&world, &format!("etc/{name}")), brought, "{point}");
            assert_eq!(read(&world, &format!("etc/{name}.rpmsave")), own, "{point}");
            assert!(!world.on(&format!("etc/{name}.rpmnew")).exists(), "{point}");
        }
    }
}
