//! One guest: its machine, its power switch, and commands in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::boot::{BootLoader, Slot};
use super::channel::Channel;
use super::error::{Console, GuestError};
use super::image::{GuestImage, run, script};
use crate::fleet::{FleetError, Process, Said, now, wait_until};

/// How long a boot may take. An idle machine of two cores takes 15 s; one that also compiles has taken 90.
pub const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// How long a kept state may take to be read and to go on.
const RESUME_LIMIT: Duration = Duration::from_mins(1);
/// How long a running guest may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// For commands that only look.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// For copying a bundle into the guest.
const COPY_LIMIT: Duration = Duration::from_mins(3);
/// Lines of the serial console that an error shows.
const SERIAL_LINES: usize = 25;
/// Where the guest mounts the shared folder.
const SHARE: &str = "/run/share";

/// A port of 10.0.2.2, as the guest sees it, that leads to a port of this machine's 127.0.0.1. Nothing else can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The port in the guest's network.
    pub guest: u16,
    /// The port of 127.0.0.1.
    pub host: u16,
}

impl Forward {
    /// The same port on both sides, so that an address holds in both worlds.
    pub const fn same(port: u16) -> Self {
        Self { guest: port, host: port }
    }
}

/// How a guest's machine is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSpec {
    /// What its network reaches.
    pub forwards: Vec<Forward>,
    /// How long each of the watchdog's two stages lasts; the second one's end is a reset.
    pub watchdog_stage: Duration,
}

impl Default for GuestSpec {
    /// No network, and a watchdog that a loaded machine does not set off.
    fn default() -> Self {
        Self { forwards: Vec::new(), watchdog_stage: Duration::from_mins(2) }
    }
}

/// A guest with a disk of its own. Its machine is killed, and its disk removed, when this is dropped; should this process
/// be killed, the machine ends with it.
#[derive(Debug)]
pub struct Guest {
    spec: GuestSpec,
    /// Before the folder: it must be gone first.
    machine: Option<Process>,
    folder: TempDir,
}

