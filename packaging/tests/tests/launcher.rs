//! The launcher in the agent's package: it brings the old agent back, and a package must not take it away.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use takt_launcher::{Trial, TrialFolder, Versions};
use takt_package_tests::{Fleet, Format, Machine, NEXT_VERSION, wait_until};

const UNIT: &str = "takt-agent";
const AGENT: &str = "/usr/bin/takt-agent";
const LAUNCHER: &str = "/usr/lib/takt/takt-launcher";
const STATE: &str = "/var/lib/takt-agent/launcher";

/// The next package with one program replaced by a script that fails; gives its path in the machine.
fn spoilt(machine: &Machine, program: &str) -> String {
    let next = machine.bring(UNIT, NEXT_VERSION, Format::Deb);
    machine.sh(&format!(
        "cd /root && dpkg-deb --raw-extract {next} spoilt && printf '#!/bin/sh\\nexit 1\\n' >spoilt{program} && \
         dpkg-deb -Znone --build spoilt packages/spoilt.deb"
    ));
    "/root/packages/spoilt.deb".to_owned()
}

/// Installs a package as the agent does it for itself.
fn self_upgrade(machine: &Machine, package: &str) {
    machine.run(&["env", "TAKT_SELF_UPGRADE=1", "dpkg", "--install", package]);
}

/// The program that the service runs.
fn running(machine: &Machine) -> String {
    let pid = machine.property(UNIT, "MainPID");
    machine.try_run(&["readlink", &format!("/proc/{pid}/exe")]).stdout.trim().to_owned()
}

fn wait_running(machine: &Machine, program: &str) {
    wait_until(&format!("{program} to serve"), || {
        let found = (running(machine), machine.property(UNIT, "ActiveState"));
        if found == (program.to_owned(), "active".to_owned()) {
            Ok(())
        } else {
            Err(format!("{found:?}; {}", machine.journal(UNIT)))
        }
    });
}

#[test]
fn a_new_agent_that_does_not_start_is_given_up_and_the_old_one_serves() {
    let fleet = Fleet::start();
    let machine = &fleet.machine;
    let identity = fleet.identity();
    let trial = TrialFolder::new(machine.inside(STATE));
    let versions =
        Versions { new: NEXT_VERSION.parse().unwrap(), previous: Machine::version().parse().unwrap() };
    trial.begin(&machine.inside(AGENT), &versions).unwrap();
    let spoilt = spoilt(machine, AGENT);
    self_upgrade(machine, &spoilt);

    // The old agent ends as it does after its own upgrade; what is installed now fails three times.
    machine.run(&["systemctl", "kill", "--kill-whom=main", UNIT]);
    wait_running(machine, &format!("{STATE}/previous/takt-agent"));
    let pid = machine.property(UNIT, "MainPID");
    let told = machine.sh(&format!("tr '\\0' '\\n' </proc/{pid}/environ | grep TAKT_AGENT_FELL_BACK"));
    assert_eq!(told.trim(), format!("TAKT_AGENT_FELL_BACK={NEXT_VERSION}"));
    assert!(matches!(trial.look(), Trial::FellBack(_)), "{:?}", trial.look());
    assert_eq!(machine.property(UNIT, "NRestarts"), "4");

    // The package goes back, and the trial is over.
    let before = machine.bring(UNIT, Machine::version(), Format::Deb);
    self_upgrade(machine, &before);
    assert_eq!(machine.property(UNIT, "MainPID"), pid, "it was restarted under its own feet");
    trial.withdraw(&machine.inside(AGENT)).unwrap();
    machine.run(&["systemctl", "kill", "--kill-whom=main", UNIT]);
    wait_running(machine, AGENT);
    assert_eq!(fleet.identity(), identity);
    wait_until("the device to be online", || {
        let device = fleet.device();
        if device.contains("\"online\":true") { Ok(()) } else { Err(device) }
    });
}

#[test]
fn a_package_whose_launcher_cannot_run_is_refused_while_the_agent_can_take_it_back() {
    let machine = Machine::boot();
    machine.dpkg(UNIT, Machine::version(), &[]);
    let spoilt = spoilt(&machine, LAUNCHER);
    let said = machine.try_run(&["env", "TAKT_SELF_UPGRADE=1", "dpkg", "--install", &spoilt]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains(LAUNCHER), "{said:?}");
    let state = || machine.sh("dpkg-query -W -f '${Version} ${db:Status-Status}' takt-agent");
    assert_eq!(state(), format!("{NEXT_VERSION} half-configured"));

    let before = machine.bring(UNIT, Machine::version(), Format::Deb);
    self_upgrade(&machine, &before);
    assert_eq!(state(), format!("{} installed", Machine::version()));
    machine.run(&[LAUNCHER, "--version"]);
}
