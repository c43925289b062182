//! Published ports and a real Docker engine with a bridge and firewall rules of its own, all in one network namespace.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{DEVICE, Rota, Space, answer, clients, run, stay_idle, told, until, wait};
use takt_traffic::{Backend as To, Lead, Leads, Sockets, Traffic, allocate, connections};

const PUBLISHED: u16 = 8080;
/// Where a container listens.
const INSIDE: u16 = 80;
const SWAPS: usize = 10;
const BETWEEN: u64 = 10;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/env/dockerd.sh");

fn traffic() -> Traffic {
    Traffic::new(DEVICE).unwrap()
}

/// An engine; it is removed in the end, however this process ends.
struct Docker(PathBuf);

/// A running container.
#[derive(Debug, Clone, Copy)]
struct Container {
    address: Ipv4Addr,
    pid: u32,
}

impl Container {
    const fn backend(self) -> To {
        To::Bridge { address: self.address, port: INSIDE }
    }

    fn published(self) -> Leads {
        Leads::from([(PUBLISHED, Lead::everyone(self.backend()))])
    }
}

impl Docker {
    /// Starts it in the network namespace of this thread.
    fn start() -> Self {
        // Short: sockets lie in it.
        let folder = tempfile::Builder::new().prefix("takt-tr.").tempdir().unwrap().keep();
        let docker = Self(folder);
        docker.script(&["start", docker.0.to_str().unwrap(), &std::process::id().to_string()]);
        docker.import();
        docker
    }

    fn log(&self) -> PathBuf {
        PathBuf::from(format!("{}.log", self.0.display()))
    }

    fn script(&self, words: &[&str]) {
        // What the guard of the engine still writes to must not keep us waiting.
        let log = std::fs::File::create(self.log()).unwrap();
        let mut command = Command::new(SCRIPT);
        command.args(words).env("TAKT_ENGINE_NETWORK", "bridge").stdout(log.try_clone().unwrap()).stderr(log);
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(self.log()).unwrap();
        assert!(status.success(), "{SCRIPT} {words:?}: {said}");
    }

    /// An image of busybox.
    fn import(&self) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let busybox = Path::new("/bin/busybox");
        assert!(busybox.exists(), "{} is missing: tests/env/install.sh installs it", busybox.display());
        std::fs::copy(busybox, folder.path().join("bin/busybox")).unwrap();
        for name in ["sh", "httpd", "sleep"] {
            symlink("busybox", folder.path().join("bin").join(name)).unwrap();
        }
        let archive = folder.path().join("image.tar");
        run(&format!("tar -C {} -cf {} bin", folder.path().display(), archive.display()));
        self.docker(&format!("import {} box", archive.display()));
    }

    fn docker(&self, words: &str) -> String {
        run(&format!("docker --host unix://{}/docker.sock {words}", self.0.display())).trim().to_owned()
    }

    /// A container that answers with its name. Its direct port is published by Docker to this device only: Docker's own
    /// firewall then lets clients through to `INSIDE`, wherever they come from.
    fn run(&self, name: &str, direct: Option<u16>) -> Container {
        let publish = direct.map_or_else(String::new, |direct| format!("-p 127.0.0.1:{direct}:{INSIDE}"));
        let serve = format!(
            "/bin/sh -c mkdir${{IFS}}/w;echo${{IFS}}-n${{IFS}}{name}>/w/index.html;exec${{IFS}}httpd${{IFS}}-f${{IFS}}-h${{IFS}}/w"
        );
        self.docker(&format!("run -d --name {name} {publish} box {serve}"));
        self.inspect(name)
    }

    fn inspect(&self, name: &str) -> Container {
        let ask = |what: &str| self.docker(&format!("inspect -f {what} {name}"));
        let address = ask("{{.NetworkSettings.IPAddress}}").parse().unwrap();
        Container { address, pid: ask("{{.State.Pid}}").parse().unwrap() }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The engine's guard removes it once this process is gone.
            return;
        }
        self.script(&["remove", self.0.to_str().unwrap()]);
        std::fs::remove_file(self.log()).unwrap();
    }
}

/// What is in the kernel beside our table, without what is counted.
fn foreign() -> String {
    let all = run("nft --stateless list ruleset");
    let ours = format!("table inet takt-{DEVICE} {{");
    let Some((before, rest)) = all.split_once(&ours) else { return all };
    let (_, after) = rest.split_once("\n}\n").unwrap();
    format!("{before}{after}")
}

