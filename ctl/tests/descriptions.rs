//! `takt release new --from`: a release of every kind from real files, and what is wrong with a description in one
//! sentence with its file, line and field.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::os::unix::fs::MetadataExt as _;

use takt_common::Sha256Digest;
use takt_common::release::{
    Conffiles, HookPoint, Manifest, Network, PackageFormat, Probe, Severity, Step, Strategy,
};

mod support;
use support::Bench;
use support::kinds::WHOLE;

fn whole() -> Bench {
    let bench = Bench::new();
    bench.whole();
    bench
}

fn manifest(bench: &Bench, folder: &str) -> Manifest {
    Manifest::from_bytes(&bench.read(&format!("{folder}/manifest.json"))).unwrap()
}

#[test]
fn a_release_of_every_kind_is_made_from_its_description() {
    let bench = whole();
    let made = bench.takt("release new --from whole.toml --counter 4 --out r --json").json();
    let kinds = serde_json::json!(["file", "package", "package", "container", "live-patch", "os-image"]);
    assert_eq!((&made["kinds"], &made["notes"]), (&kinds, &serde_json::json!([])));

    let manifest = manifest(&bench, "r");
    assert_eq!((manifest.release.to_string().as_str(), manifest.counter), ("counter 2.0.0", 4));
    assert_eq!((manifest.severity, manifest.hardware[0].as_str()), (Severity::Major, "cam-x"));
    // Each file once, whole, under its digest: two hooks share their program.
    let files = [
        "settings.toml",
        "parts/hello.deb",
        "parts/tool.deb",
        "parts/hello.rpm",
        "web.tar",
        "db.tar",
        "parts/fix.ko",
        "parts/os.raucb",
        "quiet.sh",
    ];
    assert_eq!(manifest.artifacts.len(), files.len());
    let digest = |name: &str| Sha256Digest::of(&bench.read(name));
    for (name, artifact) in files.iter().zip(&manifest.artifacts) {
        assert_eq!(artifact.sha256, digest(name), "{name}");
        assert_eq!(bench.read(&format!("r/artifacts/{}", artifact.sha256)), bench.read(name), "{name}");
    }

    let [file, debs, rpms, containers, patch, image] = manifest.steps.as_slice() else { panic!("{made}") };
    let Step::File(set) = file else { panic!("{file:?}") };
    assert_eq!(set.files[0].content, Some(digest("settings.toml")));
    assert_eq!(
        (set.files[0].mode.as_deref(), set.files[0].owner.as_deref()),
        (Some("0640"), Some("root:counter"))
    );
    assert_eq!(set.files[0].xattrs["user.origin"], "takt");
    assert_eq!((set.files[1].path.as_str(), set.files[1].content), ("/etc/counter/old.toml", None));
    let Step::Package(set) = debs else { panic!("{debs:?}") };
    let said = |n: usize| {
        (
            set.packages[n].name.as_str(),
            set.packages[n].version.as_str(),
            set.packages[n].architecture.as_str(),
        )
    };
    assert_eq!(said(0), ("hello", "1:2.10-3+deb12u1~x", "all"));
    assert_eq!(said(1), ("tool", "0.1", "amd64"));
    assert_eq!((set.format, set.conffiles), (PackageFormat::Deb, Conffiles::Keep));
    let Step::Package(set) = rpms else { panic!("{rpms:?}") };
    let hello = &set.packages[0];
    assert_eq!(
        (hello.name.as_str(), hello.version.as_str(), hello.architecture.as_str()),
        ("hello", "3:2.10-1", "noarch")
    );
    assert_eq!((set.format, set.conffiles), (PackageFormat::Rpm, Conffiles::Take));
    let Step::Container(set) = containers else { panic!("{containers:?}") };
    assert_eq!(
        (set.strategies.as_slice(), set.drain_secs),
        (&[Strategy::Handover, Strategy::Replace][..], 20)
    );
    let [web, db] = set.containers.as_slice() else { panic!("{set:?}") };
    assert_eq!((web.network, web.ports[0].container_port), (Network::Bridge, Some(8080)));
    assert_eq!((web.env["LEVEL"].as_str(), web.stop_grace_secs), ("${level}", 10));
    assert_eq!((db.network, db.memory_mib, db.stop_grace_secs), (Network::Host, Some(64), 30));
    let Step::LivePatch(patch) = patch else { panic!("{patch:?}") };
    assert_eq!((patch.name.as_str(), patch.kernel.as_str()), ("livepatch_fix", "6.1.0-41-amd64"));
    assert_eq!((patch.stands_for.as_str(), patch.transition_secs), ("6.1.0-42-amd64", 60));
    let Step::OsImage(image) = image else { panic!("{image:?}") };
    assert_eq!((image.compatible.as_str(), image.version.as_str(), image.boot_secs), ("cam-x", "7.1", 300));

    let hook = &manifest.hooks[&HookPoint::PreSwitch];
    assert_eq!(
        (hook.program, hook.args.as_slice(), hook.timeout_secs),
        (digest("quiet.sh"), &["--gently".to_owned()][..], 5)
    );
    assert_eq!(manifest.hooks[&HookPoint::Healthy].timeout_secs, 30);
    assert_eq!(manifest.health.probes[1..], [Probe::Unit("counter.service".into()), Probe::Healthcheck]);
    assert_eq!((manifest.health.start_millis, manifest.health.probation_millis), (20_000, 40_000));
    assert_eq!((manifest.health.baseline.memory_percent, manifest.health.baseline.cpu_percent), (300, 200));
    // Two layers, the file, and what the two .debs say of their size in KiB.
    assert_eq!(manifest.unpacked_bytes, 300 + 200 + 10 + 2 * 5 * 1024);
}

