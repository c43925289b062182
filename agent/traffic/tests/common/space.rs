//! A network namespace that belongs to one test, and ends with it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use super::run;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. What is run in it, and all threads and processes that this starts, are in
/// that namespace too.
pub(crate) struct Space {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Space {
    /// A namespace with nothing but the loopback interface, up.
    pub(crate) fn new() -> Self {
        let (jobs, waiting) = channel::<Job>();
        let (told, tid) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own: these tests need root");
            run("ip link set lo up");
            told.send(gettid().as_raw()).unwrap();
            for job in waiting {
                job();
            }
        });
        let tid = tid.recv().expect("the thread says why it has none");
        Self { jobs: Some(jobs), thread: Some(thread), tid }
    }

    /// A process that is in it, as far as namespaces go.
    pub(crate) fn process(&self) -> u32 {
        self.tid.unsigned_abs()
    }

    /// Runs something in it.
    pub(crate) fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel::<Result<T, Box<dyn Any + Send>>>();
        let job = move || sender.send(catch_unwind(AssertUnwindSafe(what))).expect("somebody waits");
        self.jobs.as_ref().expect("until the end").send(Box::new(job)).unwrap();
        result.recv().unwrap().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Gives it a bridge like Docker's: `docker0` at 172.17.0.1, and the kernel forwards.
    pub(crate) fn bridge(&self) {
        self.run(|| {
            run("ip link add docker0 type bridge");
            run("ip addr add 172.17.0.1/16 dev docker0");
            run("ip link set docker0 up");
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("a namespace has its own setting");
        });
    }

    /// Puts another one on the bridge, as a container is: at `172.17.0.<last>`, its way out by 172.17.0.1.
    pub(crate) fn contain(&self, other: &Self, last: u8) {
        let there = other.tid;
        self.run(move || {
            run(&format!("ip link add veth{last} type veth peer name eth0 netns {there}"));
            run(&format!("ip link set veth{last} master docker0 up"));
        });
        other.run(move || {
            run(&format!("ip addr add 172.17.0.{last}/16 dev eth0"));
            run("ip link set eth0 up");
            run("ip route add default via 172.17.0.1");
        });
    }

    /// Joins it with another one by a cable: `10.9.0.1` and `fd09::1` here, `10.9.0.2` and `fd09::2` there.
    pub(crate) fn cable(&self, other: &Self) {
        let there = other.tid;
        self.run(move || {
            run(&format!("ip link add cable type veth peer name cable netns {there}"));
            run("ip addr add 10.9.0.1/24 dev cable");
            run("ip addr add fd09::1/64 dev cable nodad");
            run("ip link set cable up");
        });
        other.run(|| {
            run("ip addr add 10.9.0.2/24 dev cable");
            run("ip addr add fd09::2/64 dev cable nodad");
            run("ip link set cable up");
        });
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
