//! A device: two slots and a rescue system in files, a boot loader, and RAUC's service on a bus of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use takt_agent_core::StepState;
use takt_common::Sha256Digest;
use takt_common::release::{OsImage, Step};
use takt_kinds::{ArtifactFiles as _, KindSettings, Kinds};
use tempfile::TempDir;

use super::boot::{Boot, BootLoader};
use super::bundle::{self, Keys, SYSTEM_BYTES, Spec};
use super::settings::{Store, bus_address, key, settings};

/// For anything that a service must do.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The device.
pub(crate) struct Device {
    folder: TempDir,
    pub(crate) boot: Boot,
    keys: Keys,
    bus: Child,
    rauc: Option<Child>,
    /// The boot name of the slot that runs.
    pub(crate) runs: &'static str,
    boots: u32,
    /// Slots whose system does not come up.
    pub(crate) broken: BTreeSet<&'static str>,
    rescue: bool,
}

impl Device {
    /// A device that runs slot A.
    pub(crate) async fn start(loader: BootLoader) -> Self {
        Self::start_with(loader, false).await
    }

    /// A device with a rescue system, to which its boot loader turns when no slot comes up.
    pub(crate) async fn start_with_rescue(loader: BootLoader) -> Self {
        Self::start_with(loader, true).await
    }

    async fn start_with(loader: BootLoader, rescue: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["artifacts", "mount", "net"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("hostname"), "cam-7\n").unwrap();
        let keys = Keys::new(folder.path(), "publisher");
        let boot = Boot::new(loader, folder.path());
        write_rauc_settings(folder.path(), &boot, &keys, rescue);
        let bus = start_bus(folder.path());
        let mut device =
            Self { boot, keys, bus, rauc: None, runs: "", boots: 0, broken: BTreeSet::new(), rescue, folder };
        device.comes_from_the_factory().await;
        device
    }

    /// The device as it was when it came: it runs slot A, and nothing was ever installed.
    pub(crate) async fn comes_from_the_factory(&mut self) {
        self.kill_rauc();
        for name in ["rauc.status", "rauc.log", "identity"] {
            let _may_not_be_there = fs::remove_file(self.path().join(name));
        }
        let _may_not_be_there = fs::remove_dir_all(self.path().join("way-back"));
        for slot in ["A", "B", "R"] {
            fs::write(self.path().join(format!("slot-{slot}")), vec![0; SYSTEM_BYTES]).unwrap();
        }
        self.boot.reset();
        self.broken.clear();
        self.reboot().await;
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The machine goes down, now, and comes up again.
    pub(crate) async fn reboot(&mut self) {
        self.kill_rauc();
        self.boots += 1;
        fs::write(self.path().join("boot-id"), format!("boot-{}\n", self.boots)).unwrap();
        self.runs = self.boot.choose(&self.broken, self.rescue);
        self.start_rauc().await;
    }

    pub(crate) fn kill_rauc(&mut self) {
        if let Some(mut rauc) = self.rauc.take() {
            rauc.kill().unwrap();
            rauc.wait().unwrap();
        }
    }

    /// The service dies while somebody waits for it.
    pub(crate) fn kill_rauc_meanwhile(&self) {
        self.signal_rauc(Signal::SIGKILL);
    }

    /// The service is there and does not answer.
    pub(crate) fn stop_rauc(&self) {
        self.signal_rauc(Signal::SIGSTOP);
    }

    fn signal_rauc(&self, signal: Signal) {
        let rauc = self.rauc.as_ref().unwrap().id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(rauc.cast_signed()), signal).unwrap();
    }

