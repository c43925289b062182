//! Manual pages and shell completions, made from the definitions that `--help` shows.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::Sheet;

/// A program that a package ships.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The section of its manual: 1 for people's commands, 8 for what the machine runs.
    pub section: &'static str,
    /// Its command line.
    pub command: Command,
}

/// All programs with a command line of their own.
pub fn programs() -> Vec<Program> {
    vec![
        Program { name: "takt", section: "1", command: takt_ctl::cli::command() },
        Program { name: "takt-agent", section: "8", command: takt_agent::cli::command() },
        Program { name: "takt-coordinator", section: "8", command: takt_coordinator::cli::command() },
    ]
}

/// The pages and completions of a program: a page for each of its commands, as `man takt-campaign-start` finds them.
pub fn sheets(program: &Program) -> io::Result<Vec<Sheet>> {
    let mut sheets = Vec::new();
    // `help COMMAND` shows these very texts.
    let mut command = program.command.clone().disable_help_subcommand(true);
    command.build();
    manual(program, &command, &mut sheets)?;
    for (shell, path) in [
        (Shell::Bash, format!("completions/bash/{}", program.name)),
        (Shell::Zsh, format!("completions/zsh/_{}", program.name)),
        (Shell::Fish, format!("completions/fish/{}.fish", program.name)),
    ] {
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut program.command.clone(), program.name, &mut bytes);
        sheets.push(Sheet { path, bytes });
    }
    Ok(sheets)
}

fn manual(program: &Program, command: &Command, sheets: &mut Vec<Sheet>) -> io::Result<()> {
    let page = Man::new(command.clone())
        .section(program.section)
        .source(concat!("Takt ", env!("CARGO_PKG_VERSION")))
        .manual("Takt");
    let mut bytes = Vec::new();
    page.render(&mut bytes)?;
    sheets.push(Sheet { path: format!("man/{}", page.get_filename()), bytes });
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| manual(program, command, sheets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(program: &Program) -> Vec<String> {
        sheets(program).unwrap().into_iter().map(|sheet| sheet.path).collect()
    }

    #[test]
    fn every_command_has_a_page_and_every_program_its_completions() {
        let programs = programs();
        let takt = paths(&programs[0]);
        for expected in ["man/takt.1", "man/takt-campaign.1", "man/takt-campaign-start.1", "man/takt-why.1"] {
            assert!(takt.iter().any(|path| path == expected), "{expected} in {takt:?}");
        }
        let agent = paths(&programs[1]);
        for expected in [
            "man/takt-agent.8",
            "man/takt-agent-run.8",
            "man/takt-agent-enrol.8",
            "completions/bash/takt-agent",
            "completions/zsh/_takt-agent",
            "completions/fish/takt-agent.fish",
        ] {
            assert!(agent.iter().any(|path| path == expected), "{expected} in {agent:?}");
        }
    }

    #[test]
    fn pages_and_completions_say_what_the_help_says() {
        let sheets = sheets(&programs()[0]).unwrap();
        let holds = |path: &str, text: &str| {
            let sheet = sheets.iter().find(|sheet| sheet.path == path).unwrap();
            let found = String::from_utf8_lossy(&sheet.bytes).into_owned();
            assert!(found.contains(text), "'{text}' in {found}");
        };
        holds("man/takt.1", ".SH NAME\ntakt \\- ");
        holds("man/takt-campaign-start.1", "takt campaign start");
        holds("completions/bash/takt", "complete -F _takt");
        holds("completions/zsh/_takt", "#compdef takt");
        holds("completions/fish/takt.fish", "complete -c takt");
    }
}
