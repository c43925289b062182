//! The agent's package: from the first installation to the purge, on machines with a real systemd.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use takt_package_tests::{Fleet, Format, Machine, NEXT_VERSION, wait_until};

const UNIT: &str = "takt-agent";

fn is_active(state: &str) -> bool {
    state == "active"
}

#[test]
fn a_fresh_installation_is_whole_and_waits_for_its_enrolment() {
    let machine = Machine::boot();
    let said = machine.dpkg(UNIT, Machine::version(), &[]);
    for needed in ["/etc/takt/agent.toml", "takt-agent enrol --token TOKEN", "systemctl start takt-agent"] {
        assert!(said.contains(needed), "{said}");
    }
    assert_eq!(machine.run(&["dpkg", "--verify", UNIT]), "");
    assert!(machine.sh("dpkg-query -W -f '${Conffiles}' takt-agent").contains("/etc/takt/agent.toml"));
    assert_eq!(machine.run(&["systemctl", "is-enabled", UNIT]).trim(), "enabled");
    let held_back = |when: &str| {
        assert_eq!(machine.property(UNIT, "ActiveState"), "inactive", "{when}: {}", machine.journal(UNIT));
        assert_eq!(machine.property(UNIT, "ConditionResult"), "no", "{when}");
        assert_eq!(machine.property(UNIT, "NRestarts"), "0", "{when}");
    };
    held_back("after the installation");
    machine.run(&["systemctl", "start", UNIT]);
    held_back("after a start");

    assert_eq!(machine.sh("stat -c '%a %U' /run/takt/locks").trim(), "755 root");
    let settings = fs::read_to_string(machine.path("/etc/takt/agent.toml")).unwrap();
    let latch = settings.lines().find_map(|line| line.strip_prefix("latch = ")).unwrap().trim_matches('"');
    assert_eq!(latch, "/usr/lib/takt/takt-latch");
    // Runs without any library, so it runs in any image.
    machine.sh(&format!("mkdir /root/empty && cp {latch} /root/empty/ && chroot /root/empty /takt-latch 2>&1 | grep -q takt-latch"));

    let unfinished = machine.try_run(&["takt-agent", "enrol", "--token", "x"]);
    assert_eq!(unfinished.code, 2);
    assert!(
        unfinished.stderr.contains("/etc/takt/agent.toml") && unfinished.stderr.contains("name"),
        "{unfinished:?}"
    );
}

#[test]
fn it_serves_under_its_unit_and_a_stuck_loop_is_started_anew() {
    let fleet = Fleet::start();
    let machine = &fleet.machine;
    // Type=notify: active means that the agent has said READY=1 itself.
    assert_eq!(machine.property(UNIT, "ActiveState"), "active", "{}", machine.journal(UNIT));
    // The launcher has become the agent.
    let pid = machine.property(UNIT, "MainPID");
    assert_eq!(machine.sh(&format!("readlink /proc/{pid}/exe")).trim(), "/usr/bin/takt-agent");
    machine.wait_property(UNIT, "StatusText", |text| text.starts_with("idle: waits on "));
    wait_until("the device to be online", || {
        let device = fleet.device();
        if device.contains("\"online\":true") { Ok(()) } else { Err(device) }
    });

    // Less than systemd's watchdog waits by default, so that the test need not.
    machine.sh("mkdir -p /run/systemd/system/takt-agent.service.d && printf '[Service]\\nWatchdogSec=4s\\n' \
                >/run/systemd/system/takt-agent.service.d/watchdog.conf && systemctl daemon-reload && systemctl restart takt-agent");
    let heard = || machine.property(UNIT, "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    let begin = heard();
    wait_until("the loop to say for ten seconds that it goes on", || {
        let span = heard() - begin;
        if span > 10_000_000 { Ok(()) } else { Err(format!("{span} us; {}", machine.journal(UNIT))) }
    });
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");

    machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT]);
    machine.wait_property(UNIT, "NRestarts", |count| count == "1");
    machine.wait_property(UNIT, "ActiveState", is_active);
    machine.wait_property(UNIT, "StatusText", |text| text.starts_with("idle: waits on "));

    machine.run(&["systemctl", "stop", UNIT]);
    assert_eq!(machine.property(UNIT, "Result"), "success");
    assert_eq!(machine.property(UNIT, "StatusText"), "stopping: what is in hand comes to its end first");
}