#[test]
fn people_see_what_the_files_said_of_themselves() {
    let bench = whole();
    let made = bench.takt("release new --from whole.toml --counter 4 --out r").ok();
    for line in [
        "step      file: /etc/counter/settings.toml, /etc/counter/old.toml (removed)",
        "step      package: hello 1:2.10-3+deb12u1~x all, tool 0.1 amd64",
        "step      package: hello 3:2.10-1 noarch",
        "step      live-patch: livepatch_fix for kernel 6.1.0-41-amd64, until 6.1.0-42-amd64 runs",
        "step      os-image: 7.1 for cam-x",
        "hook      pre-switch ",
    ] {
        assert!(made.out.contains(line), "'{line}' is not in {made:?}");
    }
}

#[test]
fn the_command_line_names_a_release_before_its_description() {
    let bench = Bench::new();
    bench.write("f", "x");
    let file = "[[steps]]\nkind = \"file\"\nfiles = [{ path = \"/etc/f\", source = \"f\" }]\n\
                [health]\nprobes = [\"unit=f.service\"]\n";
    bench.write("nameless.toml", file);
    bench.write("named.toml", format!("name = \"a\"\nversion = \"1\"\ncounter = 3\n{file}"));
    bench
        .takt("release new --from nameless.toml --counter 1 --out r")
        .refused(2, &["nameless.toml", "name", "--name"]);
    bench
        .takt("release new --from nameless.toml --name a --counter 1 --out r")
        .refused(2, &["nameless.toml", "version", "--version"]);
    bench
        .takt("release new --from nameless.toml --name a --version 1 --out r")
        .refused(2, &["counter", "--trust"]);
    bench.takt("release new --from nameless.toml --name b --version 2 --counter 7 --out r1").ok();
    assert_eq!(manifest(&bench, "r1").release.to_string(), "b 2");
    bench.takt("release new --from named.toml --version 1.1 --out r2").ok();
    let named = manifest(&bench, "r2");
    assert_eq!((named.release.to_string().as_str(), named.counter), ("a 1.1", 3));
    bench
        .takt("release new --from named.toml --image f --out r3")
        .refused(2, &["--from", "cannot be used with", "--image"]);
    bench
        .takt("release new --from named.toml --severity major --out r3")
        .refused(2, &["--from", "--severity"]);
}

