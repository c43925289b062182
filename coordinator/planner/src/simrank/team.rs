//! Threads that work side by side, again and again.

use std::num::NonZeroUsize;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// So many threads, or this one alone.
#[derive(Debug)]
pub(super) struct Team {
    size: usize,
    /// Nothing where this thread is enough, or the system gives no further one.
    pool: Option<ThreadPool>,
}

impl Team {
    pub(super) fn new(size: NonZeroUsize) -> Self {
        let size = size.get();
        let pool = if size > 1 { ThreadPoolBuilder::new().num_threads(size).build().ok() } else { None };
        Self { size: if pool.is_some() { size } else { 1 }, pool }
    }

    /// How many there are.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Does `work` on one of the threads: parts that are done from there need no other one to be woken first.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Does `work` on each part. Gives what came of each.
    pub(super) fn each<P: Send, R: Send>(
        &self,
        parts: impl Iterator<Item = P>,
        work: impl Fn(P) -> R + Send + Sync,
    ) -> Vec<R> {
        let parts: Vec<P> = parts.collect();
        match &self.pool {
            Some(pool) if parts.len() > 1 => pool.install(|| parts.into_par_iter().map(work).collect()),
            _ => parts.into_iter().map(work).collect(),
        }
    }
}
