//! What an HTTP client sees of a workload over time: when it was served, by which release, and the gaps between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{Stopwatch, pause, wait_until};
use super::error::FleetError;
use super::http::{Answer, HttpClient};

/// From one request to the next: the exactness of a measured downtime.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// A time of unbroken service by one release: no request failed, the counter was never reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    /// The version that answered.
    pub version: String,
    /// Who answered.
    pub device: String,
    /// The counter in the first answer.
    pub counter_first: u64,
    /// The counter in the last answer.
    pub counter_last: u64,
    /// When the first answer had come, since the stopwatch began.
    pub from: Duration,
    /// When the last answer had come.
    pub to: Duration,
    /// How many answers.
    pub answers: u64,
}

/// The time between two spells, in which a client was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The spell before.
    pub before: Spell,
    /// The spell after.
    pub after: Spell,
}

impl Gap {
    /// From the last answer before to the first one after.
    pub fn downtime(&self) -> Duration {
        self.after.from.saturating_sub(self.before.to)
    }
}

#[derive(Debug, Default)]
struct Seen {
    spells: Vec<Spell>,
    /// The last request failed.
    broken: bool,
}

impl Seen {
    fn answered(&mut self, answer: Answer, at: Duration) {
        let Answer { version, counter, device } = answer;
        let going = self.spells.last_mut().filter(|spell| {
            !self.broken
                && spell.version == version
                && spell.device == device
                && spell.counter_last <= counter
        });
        self.broken = false;
        if let Some(spell) = going {
            spell.counter_last = counter;
            spell.to = at;
            spell.answers += 1;
        } else {
            let (counter_first, counter_last) = (counter, counter);
            self.spells.push(Spell {
                version,
                device,
                counter_first,
                counter_last,
                from: at,
                to: at,
                answers: 1,
            });
        }
    }
}

/// Asks a workload for its counter about every millisecond, in a thread of its own.
#[derive(Debug)]
pub struct HttpWatcher {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpWatcher {
    /// Watches the port of 127.0.0.1 from now on; times count from the beginning of `stopwatch`.
    pub fn start(port: u16, stopwatch: Stopwatch) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut client = HttpClient::new(port);
            while !ended.load(Ordering::Relaxed) {
                let answer = client.counter();
                let at = stopwatch.elapsed();
                {
                    let mut seen = lock(&shared);
                    match answer {
                        Ok(answer) => seen.answered(answer, at),
                        Err(_) => seen.broken = true,
                    }
                }
                pause(POLL_EVERY);
            }
        });
        Self { port, seen, stop, thread: Some(thread) }
    }

    /// All spells so far, the oldest first.
    pub fn spells(&self) -> Vec<Spell> {
        lock(&self.seen).spells.clone()
    }

    /// The gaps between them.
    pub fn gaps(&self) -> Vec<Gap> {
        let spells = self.spells();
        spells.windows(2).map(|pair| Gap { before: pair[0].clone(), after: pair[1].clone() }).collect()
    }

    /// The spell that goes on now, if the last request was answered.
    pub fn current(&self) -> Option<Spell> {
        let seen = lock(&self.seen);
        seen.spells.last().filter(|_| !seen.broken).cloned()
    }

    /// Waits until `version` answers.
    pub fn wait_for_version(&self, version: &str, limit: Duration) -> Result<Spell, FleetError> {
        wait_until(&format!("version {version} on port {}", self.port), limit, || {
            Ok(match self.current() {
                Some(spell) if spell.version == version => Ok(spell),
                Some(spell) => Err(format!("version {} answers", spell.version)),
                None => Err("nobody answers".to_owned()),
            })
        })
    }
}

impl Drop for HttpWatcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Every change is whole before the lock is given back.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: &str, counter: u64) -> Answer {
        Answer { version: version.to_owned(), counter, device: "a".to_owned() }
    }

    #[test]
    fn a_failure_another_version_and_a_reset_counter_each_begin_a_new_spell() {
        let mut seen = Seen::default();
        let at = Duration::from_millis;
        seen.answered(answer("1", 5), at(0));
        seen.answered(answer("1", 7), at(2));
        seen.broken = true;
        seen.answered(answer("1", 7), at(102));
        seen.answered(answer("2", 7), at(104));
        seen.answered(answer("2", 0), at(105));
        let told: Vec<_> =
            seen.spells.iter().map(|s| (s.version.as_str(), s.counter_first, s.counter_last)).collect();
        assert_eq!(told, [("1", 5, 7), ("1", 7, 7), ("2", 7, 7), ("2", 0, 0)]);
        let gap = Gap { before: seen.spells[0].clone(), after: seen.spells[1].clone() };
        assert_eq!(gap.downtime(), at(100));
        assert_eq!(seen.spells[0].answers, 2);
    }
}
