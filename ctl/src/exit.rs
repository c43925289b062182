//! What the exit codes of `takt` mean.

use std::fmt::Write as _;
use std::process::ExitCode;

/// How a command ended, for the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to do.
    Done,
    /// The network, the server or this machine failed; the same command may work later.
    Failed,
    /// The arguments or a file given to it are not usable; the same command will never work.
    BadInput,
    /// The campaign that was watched has been aborted.
    Aborted,
    /// There is no such device, campaign, release or document.
    NotFound,
    /// It is not allowed: wrong or missing token, signatures missing, a conflict with what is there.
    Refused,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Failed, Self::BadInput, Self::Aborted, Self::NotFound, Self::Refused];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Aborted => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
        }
    }

    /// The HTTP status that says about the same, for problem documents made here.
    pub const fn status(self) -> u16 {
        match self {
            Self::Done => 200,
            Self::Failed => 500,
            Self::BadInput => 400,
            Self::Aborted | Self::Refused => 409,
            Self::NotFound => 404,
        }
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed: network, server or this machine; may work later",
            Self::BadInput => "bad input: arguments, a file, or a profile",
            Self::Aborted => "the watched campaign was aborted",
            Self::NotFound => "no such device, campaign, release or document",
            Self::Refused => "refused: token, missing signatures, or a conflict",
        }
    }

    /// The table of codes that `--help` shows.
    pub fn table() -> String {
        Self::ALL.iter().fold("Exit codes:\n".to_owned(), |mut text, exit| {
            writeln!(text, "  {}  {}", exit.code(), exit.meaning())
                .expect("a text takes all that is written");
            text
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
