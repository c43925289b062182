//! Points at which a test lets the agent die as by a power cut: `kill -9` to itself, in the middle of its work.
//!
//! Only in builds with the feature `armed`; in all others there is nothing here and no variable is read.
//!
//! * `TAKT_FAILPOINT_DIR` names a folder. Each point that is reached is written as a line to `reached` in it.
//! * `TAKT_FAILPOINT` names the point at which to die, once: the file `died` in the folder says that it was.
//! * `TAKT_FAILPOINT_RUN` names a program that runs there instead, for other faults than death; the agent waits for its end
//!   and goes on.
//!
//! Two sorts of points have names: those of the loop, which stand before and after each commit and each action
//! ([`reach`]), and those within an action, before and after each of its durable effects ([`at`]).

/// A point of the loop is reached; where it is armed, the process ends here.
#[cfg(feature = "armed")]
pub fn reach(point: &str) {
    armed::reach(point);
}

/// A point of the loop is reached.
#[cfg(not(feature = "armed"))]
#[inline]
pub const fn reach(_point: &str) {}

/// A durable effect within an action is about to happen or has happened: `name` says which, for example
/// `file.rename:before`. The n-th time in this process it is the point `at:<name>#<n>`, from 1.
#[cfg(feature = "armed")]
pub fn at(name: &'static str) {
    armed::at(name);
}

/// A durable effect within an action is about to happen or has happened.
#[cfg(not(feature = "armed"))]
#[inline]
pub const fn at(_name: &'static str) {}

#[cfg(feature = "armed")]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use nix::sys::signal::{Signal, raise};

    static COUNTS: Mutex<BTreeMap<&'static str, u32>> = Mutex::new(BTreeMap::new());

    pub(crate) fn at(name: &'static str) {
        let count = {
            let mut counts = COUNTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let count = counts.entry(name).or_default();
            *count += 1;
            *count
        };
        reach(&format!("at:{name}#{count}"));
    }

    pub(crate) fn reach(point: &str) {
        let Some(folder) = std::env::var_os("TAKT_FAILPOINT_DIR").map(PathBuf::from) else { return };
        note(&folder.join("reached"), point, OpenOptions::new().create(true).append(true));
        if std::env::var("TAKT_FAILPOINT").is_ok_and(|armed| armed == point) {
            let died = folder.join("died");
            if !died.exists() {
                if let Some(program) = std::env::var_os("TAKT_FAILPOINT_RUN") {
                    // Whether it did what it should shows in what comes after.
                    let _ended = std::process::Command::new(program).arg(point).status();
                    return note(&died, point, OpenOptions::new().create_new(true).write(true));
                }
                note(&died, point, OpenOptions::new().create_new(true).write(true));
                raise(Signal::SIGKILL).expect("a process may always kill itself");
            }
        }
    }

    fn note(file: &Path, point: &str, open: &OpenOptions) {
        // A test whose folder cannot be written sees that its point was never reached.
        let _noted = open.open(file).and_then(|mut file| writeln!(file, "{point}"));
    }
}
