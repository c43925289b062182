//! The table in the kernel, and who else may have a hand in it.

#![allow(clippy::unwrap_used)] // A test fails by it.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::{DEVICE, Space, nft, run, to_host, wait};
use takt_traffic::{Backend, Lead, Leads, Traffic, TrafficError};

fn traffic() -> Traffic {
    Traffic::new(DEVICE).unwrap()
}

/// What is in the kernel beside our table.
fn foreign() -> String {
    let all = run("nft list ruleset");
    let ours = format!("table inet takt-{DEVICE} {{");
    let Some((before, rest)) = all.split_once(&ours) else { return all };
    let (_, after) = rest.split_once("\n}\n").unwrap();
    format!("{before}{after}")
}

#[test]
fn a_new_value_sees_what_the_last_one_has_done() {
    Space::new().run(|| {
        assert_eq!(wait(traffic().look()).unwrap().hindrance.unwrap(), "there is no table");
        let [first, second] = [to_host(8080, 61_000), to_host(8081, 61_001)];
        wait(traffic().route(&first)).unwrap();
        wait(traffic().route(&second)).unwrap();
        let looked = wait(traffic().look()).unwrap();
        assert!(looked.leads_to(&first) && looked.leads_to(&second), "{looked:?}");
        assert!(!looked.leads_to(&to_host(8080, 61_001)) && !looked.leads_to(&to_host(8082, 1)));
        let moved = to_host(8080, 61_002);
        wait(traffic().route(&moved)).unwrap();
        let looked = wait(traffic().look()).unwrap();
        assert!(looked.leads_to(&moved) && looked.leads_to(&second) && !looked.leads_to(&first));
        wait(traffic().forget(&BTreeSet::from([8080, 9999]))).unwrap();
        assert_eq!(wait(traffic().look()).unwrap().leads, second);
        wait(traffic().remove()).unwrap();
        assert_eq!(run("nft list ruleset"), "");
        wait(traffic().remove()).unwrap();
    });
}

#[test]
fn one_value_sees_at_once_what_others_do() {
    Space::new().run(|| {
        let traffic = traffic();
        let leads = to_host(8080, 61_000);
        wait(traffic.route(&leads)).unwrap();
        assert!(wait(traffic.look()).unwrap().leads_to(&leads));
        assert!(wait(traffic.look()).unwrap().leads_to(&leads), "by what it has seen");
        run("nft flush ruleset");
        assert_eq!(wait(traffic.look()).unwrap().hindrance.unwrap(), "there is no table");
        wait(traffic.route(&leads)).unwrap();
        run(&format!("nft add rule inet takt-{DEVICE} everyone tcp dport 9 drop"));
        let looked = wait(traffic.look()).unwrap();
        assert!(!looked.leads_to(&leads) && looked.leads == leads, "{looked:?}");
        wait(traffic.route(&leads)).unwrap();
        assert!(wait(traffic.look()).unwrap().leads_to(&leads));
        run(&format!("nft add table inet takt-{DEVICE} {{ flags dormant; }}"));
        assert!(!wait(traffic.look()).unwrap().leads_to(&leads));
        wait(traffic.route(&leads)).unwrap();
        assert!(wait(traffic.look()).unwrap().leads_to(&leads));
    });
}

#[test]
fn while_no_rule_changes_looking_calls_no_program() {
    Space::new().run(|| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nft");
        let calls = folder.path().join("calls");
        script(&program, &format!("echo >>{}; exec nft \"$@\"", calls.display()));
        let traffic = traffic().with_program(&program, Duration::from_secs(10));
        let count = || std::fs::read_to_string(&calls).map_or(0, |text| text.lines().count());
        wait(traffic.route(&to_host(8080, 61_000))).unwrap();
        wait(traffic.look()).unwrap();
        let before = count();
        for _ in 0..100 {
            assert!(wait(traffic.look()).unwrap().leads_to(&to_host(8080, 61_000)));
        }
        assert_eq!(count(), before);
        nft("table ip somebody { chain other { }; }");
        wait(traffic.look()).unwrap();
        assert_eq!(count(), before + 1);
    });
}

