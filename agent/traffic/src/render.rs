//! The table in the words of nft.

use std::fmt::Write as _;

use crate::ruleset::{Backend, FORM, Reach, Ruleset, TableName};

/// The chains that hold one rule for each port.
pub(crate) const EVERYONE: &str = "everyone";
pub(crate) const THIS_DEVICE: &str = "this-device";

/// A chain that the kernel itself calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseChain {
    pub(crate) name: &'static str,
    pub(crate) sort: &'static str,
    pub(crate) hook: &'static str,
    pub(crate) priority: i32,
}

/// One before the usual place of translations (-100), and of Docker's: a port that Takt publishes leads where Takt says.
const TRANSLATE: i32 = -101;

pub(crate) const GUARD: BaseChain =
    BaseChain { name: "guard", sort: "filter", hook: "prerouting", priority: -300 };
pub(crate) const PREROUTING: BaseChain =
    BaseChain { name: "prerouting", sort: "nat", hook: "prerouting", priority: TRANSLATE };
pub(crate) const OUTPUT: BaseChain =
    BaseChain { name: "output", sort: "nat", hook: "output", priority: TRANSLATE };
pub(crate) const POSTROUTING: BaseChain =
    BaseChain { name: "postrouting", sort: "nat", hook: "postrouting", priority: 99 };

/// All of them.
pub(crate) const BASE_CHAINS: [BaseChain; 4] = [GUARD, PREROUTING, OUTPUT, POSTROUTING];

/// How much of what is there gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// The rules: the table is absent, or has our form.
    Rules,
    /// The table, chains included.
    Table,
}

/// A rule of a base chain with its comment. The comment says all that the rule does; it is by their comments that the
/// rules are known again, because how nft shows an expression changes from one version of it to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseRule {
    pub(crate) chain: &'static str,
    pub(crate) rule: String,
    pub(crate) comment: String,
}

/// The rules of the base chains in their order.
pub(crate) fn base_rules(rules: &Ruleset) -> Vec<BaseRule> {
    let new_here = "fib daddr type local tcp flags & (fin | syn | rst | ack) == syn";
    let base = |chain: BaseChain, rule: String, comment: String| BaseRule {
        chain: chain.name,
        rule,
        comment: format!("takt {FORM} {comment}"),
    };
    let jump =
        |from, to: &str| base(from, format!("{new_here} jump {to}"), format!("new connections to {to}"));
    let mut all = vec![jump(PREROUTING, EVERYONE), jump(OUTPUT, EVERYONE), jump(OUTPUT, THIS_DEVICE)];
    for (name, bridge) in &rules.bridges {
        let (network, prefix) = (bridge.network, bridge.prefix);
        let state = if bridge.opened { "opened" } else { "found open" };
        all.push(base(
            GUARD,
            format!("iifname \"{name}\" ip daddr 127.0.0.0/8 drop"),
            format!("guard {name} {network}/{prefix} {state}"),
        ));
        all.push(base(
            POSTROUTING,
            format!("oifname \"{name}\" ip saddr 127.0.0.0/8 masquerade"),
            format!("loopback {name}"),
        ));
    }
    for (name, port) in &rules.hairpins {
        let Some(bridge) = rules.bridges.get(name) else { continue };
        let (network, prefix) = (bridge.network, bridge.prefix);
        all.push(base(
            POSTROUTING,
            format!(
                "oifname \"{name}\" ip saddr {network}/{prefix} meta l4proto tcp ct status dnat \
                 ct original proto-dst {port} masquerade"
            ),
            format!("hairpin {name} {port}"),
        ));
    }
    // Changes nothing. The kernel tracks connections for as long as some rule asks about them: without this one it would
    // forget the translations of all that are established when the last port is forgotten.
    all.push(base(POSTROUTING, "ct status dnat accept".to_owned(), "memory".to_owned()));
    all
}

/// One transaction that brings the table into this state, whatever it was.
pub(crate) fn transaction(table: &TableName, rules: &Ruleset, replace: Replace) -> String {
    let mut text = String::new();
    // Writing into a text does not fail.
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _written = writeln!(text, "{words}");
    };
    if replace == Replace::Table {
        // Added first, because what is not there cannot be deleted.
        line(format_args!("add table inet {table}"));
        line(format_args!("delete table inet {table}"));
    }
    line(format_args!("add table inet {table}"));
    for chain in [EVERYONE, THIS_DEVICE] {
        line(format_args!("add chain inet {table} {chain}"));
    }
    for BaseChain { name, sort, hook, priority } in BASE_CHAINS {
        line(format_args!(
            "add chain inet {table} {name} {{ type {sort} hook {hook} priority {priority}; policy accept; }}"
        ));
    }
    line(format_args!("flush table inet {table}"));
    for (port, lead) in &rules.leads {
        let chain = match lead.reach {
            Reach::Everyone => EVERYONE,
            Reach::ThisDevice => THIS_DEVICE,
        };
        match lead.to {
            Backend::Host { port: to } => {
                line(format_args!("add rule inet {table} {chain} tcp dport {port} dnat to :{to}"));
            }
            Backend::Bridge { address, port: to } => {
                line(format_args!(
                    "add rule inet {table} {chain} tcp dport {port} dnat ip to {address}:{to}"
                ));
            }
        }
    }
    for BaseRule { chain, rule, comment } in base_rules(rules) {
        line(format_args!("add rule inet {table} {chain} {rule} comment \"{comment}\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ruleset::{Bridge, Lead, Leads};

    #[test]
    fn a_transaction_reads_as_expected() {
        let container = Backend::Bridge { address: Ipv4Addr::new(172, 17, 0, 2), port: 80 };
        let leads = Leads::from([
            (8080, Lead::everyone(Backend::Host { port: 61_000 })),
            (8081, Lead::everyone(container)),
            (61_001, Lead::this_device(container)),
        ]);
        let bridge = Bridge { network: Ipv4Addr::new(172, 17, 0, 0), prefix: 16, opened: true };
        let rules = Ruleset::default().next(leads, BTreeMap::from([("docker0".to_owned(), bridge)]));
        let table = TableName::new("0123456789ab").unwrap();
        let text = transaction(&table, &rules, Replace::Rules);
        assert_eq!(text, include_str!("../tests/goldens/transaction.nft"));
        let whole = transaction(&table, &rules, Replace::Table);
        let before = "add table inet takt-0123456789ab\ndelete table inet takt-0123456789ab\n";
        assert_eq!(whole.strip_prefix(before), Some(text.as_str()));
    }
}