    /// Its mounts are its own, and go with it.
    pub(crate) async fn start_rauc(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path().join("rauc.log")).unwrap();
        let rauc = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "rauc", "--conf"])
            .arg(self.path().join("system.conf"))
            .args(["service", &format!("--override-boot-slot={}", self.runs)])
            .env("DBUS_STARTER_BUS_TYPE", "session")
            .env("DBUS_SESSION_BUS_ADDRESS", self.bus_address())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.rauc = Some(rauc);
        let asks = zbus::connection::Builder::address(self.bus_address().as_str()).build().await.unwrap();
        let began = Instant::now();
        loop {
            let bus = "org.freedesktop.DBus";
            let owned =
                asks.call_method(Some(bus), "/", Some(bus), "NameHasOwner", &"de.pengutronix.rauc").await;
            if owned.unwrap().body().deserialize().unwrap() {
                return;
            }
            assert!(began.elapsed() < LIMIT, "RAUC's service does not come up: {}", self.rauc_log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn bus_address(&self) -> String {
        bus_address(self.path())
    }

    pub(crate) fn rauc_log(&self) -> String {
        fs::read_to_string(self.path().join("rauc.log")).unwrap_or_default()
    }

    /// The agent's settings on it.
    pub(crate) fn settings(&self) -> KindSettings {
        settings(self.path())
    }

    pub(crate) fn kinds(&self) -> Kinds {
        Kinds::new(self.settings())
    }

    pub(crate) fn store(&self) -> Store {
        Store(self.path().join("artifacts"))
    }

    /// A release's step with a bundle that says what `spec` says.
    pub(crate) fn step(&self, spec: &Spec) -> Step {
        let file = self.path().join("made.raucb");
        bundle::make(self.path(), &self.keys, spec, &file);
        self.step_of(&file, spec)
    }

    /// The same with a file that is a bundle or not.
    pub(crate) fn step_of(&self, file: &Path, spec: &Spec) -> Step {
        let sha256 = Sha256Digest::of(&fs::read(file).unwrap());
        fs::rename(file, self.store().file(&sha256)).unwrap();
        let (compatible, version) = ("takt-test".to_owned(), spec.version.to_owned());
        Step::OsImage(OsImage { bundle: sha256, compatible, version, boot_secs: 600 })
    }

    /// The version of the system in a slot; none when it is no whole one.
    pub(crate) fn holds(&self, slot: &str, version: &str) -> bool {
        fs::read(self.path().join(format!("slot-{slot}"))).unwrap() == bundle::system(version)
    }

    pub(crate) async fn look(&self, step: &Step) -> StepState {
        self.kinds().look(&key(), step).await
    }

    /// Makes an installation wait at `pre-install` or `post-install` of its slot.
    pub(crate) fn hold(&self, hook: &str) {
        fs::write(self.path().join(format!("hold-slot-{hook}")), "").unwrap();
    }

    pub(crate) fn let_go(&self, hook: &str) {
        fs::remove_file(self.path().join(format!("hold-slot-{hook}"))).unwrap();
    }

    /// Waits until an installation has come to `hook`.
    pub(crate) async fn came_to(&self, hook: &str) {
        let (began, mark) = (Instant::now(), self.path().join(format!("at-slot-{hook}")));
        while !mark.exists() {
            assert!(began.elapsed() < LIMIT, "the installation never came to {hook}: {}", self.rauc_log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes the slots of this device as another user of RAUC would.
    pub(crate) async fn mark(&self, mark: &str, slot: &str) {
        let asks = zbus::connection::Builder::address(self.bus_address().as_str()).build().await.unwrap();
        let rauc = "de.pengutronix.rauc";
        let interface = Some("de.pengutronix.rauc.Installer");
        asks.call_method(Some(rauc), "/", interface, "Mark", &(mark, slot)).await.unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill_rauc();
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
        if std::thread::panicking() {
            println!("{}\n{:?}", self.rauc_log(), self.boot.variables());
        }
    }
}

fn start_bus(folder: &Path) -> Child {
    let settings = folder.join("bus.conf");
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
         <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
        folder.join("bus").display()
    );
    fs::write(&settings, text).unwrap();
    let bus = Command::new("dbus-daemon")
        .arg("--nofork")
        .arg(format!("--config-file={}", settings.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("dbus-daemon is missing (tests/env/install.sh): {error}"));
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(folder.join("bus")).is_err() {
        assert!(began.elapsed() < LIMIT, "the bus does not come up");
        std::thread::sleep(Duration::from_millis(2));
    }
    bus
}

fn write_rauc_settings(folder: &Path, boot: &Boot, keys: &Keys, rescue: bool) {
    let (loader, handlers) = boot.settings();
    let at = |name: &str| folder.join(name).display().to_string();
    let mut text = format!(
        "[system]\ncompatible=takt-test\nmountprefix={}\nstatusfile={}\n{loader}[handlers]\n{handlers}[keyring]\npath={}\n",
        at("mount"),
        at("rauc.status"),
        keys.certificate.display()
    );
    for (name, bootname, more) in
        [("rootfs.0", "A", ""), ("rootfs.1", "B", ""), ("rescue.0", "R", "readonly=true\n")]
    {
        if bootname != "R" || rescue {
            let device = at(&format!("slot-{bootname}"));
            let slot = ["[slot.", name, "]\ndevice=", &device, "\ntype=raw\nbootname=", bootname, "\n", more];
            text.extend(slot);
        }
    }
    fs::write(folder.join("system.conf"), text).unwrap();
}
