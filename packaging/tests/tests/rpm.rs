//! The same by rpm: installed, upgraded and erased on a machine with a real systemd.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;

use takt_package_tests::{Format, Machine, NEXT_VERSION};

const AGENT: &str = "takt-agent";
const COORDINATOR: &str = "takt-coordinator";

/// Runs rpm on a package. The machine's own libraries are Debian's, which rpm does not know of: hence `--nodeps`.
fn rpm(machine: &Machine, mode: &str, name: &str, version: &str, variables: &[&str]) -> String {
    let file = machine.bring(name, version, Format::Rpm);
    machine.run(&[&["env"], variables, &["rpm", mode, "--nodeps", &file]].concat())
}

#[test]
fn the_agent_is_installed_upgraded_and_erased_and_its_identity_stays() {
    let machine = Machine::boot();
    let said = rpm(&machine, "--install", AGENT, Machine::version(), &[]);
    assert!(said.contains("takt-agent enrol --token TOKEN"), "{said}");
    assert_eq!(machine.run(&["rpm", "--verify", "--nodeps", AGENT]), "");
    assert!(machine.sh("rpm --query --configfiles takt-agent").contains("/etc/takt/agent.toml"));
    machine.run(&["systemctl", "start", AGENT]);
    assert_eq!(machine.property(AGENT, "ConditionResult"), "no");
    assert_eq!(machine.sh("stat -c '%a %U' /run/takt/locks").trim(), "755 root");

    // An agent cannot run here without a fleet; what its state folder holds must outlive everything all the same.
    machine.sh("mkdir -p /var/lib/takt-agent/identity && echo key >/var/lib/takt-agent/identity/device.key");
    fs::write(machine.path("/etc/takt/agent.toml"), "# mine\n").unwrap();
    rpm(&machine, "--upgrade", AGENT, NEXT_VERSION, &[]);
    assert_eq!(machine.sh("rpm --query --queryformat '%{VERSION}' takt-agent"), NEXT_VERSION);
    assert_eq!(fs::read_to_string(machine.path("/etc/takt/agent.toml")).unwrap(), "# mine\n");

    machine.run(&["rpm", "--erase", AGENT]);
    assert!(
        !machine.has("/usr/bin/takt-agent") && !machine.has("/usr/lib/systemd/system/takt-agent.service")
    );
    assert_eq!(machine.sh("cat /var/lib/takt-agent/identity/device.key"), "key\n");
    assert_eq!(fs::read_to_string(machine.path("/etc/takt/agent.toml.rpmsave")).unwrap(), "# mine\n");
}

#[test]
fn an_upgrade_restarts_what_runs_unless_the_agent_upgrades_itself() {
    let machine = Machine::boot();
    rpm(&machine, "--install", AGENT, Machine::version(), &[]);
    // The scripts of the package are tried, not the agent: a program that says it is ready stands in for it.
    machine.sh("mkdir -p /var/lib/takt-agent/identity /run/systemd/system/takt-agent.service.d && \
                touch /var/lib/takt-agent/identity/membership.json && \
                printf '[Service]\\nType=exec\\nWatchdogSec=0\\nExecStart=\\nExecStart=/bin/sleep infinity\\n' \
                >/run/systemd/system/takt-agent.service.d/stand-in.conf && systemctl daemon-reload && systemctl start takt-agent");
    let pid = || machine.property(AGENT, "MainPID");
    let first = pid();
    rpm(&machine, "--upgrade", AGENT, NEXT_VERSION, &["TAKT_SELF_UPGRADE=1"]);
    assert_eq!(pid(), first, "it was restarted under its own feet");
    assert_eq!(machine.property(AGENT, "NeedDaemonReload"), "no");
    let back = machine.bring(AGENT, Machine::version(), Format::Rpm);
    machine.run(&["rpm", "--upgrade", "--oldpackage", "--nodeps", &back]);
    machine.wait_property(AGENT, "ActiveState", |state| state == "active");
    assert_ne!(pid(), first);
    machine.run(&["rpm", "--erase", AGENT]);
    assert_eq!(machine.property(AGENT, "ActiveState"), "inactive");
}

#[test]
fn the_coordinator_serves_is_upgraded_and_keeps_its_keys_when_it_is_erased() {
    let machine = Machine::boot();
    let said = rpm(&machine, "--install", COORDINATOR, Machine::version(), &[]);
    assert!(said.contains("systemctl enable --now takt-coordinator"), "{said}");
    machine.run(&["systemctl", "enable", "--now", COORDINATOR]);
    let keys = || machine.sh("cd /var/lib/takt-coordinator && sha256sum ca.pem *.key");
    let (made, pid) = (keys(), machine.property(COORDINATOR, "MainPID"));
    rpm(&machine, "--upgrade", COORDINATOR, NEXT_VERSION, &[]);
    machine.wait_property(COORDINATOR, "ActiveState", |state| state == "active");
    assert_ne!(machine.property(COORDINATOR, "MainPID"), pid);
    machine.run(&["rpm", "--erase", COORDINATOR]);
    assert_eq!(machine.property(COORDINATOR, "ActiveState"), "inactive");
    assert_eq!(keys(), made);
}

#[test]
fn the_command_is_installed_and_erased_without_a_trace() {
    let machine = Machine::boot();
    // cargo-generate-rpm cannot say that a package owns a folder, so empty ones stay.
    let files = || machine.files().into_iter().filter(|file| !file.starts_with('d')).collect::<Vec<_>>();
    let before = files();
    rpm(&machine, "--install", "takt-ctl", Machine::version(), &[]);
    assert!(machine.run(&["takt", "--version"]).starts_with("takt "));
    machine.run(&["rpm", "--erase", "takt-ctl"]);
    let left: Vec<String> = files().into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(left, Vec::<String>::new());
}
