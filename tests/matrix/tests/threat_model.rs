//! Every test that the threat model names is one.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Folders without sources of ours.
const ELSEWHERE: [&str; 3] = ["target", ".git", "docs"];

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 30, "the page names {} tests only", named.len());
    let mut there = BTreeSet::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() && !elsewhere(&path) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                tests_of(&fs::read_to_string(&path).unwrap(), &mut there);
            }
        }
    }
    let missing: Vec<&String> = named.difference(&there).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

fn elsewhere(path: &Path) -> bool {
    path.file_name().is_some_and(|name| ELSEWHERE.iter().any(|one| name == *one))
}

/// What stands in backticks in the last column of the table of attacks.
fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with('|') && line.matches('|').count() == 6);
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let names = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// The functions right below an attribute that makes them tests.
fn tests_of(source: &str, there: &mut BTreeSet<String>) {
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| marked) {
            there.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        }
    }
}