impl Guest {
    /// A guest that is switched off.
    pub fn new(image: &GuestImage, spec: GuestSpec) -> Result<Self, GuestError> {
        // Short: the path of a Unix socket has 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("takt-guest.")
            .tempdir()
            .map_err(GuestError::file("make a folder in", std::env::temp_dir()))?;
        let share = folder.path().join("share");
        fs::create_dir(&share).map_err(GuestError::file("make the folder", &share))?;
        let guest = Self { spec, machine: None, folder };
        let mut overlay = Command::new("qemu-img");
        overlay.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]);
        overlay.arg(image.disk()).arg(guest.disk());
        run(overlay)?;
        Ok(guest)
    }

    /// A guest that has booted A, which is marked good, in a second or two: the machine goes on from a kept state.
    pub fn booted(image: &GuestImage, spec: GuestSpec) -> Result<Self, GuestError> {
        let mut guest = Self::new(image, spec)?;
        guest.switch_on(Some(&image.booted_state()))?;
        guest.wait_for_boot("the kept state", RESUME_LIMIT, None)?;
        // Its clock stood still since the state was kept.
        guest.text(&format!("date --set=@{}", now().as_secs()), LOOK_LIMIT)?;
        Ok(guest)
    }

    /// Switches the machine on: firmware, boot loader, kernel. It does not wait.
    pub fn power_on(&mut self) -> Result<(), GuestError> {
        self.switch_on(None)
    }

    /// Cuts the power: what the guest has not flushed to its disk is lost.
    pub fn power_cut(&mut self) {
        if let Some(machine) = self.machine.take() {
            machine.kill();
        }
    }

    /// Waits until the guest has booted, and gives the slot.
    pub fn wait_booted(&mut self) -> Result<Slot, GuestError> {
        self.wait_for_boot("the guest's boot", BOOT_LIMIT, None)?;
        self.slot()
    }

    /// Reboots from within, waits until the guest has booted again, within `limit`, and gives the slot. Boots that do not
    /// come that far in between are not seen.
    pub fn reboot(&mut self, limit: Duration) -> Result<Slot, GuestError> {
        let before = self.boot_id()?;
        self.begin("systemctl reboot")?;
        self.wait_for_boot("the guest's next boot", limit, Some(&before))?;
        self.slot()
    }

    /// The id of the boot that the guest is in; each boot has another.
    pub fn boot_id(&mut self) -> Result<String, GuestError> {
        self.text("cat /proc/sys/kernel/random/boot_id", LOOK_LIMIT)
    }

    /// The slot that the guest runs from: what is mounted, not what anybody tells of it.
    pub fn slot(&mut self) -> Result<Slot, GuestError> {
        let text = self.text("findmnt --noheadings --output SOURCE /", LOOK_LIMIT)?;
        match text.as_str() {
            "/dev/vda3" => Ok(Slot::A),
            "/dev/vda4" => Ok(Slot::B),
            _ => Err(GuestError::Answer { what: "the root file system", text }),
        }
    }

    /// The boot loader's variables on the disk.
    pub fn boot_loader(&mut self) -> Result<BootLoader, GuestError> {
        BootLoader::parse(&self.text("cat /dev/loop7", LOOK_LIMIT)?)
    }

    /// Runs a shell command, whatever comes of it.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Said, GuestError> {
        let mut channel = self.channel()?;
        let pid = channel.begin(command).map_err(|error| self.lost(error))?;
        let ended = wait_until(&format!("the end of `{command}` in the guest"), limit, || {
            Ok(channel.ended(pid).transpose().ok_or_else(|| "it runs".to_owned()))
        });
        ended.map_err(|source| self.failed(source))?.map_err(|error| self.lost(error))
    }

    /// Runs a shell command and gives what it wrote; anything but success is an error with its own words.
    pub fn text(&mut self, command: &str, limit: Duration) -> Result<String, GuestError> {
        let Said { code, out, err } = self.run(command, limit)?;
        if code == 0 {
            return Ok(out);
        }
        let said = format!("{out}\n{err}").trim().to_owned();
        Err(GuestError::Command { command: command.to_owned(), code, said })
    }

    /// Starts a shell command and does not wait for its end.
    pub fn begin(&mut self, command: &str) -> Result<(), GuestError> {
        let mut channel = self.channel()?;
        channel.begin(command).map(|_| ()).map_err(|error| self.lost(error))
    }

    /// Copies a file into the guest and flushes it.
    pub fn copy_in(&mut self, from: &Path, to: &str) -> Result<(), GuestError> {
        let name = from.file_name().unwrap_or_default();
        let shared = self.folder.path().join("share").join(name);
        let _older = fs::remove_file(&shared);
        if fs::hard_link(from, &shared).is_err() {
            fs::copy(from, &shared).map_err(GuestError::file("copy", from))?;
        }
        let name = name.to_string_lossy();
        let command = format!(
            "set -e; mkdir -p {SHARE} $(dirname '{to}'); \
             mountpoint -q {SHARE} || mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro share {SHARE}; \
             cp '{SHARE}/{name}' '{to}'; sync '{to}'"
        );
        self.text(&command, COPY_LIMIT)?;
        fs::remove_file(&shared).map_err(GuestError::file("remove", &shared))
    }

    /// The file with all that the console has said.
    pub fn serial(&self) -> PathBuf {
        self.folder.path().join("serial.log")
    }

    /// Where the guest's disk, sockets and logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().join("disk.qcow2")
    }

    fn switch_on(&mut self, state: Option<&Path>) -> Result<(), GuestError> {
        self.power_cut();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments = vec![path(self.folder.path()), path(&self.disk())];
        arguments.extend(["--stage".to_owned(), self.spec.watchdog_stage.as_millis().to_string()]);
        for Forward { guest, host } in &self.spec.forwards {
            arguments.extend(["--forward".to_owned(), format!("{guest}=127.0.0.1:{host}")]);
        }
        if let Some(state) = state {
            arguments.extend(["--resume".to_owned(), path(state)]);
        }
        let log = self.folder.path().join("machine.log");
        let machine = Process::start("the guest's machine", &script("machine.sh"), &arguments, &log);
        self.machine = Some(machine.map_err(|source| self.failed(source))?);
        Ok(())
    }

    /// Waits until a boot other than `before` has come to its end.
    fn wait_for_boot(&mut self, what: &str, limit: Duration, before: Option<&str>) -> Result<(), GuestError> {
        let socket = self.folder.path().join("channel");
        let machine =
            self.machine.as_mut().ok_or_else(|| GuestError::Off { deed: format!("wait for {what}") })?;
        let booted = wait_until(what, limit, || {
            machine.check()?;
            Ok(match booted(&socket) {
                Ok(Some(id)) if Some(id.as_str()) != before => Ok(()),
                Ok(Some(_)) => Err("it has not gone down yet".to_owned()),
                Ok(None) => Err("it listens, but has not booted".to_owned()),
                Err(error) => Err(format!("nobody listens: {error}")),
            })
        });
        booted.map_err(|source| self.failed(source))
    }

    fn channel(&mut self) -> Result<Channel, GuestError> {
        let socket = self.folder.path().join("channel");
        let machine =
            self.machine.as_mut().ok_or_else(|| GuestError::Off { deed: "speak to the guest".to_owned() })?;
        let channel = wait_until("the guest listen", LISTEN_LIMIT, || {
            machine.check()?;
            Ok(Channel::open(&socket).map_err(|error| error.to_string()))
        });
        channel.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: FleetError) -> GuestError {
        GuestError::Machine { source, console: self.console() }
    }

    fn lost(&self, source: std::io::Error) -> GuestError {
        GuestError::Channel { source, console: self.console() }
    }

    fn console(&self) -> Console {
        let text = fs::read(self.serial()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<String> =
            text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect()).collect();
        Console(lines[lines.len().saturating_sub(SERIAL_LINES)..].join("\n"))
    }
}

/// The id of the boot that has come to its end; nothing while it is on its way.
fn booted(socket: &Path) -> std::io::Result<Option<String>> {
    let mut channel = Channel::open(socket)?;
    let pid = channel.begin("cat /run/guest-booted")?;
    let said =
        wait_until("an answer", LISTEN_LIMIT, || Ok(channel.ended(pid).transpose().ok_or_else(String::new)));
    let said = said.map_err(std::io::Error::other)??;
    Ok(Some(said.out).filter(|id| said.code == 0 && !id.is_empty()))
}