#[test]
fn containers_are_swapped_behind_docker_s_own_firewall() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let rota = Arc::new(Rota::default());
    let (docker, [old, new], inside) = here.run({
        let rota = Arc::clone(&rota);
        move || {
            let docker = Docker::start();
            let direct = allocate(2, &BTreeSet::from([PUBLISHED]), 3).unwrap();
            let old = docker.run("old", Some(direct[0]));
            let new = docker.run("new", Some(direct[1]));
            let before = foreign();
            assert!(before.contains("policy drop"), "Docker drops what it forwards: {before}");
            let leads = Leads::from([(direct[1], Lead::this_device(new.backend()))]);
            wait(traffic().route(&leads)).unwrap();
            until("the new one answers", || {
                answer(([127, 0, 0, 1], direct[1])).is_ok_and(|said| said == "new")
            });
            rota.route(&old.published(), "old");
            assert_eq!(foreign(), before);
            until("the old one answers", || answer(([127, 0, 0, 1], PUBLISHED)).is_ok());
            let inside = clients(([127, 0, 0, 1], PUBLISHED).into(), &rota);
            (docker, [old, new], inside)
        }
    });
    let outside = there.run({
        let rota = Arc::clone(&rota);
        move || clients(([10, 9, 0, 1], PUBLISHED).into(), &rota)
    });
    let (inside, outside) = here.run(move || {
        for swap in 0..SWAPS {
            let before = [inside.counts().0, outside.counts().0];
            until("clients come to each container", || {
                let failed = inside.counts().1 + outside.counts().1;
                let counts = [&inside, &outside].map(|clients| clients.counts().0);
                failed > 0 || counts.iter().zip(before).all(|(count, before)| *count >= before + BETWEEN)
            });
            let (to, name) = if swap % 2 == 0 { (new, "new") } else { (old, "old") };
            rota.route(&to.published(), name);
        }
        (inside.stop(), outside.stop())
    });
    told("from 127.0.0.1", &inside);
    told("from outside", &outside);

    // Draining: a connection to the old one is counted in its container, and is gone with it.
    let client = there.run(|| stay_idle(([10, 9, 0, 1], PUBLISHED)));
    here.run(move || {
        let count = || connections(Sockets::OfProcess(old.pid), INSIDE).unwrap();
        until("the connection is counted", || count() == 1);
        wait(traffic().route(&new.published())).unwrap();
        assert_eq!(count(), 1);
        drop(client);
        until("nobody is left", || count() == 0);
        docker.docker("rm -f old");
        assert_eq!(answer(([127, 0, 0, 1], PUBLISHED)).unwrap(), "new");

        // The engine ends, and begins anew: the table is none of its business.
        docker.script(&["stop", docker.0.to_str().unwrap()]);
        assert!(wait(traffic().look()).unwrap().leads_to(&new.published()));
        docker.script(&["start", docker.0.to_str().unwrap(), &std::process::id().to_string()]);
        assert!(wait(traffic().look()).unwrap().leads_to(&new.published()));
        docker.docker("start new");
        // It has an address anew, which may be another one.
        let again = docker.inspect("new");
        assert_eq!(
            wait(traffic().look()).unwrap().leads_to(&again.published()),
            again.address == new.address
        );
        wait(traffic().route(&again.published())).unwrap();
        until("it answers again", || answer(([127, 0, 0, 1], PUBLISHED)).is_ok_and(|said| said == "new"));
        drop(docker);
    });
    there.run(|| assert!(answer(([10, 9, 0, 1], PUBLISHED)).is_err(), "the engine is gone"));
}

#[test]
fn docker_lets_nobody_from_outside_to_a_container_of_which_it_publishes_nothing() {
    let (here, there) = (Space::new(), Space::new());
    here.cable(&there);
    let docker = here.run(|| {
        let docker = Docker::start();
        let container = docker.run("bare", None);
        wait(traffic().route(&container.published())).unwrap();
        until("it answers this device", || answer(([127, 0, 0, 1], PUBLISHED)).is_ok());
        docker
    });
    there.run(|| assert!(answer(([10, 9, 0, 1], PUBLISHED)).is_err()));
    here.run(move || drop(docker));
}
