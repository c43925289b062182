//! Watching a container's first process: the kernel knows that it has ended some 40 ms before the engine does.

use std::fs;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often a dying process is looked at: its successor waits for it.
const LOOK: Duration = Duration::from_millis(1);

/// How often it is looked at once it has not died at once.
const LOOK_LATER: Duration = Duration::from_millis(10);

/// How long it is looked at often.
const OFTEN: Duration = Duration::from_millis(200);

/// A process, told apart from a later one with its number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: i64,
    began: u64,
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    threads: u64,
    began: u64,
}

impl Process {
    /// The process `pid`, if it can be seen from here and has not ended.
    pub(super) fn find(pid: i64) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.has_ended()).then_some(Self { pid, began: stat.began })
    }

    /// Its number.
    pub(super) const fn pid(&self) -> i64 {
        self.pid
    }

    /// Whether it has ended, all threads of it, so that its files and ports are free.
    pub(super) fn has_ended(&self) -> bool {
        Stat::read(self.pid).is_none_or(|stat| stat.began != self.began || stat.has_ended())
    }

    /// Waits until `done` is true, looking often at first; false when it is not within `limit`.
    pub(super) async fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        for (every, span) in [(LOOK, OFTEN.min(limit)), (LOOK_LATER, limit.saturating_sub(OFTEN))] {
            let mut looks = interval(every);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let watch = async {
                while !done() {
                    looks.tick().await;
                }
            };
            if timeout(span, watch).await.is_ok() {
                return true;
            }
        }
        done()
    }
}

impl Stat {
    fn read(pid: i64) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields 3 (state), 20 (threads) and 22 (start time) of proc_pid_stat(5). The name, field 2, may hold anything,
    /// so they are counted from its closing parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let threads = fields.nth(16)?.parse().ok()?;
        let began = fields.nth(1)?.parse().ok()?;
        Some(Self { state, threads, began })
    }

    /// A group leader is a zombie as soon as it has ended itself; its files close with its last thread.
    const fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 4711 0 0";

    #[test]
    fn the_name_may_hold_anything() {
        assert_eq!(Stat::parse(LINE), Some(Stat { state: 'S', threads: 3, began: 4711 }));
        for odd in ["", "7 (a", "7 (a)", "7 (a) S 1 2", "7 (a) S x x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(Stat::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_zombie_with_threads_has_not_ended() {
        let stat = |state: &str, threads: &str| {
            Stat::parse(&LINE.replace(" S ", &format!(" {state} ")).replace(" 3 0", &format!(" {threads} 0")))
                .unwrap()
        };
        assert!(!stat("Z", "2").has_ended());
        assert!(stat("Z", "1").has_ended());
        assert!(!stat("R", "1").has_ended());
    }

    #[test]
    fn a_child_is_seen_to_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::find(i64::from(child.id())).unwrap();
        assert!(!process.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.has_ended());
        assert_eq!(Process::find(process.pid()), None);
    }
}
