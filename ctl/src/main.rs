//! The `takt` command: reads its arguments, does one thing, and says how it ended.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;
use takt_common::api::Problem;
use takt_ctl::cli::Cli;
use takt_ctl::exit::Exit;
use takt_ctl::failure::{problem, sentence};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    let json = cli.json();
    let result = match runtime() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            complain(json, &problem(Exit::Failed, format!("{error:#}")), &format!("{error:#}"));
            return Exit::Failed.into();
        }
    };
    match result {
        Ok(code) => code.into(),
        Err(failure) if failure.reader_left() => Exit::Done.into(),
        Err(failure) => {
            complain(json, &failure.problem(), &sentence(&failure));
            failure.exit().into()
        }
    }
}

/// One thread is enough: a command waits for one thing at a time.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")
}

/// Help and version go to standard output; arguments that are no good to standard error.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    // The arguments could not be read, so whether a program is listening is read from them directly.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let asked_for_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked_for_help || !json {
        // What cannot be printed cannot be complained about either.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::BadInput.code()));
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let detail = first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    complain(json, &problem(Exit::BadInput, detail), "");
    Exit::BadInput.into()
}

/// Writes an error: a problem document to a program, one sentence to a person.
fn complain(json: bool, problem: &Problem, sentence: &str) {
    let mut stderr = std::io::stderr().lock();
    // There is no place left to report that standard error is closed.
    let _ = if json {
        let text = serde_json::to_string(problem).expect("a problem document is plain text and a number");
        writeln!(stderr, "{text}")
    } else {
        writeln!(stderr, "takt: {sentence}")
    };
}
