//! What the kernel has, from nft's JSON (libnftables-json(5)).
//!
//! The rules that lead ports are understood expression by expression: they are the truth about where ports lead. Rules
//! of base chains are known by their comments ([`crate::render::BaseRule`]).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::render::{BASE_CHAINS, EVERYONE, THIS_DEVICE, base_rules};
use crate::ruleset::{Backend, Bridge, FORM, Lead, Reach, Ruleset, TableName};

/// The names of all tables of family `inet` in the answer to `list tables inet`.
pub(crate) fn tables(text: &str) -> Result<Vec<String>, String> {
    let objects = objects(text)?;
    let tables = objects.iter().filter_map(|object| object.get("table"));
    Ok(tables.filter_map(|table| Some(table.get("name")?.as_str()?.to_owned())).collect())
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// All of it that has our form.
    pub(crate) rules: Ruleset,
    /// Why it is not a table of ours as it should be, if it is not.
    pub(crate) wrong: Option<String>,
}

/// What is in the answer to `list table`. One that cannot be read is one of a table that is not as it should be: nft
/// 1.0.6 breaks off where a table has flags.
pub(crate) fn table(text: &str, name: &TableName) -> Held {
    let mut rules = Ruleset::default();
    let understood = objects(text).and_then(|objects| understand(&objects, &name.to_string(), &mut rules));
    let wrong = understood.err().map(|wrong| format!("the table has been changed: {wrong}"));
    Held { rules, wrong }
}

fn objects(text: &str) -> Result<Vec<Value>, String> {
    let mut whole: Value =
        serde_json::from_str(text).map_err(|error| format!("its list is no JSON: {error}"))?;
    match whole.get_mut("nftables").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Err("its list has nothing under 'nftables'".to_owned()),
    }
}

/// Takes in all that is understood; the error is the first thing that is not as it should be.
fn understand(objects: &[Value], name: &str, rules: &mut Ruleset) -> Result<(), String> {
    let mut wrong: Vec<String> = Vec::new();
    let mut chains: Vec<&str> = Vec::new();
    let mut comments: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut tables = 0;
    for object in objects {
        let Some((sort, value)) = object.as_object().and_then(|object| object.iter().next()) else {
            wrong.push("there is something without a name".to_owned());
            continue;
        };
        match sort.as_str() {
            "metainfo" => {}
            "table" if value.get("name").and_then(Value::as_str) == Some(name) => {
                tables += 1;
                if value.get("flags").is_some() {
                    wrong.push("it has flags".to_owned());
                }
            }
            "chain" => match chain(value) {
                Ok(name) => chains.push(name),
                Err(name) => wrong.push(format!("chain {name} has another place")),
            },
            "rule" => {
                let chain = value.get("chain").and_then(Value::as_str).unwrap_or_default();
                let reach = match chain {
                    EVERYONE => Reach::Everyone,
                    THIS_DEVICE => Reach::ThisDevice,
                    _ => {
                        let comment = value.get("comment").and_then(Value::as_str).unwrap_or_default();
                        remember(comment, rules);
                        comments.entry(chain).or_default().push(comment);
                        continue;
                    }
                };
                match lead(value) {
                    Some((port, to)) if !rules.leads.contains_key(&port) => {
                        rules.leads.insert(port, Lead { to, reach });
                    }
                    Some((port, _)) => wrong.push(format!("port {port} leads to two places")),
                    None => wrong.push(format!("chain {chain} has a strange rule")),
                }
            }
            other => wrong.push(format!("there is a strange {other}")),
        }
    }
    let mut expected: Vec<_> =
        BASE_CHAINS.iter().map(|chain| chain.name).chain([EVERYONE, THIS_DEVICE]).collect();
    expected.sort_unstable();
    chains.sort_unstable();
    if tables != 1 {
        wrong.push("it is not in the answer".to_owned());
    } else if chains != expected {
        wrong.push(format!("its chains are {}", chains.join(", ")));
    }
    let wanted = base_rules(rules);
    for base in BASE_CHAINS {
        let wanted = wanted.iter().filter(|rule| rule.chain == base.name).map(|rule| rule.comment.as_str());
        if !comments.remove(base.name).unwrap_or_default().into_iter().eq(wanted) {
            wrong.push(format!("the rules of chain {} are not those of form {FORM}", base.name));
        }
    }
    wrong.into_iter().next().map_or(Ok(()), Err)
}

/// The name of a chain; it is the error where the kernel does not call the chain as it should.
fn chain(value: &Value) -> Result<&str, &str> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    let priority = value.get("prio").and_then(Value::as_i64);
    let fits = match BASE_CHAINS.iter().find(|base| base.name == name) {
        Some(base) => {
            text("type") == Some(base.sort)
                && text("hook") == Some(base.hook)
                && priority == Some(i64::from(base.priority))
                && text("policy") == Some("accept")
        }
        None => text("hook").is_none(),
    };
    if fits { Ok(name) } else { Err(name) }
}

