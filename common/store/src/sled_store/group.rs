//! One writer at a time, which takes along what others wait to commit.
//!
//! A thread that commits puts its batch into the queue and waits until it is done or the writer's turn is free.
//! Whoever gets the turn takes a group of batches from the queue, checks their preconditions one after the other,
//! applies all that hold as one sled batch and syncs once. Meanwhile the next group gathers. The end of a turn wakes
//! those whose batches are done and the one whose turn is next, and nobody else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, Thread};

use super::database::{Database, Writes};
use super::folder::Folder;
use crate::{Batch, StoreError};

type Verdict = Result<(), StoreError>;

/// The queue, the writer's turn, and the view of readers.
#[derive(Debug, Default)]
pub(super) struct Group {
    state: Mutex<State>,
    /// Told whenever a turn ends; for those who wait for a turn without a batch.
    turn_ended: Condvar,
    /// Held for writing while a group is applied but not yet durable, so that nobody reads what a power cut
    /// could still take back.
    view: RwLock<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Never longer than the number of threads that commit.
    queue: VecDeque<Waiting>,
    /// Whether some thread has the writer's turn.
    taken: bool,
    /// Why a commit failed, once one has.
    failed: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    verdict: Arc<Mutex<Option<Verdict>>>,
    thread: Thread,
}

/// The writer's turn with the batches that are written in it. It ends when this is dropped, also by a panic.
struct Turn<'a> {
    of: &'a Group,
    group: Vec<Waiting>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.of.state();
        state.taken = false;
        let next = state.queue.front().map(|waiting| waiting.thread.clone());
        drop(state);
        self.of.turn_ended.notify_all();
        next.iter().chain(self.group.iter().map(|waiting| &waiting.thread)).for_each(Thread::unpark);
    }
}

impl Group {
    /// Runs a read that sees only what is durable.
    pub(super) fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        let _view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// Runs `work` while nothing is committed, unless a commit failed before.
    pub(super) fn while_still<T>(
        &self,
        folder: &Folder,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        while state.taken {
            state = self.turn_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        refuse_if_failed(state.failed.as_deref(), folder)?;
        let _turn = self.take_turn(state, Vec::new());
        work()
    }

    /// Commits `batch`, in a group with others where there are any.
    pub(super) fn commit(&self, folder: &Folder, database: &Database, batch: Batch) -> Verdict {
        let verdict = Arc::new(Mutex::new(None));
        let waiting = Waiting { batch, verdict: Arc::clone(&verdict), thread: thread::current() };
        self.state().queue.push_back(waiting);
        loop {
            if let Some(verdict) = lock(&verdict).take() {
                return verdict;
            }
            let mut state = self.state();
            if state.taken {
                drop(state);
                // Woken before it sleeps it does not sleep: the end of a turn finds every batch in its group or in the queue.
                thread::park();
                continue;
            }
            // The turn of our batch may just have ended.
            if let Some(verdict) = lock(&verdict).take() {
                return verdict;
            }
            // Our batch is still in the queue, and each turn takes at least one from its front.
            let group = next_group(&mut state.queue, database.batch_bytes_max());
            if group.is_empty() {
                // The thread that took it panicked in its turn: nobody knows how far it came.
                state.failed.get_or_insert_with(|| "the thread that wrote panicked".to_owned());
                return refuse_if_failed(state.failed.as_deref(), folder);
            }
            let refused = refuse_if_failed(state.failed.as_deref(), folder);
            let turn = self.take_turn(state, group);
            self.write(database, &turn.group, refused);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn take_turn(&self, mut state: MutexGuard<'_, State>, group: Vec<Waiting>) -> Turn<'_> {
        state.taken = true;
        Turn { of: self, group }
    }

    /// Applies a group and tells each of its batches how it went.
    fn write(&self, database: &Database, group: &[Waiting], refused: Verdict) {
        let verdicts = refused.and_then(|()| self.apply(database, group));
        if let Err(error) = &verdicts {
            self.state().failed.get_or_insert_with(|| with_sources(error));
        }
        let verdicts = verdicts.unwrap_or_else(|error| group.iter().map(|_| Err(error.clone())).collect());
        for (waiting, verdict) in group.iter().zip(verdicts) {
            *lock(&waiting.verdict) = Some(verdict);
        }
    }

    /// Applies what holds. `Ok` has a verdict for each batch; `Err` is the fate of all of them.
    fn apply(&self, database: &Database, group: &[Waiting]) -> Result<Vec<Verdict>, StoreError> {
        let mut writes = Writes::new();
        let mut verdicts = Vec::with_capacity(group.len());
        for waiting in group {
            let conflict = first_conflict(database, &writes, &waiting.batch)?;
            if conflict.is_none() {
                writes.extend(waiting.batch.writes.clone());
            }
            verdicts.push(conflict.map_or(Ok(()), |key| Err(StoreError::Conflict { key })));
        }
        if !writes.is_empty() {
            let _view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            database.apply(&writes)?;
        }
        Ok(verdicts)
    }
}

/// Takes batches from the queue's front: at least one, and not more than are as large as the largest one may be.
fn next_group(queue: &mut VecDeque<Waiting>, bytes_max: usize) -> Vec<Waiting> {
    let mut group = Vec::new();
    let mut bytes = 0;
    while let Some(next) = queue.front() {
        bytes += next.batch.bytes();
        if !group.is_empty() && bytes > bytes_max {
            break;
        }
        group.extend(queue.pop_front());
    }
    group
}

/// The first key that does not hold what `batch` expects, seen behind the `writes` of earlier batches.
fn first_conflict(
    database: &Database,
    writes: &Writes,
    batch: &Batch,
) -> Result<Option<Vec<u8>>, StoreError> {
    for (key, expected) in &batch.expected {
        let holds = match writes.get(key) {
            Some(written) => written == expected,
            None => database.get(key)? == *expected,
        };
        if !holds {
            return Ok(Some(key.clone()));
        }
    }
    Ok(None)
}

fn refuse_if_failed(failed: Option<&str>, folder: &Folder) -> Verdict {
    match failed {
        None => Ok(()),
        Some(cause) => {
            Err(StoreError::Poisoned { path: folder.path().to_path_buf(), cause: cause.to_owned() })
        }
    }
}

/// An error and what it stems from, in one line.
fn with_sources(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A panic elsewhere leaves nothing half changed in what these locks guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