#[test]
fn a_small_file_that_is_edited_later_does_not_change_the_release() {
    let bench = Bench::new();
    bench.write("f", "as published");
    bench.write("large", vec![7; 2 * 1024 * 1024]);
    bench.write(
        "r.toml",
        "name = \"a\"\nversion = \"1\"\ncounter = 1\n[[steps]]\nkind = \"file\"\nfiles = [{ path = \"/etc/f\", \
         source = \"f\" }, { path = \"/opt/large\", source = \"large\" }]\n[health]\nprobes = [\"unit=f.service\"]\n",
    );
    bench.takt("release new --from r.toml --out r").ok();
    bench.write("f", "edited now!!");
    let [small, large] = manifest(&bench, "r").artifacts.try_into().unwrap();
    assert_eq!(bench.read(&format!("r/artifacts/{}", small.sha256)), b"as published");
    // What is large takes no space twice.
    let inode = |name: &str| std::fs::metadata(bench.path(name)).unwrap().ino();
    assert_eq!(inode(&format!("r/artifacts/{}", large.sha256)), inode("large"));
}

#[test]
fn every_bad_description_is_refused_with_file_line_and_field() {
    let bench = whole();
    bench.write("cut.deb", &bench.read("parts/hello.deb")[..400]);
    let whole_deb = bench.read("parts/hello.deb");
    bench.write("half.deb", &whole_deb[..whole_deb.len() - 200]);
    bench.write("cut.rpm", &bench.read("parts/hello.rpm")[..3_000]);
    bench.write("empty", "");
    bench.module("driver.ko", &["name=driver", "vermagic=6.1.0-41-amd64 SMP"]);
    bench.module("mute.ko", &["livepatch=Y", "name=mute"]);
    bench.module("quiet.o", &[]);
    let cases: &[(&str, &str, &[&str])] = &[
        ("severity = \"major\"", "severity = \"huge\"", &["line 4", "huge", "critical"]),
        ("hardware = [\"cam-x\"]", "hardwear = [\"cam-x\"]", &["line 5", "hardwear", "expected"]),
        ("name = \"counter\"", "name = \"Counter\"", &["line 2", "'Counter' is not a name"]),
        ("kind = \"file\"", "kind = \"floppy\"", &["line 8", "floppy", "os-image"]),
        ("mode = \"0640\"", "mod = \"0640\"", &["line 12", "mod"]),
        ("mode = \"0640\"", "mode = \"rw-\"", &["file.mode", "/etc/counter/settings.toml", "octal"]),
        ("owner = \"root:counter\"", "owner = \"root\"", &["file.owner", "user:group"]),
        ("path = \"/etc/counter/old.toml\"", "path = \"etc/old\"", &["file.path", "etc/old"]),
        (
            "source = \"settings.toml\"",
            "source = \"missing\"",
            &["line 11", "'source'", "missing", "No such file"],
        ),
        ("source = \"settings.toml\"", "remove = false", &["line 10", "'path'", "'remove = true'"]),
        ("remove = true", "remove = true\nsource = \"settings.toml\"", &["line 16", "either"]),
        ("conffiles = \"take\"", "conffiles = \"merge\"", &["line 26", "merge", "keep"]),
        (
            "conffiles = \"take\"",
            "drain_secs = 5",
            &["line 26", "'drain_secs'", "kind container", "kind package"],
        ),
        ("packages = [\"parts/hello.rpm\"]", "", &["line 24", "'packages'", "must have it"]),
        ("parts/tool.deb", "parts/hello.rpm", &["line 21", "hello.rpm is another form"]),
        ("parts/tool.deb", "parts/hello.deb", &["package.name", "'hello' stands there twice"]),
        ("parts/tool.deb", "cut.deb", &["line 21", "cut.deb is not a whole package"]),
        ("parts/tool.deb", "half.deb", &["line 21", "half.deb is not a whole package", "unexpected end"]),
        ("parts/tool.deb", "empty", &["line 21", "empty is neither a .deb nor an .rpm"]),
        ("parts/tool.deb", "none.deb", &["line 21", "none.deb", "No such file"]),
        ("parts/hello.rpm", "cut.rpm", &["line 25", "cut.rpm is not a whole package, says rpm"]),
        ("parts/hello.rpm", "source.rpm", &["line 25", "source.rpm is a source package"]),
        ("\"handover\", \"replace\"", "\"swap\"", &["line 30", "swap", "handover"]),
        ("ports = [\"port:8080\"]", "", &["strategies", "handover moves published ports"]),
        (
            "ports = [\"port:8080\"]",
            "ports = [\"port:0\"]",
            &["line 36", "'ports'", "port:0", "CONTAINER_PORT"],
        ),
        ("ports = [\"port:8080\"]", "ports = [\"port\"]", &["container.ports", "'container_port'"]),
        ("network = \"bridge\"", "network = \"wifi\"", &["line 35", "wifi", "bridge"]),
        (
            "image = \"db.tar\"",
            "image = \"parts/fix.ko\"",
            &["line 40", "'image'", "fix.ko is not an image archive"],
        ),
        (
            "image = \"db.tar\"",
            "image = \"parts/hello.deb\"",
            &["line 40", "'image'", "hello.deb is not an image archive"],
        ),
        (
            "image = \"db.tar\"",
            "image = \"db.tar\"\nimage_id = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
            &["line 41", "'image_id'", "db.tar holds the image"],
        ),
        (
            "image = \"db.tar\"",
            "image = \"db.tar\"\nimage_id = \"12\"",
            &["line 41", "'image_id'", "'12'", "64"],
        ),
        ("parts/fix.ko", "driver.ko", &["line 47", "'module'", "driver.ko", "livepatch=Y"]),
        ("parts/fix.ko", "mute.ko", &["line 47", "'module'", "vermagic"]),
        ("parts/fix.ko", "quiet.sh", &["line 47", "'module'", "quiet.sh is no kernel module"]),
        ("stands_for = \"6.1.0-42-amd64\"", "", &["line 46", "'stands_for'", "must have it"]),
        (
            "stands_for = \"6.1.0-42-amd64\"",
            "stands_for = \"6.1.0-41-amd64\"",
            &["live-patch.kernel", "two kernel"],
        ),
        (
            "compatible = \"cam-x\"",
            "compatible = \"cam-y\"",
            &["line 53", "'compatible'", "the bundle itself says 'cam-x'"],
        ),
        ("version = \"7.1\"", "version = \"7\"", &["line 54", "'version'", "the bundle itself says '7.1'"]),
        ("parts/os.raucb", "quiet.sh", &["line 52", "'bundle'", "quiet.sh is not a bundle that RAUC reads"]),
        ("[hooks.healthy]", "[hooks.sometimes]", &["sometimes", "pre-fetch"]),
        ("timeout_secs = 5", "timeout_secs = 0", &["hooks", "'pre-switch' may take 1 to 3600 seconds"]),
        (
            "program = \"quiet.sh\"\nargs",
            "program = \"parts\"\nargs",
            &["line 58", "'program'", "Is a directory"],
        ),
        ("unit=counter.service", "unit=counter", &["line 66", "'probes'", "unit=counter", "counter.service"]),
        (
            "start_secs = 20",
            "start_secs = 20\ntimeout_millis = 30001",
            &["health", "timeout_millis must be at most 30000"],
        ),
        ("start_secs = 20", "start_secs = 4294967295", &["line 67", "'start_secs'", "4294967"]),
        ("memory_percent = 300", "memory_permille = 300", &["line 69", "memory_permille"]),
        ("[[steps]]\nkind = \"file\"", "[[steps]\nkind = \"file\"", &["line 7"]),
    ];
    for (part, instead, words) in cases {
        assert!(WHOLE.contains(part), "{part}");
        bench.write("bad.toml", WHOLE.replacen(part, instead, 1));
        let run = bench.takt("release new --from bad.toml --counter 1 --out bad");
        let run = run.refused(2, &[&["bad.toml"], *words].concat());
        assert_eq!(run.err.lines().count(), 1, "{run:?}");
        assert!(!run.err.contains("panicked"), "{run:?}");
    }
    bench
        .takt("release new --from none.toml --counter 1 --out bad")
        .refused(2, &["none.toml", "No such file"]);
    bench.write("none.toml", "name = \"a\"\nversion = \"1\"\nsteps = []\n");
    bench
        .takt("release new --from none.toml --counter 1 --out bad")
        .refused(2, &["none.toml", "steps", "1 to"]);
    bench.write("well.toml", WHOLE.split("[hooks").next().unwrap());
    bench
        .takt("release new --from well.toml --counter 1 --out bad")
        .refused(2, &["well.toml", "health.probes"]);
    assert!(!bench.path("bad").exists());
}

