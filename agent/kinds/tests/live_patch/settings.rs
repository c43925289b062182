//! The agent's settings on a device whose kernel is played, in one folder; also for an agent in a process of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use takt_agent_core::{StepKey, WorkloadName};
use takt_common::Sha256Digest;
use takt_kinds::live_patch::{LivePatchSettings, Modules};
use takt_kinds::os_image::OsImageSettings;
use takt_kinds::{ArtifactFiles, KindSettings};

/// A system call never takes longer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Artifacts by their digest in a folder.
pub(crate) struct Store(pub(crate) PathBuf);

impl ArtifactFiles for Store {
    fn file(&self, sha256: &Sha256Digest) -> PathBuf {
        self.0.join(sha256.to_string())
    }
}

/// The step that tests take.
pub(crate) fn key() -> StepKey {
    StepKey { workload: WorkloadName("takt-00-kernel-g1-7".to_owned()), index: 0 }
}

/// System calls to the played kernel: one file asks, one answers with the number of the error or 0.
#[derive(Debug)]
struct Calls(PathBuf);

impl Calls {
    #[allow(clippy::disallowed_methods, reason = "the played kernel is waited for")]
    fn call(&self, what: &str) -> io::Result<()> {
        let (ask, answer) = (self.0.join("ask"), self.0.join("answer"));
        fs::write(self.0.join("ask.new"), what)?;
        fs::rename(self.0.join("ask.new"), ask)?;
        let began = Instant::now();
        loop {
            match fs::read_to_string(&answer).ok().and_then(|number| number.parse().ok()) {
                Some(number) => {
                    fs::remove_file(&answer)?;
                    return if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) };
                }
                None if began.elapsed() > CALL_MAX => return Err(io::ErrorKind::TimedOut.into()),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Modules for Calls {
    fn load(&self, file: &Path) -> io::Result<()> {
        self.call(&format!("load {}", file.display()))
    }

    fn unload(&self, name: &str) -> io::Result<()> {
        self.call(&format!("unload {name}"))
    }
}

pub(crate) fn settings(folder: &Path) -> KindSettings {
    let at = |name: &str| folder.join(name);
    KindSettings {
        way_back: at("way-back"),
        file: takt_kinds::file::FileSettings::default(),
        package: takt_kinds::package::PackageSettings::default(),
        os_image: OsImageSettings::default(),
        live_patch: LivePatchSettings {
            sys: at("sys"),
            release: at("osrelease"),
            kpatch: at("kpatch"),
            run: at("run"),
            modules: Arc::new(Calls(at("calls"))),
            leave_min: Duration::from_secs(2),
        },
    }
}
