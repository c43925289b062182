//! What goes to standard output: sentences and tables for people, or one JSON document with `--json`.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// True when the reader has gone away (`takt device list | head -1`), which is its right.
    pub fn reader_left(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person, through a pipe or a log.
    Plain,
    /// A person at a terminal.
    Terminal,
    /// A program: JSON only.
    Program,
}

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, when `NO_COLOR` is unset or empty (no-color.org).
    Allowed,
    /// Anywhere else.
    Never,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something went well.
    Good,
    /// Something failed.
    Bad,
    /// Something is under way.
    Busy,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    reader: Reader,
    colour: Colour,
}

impl Output {
    /// Looks at the process's standard output and environment.
    pub fn of_process(json: bool) -> Self {
        let terminal =
            io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let reader = match (json, terminal) {
            (true, _) => Reader::Program,
            (false, true) => Reader::Terminal,
            (false, false) => Reader::Plain,
        };
        let colour = if reader == Reader::Terminal && !colourless { Colour::Allowed } else { Colour::Never };
        Self { reader, colour }
    }

    /// For a person behind a pipe, whatever standard output is.
    pub const fn for_pipe() -> Self {
        Self { reader: Reader::Plain, colour: Colour::Never }
    }

    /// Who reads.
    pub const fn reader(self) -> Reader {
        self.reader
    }

    /// `text` in the colour of `tone`, where colours are allowed.
    pub fn toned(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Busy => "33",
        };
        match self.colour {
            Colour::Allowed => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Never => text.to_owned(),
        }
    }

    /// Gives the result of a command: `value` to a program, `lines` to a person.
    pub fn give<T: Serialize>(
        &self,
        value: &T,
        lines: impl FnOnce() -> Vec<String>,
    ) -> Result<(), OutputError> {
        match self.reader {
            Reader::Program => self.json_line(value),
            Reader::Plain | Reader::Terminal => lines().iter().try_for_each(|text| self.line(text)),
        }
    }

    /// One more sentence for a person; a program has the result already.
    pub fn note(self, text: &str) -> Result<(), OutputError> {
        match self.reader {
            Reader::Program => Ok(()),
            Reader::Plain | Reader::Terminal => self.line(text),
        }
    }

    /// One line for a person.
    pub fn line(self, text: &str) -> Result<(), OutputError> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// One JSON document on a line of its own.
    pub fn json_line<T: Serialize>(self, value: &T) -> Result<(), OutputError> {
        let text = serde_json::to_string(value).expect("results have only text keys and finite numbers");
        self.line(&text)
    }
}
