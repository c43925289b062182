//! An order of the coordinator brings the agent's own package: the new agent runs and has spoken with the coordinator before
//! it stays, and one that does not start is given up for the old one, which tells of it.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;

use takt_package_tests::{Fleet, Format, Machine, NEXT_VERSION, rpms, wait_until};

const UNIT: &str = "takt-agent";
const TAKT: &str = "takt --profile /var/lib/takt-coordinator/operator.toml";
/// Newer than [`NEXT_VERSION`].
const SPOILT_VERSION: &str = "99.0.0~test2";

/// Publishes a release with this package and orders it; gives what the campaign's end says.
fn upgrade(machine: &Machine, version: &str, package: &str) -> String {
    let text = format!(
        "[[steps]]\nkind = \"package\"\npackages = [\"{package}\"]\n\
         [health]\nprobes = [\"unit=takt-agent.service\"]\nstart_secs = 30\nprobation_secs = 2\n"
    );
    fs::write(machine.path("/root/release.toml"), text).unwrap();
    machine.sh(&format!(
        "cd /root && {TAKT} release new --from release.toml --name agent --version {version} --trust trust --out {version} && \
         {TAKT} release sign --dir {version} --trust trust --publisher-key publisher.key && \
         {TAKT} release publish --dir {version} --trust trust && \
         {TAKT} campaign start to-{version} --release agent@{version} --domain north --deadline 60s"
    ));
    wait_until(&format!("the end of campaign to-{version}"), || {
        let told = machine.sh(&format!("{TAKT} --json campaign show to-{version}"));
        let over = ["\"finished\"", "\"aborted\""].iter().any(|state| told.contains(state));
        if over { Ok(told) } else { Err(format!("{told}\n{}", machine.journal(UNIT))) }
    })
}

fn installed(machine: &Machine, format: Format) -> String {
    machine.sh(match format {
        Format::Deb => "dpkg-query -W -f '${Version} ${db:Status-Status}' takt-agent",
        Format::Rpm => "rpm --query --queryformat '%{VERSION} installed' takt-agent",
    })
}

/// The next package under a version of its own, with an agent that does not start.
fn spoilt(machine: &Machine, next: &str, format: Format) -> String {
    match format {
        Format::Deb => spoilt_deb(machine, next),
        Format::Rpm => {
            let folder = tempfile::tempdir().unwrap();
            let program = ("/usr/bin/takt-agent", "#!/bin/sh\nexit 1\n");
            let file = rpms::with_program((UNIT, NEXT_VERSION), SPOILT_VERSION, program, folder.path());
            machine.bring_file(&file)
        }
    }
}

fn spoilt_deb(machine: &Machine, next: &str) -> String {
    machine.sh(&format!(
        "cd /root && dpkg-deb --raw-extract {next} spoilt && printf '#!/bin/sh\\nexit 1\\n' >spoilt/usr/bin/takt-agent && \
         sed -i 's/^Version: .*/Version: {SPOILT_VERSION}/' spoilt/DEBIAN/control && \
         (cd spoilt && find usr -type f -exec md5sum {{}} + >DEBIAN/md5sums) && \
         dpkg-deb -Znone --build spoilt packages/spoilt.deb"
    ));
    "/root/packages/spoilt.deb".to_owned()
}

/// The next agent runs and is verified; one that does not start is given up for it.
fn upgrades_itself(fleet: &Fleet, format: Format) {
    let machine = &fleet.machine;
    let (identity, pid) = (fleet.identity(), machine.property(UNIT, "MainPID"));
    let next = machine.bring(UNIT, NEXT_VERSION, format);

    let told = upgrade(machine, "1.0.0", &next);
    assert!(told.contains("\"finished\""), "{told}\n{}", machine.journal(UNIT));
    assert_eq!(installed(machine, format), format!("{NEXT_VERSION} installed"));
    let serves = machine.property(UNIT, "MainPID");
    assert_ne!(serves, pid, "the new agent was never started");
    let runs = || machine.sh(&format!("readlink /proc/{}/exe", machine.property(UNIT, "MainPID")));
    assert_eq!(runs().trim(), "/usr/bin/takt-agent");
    assert_eq!(machine.sh("ls /var/lib/takt-agent/launcher"), "", "its trial is over");

    let told = upgrade(machine, "2.0.0", &spoilt(machine, &next, format));
    assert!(told.contains("\"aborted\"") && told.contains("was given up for"), "{told}");
    assert_eq!(installed(machine, format), format!("{NEXT_VERSION} installed"));
    assert_eq!(fleet.identity(), identity);
    assert_eq!(machine.sh("ls /var/lib/takt-agent/launcher"), "", "nothing of the trial is left");
    // It was brought back from a copy, which is gone; its next start is from its package.
    machine.run(&["systemctl", "restart", UNIT]);
    assert_eq!(runs().trim(), "/usr/bin/takt-agent");
    wait_until("the old agent to be online", || {
        let device = fleet.device();
        if device.contains("\"online\":true") { Ok(()) } else { Err(device) }
    });
}

#[test]
fn an_order_upgrades_the_agent_itself_and_one_that_does_not_start_is_given_up() {
    upgrades_itself(&Fleet::start(), Format::Deb);
}

#[test]
fn by_rpm_the_version_that_was_installed_by_hand_is_ordered_first() {
    let fleet = Fleet::with_agent(Format::Rpm);
    let machine = &fleet.machine;
    let pid = machine.property(UNIT, "MainPID");
    // rpm cannot make the file of what is installed again: without it there would be no way back.
    let told = upgrade(machine, "0.1.0", &machine.bring(UNIT, NEXT_VERSION, Format::Rpm));
    assert!(told.contains("\"aborted\"") && told.contains("was not installed by Takt"), "{told}");
    assert_eq!(installed(machine, Format::Rpm), format!("{} installed", Machine::version()));
    // The same version again changes nothing, and its file is kept.
    let told = upgrade(machine, "0.2.0", &machine.bring(UNIT, Machine::version(), Format::Rpm));
    assert!(told.contains("\"finished\""), "{told}\n{}", machine.journal(UNIT));
    assert_eq!(machine.property(UNIT, "MainPID"), pid, "the agent that runs is the one that was ordered");
    upgrades_itself(&fleet, Format::Rpm);
}
