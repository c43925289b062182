//! One guest: its machine, its power switch, and commands in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::boot::{BootLoader, Slot};
use super::channel::Channel;
use super::error::{Console, GuestError};
use super::image::{GuestImage, run, script};
use crate::fleet::{FleetError, Process, Said, wait_until};

/// How long a boot may take. An idle machine takes 10 s; four boots in a row are what a slot that does not boot costs.
const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// How long a running guest may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// For commands that only look.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// For copying a file into the guest.
const COPY_LIMIT: Duration = Duration::from_mins(3);
/// What the guest's console says at the end of a boot.
const BOOTED: &str = "guest: booted";
/// Lines of the serial console that an error shows.
const SERIAL_LINES: usize = 25;
/// The disk that leads files into the guest: its size in bytes, and how much is read from it at once.
const SHARE_BYTES: u64 = 64 << 20;
const SHARE_BLOCK: u64 = 1 << 20;

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

/// A guest with a disk of its own. Its machine is killed, and its disk removed, when this is dropped; should this process
/// be killed, the machine ends with it.
#[derive(Debug)]
pub struct Guest {
    forwards: Vec<Forward>,
    /// What the console had said when the machine was switched on.
    switched_on: usize,
    /// Before the folder: it must be gone first.
    machine: Option<Process>,
    folder: TempDir,
}

impl Guest {
    /// A guest that is switched off, whose network reaches these ports.
    pub fn new(image: &GuestImage, forwards: Vec<Forward>) -> Result<Self, GuestError> {
        // Short: the path of a Unix socket has 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("takt-guest.")
            .tempdir()
            .map_err(GuestError::file("make a folder in", std::env::temp_dir()))?;
        let guest = Self { forwards, switched_on: 0, machine: None, folder };
        guest
            .share(&mut io::empty())
            .map_err(GuestError::file("make", guest.folder.path().join("share.img")))?;
        let mut overlay = Command::new("qemu-img");
        overlay.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]);
        overlay.arg(image.disk()).arg(guest.folder.path().join("disk.qcow2"));
        run(overlay)?;
        Ok(guest)
    }

    /// Switches the machine on: firmware, boot loader, kernel. It does not wait.
    pub fn power_on(&mut self) -> Result<(), GuestError> {
        self.power_cut();
        let mut arguments = vec![self.folder.path().to_string_lossy().into_owned()];
        for Forward { guest, host } in &self.forwards {
            arguments.extend(["--forward".to_owned(), format!("{guest}=127.0.0.1:{host}")]);
        }
        self.switched_on = self.console_bytes();
        let log = self.folder.path().join("machine.log");
        let machine = Process::start("the guest's machine", &script("machine.sh"), &arguments, &log);
        self.machine = Some(machine.map_err(|source| self.failed(source))?);
        Ok(())
    }

    /// Cuts the power: what the guest has not flushed to its disk is lost.
    pub fn power_cut(&mut self) {
        if let Some(machine) = self.machine.take() {
            machine.kill();
        }
    }

    /// Waits until the guest has booted since the machine was switched on, and gives the slot.
    pub fn wait_booted(&mut self) -> Result<Slot, GuestError> {
        self.wait_console(self.switched_on, BOOTED, BOOT_LIMIT)?;
        self.slot()
    }

    /// Waits until the console has said something behind this many bytes ([`Self::console_bytes`]).
    pub fn wait_console(&mut self, from: usize, what: &str, limit: Duration) -> Result<(), GuestError> {
        let serial = self.serial();
        let machine =
            self.machine.as_mut().ok_or_else(|| GuestError::Off { deed: format!("wait for '{what}'") })?;
        let seen = wait_until(&format!("'{what}' on the guest's console"), limit, || {
            machine.check()?;
            let said = fs::read(&serial).unwrap_or_default();
            let said = String::from_utf8_lossy(said.get(from..).unwrap_or_default());
            Ok(if said.contains(what) { Ok(()) } else { Err("it has not said so".to_owned()) })
        });
        seen.map_err(|source| self.failed(source))
    }

    /// How much the console has said so far.
    pub fn console_bytes(&self) -> usize {
        fs::metadata(self.serial()).map_or(0, |serial| usize::try_from(serial.len()).unwrap_or(usize::MAX))
    }

    /// The slot that the guest runs from: what is mounted, not what anybody tells of it.
    pub fn slot(&mut self) -> Result<Slot, GuestError> {
        let text = self.text("awk '$2 == \"/\" {print $1}' /proc/mounts", LOOK_LIMIT)?;
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
        let bytes = File::open(from)
            .and_then(|mut file| self.share(&mut file))
            .map_err(GuestError::file("copy into the guest", from))?;
        let blocks = bytes.div_ceil(SHARE_BLOCK);
        let command = format!(
            "set -e; dd if=/dev/vdb iflag=direct bs={SHARE_BLOCK} count={blocks} status=none | head -c {bytes} >'{to}'; \
             sync '{to}'"
        );
        self.text(&command, COPY_LIMIT).map(|_| ())
    }

    /// Puts this onto the disk that the guest reads, and gives its size.
    fn share(&self, content: &mut impl io::Read) -> io::Result<u64> {
        let mut share = File::create(self.folder.path().join("share.img"))?;
        let bytes = io::copy(content, &mut share)?;
        share.set_len(SHARE_BYTES)?;
        Ok(bytes)
    }

    /// The file with all that the console has said.
    pub fn serial(&self) -> PathBuf {
        self.folder.path().join("serial.log")
    }

    /// Where the guest's disk, sockets and logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    fn lost(&self, source: io::Error) -> GuestError {
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