#[test]
fn a_users_rules_and_those_of_iptables_are_byte_for_byte_the_same_afterwards() {
    Space::new().run(|| {
        nft(include_str!("rules-of-a-user.nft"));
        run("iptables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.1:80");
        run("iptables-nft -A FORWARD -j DROP");
        let before = run("nft list ruleset");
        assert!(before.contains("jump knock") && before.contains("10.0.0.1"), "{before}");
        wait(traffic().ability()).unwrap();
        assert_eq!(run("nft list ruleset"), before);
        wait(traffic().route(&to_host(8080, 61_000))).unwrap();
        assert_eq!(foreign(), before);
        // In need of a replacement as a whole.
        run(&format!("nft add chain inet takt-{DEVICE} strange"));
        wait(traffic().route(&to_host(8080, 61_001))).unwrap();
        assert_eq!(foreign(), before);
        wait(traffic().forget(&BTreeSet::from([8080]))).unwrap();
        wait(traffic().remove()).unwrap();
        assert_eq!(run("nft list ruleset"), before);
    });
}

#[test]
fn a_table_of_another_form_is_replaced_and_its_ports_are_kept() {
    Space::new().run(|| {
        nft(&format!(
            "table inet takt-{DEVICE} {{
                map old {{ type inet_service : inet_service; }}
                chain everyone {{ tcp dport 9090 dnat to :61009; }}
                chain prerouting {{ type nat hook prerouting priority -50; tcp dport 8080 redirect to :tcp dport map @old; }}
            }}"
        ));
        let looked = wait(traffic().look()).unwrap();
        assert!(looked.hindrance.is_some() && looked.leads == to_host(9090, 61_009), "{looked:?}");
        wait(traffic().route(&to_host(8080, 61_000))).unwrap();
        let looked = wait(traffic().look()).unwrap();
        assert!(looked.leads_to(&to_host(8080, 61_000)) && looked.leads_to(&to_host(9090, 61_009)), "{looked:?}");
    });
}

#[test]
fn ability_is_tried_out_and_leaves_nothing_behind() {
    Space::new().run(|| {
        assert_eq!(wait(traffic().ability()), Ok(()));
        assert_eq!(run("nft list ruleset"), "");
        // Left by an agent that was killed in the middle of it.
        run(&format!("nft add table inet takt-{DEVICE}-probe"));
        assert_eq!(wait(traffic().ability()), Ok(()));
        assert_eq!(run("nft list ruleset"), "");

        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nft");
        let with = |words: &str| {
            script(&program, words);
            wait(traffic().with_program(&program, Duration::from_millis(500)).ability()).unwrap_err()
        };
        assert_eq!(
            with("echo 'Error: no support' >&2; exit 1"),
            "list the tables: nft says: Error: no support"
        );
        assert_eq!(with("exec sleep 60"), "list the table: nft has not ended within 0.5 s");
        assert_eq!(with("yes"), "list the table: nft has not ended within 0.5 s");
        assert!(
            with("echo '{}'").starts_with("understand what nft says of tables: the table has been changed")
        );
        assert!(with("yes Error | head -c 100000 >&2; exit 1").len() < 700);
        let absent = traffic().with_program(Path::new("/nowhere/nft"), Duration::from_secs(1));
        let said = wait(absent.ability()).unwrap_err();
        assert!(said.starts_with("run '/nowhere/nft' (Debian package nftables): No such file"), "{said}");
    });
}

#[test]
fn what_cannot_be_led_is_refused_before_anything_changes() {
    Space::new().run(|| {
        let container =
            |last| Lead::everyone(Backend::Bridge { address: [172, 17, 0, last].into(), port: 80 });
        let leads = |last| Leads::from([(8080, container(last))]);
        assert!(matches!(wait(traffic().route(&leads(2))), Err(TrafficError::NotForwarding { .. })));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        assert!(matches!(wait(traffic().route(&leads(2))), Err(TrafficError::NoBridge { .. })));
        let many: Leads = (1..=513).map(|port| (port, Lead::everyone(Backend::Host { port: 1 }))).collect();
        assert!(matches!(wait(traffic().route(&many)), Err(TrafficError::Count { count: 513, .. })));
        assert_eq!(run("nft list ruleset"), "");
        // The most that there may be is read back as it was written.
        let most: Leads = many.into_iter().take(512).collect();
        wait(traffic().route(&most)).unwrap();
        assert_eq!(wait(traffic().look()).unwrap().leads, most);
    });
}

fn script(path: &Path, words: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    // Written aside: a program that somebody still has open for writing cannot be run.
    let aside = path.with_extension("new");
    std::fs::write(&aside, format!("#!/bin/sh\n{words}\n")).unwrap();
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&aside, path).unwrap();
}