#[test]
fn an_upgrade_loses_nothing_and_starts_the_new_version() {
    let fleet = Fleet::start();
    let machine = &fleet.machine;
    let (identity, pid) = (fleet.identity(), machine.property(UNIT, "MainPID"));
    let settings = fs::read_to_string(machine.path("/etc/takt/agent.toml")).unwrap();

    machine.dpkg(UNIT, NEXT_VERSION, &[]);
    machine.wait_property(UNIT, "ActiveState", is_active);
    assert_ne!(machine.property(UNIT, "MainPID"), pid);
    assert_eq!(machine.property(UNIT, "NeedDaemonReload"), "no");
    assert_eq!(fleet.identity(), identity);
    assert_eq!(fs::read_to_string(machine.path("/etc/takt/agent.toml")).unwrap(), settings);
    assert_eq!(
        machine.sh("dpkg-query -W -f '${Version} ${db:Status-Status}' takt-agent"),
        format!("{NEXT_VERSION} installed")
    );
    // The journal goes on: reports keep counting where they were.
    wait_until("the device to be online again", || {
        let device = fleet.device();
        if device.contains("\"online\":true") { Ok(()) } else { Err(device) }
    });

    // The administrator has stopped and disabled it: an upgrade, or the way back, does not start it.
    machine.run(&["systemctl", "disable", "--now", UNIT]);
    machine.dpkg(UNIT, Machine::version(), &[]);
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    assert_eq!(machine.try_run(&["systemctl", "is-enabled", UNIT]).stdout.trim(), "disabled");
}

#[test]
fn the_agent_that_upgrades_itself_lives_to_see_the_end_of_it() {
    let fleet = Fleet::start();
    let machine = &fleet.machine;
    let pid = machine.property(UNIT, "MainPID");
    let next = machine.bring(UNIT, NEXT_VERSION, Format::Deb);
    // As the agent does it: dpkg as a process of a service with the very rules of the agent's unit.
    under_the_rules_of_the_agent(machine, "upgrade", &format!("dpkg --install {next}"));
    assert_eq!(
        machine.sh("dpkg-query -W -f '${Version} ${db:Status-Status}' takt-agent"),
        format!("{NEXT_VERSION} installed")
    );
    assert_eq!(machine.property(UNIT, "MainPID"), pid, "it was restarted under its own feet");
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    assert_eq!(machine.property(UNIT, "NeedDaemonReload"), "no");

    // It ends to start itself anew, and systemd starts what is installed now.
    machine.run(&["systemctl", "kill", "--kill-whom=main", UNIT]);
    machine.wait_property(UNIT, "MainPID", |now| now != pid && now != "0");
    machine.wait_property(UNIT, "ActiveState", is_active);

    // And the way back.
    let pid = machine.property(UNIT, "MainPID");
    let before = machine.bring(UNIT, Machine::version(), Format::Deb);
    under_the_rules_of_the_agent(machine, "way-back", &format!("dpkg --install {before}"));
    assert_eq!(machine.property(UNIT, "MainPID"), pid);
}

/// Runs a command line in a service of its own that has every rule of the agent's unit on what its processes may do.
fn under_the_rules_of_the_agent(machine: &Machine, name: &str, line: &str) -> String {
    make_service(machine, name, line);
    let done = machine.try_run(&["systemctl", "start", name]);
    let journal = machine.journal(name);
    assert_eq!(done.code, 0, "{line}: {journal}");
    journal
}

/// Makes that service.
fn make_service(machine: &Machine, name: &str, line: &str) {
    let unit = fs::read_to_string(machine.path("/lib/systemd/system/takt-agent.service")).unwrap();
    let begins = [
        "Capability",
        "Restrict",
        "SystemCall",
        "Protect",
        "Private",
        "Lock",
        "NoNew",
        "Memory",
        "OOM",
        "UMask",
    ];
    let rules: Vec<&str> =
        unit.lines().filter(|line| begins.iter().any(|begin| line.starts_with(begin))).collect();
    assert!(rules.len() > 10, "{rules:?}");
    let service = format!(
        "[Service]\nType=oneshot\nEnvironment=TAKT_SELF_UPGRADE=1 DEBIAN_FRONTEND=noninteractive\n\
         Environment=LD_LIBRARY_PATH=/root/libraries\n{}\nExecStart=/bin/sh -c '{line}'\n",
        rules.join("\n")
    );
    fs::write(machine.path(&format!("/etc/systemd/system/{name}.service")), service).unwrap();
    machine.run(&["systemctl", "daemon-reload"]);
}

