//! `docs/cli.md`, written from the same definitions that `--help` shows.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::exit::Exit;

/// The reference of all commands as Markdown.
pub fn markdown(mut command: Command) -> String {
    // Long helps and usages are only complete once the command has been built.
    command.build();
    let mut text = String::from("# The `takt` command\n\n");
    text.push_str("Written from the definitions in `ctl/src`; a test fails when it is out of date and says how to renew it.\n\n");
    line(&mut text, &format!("{}\n", command.get_long_about().unwrap_or_default()));
    text.push_str("## Options of every command\n\n");
    let globals: Vec<&Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).collect();
    options(&mut text, &globals);
    text.push_str("\n## Exit codes\n\n| code | means |\n|---|---|\n");
    for exit in Exit::ALL {
        line(&mut text, &format!("| {} | {} |", exit.code(), exit.meaning()));
    }
    text.push_str("\n`NO_COLOR` set to anything turns colours off. With `--json`, results are one JSON document on standard output\n");
    text.push_str(
        "(`campaign watch`: one a line), and errors are problem documents (RFC 9457) on standard error.\n",
    );
    for group in command.get_subcommands().filter(|group| group.get_name() != "help") {
        if group.has_subcommands() {
            line(
                &mut text,
                &format!("\n## takt {}\n\n{}", group.get_name(), group.get_about().unwrap_or_default()),
            );
            let commands = group.get_subcommands().filter(|command| command.get_name() != "help");
            commands.for_each(|command| leaf(&mut text, "###", command));
        } else {
            leaf(&mut text, "##", group);
        }
    }
    text
}

/// The examples of all commands, without their indentation.
pub fn examples(command: &Command) -> Vec<String> {
    let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples =
        own.strip_prefix("Example:\n").unwrap_or_default().lines().map(|line| line.trim().to_owned());
    examples.chain(command.get_subcommands().flat_map(examples_of)).collect()
}

fn examples_of(command: &Command) -> Vec<String> {
    examples(command)
}

fn leaf(text: &mut String, level: &str, command: &Command) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    line(text, &format!("\n{level} {name}\n\n{}\n\n```sh", command.get_about().unwrap_or_default()));
    for example in examples(command) {
        line(text, &example);
    }
    line(text, "```\n");
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
        .collect();
    options(text, &own);
}

fn options(text: &mut String, args: &[&Arg]) {
    if args.is_empty() {
        return;
    }
    text.push_str("| option | means |\n|---|---|\n");
    for arg in args {
        let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let takes_value = arg.get_action().takes_values();
        let shown = match (arg.get_long(), value.filter(|_| takes_value)) {
            (Some(long), Some(value)) => format!("--{long} {value}"),
            (Some(long), None) => format!("--{long}"),
            (None, value) => value.unwrap_or_else(|| arg.get_id().to_string()),
        };
        line(text, &format!("| `{shown}` | {} |", meaning(arg)));
    }
}

fn meaning(arg: &Arg) -> String {
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut notes = Vec::new();
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !possible.is_empty() && arg.get_action().takes_values() {
        notes.push(format!("one of {}", possible.join(", ")));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        notes.push(format!("default {}", defaults.join(",")));
    }
    if let Some(variable) = arg.get_env() {
        notes.push(format!("or `{}`", variable.to_string_lossy()));
    }
    if arg.is_required_set() {
        notes.push("required".to_owned());
    }
    if !notes.is_empty() {
        meaning = format!("{meaning} ({})", notes.join("; "));
    }
    meaning.replace('|', "\\|")
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a text takes all that is written");
}
