//! A kernel that is played by a thread, as its sysfs shows it: transitions take time, stall, or are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// How the kernel behaves.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    /// How long tasks take to come to the patched code; none when one never does.
    pub(crate) comes: Option<Duration>,
    /// How long they take to leave it.
    pub(crate) leaves: Option<Duration>,
    /// What loading is answered with instead.
    pub(crate) refuses: Option<Errno>,
    /// What the first tries to unload are answered with.
    pub(crate) in_use: u32,
    /// Before 5.1 a patch that was disabled stays in sysfs.
    pub(crate) old: bool,
}

impl Default for Nature {
    fn default() -> Self {
        let takes = Some(Duration::from_millis(150));
        Self { comes: takes, leaves: takes, refuses: None, in_use: 0, old: false }
    }
}

/// The played kernel.
pub(crate) struct PlayedKernel {
    stop: Arc<AtomicBool>,
    /// Held while the kernel does something.
    turn: Arc<Mutex<()>>,
    pub(crate) nature: Arc<Mutex<Nature>>,
    /// The calls that it was asked for.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl PlayedKernel {
    pub(crate) fn start(folder: &Path, nature: Nature) -> Self {
        for name in ["sys/module", "sys/kernel/livepatch", "calls"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let (stop, nature) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(nature)));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (flag, shared, noted) = (Arc::clone(&stop), Arc::clone(&nature), Arc::clone(&calls));
        let mut played = Played { folder: folder.to_owned(), moving: None, nature: shared, calls: noted };
        let turn = Arc::new(Mutex::new(()));
        let turns = Arc::clone(&turn);
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let turn = turns.lock().unwrap();
                played.turn();
                drop(turn);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, turn, nature, calls, thread: Some(thread) }
    }

    /// Does something to it between two of its own deeds.
    pub(crate) fn stands_still_while(&self, deed: impl FnOnce()) {
        let turn = self.turn.lock().unwrap();
        deed();
        drop(turn);
    }
}

impl Drop for PlayedKernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the played kernel panicked");
    }
}

struct Played {
    folder: PathBuf,
    /// The patch in transition, its direction, and since when.
    moving: Option<(String, bool, Instant)>,
    nature: Arc<Mutex<Nature>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Played {
    fn turn(&mut self) {
        let nature = self.nature.lock().unwrap().clone();
        // A write to sysfs has its effect before it returns; here it has it before the next call.
        self.notice_writes();
        if let Ok(call) = fs::read_to_string(self.folder.join("calls/ask")) {
            fs::remove_file(self.folder.join("calls/ask")).unwrap();
            self.calls.lock().unwrap().push(call.clone());
            let answer = match call.split_once(' ').unwrap() {
                ("load", file) => self.load(Path::new(file), &nature),
                (_, name) => self.unload(name),
            };
            let number = answer.err().map_or(0, |error| error as i32);
            // Whole or not there.
            fs::write(self.folder.join("calls/answer.new"), number.to_string()).unwrap();
            fs::rename(self.folder.join("calls/answer.new"), self.folder.join("calls/answer")).unwrap();
        }
        // After a reboot nothing moves.
        self.moving =
            self.moving.take().filter(|(name, ..)| self.folder.join("sys/module").join(name).exists());
        if let Some((name, enabled, since)) = self.moving.clone() {
            let takes = if enabled { nature.comes } else { nature.leaves };
            if takes.is_some_and(|takes| since.elapsed() >= takes) {
                self.moving = None;
                if enabled || nature.old {
                    fs::write(self.patch(&name).join("transition"), "0\n").unwrap();
                } else {
                    remove(&self.patch(&name));
                }
            }
        }
    }

    fn patch(&self, name: &str) -> PathBuf {
        self.folder.join("sys/kernel/livepatch").join(name)
    }

    fn module(&self, name: &str) -> PathBuf {
        self.folder.join("sys/module").join(name)
    }

    /// The module's name is what the test says: reading the file is the agent's work.
    fn load(&mut self, file: &Path, nature: &Nature) -> Result<(), Errno> {
        if !file.is_file() {
            return Err(Errno::ENOENT);
        }
        let name = fs::read_to_string(self.folder.join("module-name")).unwrap();
        if let Some(refusal) = nature.refuses {
            return Err(refusal);
        }
        if self.module(&name).exists() {
            return Err(Errno::EEXIST);
        }
        fs::create_dir_all(self.module(&name).join("notes")).unwrap();
        fs::write(self.module(&name).join("initstate"), "live\n").unwrap();
        if let Ok(build_id) = fs::read(self.folder.join("build-id")) {
            fs::write(self.module(&name).join("notes/.note.gnu.build-id"), build_id).unwrap();
        }
        // The folder appears with both files in it.
        let beside = self.folder.join("patch.new");
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("enabled"), "1\n").unwrap();
        fs::write(beside.join("transition"), "1\n").unwrap();
        fs::rename(beside, self.patch(&name)).unwrap();
        self.moving = Some((name, true, Instant::now()));
        Ok(())
    }

    fn unload(&mut self, name: &str) -> Result<(), Errno> {
        let nature = &mut *self.nature.lock().unwrap();
        if !self.module(name).exists() {
            return Err(Errno::ENOENT);
        }
        let in_force =
            fs::read_to_string(self.patch(name).join("enabled")).is_ok_and(|text| text.trim() == "1");
        if in_force || self.moving.is_some() || nature.in_use > 0 {
            nature.in_use = nature.in_use.saturating_sub(1);
            return Err(Errno::EAGAIN);
        }
        if self.patch(name).exists() {
            remove(&self.patch(name));
        }
        remove(&self.module(name));
        Ok(())
    }

    /// Somebody wrote 0 to `enabled`: tasks begin to leave, also in the middle of coming.
    fn notice_writes(&mut self) {
        // A test may have taken live patching away.
        let Ok(entries) = fs::read_dir(self.folder.join("sys/kernel/livepatch")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().into_string().unwrap();
            if fs::read(entry.path().join("enabled")).is_ok_and(|text| text == b"0") {
                fs::write(entry.path().join("transition"), "1\n").unwrap();
                fs::write(entry.path().join("enabled"), "0\n").unwrap();
                self.moving = Some((name, false, Instant::now()));
            }
        }
    }
}

/// At once for whoever looks.
fn remove(folder: &Path) {
    let beside = folder.with_file_name(".gone");
    fs::rename(folder, &beside).unwrap();
    fs::remove_dir_all(beside).unwrap();
}
