//! `docs/cli.md` is what the definitions of the commands say, and its examples are commands.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use clap::error::ErrorKind;
use takt_ctl::{cli, reference};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");

/// Set to anything, the test renews the document instead of comparing it.
const RENEW: &str = "TAKT_RENEW_DOCS";

#[test]
fn the_reference_is_up_to_date() {
    let expected = reference::markdown(cli::command());
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(DOCUMENT, &expected).unwrap();
    }
    let found = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(found == expected, "docs/cli.md is out of date; renew it with: {RENEW}=1 cargo test -p takt-ctl");
}

#[test]
fn every_command_has_an_example_and_every_example_is_a_command() {
    let mut command = cli::command();
    command.build();
    let mut leaves = Vec::new();
    collect(&command, &mut leaves);
    assert!(leaves.len() > 20);
    for leaf in leaves {
        let examples = reference::examples(leaf);
        assert!(!examples.is_empty(), "'{}' has no example", leaf.get_name());
        for example in examples {
            let result = cli::command().try_get_matches_from(example.split_whitespace());
            assert!(result.is_ok(), "{example}: {}", result.unwrap_err());
        }
    }
}

#[test]
fn every_command_explains_itself() {
    let mut command = cli::command();
    command.build();
    let mut leaves = Vec::new();
    collect(&command, &mut leaves);
    for leaf in leaves {
        assert!(leaf.get_about().is_some(), "{}", leaf.get_name());
        for arg in leaf.get_arguments() {
            assert!(arg.get_help().is_some(), "{} {}", leaf.get_name(), arg.get_id());
        }
    }
    let error = cli::command().try_get_matches_from(["takt", "--help"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    assert!(error.to_string().contains("3  the watched campaign was aborted"));
}

fn collect<'a>(command: &'a clap::Command, leaves: &mut Vec<&'a clap::Command>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        if sub.has_subcommands() { collect(sub, leaves) } else { leaves.push(sub) }
    }
}
