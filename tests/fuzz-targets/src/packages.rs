//! What packages say of themselves, in the words of dpkg and rpm, and what kernel modules say.

use std::collections::BTreeSet;

use takt_kinds::live_patch::parse_for_fuzzing as module;
use takt_kinds::package::fuzz::{deb, rpm};

use crate::memory::bounded;

const ELF: &[u8] = b"\x7fELF";

/// Reads the input as each of them.
pub fn run(input: &[u8]) {
    bounded(input, 256, || {
        if input.starts_with(ELF) {
            if let Ok((name, kernel)) = module(input) {
                assert!(!name.contains('\0') && !kernel.contains([' ', '\0']), "'{name}' for '{kernel}'");
            }
            return;
        }
        // Tools' answers are read as text, whatever bytes are in them.
        let text = String::from_utf8_lossy(input);
        stanzas(&text);
        conffiles(&text);
        text.lines().for_each(line);
        let (broken, _) = deb::unmet(&text);
        assert!(broken.iter().all(|name| text.contains(name.as_str())), "{broken:?}");
    });
}

fn stanzas(text: &str) {
    for name in ["Package", "Version", "Architecture", "Conffiles"] {
        if let Some(value) = deb::field(text, name) {
            assert!(
                text.contains(value) && !value.contains('\n') && value.trim() == value,
                "{name}: '{value}'"
            );
        }
        let without = deb::without(text, &[name]);
        assert_eq!(deb::field(&without, name), None, "{name} is left in {without:?}");
        assert_eq!(deb::without(&without, &[name]), without);
    }
    let names = BTreeSet::from(["app", "lib"]);
    if deb::needs_one_of(text, &names) {
        assert!(names.iter().any(|name| text.contains(name)));
    }
}

/// The lists of configuration files: of a status, put right, all but that of the package meant stays as it was.
fn conffiles(text: &str) {
    let (all, delivered) = deb::conffile_paths(text);
    assert!(all.iter().all(|path| path.starts_with('/')), "{all:?}");
    assert!(delivered.iter().all(|path| all.contains(path)), "{delivered:?} of {all:?}");
    let list = " /etc/app.conf 0123456789abcdef0123456789abcdef";
    let right = deb::status_with(text, "app", "all", list);
    assert_eq!(deb::status_with(&right, "app", "all", list), right, "of {text:?}");
    assert_eq!(deb::status_with(text, "\0", "all", list), text);
}

fn line(line: &str) {
    if let Some(fields) = deb::known(line) {
        assert_eq!(fields.join("\t"), line);
    }
    if let Some(fields) = rpm::known(line) {
        assert_eq!(fields.join("\t"), line);
    }
    if let Some((path, _)) = rpm::changed(line) {
        assert!(path.starts_with('/') && line.ends_with(&path), "'{path}' of '{line}'");
    }
}