#[test]
fn a_package_that_nothing_here_can_read_is_not_guessed_at() {
    let bench = whole();
    std::fs::create_dir(bench.path("empty")).unwrap();
    let empty = bench.path("empty");
    for (tool, file) in [("dpkg-deb", "hello.deb"), ("rpm", "hello.rpm")] {
        let part = WHOLE.split("[[steps]]").find(|step| step.contains(file)).unwrap();
        let part = part.replace(", \"parts/tool.deb\"", "");
        bench.write("one.toml", format!("name = \"a\"\nversion = \"1\"\n[[steps]]{part}"));
        bench
            .takt_in(
                &[("PATH", &empty)],
                &["release", "new", "--from", "one.toml", "--counter", "1", "--out", "r"],
            )
            .refused(2, &["one.toml", "'packages'", file, tool, "not installed"]);
    }
    // A bundle states what RAUC would say: without RAUC the release is made, and people hear that nobody asked.
    let part = WHOLE.split("[[steps]]").find(|step| step.contains("os.raucb")).unwrap();
    let part = part.split("[hooks").next().unwrap();
    let health = "[health]\nprobes = [\"unit=a.service\"]\n";
    bench.write("one.toml", format!("name = \"a\"\nversion = \"1\"\n[[steps]]{part}{health}"));
    let made = bench
        .takt_in(
            &[("PATH", &empty)],
            &["release", "new", "--from", "one.toml", "--counter", "1", "--out", "r"],
        )
        .ok();
    assert!(
        made.out.contains("rauc is not installed here") && made.out.contains("has not been checked"),
        "{made:?}"
    );
}

