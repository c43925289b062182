//! A machine: Debian's root file system in a folder, with systemd as the first process of namespaces of its own.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, killpg};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::wait_until;
use crate::packages::{Format, package, repository};

/// Where programs are in the machine.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is compared before an installation and after a purge: everything that lasts. Not the package managers' own
/// books, logs and caches, nor what systemd keeps of the running system.
const FIND: &str = "find / /run -xdev \\( -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /root/.rpmdb -o -path /var/log -o -path /var/cache \
     -o -path /run/systemd -o -path /run/log -o -path /root/packages -o -path /var/tmp \\) -prune \
     -o -printf '%y %m %U:%G %p %l\\n' | sort";

/// A machine has 300 MB at the most, and a few run beside each other.
const ROOM_MIN: u64 = 2 << 30;

/// A running machine. It ends, and its folder is removed, when this is dropped.
#[derive(Debug)]
pub struct Machine {
    init: u32,
    process: Child,
    folder: TempDir,
    copies: AtomicU32,
}

/// What a command in the machine said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; -1 when it was killed.
    pub code: i32,
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
}

impl Machine {
    /// Boots a fresh machine and waits until systemd has started everything.
    ///
    /// # Panics
    /// When that does not work: it needs root, mmdebstrap, and a kernel with namespaces and control groups.
    pub fn boot() -> Self {
        Self::boot_prepared(|_root| ())
    }

    /// As [`Machine::boot`], of a root file system that `prepare` has changed before.
    pub fn boot_prepared(prepare: impl FnOnce(&Path)) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR"));
        let made = Command::new(scripts.join("root.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "packaging/tests/root.sh failed: see its words above");
        let archive = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let folder = tempfile::Builder::new().prefix("takt-machine.").tempdir_in(place()).unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&root).status().unwrap();
        assert!(unpacked.success(), "{archive} cannot be unpacked: remove it, and it is made anew");
        prepare(&root);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--"])
            .arg(scripts.join("boot.sh"))
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut machine = Self { init: 0, process, folder, copies: AtomicU32::new(0) };
        machine.wait_booted();
        machine
    }

    fn wait_booted(&mut self) {
        let pid = self.process.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let log = self.folder.path().join("log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        wait_until("a machine to boot", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the machine did not boot ({status}): {}", said());
            }
            let children = fs::read_to_string(&children).unwrap_or_default();
            self.init =
                children.split_whitespace().next().and_then(|pid| pid.parse().ok()).ok_or_else(said)?;
            let state = self.try_run(&["systemctl", "is-system-running"]).stdout;
            if state.trim() == "running" {
                return Ok(());
            }
            Err(format!("{} {} {}", state.trim(), self.start_failed_again(), said()))
        });
    }

    /// Starts what failed again, and gives its last words: nothing of ours is in a fresh machine, and units of Debian's
    /// that a busy machine let fail say nothing of our packages. Started, not restarted: what makes the system's folders
    /// may not be stopped by hand, and so not be restarted either.
    fn start_failed_again(&self) -> String {
        let failed = self.try_run(&["systemctl", "--failed", "--plain", "--no-legend"]).stdout;
        let mut words = Vec::new();
        for unit in failed.lines().filter_map(|line| line.split_whitespace().next()) {
            let how =
                self.try_run(&["systemctl", "show", "--property", "Result,ExecMainStatus", unit]).stdout;
            let again = self.try_run(&["systemctl", "start", unit]).stderr;
            words.push(format!("{unit} failed: {how} {} {again}", self.journal(unit)));
        }
        words.join("; ")
    }

    /// Waits until the machine has gone down by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_ended(&mut self) {
        let log = self.folder.path().join("log");
        wait_until("a machine to go down", || match self.process.try_wait().unwrap() {
            Some(_status) => Ok(()),
            None => Err(fs::read_to_string(&log).unwrap_or_default()),
        });
    }

    /// Runs a command in the machine, whatever comes of it.
    pub fn try_run(&self, command: &[&str]) -> Said {
        let output = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "env", "--ignore-environment", PATH])
            .args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs a command in the machine that must succeed; gives what it said on standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, command: &[&str]) -> String {
        let said = self.try_run(command);
        assert_eq!(said.code, 0, "{command:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// Runs a line of shell that must succeed.
    pub fn sh(&self, line: &str) -> String {
        self.run(&["sh", "-c", line])
    }

    /// Puts a package into the machine; gives its path there.
    pub fn bring(&self, name: &str, version: &str, format: Format) -> String {
        let path = package(name, version, format);
        self.bring_file(&path)
    }

    /// Puts a file into the machine; gives its path there.
    pub fn bring_file(&self, path: &Path) -> String {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let inside = format!("/root/packages/{number}/{}", path.file_name().unwrap().to_string_lossy());
        let outside = self.path(&inside);
        fs::create_dir_all(outside.parent().unwrap()).unwrap();
        fs::copy(path, outside).unwrap();
        inside
    }

    /// Installs or upgrades a package by dpkg, with more variables in the environment; gives what was said.
    pub fn dpkg(&self, name: &str, version: &str, variables: &[&str]) -> String {
        let file = self.bring(name, version, Format::Deb);
        self.run(&[&["env"], variables, &["dpkg", "--install", &file]].concat())
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, unit]).trim().to_owned()
    }

    /// Waits until a unit has a property.
    pub fn wait_property(&self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_until(&format!("{property} of {unit}"), || {
            let found = self.property(unit, property);
            if wanted(&found) { Ok(found) } else { Err(format!("it is '{found}'; {}", self.journal(unit))) }
        })
    }

    /// The last words of a unit.
    pub fn journal(&self, unit: &str) -> String {
        self.try_run(&["journalctl", "--no-pager", "--output", "cat", "--lines", "40", "--unit", unit]).stdout
    }

    /// All files that last, each with its kind, mode, owner and, for links, its target.
    pub fn files(&self) -> Vec<String> {
        self.sh(FIND).lines().map(str::to_owned).collect()
    }

    /// Whether a file is in the machine's root file system.
    pub fn has(&self, path: &str) -> bool {
        self.try_run(&["test", "-e", path]).code == 0
    }

    /// A file of the machine as it is seen from outside. What lies on file systems of its own (/run, /tmp) is not there.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join("root").join(inside.trim_start_matches('/'))
    }

    /// A file of the machine by the machine's own mounts, which decide whether it may be run.
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// The workspace's version.
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// A file of the repository.
    pub fn source(path: &str) -> PathBuf {
        repository().join(path)
    }
}

/// Where machines are put: in memory where there is room for a few, because dpkg syncs every file; else where all
/// temporary folders are.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = statvfs(memory).map_or(0, |space| space.blocks_available() * space.fragment_size());
    if room > ROOM_MIN { memory.to_owned() } else { std::env::temp_dir() }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With the first process of its namespace every other one ends; `unshare` ends with it, or it with `unshare`.
        let _gone = killpg(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGKILL);
        let _reaped = self.process.wait();
    }
}
