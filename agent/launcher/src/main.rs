//! `takt-launcher --state DIR --agent FILE -- ARGUMENT...`: becomes the agent, the installed one or, when a new one
//! does not start, the previous one.

use std::io::Write as _;
use std::process::ExitCode;

use takt_launcher::{CODE_NO_AGENT, CODE_USAGE, Request, launch};

const HELP: &str = "\
Starts the agent, and brings the old one back when a new one does not start.

Usage: takt-launcher --state DIR --agent FILE -- ARGUMENT...

  --state DIR    the folder of the trial, /var/lib/takt-agent/launcher
  --agent FILE   the installed agent, /usr/bin/takt-agent
  ARGUMENT...    go to the agent, which takes this process over
  -h, --help     this text
  -V, --version  the version

Exit codes: 125 wrong usage, 126 neither the installed agent nor a previous one
can be run; all others are the agent's own.";

fn main() -> ExitCode {
    match Request::parse(std::env::args_os().skip(1)) {
        Ok(Request::Launch(command)) => {
            launch(&command);
            ExitCode::from(CODE_NO_AGENT)
        }
        Ok(Request::Help) => answer(HELP),
        Ok(Request::Version) => answer(concat!("takt-launcher ", env!("CARGO_PKG_VERSION"))),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "takt-launcher: failed to {error}; --help tells more");
            ExitCode::from(CODE_USAGE)
        }
    }
}

fn answer(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_listens) => ExitCode::FAILURE,
    }
}