#[test]
fn one_container_with_all_its_options_needs_no_description() {
    let bench = whole();
    bench
        .takt(
            "release new --name web --version 1 --counter 1 --image web.tar --strategy handover,replace \
             --port port:8080 --port admin:9090 --network bridge --healthcheck --probe unit=web.service \
             --drain-secs 7 --hook pre-switch=quiet.sh --hook rollback=quiet.sh --out r",
        )
        .ok();
    let manifest = manifest(&bench, "r");
    let set = manifest.containers().unwrap();
    assert_eq!(
        (set.strategies.as_slice(), set.drain_secs),
        (&[Strategy::Handover, Strategy::Replace][..], 7)
    );
    assert_eq!(set.containers[0].network, Network::Bridge);
    let ports: Vec<_> =
        set.containers[0].ports.iter().map(|port| (port.variable.as_str(), port.container_port)).collect();
    assert_eq!(ports, [("port", Some(8080)), ("admin", Some(9090))]);
    assert_eq!(manifest.health.probes, [Probe::Unit("web.service".into()), Probe::Healthcheck]);
    assert_eq!(manifest.hooks.keys().collect::<Vec<_>>(), [&HookPoint::PreSwitch, &HookPoint::Rollback]);
    assert_eq!(manifest.artifacts.len(), 2);

    let new = "release new --name web --version 1 --counter 1 --image web.tar --out bad";
    for (more, words) in [
        ("--probe tcp=a:1 --strategy handover", &["strategies", "handover moves published ports"][..]),
        ("--probe tcp=a:1 --port port:0", &["port:0", "VARIABLE:CONTAINER_PORT"]),
        ("--probe tcp=a:1 --port port:80", &["container.ports", "network 'bridge'"]),
        ("--probe tcp=a:1 --network lan", &["--network", "lan", "bridge"]),
        ("--probe unit=web", &["unit=web", "counter.service"]),
        ("--probe tcp=a:1 --hook quiet.sh", &["quiet.sh", "POINT=FILE"]),
        ("--probe tcp=a:1 --hook sometimes=quiet.sh", &["sometimes", "pre-fetch", "rollback"]),
        ("--probe tcp=a:1 --hook rollback=none.sh", &["none.sh", "No such file"]),
        ("--probe tcp=a:1 --hook rollback=quiet.sh --hook rollback=quiet.sh", &["rollback", "twice"]),
        ("--hook rollback=quiet.sh", &["health.probes"]),
        ("", &["--probe"]),
    ] {
        bench.takt(&format!("{new} {more}")).refused(2, words);
    }
    assert!(!bench.path("bad").exists());
}