/// Brings a program of this machine with its libraries; gives its path there.
fn bring_program(machine: &Machine, program: &Path) -> String {
    assert!(program.is_file(), "{} is missing: run tests/env/install.sh", program.display());
    let copied = machine.bring_file(program);
    fs::create_dir_all(machine.path("/root/libraries")).unwrap();
    let libraries = Command::new("ldd").arg(program).output().unwrap();
    for library in
        String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let name = Path::new(library).file_name().unwrap().to_string_lossy().into_owned();
        // The C library is the machine's own: it is the same release of Debian.
        if !name.starts_with("libc.so") && !name.starts_with("ld-linux") {
            fs::copy(library, machine.path("/root/libraries").join(name)).unwrap();
        }
    }
    copied
}

#[test]
fn the_rules_of_the_unit_let_criu_nftables_and_packages_do_their_work_and_a_reboot_be_asked_for() {
    let mut machine = Machine::boot();
    machine.dpkg(UNIT, Machine::version(), &[]);
    let criu = bring_program(&machine, Path::new("/usr/local/sbin/criu"));
    let said = under_the_rules_of_the_agent(&machine, "criu-check", &format!("{criu} check"));
    assert!(said.contains("Looks good"), "{said}");
    // Ports move in one transaction, and what is there is asked for.
    let nft = bring_program(&machine, Path::new("/usr/sbin/nft"));
    let rules = "table ip takt-probe { chain to { type nat hook prerouting priority dstnat; tcp dport 81 dnat to 127.0.0.2:82; }; }";
    fs::write(machine.path("/root/rules"), rules).unwrap();
    let line = format!("{nft} --file /root/rules && {nft} list ruleset && {nft} delete table ip takt-probe");
    let said = under_the_rules_of_the_agent(&machine, "ports", &line);
    assert!(said.contains("dnat to 127.0.0.2:82"), "{said}");
    // What scripts of packages do: other users, owners, capabilities of files, a root of its own, mounts, sysctl's folder.
    under_the_rules_of_the_agent(
        &machine,
        "scripts",
        "set -ex; useradd --system probe; su probe -s /bin/sh -c id; cp /bin/true /root/true; chown probe /root/true; \
         chmod 4755 /root/true; ldconfig -r /; mkdir /root/there; mount -t tmpfs tmpfs /root/there; userdel probe",
    );
    // As the settings have it by default: by systemd, which ends everything in order.
    make_service(&machine, "restart", "systemctl reboot");
    machine.try_run(&["systemctl", "start", "--no-block", "restart"]);
    machine.wait_ended();
}

#[test]
fn remove_keeps_who_the_device_is_and_purge_leaves_nothing() {
    let fleet = Fleet::start();
    let machine = &fleet.machine;
    let identity = fleet.identity();
    machine.run(&["dpkg", "--remove", UNIT]);
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    assert!(!machine.has("/usr/bin/takt-agent"));
    assert_eq!(fleet.identity(), identity);
    assert!(machine.has("/var/lib/takt-agent/journal") && machine.has("/etc/takt/agent.toml"));

    // Installed again, it is the same device and goes on.
    machine.dpkg(UNIT, Machine::version(), &[]);
    machine.wait_property(UNIT, "ActiveState", is_active);
    assert_eq!(fleet.identity(), identity);

    machine.run(&["dpkg", "--purge", UNIT, "takt-coordinator", "takt-ctl"]);
    let left = machine.sh(
        "find / /run -xdev -name '*takt*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*'",
    );
    assert_eq!(left, "");
}

#[test]
fn a_purge_leaves_the_machine_as_it_was() {
    let machine = Machine::boot();
    let before = machine.files();
    machine.dpkg(UNIT, Machine::version(), &[]);
    let installed = machine.files();
    assert!(installed.iter().any(|file| file.contains(" /usr/bin/takt-agent ")));
    machine.sh("mkdir -p /var/lib/takt-agent/identity && touch /var/lib/takt-agent/identity/membership.json");
    machine.run(&["dpkg", "--purge", UNIT]);
    let after = machine.files();
    let changed: Vec<&String> = after
        .iter()
        .filter(|file| !before.contains(file))
        .chain(before.iter().filter(|file| !after.contains(file)))
        .collect();
    assert_eq!(changed, Vec::<&String>::new());
}
