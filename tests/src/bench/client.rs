//! A client that measures downtime: a new connection for each request, about one a millisecond.
//!
//! A kept connection would hang in a container that is frozen for its checkpoint, and its time-out would be counted
//! as downtime; new connections with short time-outs see the first moment at which anybody is served.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::BenchError;
use crate::fleet::{Answer, Stopwatch, pause, wait_until};

/// From one request to the next.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// A request that takes longer has failed: answers take well under a millisecond. A failed request costs nothing but
/// this, because only answers count.
const PATIENCE: Duration = Duration::from_millis(20);
/// Longer than the workload's answers.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The time in which one release was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) version: String,
    /// When the first answer and the last one had come.
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// The counter in the first answer and in the last one.
    pub(super) counter_first: u64,
    pub(super) counter_last: u64,
    /// The longest time between two answers.
    pub(super) longest_wait: Duration,
}

/// The time between two releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) before: Spell,
    pub(super) after: Spell,
}

impl Gap {
    /// From the last answer before to the first one after, in milliseconds.
    pub(super) fn millis(&self) -> f64 {
        self.after.from.saturating_sub(self.before.to).as_secs_f64() * 1_000.0
    }
}

/// The client, in a thread of its own.
#[derive(Debug)]
pub(super) struct Client {
    port: u16,
    spells: Arc<Mutex<Vec<Spell>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Asks the workload on this port of 127.0.0.1 from now on.
    pub(super) fn start(port: u16, stopwatch: Stopwatch) -> Self {
        let spells = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&spells), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if let Ok(answer) = ask(port, "/counter") {
                    note(&mut lock(&shared), answer, stopwatch.elapsed());
                }
                pause(POLL_EVERY);
            }
        });
        Self { port, spells, stop, thread: Some(thread) }
    }

    /// Waits until `version` answers.
    pub(super) fn wait_for(&self, version: &str, limit: Duration) -> Result<(), BenchError> {
        let what = format!("version {version} on port {}", self.port);
        Ok(wait_until(&what, limit, || {
            let last = lock(&self.spells).last().map(|spell| spell.version.clone());
            Ok(match last {
                Some(last) if last == version => Ok(()),
                Some(last) => Err(format!("version {last} answers")),
                None => Err("nobody answers".to_owned()),
            })
        })?)
    }

    /// Waits until there is an answer that came after this time of the stopwatch.
    pub(super) fn wait_for_answer_after(&self, after: Duration, limit: Duration) -> Result<(), BenchError> {
        Ok(wait_until(&format!("an answer on port {}", self.port), limit, || {
            let answered = self.last().is_some_and(|spell| spell.to > after);
            Ok(if answered { Ok(()) } else { Err("nobody answers".to_owned()) })
        })?)
    }

    /// What it has seen last.
    pub(super) fn last(&self) -> Option<Spell> {
        lock(&self.spells).last().cloned()
    }

    /// The gap between these two versions, once both have been seen.
    pub(super) fn gap(&self, before: &str, after: &str) -> Option<Gap> {
        let spells = lock(&self.spells);
        let mut pairs = spells.windows(2).rev();
        let pair = pairs.find(|pair| pair[0].version == before && pair[1].version == after)?;
        Some(Gap { before: pair[0].clone(), after: pair[1].clone() })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// A failed request ends no spell; another version or a counter that was reset does.
fn note(spells: &mut Vec<Spell>, answer: Answer, at: Duration) {
    let Answer { version, counter, device: _ } = answer;
    let going = spells.last_mut().filter(|spell| spell.version == version && spell.counter_last <= counter);
    if let Some(spell) = going {
        spell.longest_wait = spell.longest_wait.max(at.saturating_sub(spell.to));
        (spell.to, spell.counter_last) = (at, counter);
    } else {
        let (counter_first, counter_last) = (counter, counter);
        let longest_wait = Duration::ZERO;
        spells.push(Spell { version, from: at, to: at, counter_first, counter_last, longest_wait });
    }
}

/// Asks once, on a connection of its own.
pub(super) fn ask(port: u16, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, head.to_owned()));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

fn lock(spells: &Mutex<Vec<Spell>>) -> MutexGuard<'_, Vec<Spell>> {
    // Every change is whole before the lock is given back.
    spells.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_from_the_last_answer_of_the_old_one_to_the_first_of_the_new_one() {
        let mut spells = Vec::new();
        let answers = [("1", 5, 0), ("1", 7, 40), ("2", 0, 130), ("2", 3, 131), ("1", 7, 200), ("1", 0, 205)];
        for (version, counter, at) in answers {
            let answer = Answer { version: version.to_owned(), counter, device: String::new() };
            note(&mut spells, answer, Duration::from_millis(at));
        }
        let told: Vec<_> = spells.iter().map(|spell| (spell.version.as_str(), spell.counter_last)).collect();
        assert_eq!(told, [("1", 7), ("2", 3), ("1", 7), ("1", 0)]);
        let gap = Gap { before: spells[0].clone(), after: spells[1].clone() };
        assert!((gap.millis() - 90.0).abs() < 1e-9);
        assert_eq!(spells[0].longest_wait, Duration::from_millis(40));
    }
}
