//! What the fuzzer begins with: goldens, shipped settings, and one of everything else. Its programs write it where they are told to.

mod archives;
mod packets;
mod signed;
mod texts;

use std::path::Path;

use takt_common::Sha256Digest;

/// Names the folder that a program writes the seeds of its target into before it begins.
pub const FOLDER_VARIABLE: &str = "TAKT_FUZZ_SEEDS";

/// Writes the seeds of a target into the folder that [`FOLDER_VARIABLE`] names, if it does.
pub fn write_where_asked(target: &str) {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    for seed in of(target) {
        let file = Path::new(&folder).join(Sha256Digest::of(&seed).to_string());
        std::fs::write(&file, &seed)
            .unwrap_or_else(|error| panic!("write the seed {}: {error}", file.display()));
    }
}

/// The inputs of a target; none for a name that is no target's.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "broker" => packets::all(),
        "envelopes" => signed::envelopes(),
        "images" => archives::all(),
        "orders" => goldens(&["order.json", "ack.json", "manifest.json", "manifest-kinds.json"]),
        "packages" => texts::packages(),
        "queries" => texts::queries(),
        "reports" => goldens(&["report.json", "health.json"]),
        "settings" => texts::settings(),
        "topics" => texts::topics(),
        "trust" => crate::trust::seeds(),
        _ => Vec::new(),
    }
}

/// A file of this workspace.
fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Golden files, without the blanks that people read them by, and each without any one of its fields: some may be left out.
fn goldens(names: &[&str]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in names {
        let value: serde_json::Value =
            serde_json::from_slice(&file(&format!("common/tests/goldens/{name}"))).expect("a golden is JSON");
        all.push(value.to_string().into_bytes());
        let fields: Vec<String> =
            value.as_object().into_iter().flatten().map(|(field, _)| field.clone()).collect();
        for field in fields {
            let mut less = value.clone();
            less[&field] = serde_json::Value::Null;
            all.push(less.to_string().into_bytes());
        }
    }
    all
}
