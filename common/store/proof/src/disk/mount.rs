//! An image as a mounted disk whose power can be cut.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Errno, MountOption};

use super::image::{Answer, Image, Trouble};
use super::service::Service;

/// A mounted disk. Programs see its folder until it is taken out.
#[derive(Debug)]
pub struct Disk {
    power: Arc<Power>,
    session: BackgroundSession,
}

/// The image behind a mounted disk, and how long its power lasts.
#[derive(Debug)]
pub(super) struct Power {
    state: Mutex<State>,
    gone: Condvar,
    closed: Condvar,
}

#[derive(Debug)]
struct State {
    image: Image,
    /// How many changes (writes, syncs, new names) were asked for.
    changes: u64,
    /// The change during which the power goes, counted from one.
    cut_at: Option<u64>,
    dead: bool,
    /// How many files are open.
    open: u64,
}

/// How long a program that has ended may take to close its files.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

impl Disk {
    /// Mounts `image` at the folder `at`. During change number `cut_at` the power goes: that change may be half
    /// done and is not acknowledged, and from then on the disk answers nothing but errors.
    pub fn mount(image: Image, at: &Path, cut_at: Option<u64>) -> io::Result<Self> {
        let state = State { image, changes: 0, cut_at, dead: false, open: 0 };
        let power =
            Arc::new(Power { state: Mutex::new(state), gone: Condvar::new(), closed: Condvar::new() });
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("takt-forgetful".to_owned()), MountOption::NoSuid, MountOption::NoDev];
        let session = fuser::spawn_mount(Service(Arc::clone(&power)), at, &config).map_err(|error| {
            let why = "the disk that forgets cannot be mounted, so nothing was proved: it needs /dev/fuse and \
                       either root or fusermount3 (Debian package fuse3)";
            io::Error::new(error.kind(), format!("{why}: {error}"))
        })?;
        Ok(Self { power, session })
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.power.die(&mut self.power.state());
    }

    /// Waits until the power is gone, at most for `limit`, and says whether it is.
    pub fn wait_for_cut(&self, limit: Duration) -> bool {
        let state = self.power.state();
        let waited = self.power.gone.wait_timeout_while(state, limit, |state| !state.dead);
        waited.unwrap_or_else(PoisonError::into_inner).0.dead
    }

    /// How many changes were asked for so far.
    pub fn changes(&self) -> u64 {
        self.power.state().changes
    }

    /// Makes the disk refuse things, or work again.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.power.state().image.trouble = trouble;
    }

    /// Unmounts the disk and hands out its image, before anything is forgotten. No program may use it any more; one that is just
    /// closing its files is waited for.
    pub fn take_out(self) -> io::Result<Image> {
        let in_use =
            self.power.closed.wait_timeout_while(self.power.state(), CLOSE_LIMIT, |state| state.open > 0);
        drop(in_use);
        match self.session.umount_and_join() {
            // The kernel says either "no such device" or this to a disk that is taken out: all programs have ended.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            ended => ended?,
        }
        Ok(std::mem::take(&mut self.power.state().image))
    }
}

impl Power {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn die(&self, state: &mut State) {
        state.dead = true;
        self.gone.notify_all();
    }

    /// A file was opened.
    pub(super) fn opened(&self) {
        self.state().open += 1;
    }

    /// A file was closed.
    pub(super) fn released(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        self.closed.notify_all();
    }

    /// Answers a question, while there is power.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Image) -> Answer<T>) -> Answer<T> {
        let mut state = self.state();
        if state.dead { Err(Errno::EIO) } else { look(&mut state.image) }
    }

    /// Makes a change, while there is power. Is it the one during which the power goes, it is made (and not
    /// durable, like any other) but not acknowledged.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Image) -> Answer<T>) -> Answer<T> {
        self.count(|state, cut| {
            let answer = change(&mut state.image);
            if cut { Err(Errno::EIO) } else { answer }
        })
    }

    /// Makes something durable, while there is power. Is it the change during which the power goes, it is not.
    pub(super) fn sync(&self, sync: impl FnOnce(&mut Image) -> Answer<()>) -> Answer<()> {
        self.count(|state, cut| if cut { Err(Errno::EIO) } else { sync(&mut state.image) })
    }

    fn count<T>(&self, answer: impl FnOnce(&mut State, bool) -> Answer<T>) -> Answer<T> {
        let mut state = self.state();
        if state.dead {
            return Err(Errno::EIO);
        }
        state.changes += 1;
        let cut = state.cut_at == Some(state.changes);
        let answer = answer(&mut state, cut);
        if cut {
            self.die(&mut state);
        }
        answer
    }
}
