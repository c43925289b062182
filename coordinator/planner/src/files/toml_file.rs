//! Settings in TOML, with the line of what is wrong.

use std::fmt::Display;
use std::ops::Range;

use serde::de::DeserializeOwned;

use super::InputError;

/// A file in TOML.
#[derive(Clone, Copy)]
pub(super) struct TomlFile<'f> {
    file: &'f str,
    text: &'f str,
}

impl<'f> TomlFile<'f> {
    pub(super) fn new(file: &'f str, text: &'f [u8]) -> Result<Self, InputError> {
        let whole = Self { file, text: "" };
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), ..whole }),
            Err(error) => {
                let good = String::from_utf8_lossy(&text[..error.valid_up_to()]);
                let line = 1 + good.matches('\n').count();
                Err(whole.error(line, "text", "is not UTF-8"))
            }
        }
    }

    /// All of it; unknown keys are for the type to refuse.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        toml::from_str(self.text).map_err(|error| {
            let line = error.span().map_or(1, |span| self.line(&span));
            let key = self.text.lines().nth(line - 1).and_then(|line| line.split_once('='));
            let key = key.map(|(key, _)| key.trim()).filter(|key| !key.is_empty());
            let what = error.message().lines().next().unwrap_or("is not TOML").to_owned();
            self.error(line, key.unwrap_or("text"), what)
        })
    }

    /// What is wrong with what stands at `span`.
    pub(super) fn error_at(&self, span: &Range<usize>, field: &str, what: impl Display) -> InputError {
        self.error(self.line(span), field, what)
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }

    fn error(&self, line: usize, field: &str, what: impl Display) -> InputError {
        InputError::new(self.file, u64::try_from(line).unwrap_or(u64::MAX), field, &what.to_string())
    }
}
