//! What can be judged without installing anything: lintian, rpmlint, the exposure of the units, pages and completions.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use takt_package_tests::{Format, Machine, NEXT_VERSION, package, package_again};

const NAMES: [&str; 3] = ["takt-agent", "takt-coordinator", "takt-ctl"];

/// Runs a program of this machine; gives whether it succeeded and what it said.
fn output(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output();
    output.unwrap_or_else(|error| {
        panic!("{program} is missing ({error}): tests/env/install.sh packages installs it")
    })
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = output(program, arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn lintian_has_nothing_to_say() {
    let debs = NAMES.map(|name| package(name, Machine::version(), Format::Deb));
    let levels = "error,warning,info,pedantic";
    let mut arguments = vec!["--allow-root", "--display-info", "--pedantic", "--fail-on", levels];
    // Machine code reads like a misspelt word now and then, in one build and not in the next: no override can say so.
    arguments.extend(["--suppress-tags", "spelling-error-in-binary"]);
    arguments.extend(debs.iter().map(|deb| text(deb)));
    let (clean, said) = run("lintian", &arguments);
    assert!(clean && said.is_empty(), "{said}");
}

#[test]
fn rpmlint_has_nothing_to_say() {
    let settings = Machine::source("packaging/rpm/rpmlint.toml");
    let rpms = NAMES.map(|name| package(name, Machine::version(), Format::Rpm));
    let mut arguments = vec!["--config", text(&settings)];
    arguments.extend(rpms.iter().map(|rpm| text(rpm)));
    let (clean, said) = run("rpmlint", &arguments);
    assert!(clean && said.contains(" 0 errors, 0 warnings"), "{said}");
}

#[test]
fn the_same_programs_give_the_same_packages_byte_for_byte() {
    for name in NAMES {
        for format in [Format::Deb, Format::Rpm] {
            let one = package(name, Machine::version(), format);
            let other = package_again(name, Machine::version(), format);
            let same = fs::read(&one).unwrap() == fs::read(&other).unwrap();
            assert!(same, "{} and {} differ", one.display(), other.display());
        }
    }
}

#[test]
fn every_package_lists_its_libraries_in_its_bill_of_materials() {
    for (name, library) in [
        ("takt-agent", "pkg:cargo/ring@"),
        ("takt-coordinator", "pkg:cargo/rumqttd@"),
        ("takt-ctl", "pkg:cargo/clap@"),
    ] {
        let deb = package(name, Machine::version(), Format::Deb);
        let file = format!("./usr/share/doc/{name}/sbom.cdx.json.gz");
        let script = format!("dpkg-deb --fsys-tarfile {} | tar -xO {file} | gzip -d", text(&deb));
        let (there, said) = run("sh", &["-c", &script]);
        assert!(there && said.contains("\"bomFormat\": \"CycloneDX\""), "{name}: {said:.400}");
        assert!(said.contains(library), "{name} does not list {library}");
    }
}

#[test]
fn the_exposure_of_the_units_is_within_its_limits() {
    // In tenths: 3.5 for the coordinator, 6.5 for the agent, which must touch the system.
    for (unit, limit) in [("takt-coordinator", "35"), ("takt-agent", "65")] {
        let file = Machine::source(&format!("systemd/{unit}.service"));
        let (within, said) = run(
            "systemd-analyze",
            &["security", "--offline=true", "--no-pager", "--threshold", limit, text(&file)],
        );
        assert!(within, "{unit}: {said}");
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let machine = Machine::boot();
    for name in ["takt-agent", "takt-coordinator"] {
        machine.dpkg(name, Machine::version(), &[]);
        let unit = format!("/lib/systemd/system/{name}.service");
        let said = machine.try_run(&["systemd-analyze", "verify", "--man=no", &unit]);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{name}: {said:?}");
    }
}

#[test]
fn the_pages_of_the_manual_are_well_formed() {
    let folder = Machine::source("target/packages/stage/man");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let page = entry.unwrap().path();
        // The page itself, which may speak of warnings, goes to standard output.
        let shown = output("man", &["--warnings", "--local-file", "--encoding=UTF-8", text(&page)]);
        let complaints = String::from_utf8_lossy(&shown.stderr);
        assert!(
            shown.status.success() && !complaints.contains("warning"),
            "{}: {complaints}",
            page.display()
        );
        count += 1;
    }
    assert!(count > 30, "{count} pages in {}", folder.display());
}

#[test]
fn the_completions_complete() {
    let folder = Machine::source("target/packages/stage/completions");
    let file = folder.join("bash/takt");
    let script = format!(
        "source '{}'; COMP_WORDS=(takt campaign sta); COMP_CWORD=2; _takt takt sta campaign; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let (_, said) = run("bash", &["-c", &script]);
    assert_eq!(said.trim(), "start");
    for (shell, file) in [("zsh", "_takt"), ("fish", "takt.fish")] {
        let text = fs::read_to_string(folder.join(shell).join(file)).unwrap();
        assert!(text.contains("campaign"), "{shell}: {text}");
    }
}

#[test]
fn a_version_for_tests_is_newer_in_both_formats() {
    let (newer, said) = run("dpkg", &["--compare-versions", NEXT_VERSION, "gt", Machine::version()]);
    assert!(newer, "{said}");
    let rpm = package("takt-agent", NEXT_VERSION, Format::Rpm);
    let (_, said) = run("rpm", &["--query", "--package", "--queryformat", "%{VERSION}", text(&rpm)]);
    assert_eq!(said, NEXT_VERSION);
}
