//! The coordinator's package: from the first installation to the purge, on machines with a real systemd.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;

use takt_package_tests::{Machine, NEXT_VERSION, wait_until};

const UNIT: &str = "takt-coordinator";
const STATE: &str = "/var/lib/takt-coordinator";

fn is_active(state: &str) -> bool {
    state == "active"
}

/// The hash of all keys.
fn keys(machine: &Machine) -> String {
    machine.sh(&format!("cd {STATE} && sha256sum ca.pem *.key operator.toml"))
}

#[test]
fn a_fresh_installation_serves_as_a_user_of_its_own_and_says_what_comes_next() {
    let machine = Machine::boot();
    let said = machine.dpkg(UNIT, Machine::version(), &[]);
    for needed in [
        "public_hosts",
        "/etc/takt/coordinator.toml",
        "takt --profile /var/lib/takt-coordinator/operator.toml",
    ] {
        assert!(said.contains(needed), "{said}");
    }
    assert_eq!(machine.run(&["dpkg", "--verify", UNIT]), "");
    assert!(
        machine.sh("dpkg-query -W -f '${Conffiles}' takt-coordinator").contains("/etc/takt/coordinator.toml")
    );
    // Type=notify: active means that it has said READY=1 itself, and only when both addresses are listened on.
    assert_eq!(machine.property(UNIT, "ActiveState"), "active", "{}", machine.journal(UNIT));
    assert_eq!(machine.property(UNIT, "StatusText"), "HTTPS API on 0.0.0.0:8443, MQTT gate on 0.0.0.0:8883");
    let pid = machine.property(UNIT, "MainPID");
    assert_eq!(machine.sh(&format!("stat -c %U /proc/{pid}")).trim(), UNIT);
    assert_eq!(machine.sh(&format!("stat -c '%a %U' {STATE}")).trim(), format!("700 {UNIT}"));
    assert_eq!(
        machine.sh(&format!("cd {STATE} && stat -c %a operator.toml order.key | sort -u")).trim(),
        "600"
    );
    // As many connections as its settings allow by default: 10,000 devices and 1,024 others.
    let limits = machine.sh(&format!("grep 'open files' /proc/{pid}/limits"));
    let soft: u32 = limits.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(soft > 10_000 + 1_024, "{limits}");

    machine.dpkg("takt-ctl", Machine::version(), &[]);
    let devices = machine.sh(&format!("takt --profile {STATE}/operator.toml --json device list"));
    assert_eq!(devices.trim(), "[]");
}

/// As on a busy machine: then nothing of ours would be tried at all.
#[test]
fn a_machine_boots_though_one_of_debian_s_units_fails_at_first() {
    let machine = Machine::boot_prepared(|root| {
        let folder = root.join("etc/systemd/system/systemd-tmpfiles-setup.service.d");
        fs::create_dir_all(&folder).unwrap();
        let fails_once = "[Service]\nExecStartPre=test -e /run/again\n\
                          ExecStopPost=touch /run/again\n";
        fs::write(folder.join("fails-once.conf"), fails_once).unwrap();
    });
    assert!(machine.has("/run/again"));
    assert_eq!(machine.property("systemd-tmpfiles-setup.service", "ActiveState"), "active");
}

#[test]
fn a_stuck_coordinator_is_started_anew_and_a_well_one_is_not() {
    let machine = Machine::boot();
    machine.dpkg(UNIT, Machine::version(), &[]);
    // Less than the unit's own watchdog waits, so that the test need not.
    machine.sh(
        "mkdir -p /run/systemd/system/takt-coordinator.service.d && printf '[Service]\\nWatchdogSec=4s\\n' \
                >/run/systemd/system/takt-coordinator.service.d/watchdog.conf && systemctl daemon-reload && \
                systemctl restart takt-coordinator",
    );
    let heard = || machine.property(UNIT, "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    let begin = heard();
    wait_until("the engine to say for ten seconds that it goes on", || {
        let span = heard() - begin;
        if span > 10_000_000 { Ok(()) } else { Err(format!("{span} us; {}", machine.journal(UNIT))) }
    });
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");

    machine.run(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT]);
    machine.wait_property(UNIT, "NRestarts", |count| count == "1");
    machine.wait_property(UNIT, "ActiveState", is_active);

    machine.run(&["systemctl", "stop", UNIT]);
    assert_eq!(machine.property(UNIT, "Result"), "success");
    assert_eq!(machine.property(UNIT, "StatusText"), "stopping");
}

#[test]
fn bad_settings_are_said_once_and_not_tried_over_and_over() {
    let machine = Machine::boot();
    machine.dpkg(UNIT, Machine::version(), &[]);
    fs::write(machine.path("/etc/takt/coordinator.toml"), "[api]\nlisten = 5\n").unwrap();
    machine.try_run(&["systemctl", "restart", UNIT]);
    machine.wait_property(UNIT, "ActiveState", |state| state == "failed");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    let journal = machine.journal(UNIT);
    assert!(journal.contains("/etc/takt/coordinator.toml") && journal.contains("listen"), "{journal}");
}

#[test]
fn an_upgrade_keeps_the_keys_and_starts_the_new_version() {
    let machine = Machine::boot();
    machine.dpkg(UNIT, Machine::version(), &[]);
    let (before, pid) = (keys(&machine), machine.property(UNIT, "MainPID"));
    let settings = "# mine\ndata_dir = \"/var/lib/takt-coordinator\"\npublic_hosts = [\"machine\"]\n";
    fs::write(machine.path("/etc/takt/coordinator.toml"), settings).unwrap();
    machine.dpkg(UNIT, NEXT_VERSION, &[]);
    machine.wait_property(UNIT, "ActiveState", is_active);
    assert_ne!(machine.property(UNIT, "MainPID"), pid);
    assert_eq!(keys(&machine), before);
    assert_eq!(fs::read_to_string(machine.path("/etc/takt/coordinator.toml")).unwrap(), settings);
}

#[test]
fn remove_keeps_the_fleet_and_purge_leaves_nothing_not_even_the_user() {
    let machine = Machine::boot();
    let before = machine.files();
    machine.dpkg(UNIT, Machine::version(), &[]);
    let made = keys(&machine);
    machine.run(&["dpkg", "--remove", UNIT]);
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    assert_eq!(keys(&machine), made);

    machine.dpkg(UNIT, Machine::version(), &[]);
    machine.wait_property(UNIT, "ActiveState", is_active);
    assert_eq!(keys(&machine), made);

    machine.run(&["dpkg", "--purge", UNIT]);
    let after = machine.files();
    let left: Vec<&String> = after.iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(left, Vec::<&String>::new());
    assert_eq!(machine.try_run(&["getent", "passwd", UNIT]).code, 2);
    assert_eq!(machine.try_run(&["getent", "group", UNIT]).code, 2);
}
