//! What the kernel says of one process: its memory and its processor time.

use std::path::{Path, PathBuf};

use super::error::BenchError;

/// Ticks a second in which the kernel counts processor time for programs: fixed on every Linux.
const TICKS_PER_SEC: f64 = 100.0;
const KIB_PER_MIB: f64 = 1_024.0;

/// Resident memory of a process in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Memory {
    /// All of it.
    pub(super) resident: f64,
    /// What is its own: heap and stacks.
    pub(super) anonymous: f64,
    /// What are pages of files: its program and its libraries.
    pub(super) file: f64,
}

impl Memory {
    /// Of the process with this id, now.
    pub(super) fn of(pid: u32) -> Result<Self, BenchError> {
        let path = PathBuf::from(format!("/proc/{pid}/status"));
        let text = std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
        Self::parse(&text).map_err(|what| BenchError::Kernel { what, path })
    }

    /// The most that this process has had resident, in MiB.
    pub(super) fn peak_of_this_process() -> Result<f64, BenchError> {
        let path = PathBuf::from("/proc/self/status");
        let text = std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
        mib(&text, "VmHWM").map_err(|what| BenchError::Kernel { what, path })
    }

    fn parse(status: &str) -> Result<Self, &'static str> {
        let mib = |name| mib(status, name);
        Ok(Self { resident: mib("VmRSS")?, anonymous: mib("RssAnon")?, file: mib("RssFile")? })
    }
}

/// A line of a process's status.
fn mib(status: &str, name: &'static str) -> Result<f64, &'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / KIB_PER_MIB).ok_or(name)
}

/// Seconds of processor time that the process with this id has taken since its start.
pub(super) fn cpu_secs(pid: u32) -> Result<f64, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
    ticks(&text)
        .map(|ticks| ticks / TICKS_PER_SEC)
        .ok_or(BenchError::Kernel { what: "processor times", path })
}

/// User and system time: the 14th and the 15th field. The second one, the name, may hold blanks and brackets.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The size of a file in MiB.
pub(super) fn size_mib(path: &Path) -> Result<f64, BenchError> {
    let metadata = std::fs::metadata(path).map_err(BenchError::file("read the size of", path))?;
    Ok(metadata.len() as f64 / (KIB_PER_MIB * KIB_PER_MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_its_names() {
        let status = "Name:\ta\nVmRSS:\t   12288 kB\nRssAnon:\t    4096 kB\nRssFile:\t    8192 kB\n";
        let memory = Memory::parse(status).unwrap();
        assert_eq!((memory.resident, memory.anonymous, memory.file), (12.0, 4.0, 8.0));
        assert_eq!(Memory::parse("VmRSS:\t 1 kB\n"), Err("RssAnon"));
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 5 6 7 8 130 70 0 0 20 0 9 0 99";
        assert_eq!(ticks(stat), Some(200.0));
        assert!(cpu_secs(std::process::id()).unwrap() >= 0.0);
    }
}
