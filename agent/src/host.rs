//! What the machine says of itself: /proc, statvfs, uname and the monotonic clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::time::{ClockId, clock_gettime};
use takt_agent_core::BootTime;
use takt_agent_core::facts::Power;
use takt_common::health::HostFacts;

use crate::power::{SUPPLIES, power};
use crate::uplink;

/// Where the kernel says things.
const PROC: &str = "/proc";
/// The kernel's random id of the boot, below it.
const BOOT_ID: &str = "sys/kernel/random/boot_id";
/// /proc/meminfo counts in these.
const KIB: u64 = 1024;

/// The machine does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not as proc(5) says.
    #[error("understand {}: no usable {field}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// What is missing or no number.
        field: &'static str,
    },
    /// The kernel does not tell the space of the file system.
    #[error("ask for the free space of {}", path.display())]
    Space {
        /// A folder on it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel has no monotonic clock.
    #[error("read the clock since boot")]
    Clock(#[source] io::Error),
    /// The kernel does not tell its release.
    #[error("ask for the kernel's release")]
    Kernel(#[source] io::Error),
}

/// The machine. It keeps the processor times of the last sample, because a share needs two.
#[derive(Debug)]
pub struct Host {
    proc: PathBuf,
    storage: PathBuf,
    boot_id: String,
    before: Option<CpuTimes>,
}

/// Processor time of all processors, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

/// What is free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Bytes of storage.
    pub free_disk_bytes: u64,
    /// Bytes of memory.
    pub free_memory_bytes: u64,
    /// Load average of one minute, by processor.
    pub load_per_cpu: f64,
}

impl Host {
    /// The machine this runs on; `storage` is the folder whose file system counts.
    pub fn new(storage: &Path) -> Result<Self, HostError> {
        Self::at(Path::new(PROC), storage)
    }

    fn at(proc: &Path, storage: &Path) -> Result<Self, HostError> {
        let path = proc.join(BOOT_ID);
        let boot_id = read(&path)?.trim().to_owned();
        if boot_id.is_empty() {
            return Err(HostError::Field { path, field: "boot id" });
        }
        Ok(Self { proc: proc.to_owned(), storage: storage.to_owned(), boot_id, before: None })
    }

    /// Now, by the clock that goes on while the machine sleeps.
    pub fn boot_time(&self) -> Result<BootTime, HostError> {
        let millis = u64::try_from(uptime()?.as_millis()).unwrap_or(u64::MAX);
        Ok(BootTime { boot_id: self.boot_id.clone(), millis })
    }

    /// A sample. `cpu_busy` is since the last one, and since boot in the first.
    pub fn facts(&mut self) -> Result<HostFacts, HostError> {
        let (times, cpus) = self.parse("stat", parse_stat)?;
        let cpu_busy = times.busy_since(self.before.replace(times));
        let load_1m = self.parse("loadavg", parse_loadavg)?;
        let (memory_total_bytes, memory_available_bytes) = self.parse("meminfo", parse_meminfo)?;
        let (storage_total_bytes, storage_free_bytes) = space(&self.storage)?;
        let kernel = nix::sys::utsname::uname().map_err(|errno| HostError::Kernel(errno.into()))?;
        Ok(HostFacts {
            cpu_busy,
            cpus,
            load_1m,
            memory_total_bytes,
            memory_available_bytes,
            storage_total_bytes,
            storage_free_bytes,
            uptime_secs: uptime()?.as_secs(),
            boot_id: self.boot_id.clone(),
            kernel: kernel.release().to_string_lossy().into_owned(),
            battery_percent: match power(Path::new(SUPPLIES)) {
                Power::Battery { percent } => Some(percent),
                Power::Mains => None,
            },
            link: uplink::link(Path::new(uplink::ROOT)),
        })
    }

    /// What a decision needs to know of the machine; unlike [`Host::facts`] it changes nothing.
    pub fn room(&self) -> Result<Room, HostError> {
        let (_, cpus) = self.parse("stat", parse_stat)?;
        let (_, free_memory_bytes) = self.parse("meminfo", parse_meminfo)?;
        let (_, free_disk_bytes) = space(&self.storage)?;
        let load_per_cpu = self.parse("loadavg", parse_loadavg)? / f64::from(cpus.max(1));
        Ok(Room { free_disk_bytes, free_memory_bytes, load_per_cpu })
    }

    fn parse<T>(&self, file: &str, parse: impl Fn(&str) -> Result<T, &'static str>) -> Result<T, HostError> {
        let path = self.proc.join(file);
        let text = read(&path)?;
        parse(&text).map_err(|field| HostError::Field { path, field })
    }
}

impl CpuTimes {
    /// The busy share since `before`, or since boot where there is none or it is from another one.
    fn busy_since(self, before: Option<Self>) -> f64 {
        let before = before.filter(|before| before.all < self.all && before.busy <= self.busy);
        let (busy, all) = before.map_or((self.busy, self.all), |b| (self.busy - b.busy, self.all - b.all));
        if all == 0 { 0.0 } else { (busy as f64 / all as f64).clamp(0.0, 1.0) }
    }
}

fn read(path: &Path) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

/// Since boot, sleep included.
pub fn uptime() -> Result<Duration, HostError> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|errno| HostError::Clock(errno.into()))?;
    Ok(Duration::from(now))
}

/// Size and free bytes of the file system of `path`, as far as this process may use them.
pub fn space(path: &Path) -> Result<(u64, u64), HostError> {
    let found =
        statvfs(path).map_err(|errno| HostError::Space { path: path.to_owned(), source: errno.into() })?;
    let unit = found.fragment_size();
    Ok((found.blocks().saturating_mul(unit), found.blocks_available().saturating_mul(unit)))
}

