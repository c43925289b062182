//! All that the fuzzer has kept, and all that ever broke something, through the same functions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use takt_fuzz_targets::TARGETS;

/// What an input costs in memory is measured: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder that is read").path()).collect();
    paths.sort();
    paths
}

/// Runs the target on what is kept for it, and says on which input it panicked.
fn replay(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let corpus = inputs("corpus", name);
    assert!(corpus.len() >= 5, "fuzz/corpus/{name} holds {} inputs", corpus.len());
    for path in corpus.iter().chain(&inputs("finds", name)) {
        let input = fs::read(path).expect("an input that is there");
        let ended = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(ended.is_ok(), "{} breaks {name}", path.display());
    }
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn no_target_is_left_out() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
            for kind in ["corpus", "finds"] {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind);
                for entry in fs::read_dir(folder).expect("the folder is there") {
                    let name = entry.expect("a folder that is read").file_name().into_string().expect("a name");
                    assert!(name.starts_with('.') || names.contains(&name.as_str()), "fuzz/{kind}/{name} is of no target");
                }
            }
        }
    };
}

replayed! { broker envelopes images orders packages queries reports settings topics trust }
