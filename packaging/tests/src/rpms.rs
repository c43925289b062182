//! Packages that rpmbuild makes for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{Format, package};

/// An empty package that provides what the package `name` of `version` requires: a machine has Debian's libraries, of
/// which rpm does not know.
///
/// # Panics
/// When rpm or rpmbuild fails.
pub fn libraries(name: &str, version: &str, folder: &Path) -> PathBuf {
    let file = package(name, version, Format::Rpm);
    let required = run(Command::new("rpm").args(["--query", "--package", "--requires"]).arg(&file));
    // What rpm itself can do, and what the package provides itself.
    let ours = |line: &&str| !line.starts_with("rpmlib(") && !line.starts_with("config(");
    let provides: Vec<_> = required.lines().filter(ours).map(|line| format!("Provides: {line}\n")).collect();
    let spec =
        format!("{}BuildArch: noarch\n{}\n%description\n-\n%files\n", head("debian", "1"), provides.concat());
    build(&spec, folder)
}

/// The package `name` of `version` under `as_version` and without its scripts, with `program` as what `path` holds.
///
/// # Panics
/// When rpm or rpmbuild fails.
pub fn with_program(
    (name, version): (&str, &str),
    as_version: &str,
    (path, program): (&str, &str),
    folder: &Path,
) -> PathBuf {
    let file = package(name, version, Format::Rpm);
    let tree = folder.join("tree");
    fs::create_dir_all(&tree).expect("a folder for what is in the package");
    let unpack = format!("rpm2cpio '{}' | cpio --quiet -idm", file.display());
    run(Command::new("sh").args(["-c", &unpack]).current_dir(&tree));
    fs::write(tree.join(path.trim_start_matches('/')), program).expect("the program is replaced");
    let listed = |what: &str| run(Command::new("rpm").args(["--query", "--package", what]).arg(&file));
    let settings = listed("--configfiles");
    let files: Vec<_> = listed("--list")
        .lines()
        .map(|path| {
            let kept = settings.lines().any(|setting| setting == path);
            format!("{}{path}\n", if kept { "%config(noreplace) " } else { "" })
        })
        .collect();
    let spec = format!(
        "{}AutoReqProv: no\n%description\n-\n%install\ncp -a '{}/.' '%{{buildroot}}/'\n%files\n{}",
        head(name, as_version),
        tree.display(),
        files.concat()
    );
    build(&spec, folder)
}

fn head(name: &str, version: &str) -> String {
    format!("Name: {name}\nVersion: {version}\nRelease: 1\nSummary: test\nLicense: Apache-2.0\n")
}

fn build(spec: &str, folder: &Path) -> PathBuf {
    let file = folder.join("package.spec");
    fs::write(&file, spec).expect("the folder takes a file");
    let define = |name: &str, value: &str| ["--define".to_owned(), format!("{name} {value}")];
    let folder_name = folder.display().to_string();
    let options = [
        define("_topdir", &folder_name),
        define("_rpmdir", &folder_name),
        define("_build_name_fmt", "%%{NAME}-%%{VERSION}.rpm"),
        // Files stay as they are.
        define("__os_install_post", "%{nil}"),
        define("debug_package", "%{nil}"),
        define("_build_id_links", "none"),
    ];
    run(Command::new("rpmbuild").args(["-bb", "--quiet"]).args(options.as_flattened()).arg(&file));
    let mut built =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    built.find(|path| path.extension().is_some_and(|end| end == "rpm")).expect("rpmbuild has made it")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