fn number<T: FromStr>(text: Option<&str>) -> Option<T> {
    text.and_then(|text| text.parse().ok())
}

/// The first line, `cpu user nice system idle iowait irq softirq steal …`, and the number of `cpuN` lines.
fn parse_stat(text: &str) -> Result<(CpuTimes, u32), &'static str> {
    let mut lines = text.lines();
    let mut fields = lines.next().unwrap_or_default().split_ascii_whitespace();
    if fields.next() != Some("cpu") {
        return Err("line 'cpu'");
    }
    // Guest time, after the first eight, is counted in user time already.
    let times: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, more @ ..] = times.as_slice() else { return Err("line 'cpu'") };
    // Waiting for a disk is not work.
    let idle = idle.saturating_add(more.first().copied().unwrap_or_default());
    let busy = [user, nice, system]
        .into_iter()
        .chain(more.iter().skip(1))
        .fold(0u64, |sum, t| sum.saturating_add(*t));
    let cpus = lines.take_while(|line| line.starts_with("cpu")).count();
    let cpus = u32::try_from(cpus).ok().filter(|cpus| *cpus > 0).ok_or("line 'cpu0'")?;
    Ok((CpuTimes { busy, all: busy.saturating_add(idle) }, cpus))
}

fn parse_loadavg(text: &str) -> Result<f64, &'static str> {
    number::<f64>(text.split_ascii_whitespace().next())
        .filter(|load| load.is_finite() && *load >= 0.0)
        .ok_or("load average of one minute")
}

/// Total and available bytes. Before Linux 3.14 nothing is called available: what is free counts.
fn parse_meminfo(text: &str) -> Result<(u64, u64), &'static str> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        number::<u64>(line.split_ascii_whitespace().next())?.checked_mul(KIB)
    };
    let total = kib("MemTotal").ok_or("MemTotal")?;
    let available = kib("MemAvailable").or_else(|| kib("MemFree")).ok_or("MemAvailable")?;
    Ok((total, available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_waiting_for_disks_is_idle() {
        let text = "cpu  10 1 5 80 4 2 3 5 99 99\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\ncpufreq 1\n";
        assert_eq!(parse_stat(text), Ok((CpuTimes { busy: 26, all: 110 }, 2)));
        assert_eq!(parse_stat("cpu 1 2 3 4\ncpu0 1 2 3 4"), Ok((CpuTimes { busy: 6, all: 10 }, 1)));
        for odd in
            ["", "cpu", "cpu 1 2 3", "cpu 1 2 x 4\ncpu0 1", "cpu0 1 2 3 4", "cpu 1 2 3 4\n", "memory 1"]
        {
            assert!(parse_stat(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn the_busy_share_is_between_zero_and_one() {
        let times = |busy, all| CpuTimes { busy, all };
        assert!((times(30, 120).busy_since(Some(times(20, 100))) - 0.5).abs() < 1e-9);
        assert!((times(30, 120).busy_since(None) - 0.25).abs() < 1e-9);
        assert!(times(0, 0).busy_since(None).abs() < 1e-9);
        assert!((times(5, 10).busy_since(Some(times(20, 100))) - 0.5).abs() < 1e-9, "another boot");
        assert!((times(5, 10).busy_since(Some(times(5, 10))) - 0.5).abs() < 1e-9, "no time passed");
    }

    #[test]
    fn memory_and_load_are_read_whatever_stands_around_them() {
        let text = "MemTotal:  2048 kB\nMemFree: 7 kB\nMemAvailable:\t1024 kB\nOdd\n:\n";
        assert_eq!(parse_meminfo(text), Ok((2048 << 10, 1024 << 10)));
        assert_eq!(parse_meminfo("MemTotal: 2 kB\nMemFree: 1 kB"), Ok((2048, 1024)));
        for odd in [
            "",
            "MemTotal: x kB",
            "MemTotal: -1 kB",
            "MemTotalX: 2 kB",
            "MemTotal:",
            "MemTotal: 1 kB",
            "MemTotal: 18446744073709551615 kB",
        ] {
            assert!(parse_meminfo(odd).is_err(), "{odd:?}");
        }
        assert_eq!(parse_loadavg("0.52 0.1 0.2 1/2 3\n"), Ok(0.52));
        for odd in ["", "NaN 1", "-1 0", "inf", "x"] {
            assert!(parse_loadavg(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn this_machine_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::new(folder.path()).unwrap();
        let facts = host.facts().unwrap();
        assert!(facts.cpus >= 1 && facts.memory_total_bytes > facts.memory_available_bytes);
        assert!(facts.storage_total_bytes >= facts.storage_free_bytes && facts.storage_total_bytes > 0);
        let room = host.room().unwrap();
        assert!(room.free_disk_bytes > 0 && room.free_memory_bytes > 0 && room.load_per_cpu >= 0.0);
        assert_eq!(facts.boot_id.len(), 36);
        assert!(!facts.kernel.is_empty());
        let now = host.boot_time().unwrap();
        assert!(host.boot_time().unwrap().since(&now).is_some());
        assert_eq!(now.millis / 1_000 / 60, facts.uptime_secs / 60);
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Host::at(folder.path(), folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("sys/kernel/random/boot_id"), "{error}");
        fs::create_dir_all(folder.path().join("sys/kernel/random")).unwrap();
        fs::write(folder.path().join(BOOT_ID), "id\n").unwrap();
        let mut host = Host::at(folder.path(), folder.path()).unwrap();
        fs::write(folder.path().join("stat"), "no").unwrap();
        let error = host.facts().unwrap_err().to_string();
        assert!(error.contains("/stat: no usable line 'cpu'"), "{error}");
    }
}