/// The port that a rule is for, and where it leads: `tcp dport <port> dnat [ip] to [<address>]:<port>`.
fn lead(rule: &Value) -> Option<(u16, Backend)> {
    let [matches, translates] = rule.get("expr")?.as_array()?.as_slice() else { return None };
    let matches = matches.get("match")?;
    let payload = matches.get("left")?.get("payload")?;
    let is = |value: Option<&Value>, text: &str| value.and_then(Value::as_str) == Some(text);
    if !is(matches.get("op"), "==")
        || !is(payload.get("protocol"), "tcp")
        || !is(payload.get("field"), "dport")
    {
        return None;
    }
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let port = number(matches.get("right")?)?;
    let target = translates.get("dnat")?.as_object()?;
    let to = number(target.get("port")?)?;
    let backend = match (target.get("addr"), target.len()) {
        (None, 1) => Backend::Host { port: to },
        (Some(address), 3) if is(target.get("family"), "ip") => {
            Backend::Bridge { address: address.as_str()?.parse().ok()?, port: to }
        }
        _ => return None,
    };
    Some((port, backend))
}

/// Takes in what a comment says of bridges; one that is no comment of ours is found out later.
fn remember(comment: &str, rules: &mut Ruleset) {
    let mut words = comment.split(' ').skip(2);
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("guard"), Some(name), Some(network), Some(state)) => {
            let Some((network, prefix)) = network.split_once('/') else { return };
            let (Ok(network), Ok(prefix)) = (network.parse(), prefix.parse()) else { return };
            let bridge = Bridge { network, prefix, opened: state == "opened" };
            rules.bridges.insert(name.to_owned(), bridge);
        }
        (Some("hairpin"), Some(name), Some(port), None) => {
            let Ok(port) = port.parse() else { return };
            rules.hairpins.insert((name.to_owned(), port));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ruleset::Leads;

    /// What nft 1.0.6 says of the table of `tests/goldens/transaction.nft`.
    const LIST: &str = include_str!("../tests/goldens/list-1.0.6.json");

    fn name() -> TableName {
        TableName::new("0123456789ab").unwrap()
    }

    fn rules() -> Ruleset {
        let container = Backend::Bridge { address: Ipv4Addr::new(172, 17, 0, 2), port: 80 };
        let leads = Leads::from([
            (8080, Lead::everyone(Backend::Host { port: 61_000 })),
            (8081, Lead::everyone(container)),
            (61_001, Lead::this_device(container)),
        ]);
        let bridge = Bridge { network: Ipv4Addr::new(172, 17, 0, 0), prefix: 16, opened: true };
        Ruleset::default().next(leads, BTreeMap::from([("docker0".to_owned(), bridge)]))
    }

    #[test]
    fn the_list_of_a_table_gives_what_was_put_into_it() {
        assert_eq!(table(LIST, &name()), Held { rules: rules(), wrong: None });
        let tables =
            tables(r#"{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "a"}}]}"#);
        assert_eq!(tables, Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn a_table_that_is_not_quite_ours_is_told_apart() {
        let changed = |from: &str, to: &str| {
            assert!(LIST.contains(from), "{from}");
            table(&LIST.replacen(from, to, 1), &name()).wrong.unwrap()
        };
        assert!(changed(r#""prio": 99"#, r#""prio": 100"#).contains("postrouting"));
        assert!(changed(r#""handle": 1}}"#, r#""handle": 1, "flags": ["dormant"]}}"#).contains("flags"));
        assert!(changed("takt 1 loopback", "takt 2 loopback").contains("postrouting"));
        assert!(changed("guard docker0", "guard docker1").contains("chain"));
        assert!(changed(r#""right": 8081"#, r#""right": 8080"#).contains("two places"));
        assert!(changed(r#""dnat": {"port": 61000}"#, r#""drop": null"#).contains("strange rule"));
        assert!(changed(r#""op": "==""#, r#""op": "!=""#).contains("strange rule"));
        assert!(changed(r#""name": "everyone""#, r#""name": "some""#).contains("chains are"));
        assert!(changed(r#"{"chain": {"#, r#"{"map": {"#).contains("strange map"));
        let foreign = r#"{"rule": {"chain": "output", "handle": 99, "expr": [{"accept": null}]}}, "#;
        assert!(changed(r#"{"rule": {"#, &format!("{foreign}{{\"rule\": {{")).contains("output"));
    }

    #[test]
    fn what_is_right_in_a_table_that_is_not_is_still_known() {
        let odd = LIST.replacen(r#""prio": 99"#, r#""prio": 100"#, 1);
        let odd = odd.replacen(r#""dnat": {"port": 61000}"#, r#""drop": null"#, 1);
        let mut expected = rules();
        expected.leads.remove(&8080);
        assert_eq!(table(&odd, &name()).rules, expected);
    }

    #[test]
    fn no_answer_is_worse_than_a_table_of_others() {
        for bad in ["", "{}", "[]", r#"{"nftables": 1}"#] {
            assert!(table(bad, &name()).wrong.is_some() && tables(bad).is_err(), "{bad}");
        }
        assert!(table(r#"{"nftables": []}"#, &name()).wrong.is_some());
    }
}
